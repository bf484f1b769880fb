//! The routes by which data comes in over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::response::Response;
use axum::routing::post;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use tenantscope_wire::{IDENTITY_PATH, Identify as _, IdentityRequest, MAX_IDENTITY_BYTES, Refused};

use crate::answers;
use crate::bodies;
use crate::intake::Intake;
use crate::remote_write;

/// Remote write, OTLP over HTTP, and the identity exchange.
pub fn write_routes(intake: Arc<Intake>) -> Router {
    Router::new()
        .route("/api/v1/write", post(remote_write::write))
        .route(IDENTITY_PATH, post(identity))
        // Each route bounds its body by what was reserved for it.
        .layer(DefaultBodyLimit::disable())
        .with_state(intake)
}

async fn identity(State(intake): State<Arc<Intake>>, request: Request) -> Response {
    exchange(&intake, request).await.unwrap_or_else(|refused| answers::refused(&refused))
}

async fn exchange(intake: &Intake, request: Request) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    bodies::declared(parts.headers.get(CONTENT_LENGTH))?;
    let bytes = bodies::read(body, MAX_IDENTITY_BYTES).await?;
    let request: IdentityRequest = serde_json::from_slice(&bytes)
        .map_err(|error| Refused::invalid("identity_request", format!("the body is no identity request: {error}")))?;
    let answer = intake.identify(request, answers::peer(&parts.extensions)).await?;
    let json = serde_json::to_vec(&answer)
        .map_err(|error| Refused::invalid("identity_response", format!("the answer can't be written: {error}")))?;
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
