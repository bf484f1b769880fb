//! What tenants use of their quotas: samples a second, active series.
//!
//! Only batches of one tenant are counted, and refused as a whole; a relay's tenants are bounded where their data came
//! in, so that one of them does not stop the others.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tenantscope_model::{StampedBatch, StampedSeries, TenantId};
use tenantscope_tenancy::{Quotas, Registry};
use tenantscope_wire::Refused;

/// A series that got nothing for one to two of these is not active any more.
const GENERATION_MS: i64 = 30 * 60_000;
/// So many seconds' worth may come at once.
const BURST_SECONDS: f64 = 10.0;
/// Tenants whose use is kept; open mode takes any tenant that a header names.
const MAX_TENANTS: usize = 100_000;

/// The quotas in force and what is used of them.
#[derive(Debug)]
pub(crate) struct Usage {
    quotas: RwLock<Arc<Quotas>>,
    registry: Option<Arc<Registry>>,
    hasher: RandomState,
    by_tenant: Mutex<HashMap<TenantId, Arc<Mutex<Used>>>>,
}

#[derive(Debug, Default)]
struct Used {
    /// Below zero after a batch that was larger than what was left; it is paid back before the next one.
    samples_left: f64,
    refilled_at_ms: Option<i64>,
    series: ActiveSeries,
}

/// Hashes of series, by when they last got a sample: in this generation, or in the one before.
#[derive(Debug, Default)]
struct ActiveSeries {
    current: HashSet<u64>,
    previous: HashSet<u64>,
    began_at_ms: i64,
}

impl Usage {
    pub(crate) fn new(quotas: Quotas, registry: Option<Arc<Registry>>) -> Self {
        let quotas = RwLock::new(Arc::new(quotas));
        Self { quotas, registry, hasher: RandomState::new(), by_tenant: Mutex::default() }
    }

    pub(crate) fn replace(&self, quotas: Quotas) {
        *self.quotas.write() = Arc::new(quotas);
    }

    /// Charges a stamped batch of one tenant, or refuses it.
    pub(crate) fn charge(&self, tenant: &TenantId, batch: &StampedBatch, now_ms: i64) -> Result<(), Refused> {
        let StampedBatch::Metrics { series, .. } = batch else { return Ok(()) };
        let quotas = Arc::clone(&self.quotas.read());
        if quotas.is_unbounded() {
            return Ok(());
        }
        let tenants = self.registry.as_ref().map(|registry| registry.tenants());
        let quota = quotas.of(tenant, tenants.as_deref());
        if !quota.bounds_writes() {
            return Ok(());
        }
        let used = self.of(tenant)?;
        let mut used = used.lock();
        if let Some(max_series) = quota.active_series {
            // A fingerprint is as good as the labels, and is there already.
            let hash = |series: &StampedSeries| match series.labels.fingerprint() {
                Some(fingerprint) => self.hasher.hash_one(fingerprint),
                None => self.hasher.hash_one(&series.labels),
            };
            let hashes = series.iter().map(hash);
            used.series.admit(hashes.collect(), max_series, now_ms)?;
        }
        let samples: usize = series.iter().map(|series| series.samples.len() + series.histograms.len()).sum();
        match quota.samples_per_second {
            Some(rate) => used.spend(samples as f64, rate as f64, now_ms),
            None => Ok(()),
        }
    }

    fn of(&self, tenant: &TenantId) -> Result<Arc<Mutex<Used>>, Refused> {
        let mut by_tenant = self.by_tenant.lock();
        if by_tenant.len() >= MAX_TENANTS && !by_tenant.contains_key(tenant) {
            return Err(Refused::throttled("tenants", "too many tenants", Duration::from_secs(60)));
        }
        Ok(Arc::clone(by_tenant.entry(tenant.clone()).or_default()))
    }
}

