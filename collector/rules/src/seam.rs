//! What the runner is given from outside: a clock, a way out for series, a way out for alerts.

use std::future::Future;
use std::pin::Pin;
use std::time::{SystemTime, UNIX_EPOCH};

use tenantscope_model::{Alert, Labels, StampedSeries, TenantId};

/// A boxed future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The time.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Series were not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule results were not written: {0}")]
pub struct WriteError(pub String);

/// Where series that rules make go: into the metrics journal and store.
pub trait Results: Send + Sync {
    /// Writes series; when it resolves they can be queried, so that the group's next rule sees them.
    fn write(&self, series: Vec<StampedSeries>) -> BoxFuture<'_, Result<(), WriteError>>;

    /// Counts that a rule was evaluated without a tenant, whose data alone makes it fail.
    fn left_out(&self, tenant: &TenantId, reason: &'static str);
}

/// Which rule alerts come from. It stays the same over restarts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RuleKey {
    /// The rule's file.
    pub file: String,
    /// The rule's group.
    pub group: String,
    /// The alerts' name.
    pub alert: String,
    /// The labels that all of the rule's alerts have.
    pub labels: Labels,
}

impl std::fmt::Display for RuleKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}{}", self.group, self.alert, self.labels)
    }
}

/// Where alerts go. They come again every resend delay while they hold, and for a while after they ended.
pub trait Notify: Send + Sync {
    /// Takes a rule's firing and resolved alerts.
    fn notify(&self, rule: RuleKey, alerts: Vec<Alert>) -> BoxFuture<'_, ()>;
}
