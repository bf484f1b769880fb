//! What is outside of a runner: a clock that a test sets, and whoever is told of alerts.

use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use tenantscope_model::Alert;
use tenantscope_rules::{BoxFuture, Clock, Notify, RuleKey};

/// The time, and the alerts that were told.
#[derive(Default)]
pub(crate) struct Outside {
    pub(crate) now_ms: AtomicI64,
    pub(crate) notified: Mutex<Vec<Alert>>,
}

impl Notify for Outside {
    fn notify(&self, _: RuleKey, alerts: Vec<Alert>) -> BoxFuture<'_, ()> {
        self.notified.lock().extend(alerts);
        Box::pin(std::future::ready(()))
    }
}

impl Clock for Outside {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }
}
