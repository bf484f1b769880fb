//! What all sources that speak to AWS have in common: rounds.

use std::future::Future;
use std::time::Duration;

use crate::attributes::Origin;
use crate::aws::CallError;
use crate::config::Compression;
use crate::spool::{Spool, SpoolError};

/// What a source needs of its surroundings.
#[derive(Clone)]
pub struct Surroundings {
    /// Where the telemetry comes from.
    pub origin: Origin,
    /// Where batches go.
    pub spool: Spool,
    /// How they are compressed.
    pub compression: Compression,
}

/// Why a round failed. What it handed over before is in the spool; the next round goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// AWS did not answer as hoped.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The spool failed.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A batch could not be compressed.
    #[error("compress a batch: {0}")]
    Compress(#[from] std::io::Error),
}

/// A source that is asked again and again.
pub trait Source: Send + 'static {
    /// The kind, for logs and metrics: `cloudwatch`, `logs`, `xray`.
    fn kind(&self) -> &'static str;

    /// The region.
    fn region(&self) -> &str;

    /// Time between two rounds.
    fn interval(&self) -> Duration;

    /// Collects what there is at `now_ms` and puts it into the spool.
    fn round(&mut self, now_ms: i64) -> impl Future<Output = Result<(), SourceError>> + Send;
}
