//! `/metrics` and `/-/healthy` on an address of their own.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use prometheus::{Encoder, TextEncoder};
use tenantscope_wire::Listener;
use tenantscope_wire::listener::{ListenError, ListenOptions};
use tokio_util::sync::CancellationToken;

use crate::telemetry;

/// Scrapers at once.
const MAX_CONNECTIONS: usize = 16;

/// Binds the address.
pub async fn bind(address: SocketAddr) -> Result<Listener, ListenError> {
    telemetry::show_version();
    let options = ListenOptions { max_connections: MAX_CONNECTIONS, ..ListenOptions::default() };
    Listener::bind(address, options).await
}

/// Serves until `stop`.
pub async fn serve(listener: Listener, stop: CancellationToken) {
    let service = tower::service_fn(|request: Request<Incoming>| async move { answer(request.uri().path()) });
    listener.serve(service, stop.cancelled_owned()).await;
}

fn answer(path: &str) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, content_type, body) = match path {
        "/metrics" => metrics(),
        "/-/healthy" => (StatusCode::OK, "text/plain", b"ok\n".to_vec()),
        _ => (StatusCode::NOT_FOUND, "text/plain", b"try /metrics\n".to_vec()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    Ok(response)
}

fn metrics() -> (StatusCode, &'static str, Vec<u8>) {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&prometheus::gather(), &mut text) {
        Ok(()) => (StatusCode::OK, "text/plain; version=0.0.4", text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string().into_bytes()),
    }
}
