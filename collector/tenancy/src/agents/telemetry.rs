//! What the agents' configuration says of itself on `/metrics`.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec};

use super::view::AgentState;
use crate::telemetry::{count, counters, gauge, gauges, set, set_of};

static AGENTS: LazyLock<Option<IntGaugeVec>> = LazyLock::new(|| {
    gauges(
        "tenantscope_tenancy_agents",
        "Agents that asked within a day, by the state of their configuration.",
        "state",
    )
});
static DOCUMENTS: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    let help = "Agents' documents: handed_out, refused, withdrawn.";
    counters("tenantscope_tenancy_agent_documents_total", help, &["outcome"])
});
static RELEASE: LazyLock<Option<IntGauge>> =
    LazyLock::new(|| gauge("tenantscope_tenancy_agents_release", "The newest release of the agents' documents."));
static WAITING: LazyLock<Option<IntGauge>> = LazyLock::new(|| {
    gauge("tenantscope_tenancy_agents_waves_waiting", "Waves that do not have the newest release yet.")
});
static HALTED: LazyLock<Option<IntGauge>> = LazyLock::new(|| {
    gauge("tenantscope_tenancy_agents_rollout_halted", "1 while errors of agents halt the rollout of their documents.")
});

pub(super) fn document(outcome: &str) {
    count(DOCUMENTS.as_ref(), &[outcome]);
}

pub(super) fn agents(state: AgentState, n: usize) {
    set_of(AGENTS.as_ref(), state.as_str(), n);
}

pub(super) fn rollout(release: u64, waves_waiting: usize, is_halted: bool) {
    set(RELEASE.as_ref(), release);
    set(WAITING.as_ref(), waves_waiting as u64);
    set(HALTED.as_ref(), u64::from(is_halted));
}
