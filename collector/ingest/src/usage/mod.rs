//! What tenants use of their quotas: samples, log bytes and spans a second, active and new series.
//!
//! Whoever sends it: what comes through a relay or an account that tenants share counts as the tenants' own.

mod active_series;
pub(crate) mod rate;
mod volumes;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tenantscope_codec::{Bounds, RecordBounds, Volume};
use tenantscope_model::{Decision, Signal, StampedBatch, StampedSeries, TenantId};
use tenantscope_tenancy::{Quota, Quotas, Registry};
use tenantscope_wire::Refused;

use active_series::ActiveSeries;
use rate::{Allowed, Rate};
use volumes::{Paid, Volumes};

/// Tenants whose use is kept; open mode takes any tenant that a header names.
const MAX_TENANTS: usize = 100_000;
/// After a start over data that is there, for so long a series that comes is not taken for a new one.
const SETTLING_MS: i64 = 10 * 60_000;

/// The quotas in force and what is used of them.
#[derive(Debug)]
pub(crate) struct Usage {
    quotas: RwLock<Arc<Quotas>>,
    registry: Option<Arc<Registry>>,
    hasher: RandomState,
    by_tenant: Mutex<HashMap<TenantId, Arc<Mutex<Used>>>>,
    /// From when on new series are counted as such.
    settled_at_ms: AtomicI64,
    counts_all_series: AtomicBool,
}

#[derive(Debug, Default)]
struct Used {
    volumes: Volumes,
    new_series: Rate,
    series: ActiveSeries,
}

/// What a batch took of its tenant's quota; given back unless the batch became durable.
#[derive(Debug, Default)]
pub(crate) struct Charge {
    used: Option<Arc<Mutex<Used>>>,
    paid: Paid,
    new_series: Vec<u64>,
    paid_new_series: f64,
}

impl Charge {
    /// The batch is durable.
    pub(crate) fn keep(mut self) {
        self.used = None;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let Some(used) = self.used.take() else { return };
        let mut used = used.lock();
        used.volumes.give_back(&self.paid);
        used.new_series.give_back(self.paid_new_series);
        used.series.forget(&self.new_series);
    }
}

impl Usage {
    pub(crate) fn new(quotas: Quotas, registry: Option<Arc<Registry>>) -> Self {
        let quotas = RwLock::new(Arc::new(quotas));
        let (hasher, by_tenant) = (RandomState::new(), Mutex::default());
        Self {
            quotas,
            registry,
            hasher,
            by_tenant,
            settled_at_ms: AtomicI64::new(i64::MIN),
            counts_all_series: AtomicBool::default(),
        }
    }

    /// Whether active series are counted of tenants whose quota does not bound them, since they cost something.
    pub(crate) fn count_all_series(&self, is_wanted: bool) {
        self.counts_all_series.store(is_wanted, Ordering::Relaxed);
    }

    /// How many series of each tenant are active, as far as they are counted.
    pub(crate) fn active_series(&self, now_ms: i64) -> Vec<(TenantId, u64)> {
        let by_tenant = self.by_tenant.lock();
        let all: Vec<_> = by_tenant.iter().map(|(tenant, used)| (tenant.clone(), Arc::clone(used))).collect();
        drop(by_tenant);
        let counted = all.into_iter().map(|(tenant, used)| (tenant, used.lock().series.active_at(now_ms) as u64));
        counted.filter(|(_, active)| *active > 0).collect()
    }

    /// What a tenant used that is gone.
    pub(crate) fn forget(&self, tenant: &TenantId) {
        self.by_tenant.lock().remove(tenant);
    }

    pub(crate) fn replace(&self, quotas: Quotas) {
        *self.quotas.write() = Arc::new(quotas);
    }

    /// There was data before this start, so no series is known to be new for a while.
    pub(crate) fn settle(&self, now_ms: i64) {
        self.settled_at_ms.store(now_ms.saturating_add(SETTLING_MS), Ordering::Relaxed);
    }

