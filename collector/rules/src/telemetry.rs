use std::sync::LazyLock;

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};
use prometheus::{
    histogram_opts, opts, register_histogram, register_int_counter, register_int_counter_vec, register_int_gauge,
};

/// What rules say of themselves. Without a registry (registered twice) the values are kept but not shown.
pub(crate) struct Telemetry {
    pub(crate) evaluations: IntCounter,
    pub(crate) failures: IntCounter,
    /// By reason.
    pub(crate) left_out: IntCounterVec,
    pub(crate) searching: IntCounter,
    pub(crate) missed: IntCounter,
    pub(crate) write_failures: IntCounter,
    pub(crate) group_seconds: Option<Histogram>,
    pub(crate) groups: IntGauge,
    pub(crate) notified: IntCounter,
    pub(crate) restored: IntCounter,
}

pub(crate) static TELEMETRY: LazyLock<Telemetry> = LazyLock::new(|| Telemetry {
    evaluations: counter("tenantscope_rules_evaluations_total", "Rules evaluated."),
    failures: counter("tenantscope_rules_evaluation_failures_total", "Rules whose evaluation failed."),
    left_out: by_reason(
        "tenantscope_rules_tenants_left_out_total",
        "Tenants that rules were evaluated without, since their data alone made them fail; once for each evaluation.",
    ),
    searching: counter(
        "tenantscope_rules_isolation_evaluations_total",
        "Evaluations to find the tenants whose data makes a rule fail, and to try them again.",
    ),
    missed: counter("tenantscope_rules_missed_evaluations_total", "Group evaluations missed for lack of time."),
    write_failures: counter("tenantscope_rules_write_failures_total", "Rules whose series were not taken."),
    group_seconds: register_histogram!(histogram_opts!(
        "tenantscope_rules_group_duration_seconds",
        "How long a group's evaluation took.",
        vec![0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0]
    ))
    .ok(),
    groups: gauge("tenantscope_rules_groups", "Groups in force."),
    notified: counter("tenantscope_rules_alerts_sent_total", "Alerts handed on to be notified of."),
    restored: counter("tenantscope_rules_alerts_restored_total", "Alerts whose state was restored at a start."),
});

#[expect(clippy::expect_used, reason = "a name that is wrong is wrong in every run, tests included")]
fn counter(name: &str, help: &str) -> IntCounter {
    register_int_counter!(opts!(name, help))
        .or_else(|_| IntCounter::new(name, help))
        .expect("the name of a metric is right")
}

#[expect(clippy::expect_used, reason = "a name that is wrong is wrong in every run, tests included")]
fn by_reason(name: &str, help: &str) -> IntCounterVec {
    register_int_counter_vec!(opts!(name, help), &["reason"])
        .or_else(|_| IntCounterVec::new(opts!(name, help), &["reason"]))
        .expect("the name of a metric is right")
}

#[expect(clippy::expect_used, reason = "a name that is wrong is wrong in every run, tests included")]
fn gauge(name: &str, help: &str) -> IntGauge {
    register_int_gauge!(opts!(name, help))
        .or_else(|_| IntGauge::new(name, help))
        .expect("the name of a metric is right")
}
