//! What became of each tenant's data, and what it used and cost, as series in the store, scoped like any other.
//!
//! Counted since the program's start; a restart reads as a counter's reset. Each begins with a 0, so that an increase is
//! told from the first record on.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tenantscope_codec::{Rejected, Volume};
use tenantscope_model::{
    FamilyMetadata, Labels, METRIC_NAME, Metadata, MetricKind, Sample, Signal, StampedSeries, TenantId,
};
use tenantscope_tenancy::{CostConfig, CostKind};

use crate::clock::now_ms;
use crate::intake::Intake;

/// Open mode takes any tenant that a header names, so there must be an end.
const MAX_COUNTS: usize = 400_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    Records,
    Rejected,
    Refused,
    ReceivedBytes,
    Samples,
    LogBytes,
    Spans,
    Queries,
    RefusedQueries,
    LeftOutOfRules,
    StoredBytes,
    Cost,
}

impl Family {
    const ALL: [Self; 12] = [
        Self::Records,
        Self::Rejected,
        Self::Refused,
        Self::ReceivedBytes,
        Self::Samples,
        Self::LogBytes,
        Self::Spans,
        Self::Queries,
        Self::RefusedQueries,
        Self::LeftOutOfRules,
        Self::StoredBytes,
        Self::Cost,
    ];

    /// Name and help.
    fn named(self) -> (&'static str, &'static str) {
        match self {
            Self::Records => {
                ("tenantscope_tenant_records_total", "Samples, log records and spans of the tenant that were stored.")
            }
            Self::Rejected => (
                "tenantscope_tenant_rejected_records_total",
                "Samples, log records and spans of the tenant that were left out of a stored batch.",
            ),
            Self::Refused => {
                ("tenantscope_tenant_refused_batches_total", "Batches of the tenant that were refused as a whole.")
            }
            Self::ReceivedBytes => {
                ("tenantscope_tenant_received_bytes_total", "Bytes of the tenant's batches as they were received.")
            }
            Self::Samples => ("tenantscope_tenant_samples_total", "Samples of the tenant that were stored."),
            Self::LogBytes => (
                "tenantscope_tenant_log_bytes_total",
                "Bytes of the tenant's log records that were stored, as OTLP has them.",
            ),
            Self::Spans => ("tenantscope_tenant_spans_total", "Spans of the tenant that were stored."),
            Self::Queries => {
                ("tenantscope_tenant_queries_total", "Queries that were answered for readers of the tenant alone.")
            }
            Self::RefusedQueries => (
                "tenantscope_tenant_refused_queries_total",
                "Queries of readers of the tenant alone that a limit of queries refused.",
            ),
            Self::LeftOutOfRules => (
                "tenantscope_tenant_left_out_rule_evaluations_total",
                "Evaluations of rules that left the tenant out, since its data alone makes them fail.",
            ),
            Self::StoredBytes => (
                "tenantscope_tenant_stored_bytes_total",
                "Bytes that the tenant's data takes in files, by the stores' averages.",
            ),
            Self::Cost => ("tenantscope_tenant_cost_total", "What the tenant's use cost, by the prices of its time."),
        }
    }

    /// What its counts are priced as.
    fn priced_as(self) -> Option<CostKind> {
        match self {
            Self::ReceivedBytes => Some(CostKind::Received),
            Self::Samples => Some(CostKind::Samples),
            Self::LogBytes => Some(CostKind::Logs),
            Self::Spans => Some(CostKind::Spans),
            Self::Queries => Some(CostKind::Queries),
            Self::StoredBytes => Some(CostKind::Storage),
            Self::Records
            | Self::Rejected
            | Self::Refused
            | Self::RefusedQueries
            | Self::LeftOutOfRules
            | Self::Cost => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    tenant: TenantId,
    family: Family,
    /// None where the family has none, or a batch was refused before anybody looked what it is.
    signal: Option<Signal>,
    /// A reason, or the kind of a cost; empty where the family has none.
    word: &'static str,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    /// Whole numbers up to 2^53 are exact.
    n: f64,
    /// What of it has its price already.
    priced: f64,
    /// Whether its 0 was written.
    is_written: bool,
}

/// Counts by tenant, family, signal and reason or kind.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    counts: Mutex<BTreeMap<Key, Count>>,
    /// See [`Intake::weigh`].
    weights: Mutex<Weights>,
    priced_at_ms: Mutex<Option<i64>>,
}

/// Bytes that a record takes in the stores' files, on average; 0 where that is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Weights {
    /// A sample.
    pub sample: f64,
    /// A log record.
    pub log_record: f64,
    /// A span.
    pub span: f64,
}

impl Weights {
    fn of(&self, volume: &Volume) -> f64 {
        volume.samples as f64 * self.sample
            + volume.log_records as f64 * self.log_record
            + volume.spans as f64 * self.span
    }
}

/// A batch's tenants, how much each has in it, and of how many bytes it was when it came.
#[derive(Debug, Default)]
pub(crate) struct Used {
    pub(crate) volumes: BTreeMap<TenantId, Volume>,
    pub(crate) body_bytes: u64,
}