impl Used {
    fn spend(&mut self, samples: f64, rate: f64, now_ms: i64) -> Result<(), Refused> {
        let full = rate * BURST_SECONDS;
        // A clock that was put back refills nothing.
        let passed_ms = self.refilled_at_ms.map_or(i64::MAX, |at_ms| now_ms.saturating_sub(at_ms).max(0));
        self.samples_left = (self.samples_left + passed_ms as f64 / 1000.0 * rate).min(full);
        self.refilled_at_ms = Some(now_ms);
        if self.samples_left <= 0.0 {
            let seconds = if rate > 0.0 { (1.0 - self.samples_left) / rate } else { 3600.0 };
            let message = format!("over {rate} samples a second");
            let delay = Duration::from_secs_f64(seconds.clamp(0.1, 3600.0));
            return Err(Refused::throttled("samples_per_second", message, delay));
        }
        self.samples_left -= samples;
        Ok(())
    }
}

impl ActiveSeries {
    /// All of the batch's series or none.
    fn admit(&mut self, hashes: HashSet<u64>, max_series: u64, now_ms: i64) -> Result<(), Refused> {
        self.rotate(now_ms);
        let known = |hash: &u64| self.current.contains(hash) || self.previous.contains(hash);
        let new = hashes.iter().filter(|hash| !known(hash)).count();
        let active = self.current.len() + self.previous.len();
        if new > 0 && (active + new) as u64 > max_series {
            let message =
                format!("over {max_series} active series ({active} are active, the batch has {new} new ones)");
            return Err(Refused::throttled("active_series", message, Duration::from_secs(60)));
        }
        for hash in hashes {
            self.previous.remove(&hash);
            self.current.insert(hash);
        }
        Ok(())
    }

    fn rotate(&mut self, now_ms: i64) {
        let generations = now_ms.saturating_sub(self.began_at_ms) / GENERATION_MS;
        if generations <= 0 {
            return;
        }
        let ended = std::mem::take(&mut self.current);
        self.previous = if generations == 1 { ended } else { HashSet::new() };
        self.began_at_ms = now_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenantscope_model::{Labels, Sample};
    use tenantscope_tenancy::Quota;

    const NOW_MS: i64 = 1_790_000_000_000;

    fn usage(active_series: Option<u64>, samples_per_second: Option<u64>) -> Usage {
        let default = Quota { active_series, samples_per_second, ..Quota::default() };
        Usage::new(Quotas { default, ..Quotas::default() }, None)
    }

    fn batch(series: std::ops::Range<u32>, samples: usize) -> StampedBatch {
        let one = |i: u32| StampedSeries {
            labels: Labels::from_pairs([("__name__", "m"), ("i", &i.to_string())]),
            samples: vec![Sample { t_ms: 0, value: 0.0 }; samples],
            histograms: Vec::new(),
            exemplars: Vec::new(),
            starts: Default::default(),
            cadence: None,
        };
        StampedBatch::Metrics { series: series.map(one).collect(), metadata: Vec::new() }
    }

    fn tenant(id: &str) -> TenantId {
        TenantId::try_new(id).unwrap()
    }

    #[test]
    fn one_tenant_over_its_rate_changes_nothing_for_another() {
        let usage = usage(None, Some(10));
        let charge = |id: &str, samples, at_ms| usage.charge(&tenant(id), &batch(0..1, samples), NOW_MS + at_ms);
        // A batch larger than the burst passes once, and is then paid back.
        charge("a", 150, 0).unwrap();
        let refused = charge("a", 1, 1_000).unwrap_err();
        assert_eq!(refused.reason, "samples_per_second");
        assert_eq!(refused.retry_after, Some(Duration::from_secs_f64(4.1)));
        charge("b", 100, 1_000).unwrap();
        charge("a", 1, 5_200).unwrap();
    }

    #[test]
    fn known_series_pass_at_the_limit_and_idle_ones_are_forgotten() {
        let usage = usage(Some(10), None);
        let charge = |series, at_ms| usage.charge(&tenant("a"), &batch(series, 1), NOW_MS + at_ms);
        charge(0..10, 0).unwrap();
        assert_eq!(charge(5..11, 0).unwrap_err().reason, "active_series");
        charge(0..5, GENERATION_MS).unwrap();
        assert!(charge(10..15, GENERATION_MS).is_err(), "5 of them are idle, but not for long enough");
        charge(0..5, 2 * GENERATION_MS).unwrap();
        charge(10..15, 2 * GENERATION_MS).unwrap();
        assert!(usage.charge(&tenant("b"), &batch(0..11, 1), NOW_MS).is_err());
        usage.replace(Quotas::default());
        charge(0..1000, 0).unwrap();
    }
}