    /// A tenant's quota; the default for a sender of several.
    pub(crate) fn quota(&self, tenant: Option<&TenantId>) -> Quota {
        let quotas = Arc::clone(&self.quotas.read());
        match tenant {
            Some(tenant) => self.of(&quotas, tenant),
            None => quotas.default,
        }
    }

    fn of(&self, quotas: &Quotas, tenant: &TenantId) -> Quota {
        let tenants = self.registry.as_ref().map(|registry| registry.tenants());
        quotas.of(tenant, tenants.as_deref())
    }

    /// What single records of a batch may be.
    pub(crate) fn bounds(&self, decisions: &[Decision], now_ms: i64) -> Bounds {
        let quotas = Arc::clone(&self.quotas.read());
        if !quotas.any(Quota::bounds_records) {
            return Bounds::default();
        }
        let stamped = decisions.iter().filter_map(|decision| match decision {
            Decision::Stamp(stamp) => Some(&stamp.tenant),
            Decision::Refuse { .. } => None,
        });
        let tenants: HashSet<&TenantId> = stamped.collect();
        let bounds = |tenant: &TenantId| (tenant.clone(), record_bounds(&self.of(&quotas, tenant), now_ms));
        Bounds::new(tenants.into_iter().map(bounds).collect())
    }

    /// Refuses whatever comes of a signal from a tenant that owes of its rate, before anybody looks at it.
    pub(crate) fn check_debt(&self, tenant: Option<&TenantId>, signal: Signal, now_ms: i64) -> Result<(), Refused> {
        let Some(tenant) = tenant else { return Ok(()) };
        let quotas = Arc::clone(&self.quotas.read());
        if !quotas.any(Quota::bounds_rates) {
            return Ok(());
        }
        // Who used nothing owes nothing.
        let Some(used) = self.by_tenant.lock().get(tenant).cloned() else { return Ok(()) };
        let quota = self.of(&quotas, tenant);
        used.lock().volumes.check(signal, &quota, now_ms)
    }

    /// Charges a stamped batch of one tenant, or refuses it.
    pub(crate) fn charge(
        &self,
        tenant: &TenantId,
        batch: &StampedBatch,
        volume: Volume,
        now_ms: i64,
    ) -> Result<Charge, Refused> {
        self.charge_one(tenant, || series_of(batch).iter().map(|series| self.hash(series)).collect(), volume, now_ms)
    }

    /// Charges each tenant of a stamped batch; those that are past a quota are told with why.
    pub(crate) fn charge_each(
        &self,
        volumes: &BTreeMap<TenantId, Volume>,
        batch: &StampedBatch,
        now_ms: i64,
    ) -> (Vec<Charge>, Vec<(TenantId, Refused)>) {
        let mut hashes: HashMap<&str, HashSet<u64>> = HashMap::new();
        if self.counts_all_series.load(Ordering::Relaxed) || self.quotas.read().any(bounds_series) {
            for series in series_of(batch) {
                let tenant = series.labels.get("tenant").unwrap_or_default();
                hashes.entry(tenant).or_default().insert(self.hash(series));
            }
        }
        let (mut charges, mut refused) = (Vec::new(), Vec::new());
        for (tenant, volume) in volumes {
            let of_tenant = || hashes.remove(tenant.as_str()).unwrap_or_default();
            match self.charge_one(tenant, of_tenant, *volume, now_ms) {
                Ok(charge) => charges.push(charge),
                Err(error) => refused.push((tenant.clone(), error)),
            }
        }
        (charges, refused)
    }

