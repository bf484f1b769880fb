//! Where rules' results and alerts go.

use std::sync::Arc;

use tenantscope_incidents::Incidents;
use tenantscope_ingest::Intake;
use tenantscope_model::{Alert, StampedSeries, TenantId};
use tenantscope_rules::{BoxFuture, Clock as _, Notify, Results, RuleKey, SystemClock, WriteError};

/// Results go in like everything else: journal, then store.
pub(crate) struct RuleResults(pub(crate) Arc<Intake>);

impl Results for RuleResults {
    fn write(&self, series: Vec<StampedSeries>) -> BoxFuture<'_, Result<(), WriteError>> {
        Box::pin(async move { self.0.write_own(series).await.map_err(|refused| WriteError(refused.to_string())) })
    }

    fn left_out(&self, tenant: &TenantId, reason: &'static str) {
        self.0.count_left_out_of_rule(tenant, reason);
    }
}

/// Alerts become incidents, and incidents notifications.
pub(crate) struct AlertIncidents(pub(crate) Arc<Incidents>);

impl Notify for AlertIncidents {
    fn notify(&self, rule: RuleKey, alerts: Vec<Alert>) -> BoxFuture<'_, ()> {
        let incidents = Arc::clone(&self.0);
        Box::pin(async move {
            let name = rule.to_string();
            let taken = tokio::task::spawn_blocking(move || incidents.take(&name, &alerts, SystemClock.now_ms())).await;
            match taken {
                Ok(Ok(())) => {}
                // The rule hands its alerts on again at the next resend.
                Ok(Err(error)) => tracing::error!(%rule, %error, "alerts were not taken"),
                Err(error) => tracing::error!(%rule, %error, "alerts were not taken"),
            }
        })
    }
}
