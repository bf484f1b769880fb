//! The routes and the service by which data comes in.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{post, post_service};
use tenantscope_wire::{IDENTITY_PATH, Identify, OtlpLimits, OtlpService};

use crate::intake::Intake;
use crate::{firehose, loki_push, remote_write};

/// How long a body may take to come.
pub(crate) const BODY_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Remote write, Loki push, Firehose, OTLP over HTTP, and the identity exchange.
pub fn write_routes(intake: Arc<Intake>) -> Router {
    let otlp = otlp_service(&intake);
    Router::new()
        .route("/v1/metrics", post_service(otlp.clone()))
        .route("/v1/logs", post_service(otlp.clone()))
        .route("/v1/traces", post_service(otlp.clone()))
        .route(IDENTITY_PATH, post_service(otlp))
        .route("/api/v1/write", post(remote_write::write))
        .route("/loki/api/v1/push", post(loki_push::push))
        .route("/firehose/metrics", post(firehose::metrics))
        .route("/firehose/logs", post(firehose::logs))
        // Each route bounds its body by what was reserved for it.
        .layer(DefaultBodyLimit::disable())
        .with_state(intake)
}

/// OTLP over gRPC and HTTP with the identity exchange, for the OTLP listeners.
pub fn otlp_service(intake: &Arc<Intake>) -> OtlpService<Intake> {
    let limits = OtlpLimits { body_read_timeout: BODY_READ_TIMEOUT };
    OtlpService::with_identity(Arc::clone(intake), Arc::clone(intake) as Arc<dyn Identify>, limits)
}
