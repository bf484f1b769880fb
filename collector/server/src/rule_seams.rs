//! Where rules' results and alerts go.

use std::sync::Arc;

use tenantscope_ingest::Intake;
use tenantscope_model::{Alert, StampedSeries};
use tenantscope_rules::{BoxFuture, Notify, Results, RuleKey, WriteError};

/// Results go in like everything else: journal, then store.
pub struct RuleResults(pub Arc<Intake>);

impl Results for RuleResults {
    fn write(&self, series: Vec<StampedSeries>) -> BoxFuture<'_, Result<(), WriteError>> {
        Box::pin(async move { self.0.write_own(series).await.map_err(|refused| WriteError(refused.to_string())) })
    }
}

/// Alerts go into the log.
pub struct AlertLog;

impl Notify for AlertLog {
    fn notify(&self, rule: RuleKey, alerts: Vec<Alert>) -> BoxFuture<'_, ()> {
        Box::pin(async move { tracing::info!(%rule, alerts = alerts.len(), "alerts") })
    }
}
