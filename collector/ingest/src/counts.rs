//! What became of each tenant's data, as series in the store, scoped like any other.
//!
//! Counted since the program's start; a restart reads as a counter's reset. Relays' data is counted where it came in.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tenantscope_codec::Rejected;
use tenantscope_model::{
    FamilyMetadata, Labels, METRIC_NAME, Metadata, MetricKind, Sample, Signal, StampedSeries, TenantId,
};

use crate::clock::now_ms;
use crate::intake::Intake;

const RECORDS: &str = "tenantscope_tenant_records_total";
const REJECTED: &str = "tenantscope_tenant_rejected_records_total";
const REFUSED: &str = "tenantscope_tenant_refused_batches_total";

/// Open mode takes any tenant that a header names, so there must be an end.
const MAX_COUNTS: usize = 200_000;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    tenant: TenantId,
    family: &'static str,
    signal: Signal,
    /// Empty where the family has none.
    reason: &'static str,
}

/// Counts by tenant, signal and reason.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<BTreeMap<Key, u64>>);

impl Counts {
    pub(crate) fn taken(&self, tenant: Option<TenantId>, signal: Signal, records: u64, rejected: &Rejected) {
        let Some(tenant) = tenant else { return };
        for (reason, records) in rejected.by_reason() {
            self.add(Key { tenant: tenant.clone(), family: REJECTED, signal, reason }, records);
        }
        self.add(Key { tenant, family: RECORDS, signal, reason: "" }, records);
    }

    pub(crate) fn refused(&self, tenant: Option<TenantId>, signal: Signal, reason: &'static str) {
        if let Some(tenant) = tenant {
            self.add(Key { tenant, family: REFUSED, signal, reason }, 1);
        }
    }

    fn add(&self, key: Key, n: u64) {
        let mut counts = self.0.lock();
        if counts.len() < MAX_COUNTS || counts.contains_key(&key) {
            *counts.entry(key).or_default() += n;
        }
    }

    fn series(&self, t_ms: i64) -> Vec<StampedSeries> {
        let counts = self.0.lock();
        counts.iter().map(|(key, n)| series(key, *n, t_ms)).collect()
    }
}

impl Intake {
    /// Writes one round of the counts.
    pub(crate) async fn write_counts(&self) {
        let series = self.counts.series(now_ms());
        if series.is_empty() {
            return;
        }
        let families = vec![
            family(RECORDS, "Samples, log records and spans of the tenant that were stored."),
            family(REJECTED, "Samples, log records and spans of the tenant that were left out of a stored batch."),
            family(REFUSED, "Batches of the tenant that were refused as a whole."),
        ];
        if let Err(error) = self.write_own_families(series, families).await {
            tracing::warn!(%error, "tenants' counts could not be written, trying again later");
        }
    }
}

fn series(key: &Key, n: u64, t_ms: i64) -> StampedSeries {
    let labels = Labels::from_pairs([
        (METRIC_NAME, key.family),
        ("tenant", key.tenant.as_str()),
        ("signal", key.signal.as_str()),
        ("reason", key.reason),
    ]);
    let samples = vec![Sample { t_ms, value: n as f64 }];
    StampedSeries {
        labels,
        samples,
        histograms: Vec::new(),
        exemplars: Vec::new(),
        starts: Default::default(),
        cadence: None,
    }
}

fn family(name: &str, help: &str) -> FamilyMetadata {
    let metadata = Metadata { kind: MetricKind::Counter, unit: "".into(), help: help.into() };
    FamilyMetadata { tenant: None, family: name.into(), metadata }
}
