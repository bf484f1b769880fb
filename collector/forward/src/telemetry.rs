//! The forwarder's own metrics. Labels are bounded by the configured targets, the three signals and fixed words.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGaugeVec, register_int_counter_vec, register_int_gauge_vec};
use tenantscope_model::Signal;

static FAMILIES: LazyLock<Families> = LazyLock::new(Families::register);

/// Absent where the registry refused a metric, which is then not counted.
struct Families {
    batches: Option<IntCounterVec>,
    records: Option<IntCounterVec>,
    dropped: Option<IntCounterVec>,
    rejected: Option<IntCounterVec>,
    without_tenant: Option<IntCounterVec>,
    removed_tenants: Option<IntCounterVec>,
    retries: Option<IntCounterVec>,
    backlog: Option<IntGaugeVec>,
}

impl Families {
    fn register() -> Self {
        let counter = |name: &str, help: &str, labels: &[&str]| register_int_counter_vec!(name, help, labels).ok();
        let (plain, with_reason) = (&["target", "signal"], &["target", "signal", "reason"]);
        Self {
            batches: counter("tenantscope_forward_batches_total", "Batches that a target took.", plain),
            records: counter(
                "tenantscope_forward_records_total",
                "Data points, log records and spans that a target took.",
                plain,
            ),
            dropped: counter(
                "tenantscope_forward_dropped_batches_total",
                "Batches that a target did not get: refused for good, unreadable, skipped, or lost in the journal.",
                with_reason,
            ),
            rejected: counter(
                "tenantscope_forward_rejected_records_total",
                "Records that a target left out of batches that it took (partial success).",
                plain,
            ),
            without_tenant: counter(
                "tenantscope_forward_untenanted_samples_total",
                "Samples of series without a tenant, which are not forwarded.",
                plain,
            ),
            removed_tenants: counter(
                "tenantscope_forward_removed_tenants_total",
                "Batches of which a tenant's part was not forwarded, because the tenant was removed since.",
                plain,
            ),
            retries: counter("tenantscope_forward_retries_total", "Attempts that will be made again.", with_reason),
            backlog: register_int_gauge_vec!(
                "tenantscope_forward_backlog_bytes",
                "Bytes in the journal that wait for a target.",
                plain
            )
            .ok(),
        }
    }
}

/// The counters of one target and signal.
#[derive(Debug, Clone)]
pub(crate) struct Telemetry {
    target: String,
    signal: Signal,
}

impl Telemetry {
    pub(crate) fn new(target: &str, signal: Signal) -> Self {
        Self { target: target.to_owned(), signal }
    }

    pub(crate) fn sent(&self, records: u64, rejected: u64) {
        self.add(FAMILIES.batches.as_ref(), 1);
        self.add(FAMILIES.records.as_ref(), records.saturating_sub(rejected));
        self.add(FAMILIES.rejected.as_ref(), rejected);
    }

    pub(crate) fn dropped(&self, reason: &str, batches: u64) {
        if let Some(counter) = &FAMILIES.dropped {
            counter.with_label_values(&[&self.target, self.signal.as_str(), reason]).inc_by(batches);
        }
    }

    pub(crate) fn without_tenant(&self, samples: u64) {
        self.add(FAMILIES.without_tenant.as_ref(), samples);
    }

    /// Counts a batch once for each tenant that was left out.
    pub(crate) fn removed_tenants(&self, tenants: u64) {
        self.add(FAMILIES.removed_tenants.as_ref(), tenants);
    }

    pub(crate) fn retried(&self, reason: &str) {
        if let Some(counter) = &FAMILIES.retries {
            counter.with_label_values(&[&self.target, self.signal.as_str(), reason]).inc();
        }
    }

    pub(crate) fn backlog(&self, bytes: u64) {
        if let Some(gauge) = &FAMILIES.backlog {
            let labels = [self.target.as_str(), self.signal.as_str()];
            gauge.with_label_values(&labels).set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    fn add(&self, counter: Option<&IntCounterVec>, n: u64) {
        if let Some(counter) = counter {
            counter.with_label_values(&[self.target.as_str(), self.signal.as_str()]).inc_by(n);
        }
    }
}
