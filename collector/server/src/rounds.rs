//! What is done again and again while the collector runs.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Waits for the next round; false once `stop` says that there is none.
pub(crate) async fn next(every: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        () = tokio::time::sleep(every) => true,
    }
}