impl Counts {
    pub(crate) fn taken(&self, tenant: Option<TenantId>, signal: Signal, records: u64, rejected: &Rejected) {
        let Some(tenant) = tenant else { return };
        for (reason, records) in rejected.by_reason() {
            self.add(&tenant, Family::Rejected, Some(signal), reason, records as f64);
        }
        self.add(&tenant, Family::Records, Some(signal), "", records as f64);
    }

    /// A part of a batch of several tenants was left out.
    pub(crate) fn left_out(&self, tenant: &TenantId, signal: Signal, reason: &'static str, records: u64) {
        self.add(tenant, Family::Rejected, Some(signal), reason, records as f64);
    }

    pub(crate) fn refused(&self, tenant: Option<TenantId>, signal: Option<Signal>, reason: &'static str) {
        if let Some(tenant) = tenant {
            self.add(&tenant, Family::Refused, signal, reason, 1.0);
        }
    }

    /// A batch became durable. Its body is shared out by how much each tenant has in it.
    pub(crate) fn used(&self, used: &Used, signal: Signal) {
        let weight = |volume: &Volume| (volume.samples + volume.log_bytes + volume.spans) as f64;
        let all: f64 = used.volumes.values().map(weight).sum();
        let weights = *self.weights.lock();
        for (tenant, volume) in &used.volumes {
            let share = if all > 0.0 { weight(volume) / all } else { 1.0 / used.volumes.len() as f64 };
            self.add(tenant, Family::ReceivedBytes, Some(signal), "", (used.body_bytes as f64 * share).round());
            self.add(tenant, Family::Samples, None, "", volume.samples as f64);
            self.add(tenant, Family::LogBytes, None, "", volume.log_bytes as f64);
            self.add(tenant, Family::Spans, None, "", volume.spans as f64);
            self.add(tenant, Family::StoredBytes, None, "", weights.of(volume));
        }
    }

    fn add(&self, tenant: &TenantId, family: Family, signal: Option<Signal>, word: &'static str, n: f64) {
        add(&mut self.counts.lock(), Key { tenant: tenant.clone(), family, signal, word }, n);
    }

    /// Puts prices on what was counted since the last time, and on series that were active meanwhile.
    fn price(&self, config: &CostConfig, active_series: &[(TenantId, u64)], now_ms: i64) {
        let since_ms = self.priced_at_ms.lock().replace(now_ms);
        let days = since_ms.map_or(0.0, |since_ms| now_ms.saturating_sub(since_ms).max(0) as f64 / 86_400_000.0);
        let mut counts = self.counts.lock();
        let mut costs: Vec<(TenantId, CostKind, f64)> = Vec::new();
        for (key, count) in counts.iter_mut() {
            if let Some(kind) = key.family.priced_as() {
                costs.push((key.tenant.clone(), kind, config.cost(kind, count.n - count.priced)));
                count.priced = count.n;
            }
        }
        let of_series = |(tenant, active): &(TenantId, u64)| {
            (tenant.clone(), CostKind::ActiveSeries, config.cost(CostKind::ActiveSeries, *active as f64 * days))
        };
        costs.extend(active_series.iter().map(of_series));
        for (tenant, kind, cost) in costs {
            add(&mut counts, Key { tenant, family: Family::Cost, signal: None, word: kind.as_str() }, cost);
        }
    }

    fn all(&self) -> Vec<(Key, Count)> {
        self.counts.lock().iter().map(|(key, count)| (key.clone(), *count)).collect()
    }

    fn written(&self, all: &[(Key, Count)]) {
        let mut counts = self.counts.lock();
        for (key, _) in all.iter().filter(|(_, count)| !count.is_written) {
            if let Some(count) = counts.get_mut(key) {
                count.is_written = true;
            }
        }
    }
}

fn add(counts: &mut BTreeMap<Key, Count>, key: Key, n: f64) {
    // Reasons and kinds that never come need no series.
    if n > 0.0 && (counts.len() < MAX_COUNTS || counts.contains_key(&key)) {
        counts.entry(key).or_default().n += n;
    }
}

impl Intake {
    /// Writes no more of what was counted of a tenant so far, whose series are to go.
    pub fn forget_counts(&self, tenant: &TenantId) {
        self.counts.counts.lock().retain(|key, _| key.tenant != *tenant);
        self.usage.forget(tenant);
    }

    /// Puts prices in force; what was counted before has its price.
    pub fn set_cost(&self, cost: CostConfig) {
        self.usage.count_all_series(cost.prices.active_series_per_thousand_days > 0.0);
        *self.cost.write() = Arc::new(cost);
    }

    /// Counts a query that was answered for readers of one tenant alone.
    pub fn count_query(&self, tenant: &TenantId) {
        self.counts.add(tenant, Family::Queries, None, "", 1.0);
    }

    /// Counts a query of readers of one tenant alone that a limit refused.
    pub fn count_refused_query(&self, tenant: &TenantId, limit: &'static str) {
        self.counts.add(tenant, Family::RefusedQueries, None, limit, 1.0);
    }

