//! What the registry says of itself on `/metrics`.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts};

// A name that is already registered leaves the metric working but unlisted, which beats a panic.
fn counters(name: &str, help: &str, labels: &[&str]) -> Option<IntCounterVec> {
    let vec = IntCounterVec::new(Opts::new(name, help), labels).ok()?;
    prometheus::register(Box::new(vec.clone())).ok();
    Some(vec)
}

fn gauges(name: &str, help: &str, label: &str) -> Option<IntGaugeVec> {
    let vec = IntGaugeVec::new(Opts::new(name, help), &[label]).ok()?;
    prometheus::register(Box::new(vec.clone())).ok();
    Some(vec)
}

fn gauge(name: &str, help: &str) -> Option<IntGauge> {
    let gauge = IntGauge::new(name, help).ok()?;
    prometheus::register(Box::new(gauge.clone())).ok();
    Some(gauge)
}

static RELOADS: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    counters("tenantscope_tenancy_registry_reloads_total", "Reloads of the registry by result.", &["result"])
});
static TENANTS: LazyLock<Option<IntGauge>> =
    LazyLock::new(|| gauge("tenantscope_tenancy_tenants", "Tenants in the registry in force."));
static ACCOUNTS: LazyLock<Option<IntGauge>> =
    LazyLock::new(|| gauge("tenantscope_tenancy_accounts", "Accounts in the registry in force."));
static CONFLICTS: LazyLock<Option<IntGaugeVec>> = LazyLock::new(|| {
    let help = "Accounts of which file and organization say different things, or of which a tag can't be used.";
    gauges("tenantscope_tenancy_registry_conflicts", help, "kind")
});
static CALLS: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    let name = "tenantscope_tenancy_organizations_calls_total";
    counters(name, "Calls to AWS Organizations: ok, throttled, error.", &["operation", "outcome"])
});
static ROUNDS: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    let name = "tenantscope_tenancy_organizations_rounds_total";
    counters(name, "Readings of the organization: ok, failed.", &["outcome"])
});
static LAST_READ: LazyLock<Option<IntGauge>> = LazyLock::new(|| {
    let help = "When the organization was last read to its end, since the epoch.";
    gauge("tenantscope_tenancy_organizations_read_timestamp_seconds", help)
});

static QUARANTINED_ACCOUNTS: LazyLock<Option<IntGauge>> = LazyLock::new(|| {
    gauge("tenantscope_tenancy_quarantined_accounts", "Accounts that no tenant has and whose data is held.")
});
static QUARANTINED_RECORDS: LazyLock<Option<IntGauge>> =
    LazyLock::new(|| gauge("tenantscope_tenancy_quarantined_records", "Records that were held of these accounts."));

fn set(gauge: Option<&IntGauge>, value: usize) {
    if let Some(gauge) = gauge {
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    }
}

fn count(counters: Option<&IntCounterVec>, labels: &[&str]) {
    if let Some(counters) = counters {
        counters.with_label_values(labels).inc();
    }
}

pub(crate) fn reload(valid: bool) {
    count(RELOADS.as_ref(), &[if valid { "valid" } else { "invalid" }]);
}

pub(crate) fn in_force(tenants: usize, accounts: usize) {
    set(TENANTS.as_ref(), tenants);
    set(ACCOUNTS.as_ref(), accounts);
}

pub(crate) fn conflicts(kind: &'static str, n: usize) {
    if let Some(gauges) = &*CONFLICTS {
        gauges.with_label_values(&[kind]).set(i64::try_from(n).unwrap_or(i64::MAX));
    }
}

pub(crate) fn call(operation: &'static str, outcome: &'static str) {
    count(CALLS.as_ref(), &[operation, outcome]);
}

pub(crate) fn round(outcome: &'static str) {
    count(ROUNDS.as_ref(), &[outcome]);
}

pub(crate) fn last_read(at_ms: i64) {
    set(LAST_READ.as_ref(), usize::try_from(at_ms / 1000).unwrap_or(0));
}

pub(crate) fn quarantine(accounts: usize, records: u64) {
    set(QUARANTINED_ACCOUNTS.as_ref(), accounts);
    set(QUARANTINED_RECORDS.as_ref(), usize::try_from(records).unwrap_or(usize::MAX));
}
