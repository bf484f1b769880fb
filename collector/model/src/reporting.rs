use crate::{AccountId, Scope, Signal, TenantId};

/// When data of one account and signal last came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The tenant.
    pub tenant: TenantId,
    /// The account; absent in open mode.
    pub account: Option<AccountId>,
    /// The signal.
    pub signal: Signal,
    /// When the collector last acknowledged a batch of it, in milliseconds since the epoch.
    pub last_ms: i64,
}

/// Who has data.
pub trait Reporting: Send + Sync {
    /// One entry for each tenant, account and signal that ever reported, within the scope.
    fn seen(&self, scope: &Scope) -> Vec<Seen>;
}
