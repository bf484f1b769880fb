//! Bodies, read within bounds.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderValue;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tenantscope_wire::Refused;

use crate::routes::BODY_READ_TIMEOUT;

/// The declared length; `None` where none is declared.
pub(crate) fn declared(content_length: Option<&HeaderValue>) -> Result<Option<usize>, Refused> {
    let Some(value) = content_length else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| Refused::invalid("content_length", "content-length is no number"))
}

/// The whole body, if it is no longer than that and comes in time.
pub(crate) async fn read(body: Body, max_bytes: usize) -> Result<Bytes, Refused> {
    let reading = tokio::time::timeout(BODY_READ_TIMEOUT, Limited::new(body, max_bytes).collect()).await;
    // A slow network is not the batch's fault: Prometheus would drop it for a 400.
    let read = reading
        .map_err(|_| Refused::unavailable("body_timeout", "the body took too long to come", Duration::from_secs(5)))?;
    let collected = read.map_err(|error| {
        if error.downcast_ref::<LengthLimitError>().is_some() {
            Refused::body_too_large(max_bytes)
        } else {
            Refused::invalid("body_broken", "the body ended early")
        }
    })?;
    Ok(collected.to_bytes())
}
