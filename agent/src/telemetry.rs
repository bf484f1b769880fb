//! The agent's own metrics, in the default registry.

use std::sync::LazyLock;

use prometheus::{
    IntCounter, IntCounterVec, IntGauge, IntGaugeVec, register_int_counter, register_int_counter_vec,
    register_int_gauge, register_int_gauge_vec,
};
use tenantscope_model::Signal;

use crate::spool::Batch;

/// A metric; none if its name was taken, which a test would show.
type Metric<T> = LazyLock<Option<T>>;

static API_CALLS: Metric<IntCounterVec> = LazyLock::new(|| {
    let help = "Calls to AWS by service, operation and outcome (ok, throttled, error).";
    register_int_counter_vec!("tenantscope_agent_aws_calls_total", help, &["service", "operation", "outcome"]).ok()
});
static METRICS_REQUESTED: Metric<IntCounter> = LazyLock::new(|| {
    let help = "Metrics asked for with GetMetricData, which is what AWS charges for.";
    register_int_counter!("tenantscope_agent_cloudwatch_metrics_requested_total", help).ok()
});
static ROUNDS: Metric<IntCounterVec> = LazyLock::new(|| {
    let help = "Collection rounds by source and outcome (ok, error).";
    register_int_counter_vec!("tenantscope_agent_rounds_total", help, &["source", "outcome"]).ok()
});
static SPOOLED: Metric<IntCounterVec> = LazyLock::new(|| {
    let help = "Datapoints, log records and spans put into the spool.";
    register_int_counter_vec!("tenantscope_agent_spooled_items_total", help, &["signal"]).ok()
});
static SPOOL_BYTES: Metric<IntGauge> =
    LazyLock::new(|| register_int_gauge!("tenantscope_agent_spool_bytes", "Size of the spool on disk.").ok());
static SPOOL_DROPPED: Metric<IntGauge> = LazyLock::new(|| {
    let help = "Batches that the spool dropped undelivered since the start, because of its size or their age.";
    register_int_gauge!("tenantscope_agent_spool_dropped_batches", help).ok()
});
static SENT: Metric<IntCounterVec> = LazyLock::new(|| {
    let help = "Batches by signal and outcome (acknowledged, partial, refused, retried).";
    register_int_counter_vec!("tenantscope_agent_batches_total", help, &["signal", "outcome"]).ok()
});
static REJECTED: Metric<IntCounterVec> = LazyLock::new(|| {
    let help = "Datapoints, log records and spans that the collector rejected for good.";
    register_int_counter_vec!("tenantscope_agent_rejected_items_total", help, &["signal"]).ok()
});
static SKIPPED: Metric<IntCounterVec> = LazyLock::new(|| {
    let help = "What a source left out by reason (max_metrics, max_groups, query, document).";
    register_int_counter_vec!("tenantscope_agent_skipped_total", help, &["source", "reason"]).ok()
});
static IDENTITY: Metric<IntCounterVec> = LazyLock::new(|| {
    let help = "Identity exchanges by outcome (ok, error).";
    register_int_counter_vec!("tenantscope_agent_identity_exchanges_total", help, &["outcome"]).ok()
});
static ASKED: Metric<IntCounterVec> = LazyLock::new(|| {
    let help = "Questions, by the token that is held, what to go by; by outcome (ok, error).";
    register_int_counter_vec!("tenantscope_agent_asks_total", help, &["outcome"]).ok()
});
static DOCUMENTS: Metric<IntCounterVec> = LazyLock::new(|| {
    let help = "Documents that the collector handed out by outcome (applied, refused, withdrawn).";
    register_int_counter_vec!("tenantscope_agent_documents_total", help, &["outcome"]).ok()
});
static DOCUMENT_VERSION: Metric<IntGauge> = LazyLock::new(|| {
    let help = "Version of the collector's document in force; 0 for the agent's own file.";
    register_int_gauge!("tenantscope_agent_document_version", help).ok()
});
static STOPPED: Metric<IntGauge> =
    LazyLock::new(|| register_int_gauge!("tenantscope_agent_stopped", "1 while the kill switch is on.").ok());

static BUILD: Metric<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!("tenantscope_build_info", "1, with the program's version.", &["version"]).ok()
});

/// How an AWS call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// It was answered.
    Ok,
    /// AWS asked for fewer calls.
    Throttled,
    /// It failed.
    Error,
}

fn add(metric: &Metric<IntCounterVec>, labels: &[&str], count: u64) {
    if let Some(metric) = metric.as_ref() {
        metric.with_label_values(labels).inc_by(count);
    }
}

/// Tells the program's version.
pub fn show_version() {
    if let Some(metric) = BUILD.as_ref() {
        metric.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    }
}

/// Counts an AWS call.
pub fn api_call(service: &str, operation: &str, outcome: CallOutcome) {
    let outcome = match outcome {
        CallOutcome::Ok => "ok",
        CallOutcome::Throttled => "throttled",
        CallOutcome::Error => "error",
    };
    add(&API_CALLS, &[service, operation, outcome], 1);
}

/// Counts metrics that a GetMetricData call asked for.
pub fn metrics_requested(count: usize) {
    if let Some(metric) = METRICS_REQUESTED.as_ref() {
        metric.inc_by(count as u64);
    }
}

/// Counts a source's round.
pub fn round(source: &str, succeeded: bool) {
    add(&ROUNDS, &[source, if succeeded { "ok" } else { "error" }], 1);
}

/// Counts a batch that went into the spool.
pub fn spooled(batch: &Batch, spool_bytes: u64, dropped: u64) {
    add(&SPOOLED, &[batch.signal.as_str()], batch.items);
    spool_size(spool_bytes, dropped);
}

/// Tells the spool's size.
pub fn spool_size(spool_bytes: u64, dropped: u64) {
    let set = |metric: &Metric<IntGauge>, value: u64| {
        if let Some(metric) = metric.as_ref() {
            metric.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    };
    set(&SPOOL_BYTES, spool_bytes);
    set(&SPOOL_DROPPED, dropped);
}

/// Counts how a batch was answered.
pub fn sent(signal: Signal, outcome: &str) {
    add(&SENT, &[signal.as_str(), outcome], 1);
}

/// Counts what the collector rejected for good.
pub fn rejected(signal: Signal, items: u64) {
    add(&REJECTED, &[signal.as_str()], items);
}

/// Counts what a source left out.
pub fn skipped(source: &str, reason: &str, count: usize) {
    add(&SKIPPED, &[source, reason], count as u64);
}

/// Counts what became of a document.
pub fn document(outcome: &str) {
    add(&DOCUMENTS, &[outcome], 1);
}

/// Tells which document is in force.
pub fn document_in_force(version: u64, is_stopped: bool) {
    if let Some(metric) = DOCUMENT_VERSION.as_ref() {
        metric.set(i64::try_from(version).unwrap_or(i64::MAX));
    }
    if let Some(metric) = STOPPED.as_ref() {
        metric.set(i64::from(is_stopped));
    }
}

/// Counts an identity exchange.
pub fn identity(succeeded: bool) {
    add(&IDENTITY, &[if succeeded { "ok" } else { "error" }], 1);
}

/// A question by the token that is held.
pub fn asked(succeeded: bool) {
    add(&ASKED, &[if succeeded { "ok" } else { "error" }], 1);
}