    fn charge_one(
        &self,
        tenant: &TenantId,
        hashes: impl FnOnce() -> HashSet<u64>,
        volume: Volume,
        now_ms: i64,
    ) -> Result<Charge, Refused> {
        let quotas = Arc::clone(&self.quotas.read());
        let counts_series = self.counts_all_series.load(Ordering::Relaxed);
        if !counts_series && !quotas.any(Quota::bounds_rates) {
            return Ok(Charge::default());
        }
        let quota = self.of(&quotas, tenant);
        if !counts_series && !quota.bounds_rates() {
            return Ok(Charge::default());
        }
        let used = match self.used_of(tenant) {
            Ok(used) => used,
            // Nobody is refused for what is only counted.
            Err(_) if !quota.bounds_rates() => return Ok(Charge::default()),
            Err(refused) => return Err(refused),
        };
        // Dropped where one of the bounds refuses: what the others took is given back.
        let mut charge = Charge::default();
        charge.used = Some(Arc::clone(&used));
        if counts_series || bounds_series(&quota) {
            self.charge_series(&mut charge, &used, &quota, hashes(), now_ms)?;
        }
        used.lock().volumes.spend(&mut charge.paid, &quota, volume, now_ms)?;
        Ok(charge)
    }

    /// A fingerprint is as good as the labels, and is there already.
    fn hash(&self, series: &StampedSeries) -> u64 {
        match series.labels.fingerprint() {
            Some(fingerprint) => self.hasher.hash_one(fingerprint),
            None => self.hasher.hash_one(&series.labels),
        }
    }

    fn charge_series(
        &self,
        charge: &mut Charge,
        used: &Mutex<Used>,
        quota: &Quota,
        hashes: HashSet<u64>,
        now_ms: i64,
    ) -> Result<(), Refused> {
        let mut used = used.lock();
        let new_series = used.series.new_of(&hashes, now_ms);
        let (new, active) = (new_series.len(), used.series.active());
        if let Some(max_series) = quota.active_series
            && new > 0
            && (active + new) as u64 > max_series
        {
            let message = format!("over active_series {max_series}: active are {active}, new in the batch {new}");
            return Err(Refused::throttled("active_series", message, Duration::from_secs(60)));
        }
        if let Some(rate) = quota.new_series_per_minute
            && new > 0
            && now_ms >= self.settled_at_ms.load(Ordering::Relaxed)
        {
            let allowed = Allowed { per_second: rate as f64 / 60.0, burst: rate as f64 };
            let spent = used.new_series.spend(new as f64, allowed, now_ms);
            spent.map_err(|delay| {
                let message = format!("over {rate} new series a minute (the batch has {new})");
                Refused::throttled("new_series_per_minute", message, delay)
            })?;
            charge.paid_new_series = new as f64;
        }
        used.series.add(hashes);
        charge.new_series = new_series;
        Ok(())
    }

    fn used_of(&self, tenant: &TenantId) -> Result<Arc<Mutex<Used>>, Refused> {
        let mut by_tenant = self.by_tenant.lock();
        if by_tenant.len() >= MAX_TENANTS && !by_tenant.contains_key(tenant) {
            return Err(Refused::throttled("tenants", "too many tenants", Duration::from_secs(60)));
        }
        Ok(Arc::clone(by_tenant.entry(tenant.clone()).or_default()))
    }
}

fn series_of(batch: &StampedBatch) -> &[StampedSeries] {
    match batch {
        StampedBatch::Metrics { series, .. } => series,
        StampedBatch::Logs(_) | StampedBatch::Spans(_) => &[],
    }
}

fn bounds_series(quota: &Quota) -> bool {
    quota.active_series.is_some() || quota.new_series_per_minute.is_some()
}

fn record_bounds(quota: &Quota, now_ms: i64) -> RecordBounds {
    RecordBounds {
        earliest_ms: quota.max_sample_age.map(|age| now_ms.saturating_sub(age.as_ms())),
        label_names: quota.max_label_names_per_series,
        label_name_bytes: quota.max_label_name_length,
        label_value_bytes: quota.max_label_value_length,
        log_line_bytes: quota.max_log_line_bytes.map(|bound| bound.0),
        attribute_bytes: quota.max_attribute_bytes.map(|bound| bound.0),
    }
}

#[cfg(test)]
mod tests {
    use super::active_series::GENERATION_MS;
    use super::*;
    use tenantscope_model::{Bytes, Labels, Sample};

    const NOW_MS: i64 = 1_790_000_000_000;

