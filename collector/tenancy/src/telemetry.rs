//! What this room says of itself on `/metrics`. No label names a tenant, an account or a reader.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts};

// A name that is already registered leaves the metric working but unlisted, which beats a panic.
pub(crate) fn counters(name: &str, help: &str, labels: &[&str]) -> Option<IntCounterVec> {
    let vec = IntCounterVec::new(Opts::new(name, help), labels).ok()?;
    prometheus::register(Box::new(vec.clone())).ok();
    Some(vec)
}

pub(crate) fn gauges(name: &str, help: &str, label: &str) -> Option<IntGaugeVec> {
    let vec = IntGaugeVec::new(Opts::new(name, help), &[label]).ok()?;
    prometheus::register(Box::new(vec.clone())).ok();
    Some(vec)
}

pub(crate) fn gauge(name: &str, help: &str) -> Option<IntGauge> {
    let gauge = IntGauge::new(name, help).ok()?;
    prometheus::register(Box::new(gauge.clone())).ok();
    Some(gauge)
}

pub(crate) fn count(counters: Option<&IntCounterVec>, labels: &[&str]) {
    if let Some(counters) = counters {
        counters.with_label_values(labels).inc();
    }
}

pub(crate) fn set(gauge: Option<&IntGauge>, value: u64) {
    if let Some(gauge) = gauge {
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    }
}

pub(crate) fn set_of(gauges: Option<&IntGaugeVec>, label: &str, value: usize) {
    if let Some(gauges) = gauges {
        gauges.with_label_values(&[label]).set(i64::try_from(value).unwrap_or(i64::MAX));
    }
}

static PROOFS: LazyLock<Option<IntCounterVec>> =
    LazyLock::new(|| counters("tenantscope_tenancy_proofs_total", "Agents' proofs by result.", &["result"]));
static SENDERS_REFUSED: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    counters("tenantscope_tenancy_senders_refused_total", "Requests of senders that were not let in.", &["reason"])
});
static READS_DENIED: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    counters("tenantscope_tenancy_reads_denied_total", "Requests of readers that were not let in.", &["reason"])
});

pub(crate) fn proof(result: &'static str) {
    count(PROOFS.as_ref(), &[result]);
}

pub(crate) fn sender_refused(reason: &'static str) {
    count(SENDERS_REFUSED.as_ref(), &[reason]);
}

pub(crate) fn read_denied(reason: &'static str) {
    count(READS_DENIED.as_ref(), &[reason]);
}
