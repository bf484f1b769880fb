//! What every program of its kind has: health, readiness, reload, its own metrics.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use prometheus::{Encoder as _, TextEncoder};

use crate::reload::Reload;

/// The answer of whoever is alive.
pub(crate) const HEALTHY: &str = "Tenantscope is healthy.\n";

/// The routes; everything is open when they are served.
pub(crate) fn routes(reload: Arc<Reload>) -> Router {
    Router::new()
        .route("/-/healthy", get(|| async { HEALTHY }))
        .route("/-/ready", get(|| async { "Tenantscope is ready.\n" }))
        .route("/-/reload", post(on_reload))
        .route("/metrics", get(metrics))
        .with_state(reload)
}

async fn on_reload(State(reload): State<Arc<Reload>>) -> Response {
    match reload.reload().await {
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