    fn usage(active_series: Option<u64>, samples_per_second: Option<u64>) -> Usage {
        let default = Quota { active_series, samples_per_second, ..Quota::default() };
        Usage::new(Quotas { default, ..Quotas::default() }, None)
    }

    fn batch(series: std::ops::Range<u32>, samples: usize) -> StampedBatch {
        let one = |i: u32| {
            let labels = Labels::from_pairs([("__name__", "m"), ("i", &i.to_string())]);
            StampedSeries::of_samples(labels, vec![Sample { t_ms: 0, value: 0.0 }; samples])
        };
        StampedBatch::Metrics { series: series.map(one).collect(), metadata: Vec::new() }
    }

    fn charge_of(usage: &Usage, id: &str, batch: &StampedBatch, now_ms: i64) -> Result<Charge, Refused> {
        usage.charge(&tenant(id), batch, Volume::of(batch), now_ms)
    }

    fn tenant(id: &str) -> TenantId {
        TenantId::try_new(id).unwrap()
    }

    #[test]
    fn one_tenant_over_its_rate_changes_nothing_for_another() {
        let usage = usage(None, Some(10));
        let charge =
            |id: &str, samples, at_ms| charge_of(&usage, id, &batch(0..1, samples), NOW_MS + at_ms).map(Charge::keep);
        // A batch larger than the burst passes once, and is then paid back.
        charge("a", 150, 0).unwrap();
        let refused = charge("a", 1, 1_000).unwrap_err();
        assert_eq!(refused.reason, "samples_per_second");
        assert_eq!(refused.retry_after, Some(Duration::from_secs_f64(4.1)));
        charge("b", 100, 1_000).unwrap();
        charge("a", 1, 5_200).unwrap();
    }

    #[test]
    fn a_tenant_that_owes_is_known_before_its_next_batch_is_read() {
        let usage = usage(None, Some(10));
        let debt = |id: &str, signal, at_ms| usage.check_debt(Some(&tenant(id)), signal, NOW_MS + at_ms);
        debt("a", Signal::Metrics, 0).unwrap();
        charge_of(&usage, "a", &batch(0..1, 150), NOW_MS).unwrap().keep();
        assert_eq!(debt("a", Signal::Metrics, 1_000).unwrap_err().reason, "samples_per_second");
        debt("a", Signal::Logs, 1_000).unwrap();
        debt("b", Signal::Metrics, 1_000).unwrap();
        usage.check_debt(None, Signal::Metrics, NOW_MS).unwrap();
        debt("a", Signal::Metrics, 5_200).unwrap();
    }

    #[test]
    fn batches_that_overtake_one_another_refill_nothing_twice() {
        let usage = usage(None, Some(10));
        let charge = |at_ms| charge_of(&usage, "a", &batch(0..1, 1), NOW_MS + at_ms).map(Charge::keep);
        let mut taken = 0;
        for at_ms in 0..1_000 {
            usage.check_debt(Some(&tenant("a")), Signal::Metrics, NOW_MS + at_ms).ok();
            taken += u32::from(charge(at_ms - 50).is_ok());
        }
        assert!((100..=111).contains(&taken), "a burst of 100 and a second's worth: {taken}");
        charge(-3_600_000).ok();
        charge(-3_599_800).unwrap();
    }

    #[test]
    fn known_series_pass_at_the_limit_and_idle_ones_are_forgotten() {
        let usage = usage(Some(10), None);
        let charge = |series, at_ms| charge_of(&usage, "a", &batch(series, 1), NOW_MS + at_ms).map(Charge::keep);
        charge(0..10, 0).unwrap();
        assert_eq!(charge(5..11, 0).unwrap_err().reason, "active_series");
        charge(0..5, GENERATION_MS).unwrap();
        assert!(charge(10..15, GENERATION_MS).is_err(), "5 of them are idle, but not for long enough");
        charge(0..5, 2 * GENERATION_MS).unwrap();
        charge(10..15, 2 * GENERATION_MS).unwrap();
        assert!(charge_of(&usage, "b", &batch(0..11, 1), NOW_MS).is_err());
        usage.replace(Quotas::default());
        charge(0..1000, 0).unwrap();
    }

