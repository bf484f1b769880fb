//! HTTP answers of the routes that are not OTLP's.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Extensions, HeaderValue, StatusCode};
use tenantscope_wire::{Peer, Refused, RefusedKind};

/// Nothing but a status.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A refusal, with its reason as text and, where it helps, the delay.
pub(crate) fn refused(refused: &Refused) -> Response {
    let mut response = Response::new(Body::from(format!("{refused}\n")));
    *response.status_mut() = refused.kind.http_status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Some(delay) = refused.retry_after {
        headers.insert(RETRY_AFTER, whole_seconds(delay));
    }
    if refused.kind == RefusedKind::Unauthenticated {
        headers.insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// A delay as HTTP has it, rounded up: never sooner than asked, nor at once.
pub(crate) fn whole_seconds(delay: Duration) -> HeaderValue {
    HeaderValue::from(u64::try_from(delay.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).clamp(1, 3600))
}

/// Who is at the other end; unspecified where the listener did not say.
pub(crate) fn peer(extensions: &Extensions) -> Peer {
    extensions.get::<Peer>().cloned().unwrap_or_else(Peer::unknown)
}
