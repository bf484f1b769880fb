//! What the agents' configuration says of itself on `/metrics`.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts};

use super::view::AgentState;

// A name that is already registered leaves the metric working but unlisted, which beats a panic.
fn gauge(name: &str, help: &str) -> Option<IntGauge> {
    let gauge = IntGauge::new(name, help).ok()?;
    prometheus::register(Box::new(gauge.clone())).ok();
    Some(gauge)
}

static AGENTS: LazyLock<Option<IntGaugeVec>> = LazyLock::new(|| {
    let options =
        Opts::new("tenantscope_tenancy_agents", "Agents that asked within a day, by the state of their configuration.");
    let vec = IntGaugeVec::new(options, &["state"]).ok()?;
    prometheus::register(Box::new(vec.clone())).ok();
    Some(vec)
});
static DOCUMENTS: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    let options =
        Opts::new("tenantscope_tenancy_agent_documents_total", "Agents' documents: handed_out, refused, withdrawn.");
    let vec = IntCounterVec::new(options, &["outcome"]).ok()?;
    prometheus::register(Box::new(vec.clone())).ok();
    Some(vec)
});
static RELEASE: LazyLock<Option<IntGauge>> =
    LazyLock::new(|| gauge("tenantscope_tenancy_agents_release", "The newest release of the agents' documents."));
static WAITING: LazyLock<Option<IntGauge>> = LazyLock::new(|| {
    gauge("tenantscope_tenancy_agents_waves_waiting", "Waves that do not have the newest release yet.")
});
static HALTED: LazyLock<Option<IntGauge>> = LazyLock::new(|| {
    gauge("tenantscope_tenancy_agents_rollout_halted", "1 while errors of agents halt the rollout of their documents.")
});

fn set(gauge: Option<&IntGauge>, value: u64) {
    if let Some(gauge) = gauge {
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    }
}

pub(super) fn document(outcome: &str) {
    if let Some(documents) = DOCUMENTS.as_ref() {
        documents.with_label_values(&[outcome]).inc();
    }
}

pub(super) fn agents(state: AgentState, count: usize) {
    if let Some(agents) = AGENTS.as_ref() {
        agents.with_label_values(&[state.as_str()]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

pub(super) fn rollout(release: u64, waves_waiting: usize, is_halted: bool) {
    set(RELEASE.as_ref(), release);
    set(WAITING.as_ref(), waves_waiting as u64);
    set(HALTED.as_ref(), u64::from(is_halted));
}
