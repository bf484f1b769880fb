use std::sync::Arc;

use crate::TenantId;

/// Samples that were added or changed at times that were summed already. Bounds are inclusive, in milliseconds since the
/// Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirtyRange {
    /// Whose; `None` for series without a tenant.
    pub tenant: Option<TenantId>,
    /// Of which metric; `None` for any of the tenant's, where too many were dirty to tell them apart.
    pub metric: Option<Arc<str>>,
    /// First time.
    pub from_ms: i64,
    /// Last time.
    pub to_ms: i64,
}

/// What one look at the dirty ranges found, to be given back once it was dealt with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DirtyRanges {
    /// Up to which change they tell of.
    pub change: u64,
    /// One for each tenant and metric.
    pub ranges: Vec<DirtyRange>,
}

/// It could not be made durable up to when was summed: do not sum yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("up to when was summed can't be kept: {reason}")]
pub struct NotKept {
    /// What the store says.
    pub reason: String,
}

/// A store that tells what changed after it was summed.
pub trait ReportDirty: Send + Sync {
    /// Everything up to here is summed: later writes to it are reported, also by a store that was killed meanwhile, since
    /// this is durable when the call returns. It only rises. Blocks.
    ///
    /// To be called before the samples are read, so that what is written while they are is reported.
    fn summed_until(&self, t_ms: i64) -> Result<(), NotKept>;

    /// What was written since to times that had been summed. It stays until it was settled, and over restarts, after which
    /// some of it may be told again.
    fn dirty(&self) -> DirtyRanges;

    /// What [`ReportDirty::dirty`] told was dealt with. A crash may undo this, so dealing with it twice must do no harm.
    fn settle(&self, dirty: &DirtyRanges);
}
