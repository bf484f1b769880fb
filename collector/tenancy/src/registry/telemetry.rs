//! What the registry says of itself on `/metrics`.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec};

use crate::telemetry::{count, counters, gauge, gauges, set, set_of};

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

pub(crate) fn reload(valid: bool) {
    count(RELOADS.as_ref(), &[if valid { "valid" } else { "invalid" }]);
}

pub(crate) fn in_force(tenants: usize, accounts: usize) {
    set(TENANTS.as_ref(), tenants as u64);
    set(ACCOUNTS.as_ref(), accounts as u64);
}

pub(crate) fn conflicts(kind: &'static str, n: usize) {
    set_of(CONFLICTS.as_ref(), kind, n);
}

pub(crate) fn call(operation: &'static str, outcome: &'static str) {
    count(CALLS.as_ref(), &[operation, outcome]);
}

pub(crate) fn round(outcome: &'static str) {
    count(ROUNDS.as_ref(), &[outcome]);
}

pub(crate) fn last_read(at_ms: i64) {
    set(LAST_READ.as_ref(), u64::try_from(at_ms / 1000).unwrap_or(0));
}

pub(crate) fn quarantine(accounts: usize, records: u64) {
    set(QUARANTINED_ACCOUNTS.as_ref(), accounts as u64);
    set(QUARANTINED_RECORDS.as_ref(), records);
}
