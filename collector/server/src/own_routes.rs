//! What every program of its kind has: health, readiness, reload, its own metrics.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use prometheus::{Encoder as _, TextEncoder};
use tenantscope_api::Who;
use tenantscope_model::Scope;

use crate::reload::Reload;

/// The answer of whoever is alive.
pub(crate) const HEALTHY: &str = "Tenantscope is healthy.\n";

/// The routes; everything is open when they are served.
///
/// A reload is for readers of everything: why one failed may name any tenant.
pub(crate) fn routes(reload: &Arc<Reload>) -> Router {
    let reloading = Router::new().route("/-/reload", post(on_reload)).with_state(Arc::clone(reload));
    Router::new()
        .route("/-/healthy", get(|| async { HEALTHY }))
        .route("/-/ready", get(|| async { "Tenantscope is ready.\n" }))
        .route("/metrics", get(metrics))
        .merge(reload.gate.around_changes(reloading))
}

async fn on_reload(Who(reading): Who, State(reload): State<Arc<Reload>>) -> Response {
    if reading.scope != Scope::All {
        return (StatusCode::FORBIDDEN, "only a reader of all tenants may reload\n").into_response();
    }
    match reload.reload(&reading.reader).await {
        Ok(()) => "reloaded\n".into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("nothing was changed: {error:#}\n")).into_response(),
    }
}

async fn metrics() -> Response {
    let mut text = Vec::new();
    let encoder = TextEncoder::new();
    match encoder.encode(&prometheus::gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
