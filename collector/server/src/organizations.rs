//! Keeps the registry true to AWS Organizations, where one is configured.

use std::sync::Arc;
use std::time::Duration;

use tenantscope_rules::{Clock as _, SystemClock};
use tenantscope_tenancy::{OrganizationsReader, Registry};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long a start without a copy of the organization waits for the first reading. After that, accounts that are not
/// known yet are told to try again.
const FIRST_READING_WAIT: Duration = Duration::from_secs(20);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Starts reading, where an organization is configured or a reload brings one, and waits a while for the first reading where
/// nothing is known from before. Then it is noted which accounts are there.
pub(crate) async fn start(tasks: &mut JoinSet<()>, registry: Option<&Arc<Registry>>, stop: &CancellationToken) {
    let Some(registry) = registry else { return };
    tasks.spawn(OrganizationsReader::new(Arc::clone(registry)).run(stop.clone().cancelled_owned()));
    let complete = async {
        while !registry.is_complete() {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    };
    if tokio::time::timeout(FIRST_READING_WAIT, complete).await.is_err() {
        tracing::warn!("the organization is not read yet, going on with what is known");
    }
    let registry = Arc::clone(registry);
    let noted = tokio::task::spawn_blocking(move || registry.keep(SystemClock.now_ms()));
    if let Err(error) = noted.await {
        tracing::error!(%error, "accounts could not be noted");
    }
}
