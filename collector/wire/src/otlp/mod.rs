//! The OTLP services: gRPC and HTTP on one listener, with the identity exchange beside them.
//!
//! gRPC is framed by hand, since a generated service would decompress and decode the message before anybody could
//! keep it as it came.

mod body;
mod grpc;
mod identity;
mod over_http;
mod reply;

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use tenantscope_model::Signal;
use tower::Service;

pub use self::body::pass_over;
pub use self::reply::ReplyBody;
use crate::{IDENTITY_PATH, Identify, Peer, Receive};

/// What one request may use. How large a body may be, the receiver says: see [`Receive::reserve`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtlpLimits {
    /// How long a body may take to come.
    pub body_read_timeout: Duration,
}

impl Default for OtlpLimits {
    fn default() -> Self {
        Self { body_read_timeout: Duration::from_secs(30) }
    }
}

/// The services over something that receives; a tower service for a [`crate::listener::Listener`] or a route.
#[derive(Debug)]
pub struct OtlpService<R> {
    shared: Arc<Shared<R>>,
}

impl<R> Clone for OtlpService<R> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

struct Shared<R> {
    receive: Arc<R>,
    identify: Option<Arc<dyn Identify>>,
    limits: OtlpLimits,
}

impl<R> std::fmt::Debug for Shared<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl<R: Receive> OtlpService<R> {
    /// The services without an identity exchange.
    pub fn new(receive: Arc<R>, limits: OtlpLimits) -> Self {
        Self { shared: Arc::new(Shared { receive, identify: None, limits }) }
    }

    /// The services with the identity exchange at [`IDENTITY_PATH`].
    pub fn with_identity(receive: Arc<R>, identify: Arc<dyn Identify>, limits: OtlpLimits) -> Self {
        Self { shared: Arc::new(Shared { receive, identify: Some(identify), limits }) }
    }
}

impl<R: Receive, B> Service<Request<B>> for OtlpService<R>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<ReplyBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { Ok(answer(&shared, request).await) })
    }
}

async fn answer<R: Receive, B>(shared: &Shared<R>, request: Request<B>) -> Response<ReplyBody>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let path = request.uri().path();
    if let Some(signal) = signal_of(&GRPC_PATHS, path) {
        return grpc::answer(shared, signal, request).await;
    }
    if let Some(signal) = signal_of(&HTTP_PATHS, path) {
        return over_http::answer(shared, signal, request).await;
    }
    if let (IDENTITY_PATH, Some(identify)) = (path, &shared.identify) {
        return identity::answer(identify.as_ref(), shared.limits.body_read_timeout, request).await;
    }
    if is_grpc(request.headers()) {
        return reply::grpc_status(&tonic::Status::unimplemented("there is no such method"));
    }
    reply::plain(StatusCode::NOT_FOUND, "there is nothing at this path")
}

/// The paths of OTLP/gRPC.
pub(crate) const GRPC_PATHS: [(Signal, &str); 3] = [
    (Signal::Metrics, "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"),
    (Signal::Logs, "/opentelemetry.proto.collector.logs.v1.LogsService/Export"),
    (Signal::Spans, "/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
];

/// The paths of OTLP/HTTP.
pub const HTTP_PATHS: [(Signal, &str); 3] =
    [(Signal::Metrics, "/v1/metrics"), (Signal::Logs, "/v1/logs"), (Signal::Spans, "/v1/traces")];

fn signal_of(paths: &[(Signal, &str)], path: &str) -> Option<Signal> {
    paths.iter().find(|(_, known)| *known == path).map(|(signal, _)| *signal)
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.starts_with("application/grpc"))
}

/// Who sent a request; a service that is not behind our listener knows nobody.
fn peer_of<B>(request: &Request<B>) -> Peer {
    request.extensions().get::<Peer>().cloned().unwrap_or_else(Peer::unknown)
}

/// A header's value; of one that is there twice, the first.
fn header_text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
