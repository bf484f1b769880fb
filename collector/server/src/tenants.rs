//! `tenants remove`: a tenant that the registry no longer lists goes from the metric store, and nothing of it comes back
//! there. The answer says what is left elsewhere.

use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use tenantscope_api::{Gate, Who};
use tenantscope_ingest::Intake;
use tenantscope_metrics::{MetricStore, Removal};
use tenantscope_model::{Position, Scope, TenantId};
use tenantscope_tenancy::{AUDIT, Registry};

use crate::cli::RemoveTenant;
use crate::config::Config;
use crate::report::{Asker, read_token};

/// Where a removal is asked for.
const PATH: &str = "/tenantscope/v1/removals";

/// What a removal needs.
#[derive(Clone)]
struct Removals {
    intake: Arc<Intake>,
    metrics: Arc<MetricStore>,
    registry: Option<Arc<Registry>>,
}

#[derive(Deserialize)]
struct Wanted {
    tenant: String,
}

/// What was removed.
#[derive(Debug, Serialize)]
struct Removed {
    tenant: String,
    metrics: Removal,
    /// What a removal does not reach, or not at once.
    not_removed: &'static [&'static str],
}

/// What a removal leaves.
const NOT_REMOVED: &[&str] = &[
    "records in the journals stay until their segments are freed, and are forwarded until then",
    "logs and spans stay in the lake until their retention ends",
    "what was forwarded stays where it went",
];

/// The route, for readers of all tenants.
pub(crate) fn routes(
    gate: &Gate,
    intake: Arc<Intake>,
    metrics: Arc<MetricStore>,
    registry: Option<Arc<Registry>>,
) -> Router {
    gate.around_changes(Router::new().route(PATH, post(remove)).with_state(Removals { intake, metrics, registry }))
}

async fn remove(Who(reading): Who, Query(wanted): Query<Wanted>, State(removals): State<Removals>) -> Response {
    if reading.scope != Scope::All {
        return (StatusCode::FORBIDDEN, "only a reader of all tenants may remove one\n").into_response();
    }
    let tenant = match TenantId::try_new(&wanted.tenant) {
        Ok(tenant) => tenant,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    if removals.registry.as_ref().is_some_and(|registry| registry.tenants().get(&tenant).is_some()) {
        let text = format!("the registry lists tenant {tenant}: take it out there and reload first\n");
        return (StatusCode::CONFLICT, text).into_response();
    }
    if let Some(registry) = &removals.registry {
        let current = registry.tenants().current_id(&tenant).clone();
        if current != tenant {
            let text =
                format!("{tenant} is a former id of tenant {current}: take it out of its aliases and reload first\n");
            return (StatusCode::CONFLICT, text).into_response();
        }
        registry.forget(&tenant);
    }
    tracing::info!(target: AUDIT, tenant = %tenant, reader = &*reading.reader, "removal_begun");
    // Or the next round of counts would bring series of the tenant back.
    removals.intake.forget_counts(&tenant);
    let metrics = Arc::clone(&removals.metrics);
    let id = tenant.clone();
    // Everything that was applied so far is removed, whatever its position is.
    match tokio::task::spawn_blocking(move || metrics.remove_tenant(&id, Position(0))).await {
        Ok(Ok(metrics)) => {
            tracing::info!(target: AUDIT, tenant = %tenant, removed = ?metrics, "tenant_removed");
            axum::Json(Removed { tenant: tenant.to_string(), metrics, not_removed: NOT_REMOVED }).into_response()
        }
        Ok(Err(error)) => {
            let text = format!("not all is removed yet, it goes on by itself: {error}\n");
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Asks the running collector, and returns what it says was removed.
pub async fn ask(options: &RemoveTenant) -> Result<String> {
    let config = Config::read(&options.config)?;
    let token = options.token_file.as_deref().map(read_token).transpose()?;
    let answer = Asker::try_new(&config, PATH, token)?.post(&[("tenant", &options.tenant)]).await?;
    Ok(String::from_utf8_lossy(&answer).trim().to_owned())
}
