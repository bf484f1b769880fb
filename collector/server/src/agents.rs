//! The rollout of agents' documents goes on by itself while the collector runs.

use std::sync::Arc;
use std::time::Duration;

use tenantscope_rules::{Clock as _, SystemClock};
use tenantscope_tenancy::Agents;
use tokio_util::sync::CancellationToken;

use crate::rounds;

/// How long a step may be late.
const STEP_INTERVAL: Duration = Duration::from_secs(1);

/// Takes each step when it is due, until `stop`.
pub(crate) async fn roll_out(agents: Arc<Agents>, stop: CancellationToken) {
    while rounds::next(STEP_INTERVAL, &stop).await {
        let agents = Arc::clone(&agents);
        if let Err(error) = tokio::task::spawn_blocking(move || agents.step(SystemClock.now_ms())).await {
            tracing::error!(%error, "the rollout of agents' documents failed");
        }
    }
}
