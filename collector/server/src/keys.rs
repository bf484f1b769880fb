//! The next key of our tokens, made when the one in force has signed for long enough.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tenantscope_tenancy::Identity;
use tokio_util::sync::CancellationToken;

use crate::rounds;

/// How often it is looked whether it is time.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Rotates until `stop`.
pub(crate) async fn rotate(identity: Arc<Identity>, stop: CancellationToken) {
    loop {
        let identity = Arc::clone(&identity);
        match tokio::task::spawn_blocking(move || identity.rotate_key_if_due(SystemTime::now())).await {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => tracing::info!("a new key signs tokens; the one before it holds until its tokens end"),
            Ok(Err(error)) => tracing::error!(%error, "the key of tokens can't be rotated"),
            Err(error) => tracing::error!(%error, "rotating the key of tokens failed"),
        }
        if !rounds::next(LOOK_EVERY, &stop).await {
            return;
        }
    }
}