    /// Counts an evaluation of a rule that left the tenant out.
    pub fn count_left_out_of_rule(&self, tenant: &TenantId, reason: &'static str) {
        self.counts.add(tenant, Family::LeftOutOfRules, None, reason, 1.0);
    }

    /// What records take in the stores' files from now on.
    pub fn weigh(&self, weights: Weights) {
        *self.counts.weights.lock() = weights;
    }

    /// Writes one round of the counts.
    pub(crate) async fn write_counts(&self) {
        let (now_ms, config) = (now_ms(), Arc::clone(&self.cost.read()));
        let active_series = self.usage.active_series(now_ms);
        self.counts.price(&config, &active_series, now_ms);
        let all = self.counts.all();
        if all.is_empty() {
            return;
        }
        let counted = all.iter().map(|(key, count)| counter(key, *count, &config.currency, now_ms));
        let active = active_series.iter().map(|(tenant, active)| gauge(tenant, *active, now_ms));
        let series = counted.chain(active).collect();
        match self.write_own_families(series, families()).await {
            Ok(()) => self.counts.written(&all),
            Err(error) => tracing::warn!(%error, "tenants' counts could not be written, trying again later"),
        }
    }
}

fn counter(key: &Key, count: Count, currency: &str, t_ms: i64) -> StampedSeries {
    let is_cost = key.family == Family::Cost;
    let labels = Labels::from_pairs([
        (METRIC_NAME, key.family.named().0),
        ("tenant", key.tenant.as_str()),
        ("signal", key.signal.map_or("", Signal::as_str)),
        (if is_cost { "kind" } else { "reason" }, key.word),
        ("currency", if is_cost { currency } else { "" }),
    ]);
    let now = Sample { t_ms, value: count.n };
    let samples = if count.is_written { vec![now] } else { vec![Sample { t_ms: t_ms - 1, value: 0.0 }, now] };
    StampedSeries::of_samples(labels, samples)
}

const ACTIVE_SERIES: &str = "tenantscope_tenant_active_series";

fn gauge(tenant: &TenantId, active: u64, t_ms: i64) -> StampedSeries {
    let labels = Labels::from_pairs([(METRIC_NAME, ACTIVE_SERIES), ("tenant", tenant.as_str())]);
    StampedSeries::of_samples(labels, vec![Sample { t_ms, value: active as f64 }])
}

fn families() -> Vec<FamilyMetadata> {
    let family = |name: &str, help: &str, kind| FamilyMetadata {
        tenant: None,
        family: name.into(),
        metadata: Metadata { kind, unit: "".into(), help: help.into() },
    };
    let counters = Family::ALL.map(Family::named).map(|(name, help)| family(name, help, MetricKind::Counter));
    let help = "Series of the tenant that got a sample within the last hour.";
    counters.into_iter().chain([family(ACTIVE_SERIES, help, MetricKind::Gauge)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str) -> TenantId {
        TenantId::try_new(id).unwrap()
    }

    fn value(counts: &Counts, id: &str, family: Family, word: &str) -> f64 {
        let all = counts.all().into_iter();
        let of = all.filter(|(key, _)| key.tenant == tenant(id) && key.family == family && key.word == word);
        of.map(|(_, count)| count.n).sum()
    }

    #[test]
    fn a_batch_of_two_tenants_is_shared_out_and_each_use_is_priced_once() {
        let counts = Counts::default();
        let volumes =
            [("a", 300), ("b", 100)].map(|(id, samples)| (tenant(id), Volume { samples, ..Volume::default() }));
        counts.used(&Used { volumes: volumes.into(), body_bytes: 4 << 20 }, Signal::Metrics);
        let received = |id| value(&counts, id, Family::ReceivedBytes, "");
        assert_eq!((received("a"), received("b")), ((3 << 20) as f64, (1 << 20) as f64));
        let config: CostConfig =
            serde_saphyr::from_str("{prices: {samples_per_million: 10000, active_series_per_thousand_days: 4000}}")
                .unwrap();
        counts.price(&config, &[(tenant("a"), 500)], 0);
        counts.price(&config, &[(tenant("a"), 500)], 43_200_000);
        let cost = |id, kind| value(&counts, id, Family::Cost, kind).round();
        assert_eq!((cost("a", "samples"), cost("b", "samples")), (3.0, 1.0));
        assert_eq!(cost("a", "active_series"), 1000.0, "500 series for half a day");
    }

    #[test]
    fn a_count_begins_with_a_zero_until_it_is_written() {
        let counts = Counts::default();
        counts.refused(Some(tenant("a")), None, "spans_per_second");
        let samples = |counts: &Counts| {
            let all = counts.all();
            let made = all.iter().map(|(key, count)| counter(key, *count, "", 1_000).samples);
            made.map(|samples| samples.iter().map(|sample| sample.value).collect()).collect::<Vec<Vec<f64>>>()
        };
        assert_eq!(samples(&counts), [[0.0, 1.0]]);
        counts.written(&counts.all());
        counts.refused(Some(tenant("a")), None, "spans_per_second");
        assert_eq!(samples(&counts), [[2.0]]);
    }
}