    fn usage_of(default: Quota) -> Usage {
        Usage::new(Quotas { default, ..Quotas::default() }, None)
    }

    #[test]
    fn what_is_not_stored_costs_nothing() {
        let quota = Quota {
            active_series: Some(10),
            new_series_per_minute: Some(10),
            samples_per_second: Some(10),
            samples_burst: Some(20),
            ..Quota::default()
        };
        let usage = usage_of(quota);
        let charge = |series| charge_of(&usage, "a", &batch(series, 2), NOW_MS);
        for _ in 0..5 {
            drop(charge(0..10).unwrap());
        }
        charge(10..20).unwrap().keep();
        let refused = charge(10..20).unwrap_err();
        assert_eq!(refused.reason, "samples_per_second", "the burst is spent once, by what was stored");
        assert_eq!(charge(0..1).unwrap_err().reason, "active_series");
    }

    #[test]
    fn a_batch_that_one_bound_refuses_takes_nothing_of_the_others() {
        let quota = Quota { active_series: Some(10), samples_per_second: Some(1), ..Quota::default() };
        let usage = usage_of(quota);
        let charge = |series, samples, at_ms| charge_of(&usage, "a", &batch(series, samples), NOW_MS + at_ms);
        charge(0..1, 20, 0).unwrap().keep();
        assert_eq!(charge(1..10, 1, 0).unwrap_err().reason, "samples_per_second");
        charge(10..19, 1, 60_000).unwrap().keep();
    }

    #[test]
    fn new_series_are_paid_for_by_the_minute_and_known_ones_pass() {
        let usage = usage_of(Quota { new_series_per_minute: Some(60), ..Quota::default() });
        let charge = |series, at_ms| charge_of(&usage, "a", &batch(series, 1), NOW_MS + at_ms).map(Charge::keep);
        charge(0..90, 0).unwrap();
        let refused = charge(0..91, 1_000).unwrap_err();
        assert_eq!((refused.reason, refused.retry_after), ("new_series_per_minute", Some(Duration::from_secs(30))));
        charge(0..90, 1_000).unwrap();
        charge(90..91, 31_000).unwrap();
        usage.settle(NOW_MS);
        charge(100..1000, 31_000).unwrap();
        charge(1000..2000, 32_000).unwrap();
    }

    #[test]
    fn bytes_of_logs_and_spans_have_rates_of_their_own() {
        use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
        use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
        use tenantscope_model::{Stamp, StampedResource};

        let quota = Quota {
            samples_per_second: Some(0),
            log_bytes_per_second: Some(Bytes(10)),
            spans_per_second: Some(1),
            spans_burst: Some(2),
            ..Quota::default()
        };
        let usage = usage_of(quota);
        let stamp = || Stamp { tenant: tenant("a"), account: None, region: None };
        let record = LogRecord { severity_text: "x".repeat(100), ..LogRecord::default() };
        let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
        let records = ResourceLogs { scope_logs, ..ResourceLogs::default() };
        let logs = StampedBatch::Logs(vec![StampedResource { stamp: stamp(), records }]);
        let scope_spans = vec![ScopeSpans { spans: vec![Span::default(); 3], ..ScopeSpans::default() }];
        let records = ResourceSpans { scope_spans, ..ResourceSpans::default() };
        let spans = StampedBatch::Spans(vec![StampedResource { stamp: stamp(), records }]);
        let charge = |batch: &StampedBatch, at_ms| charge_of(&usage, "a", batch, NOW_MS + at_ms).map(Charge::keep);
        charge(&logs, 0).unwrap();
        assert_eq!(charge(&logs, 0).unwrap_err().reason, "log_bytes_per_second");
        charge(&spans, 0).unwrap();
        assert_eq!(charge(&spans, 500).unwrap_err().reason, "spans_per_second");
        charge(&spans, 1_500).unwrap();
        charge(&logs, 2_000).unwrap();
    }
}
