use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use prost::Message;
use tenantscope_model::Signal;

use super::{Answer, SendBody, SendError, SendErrorKind, USER_AGENT, with_path};
use crate::messages::{ExportResponse, RpcStatus};
use crate::otlp::HTTP_PATHS;
use crate::{Accepted, Encoding};

pub(super) fn request(
    base: &Uri,
    signal: Signal,
    encoding: Encoding,
    body: Bytes,
    headers: &HeaderMap,
) -> Result<Request<SendBody>, SendError> {
    let path = HTTP_PATHS.into_iter().find(|(known, _)| *known == signal).map_or("/", |(_, path)| path);
    let mut request = Request::new(SendBody::from(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = with_path(base, &format!("{}{path}", base.path().trim_end_matches('/')))?;
    *request.headers_mut() = headers.clone();
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    headers.insert(header::USER_AGENT, USER_AGENT);
    if encoding != Encoding::Identity {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.as_str()));
    }
    Ok(request)
}

pub(super) fn outcome(answer: &Answer) -> Result<Accepted, SendError> {
    check_status(answer)?;
    // Some targets answer with an empty body or with text: only protobuf can say that something was rejected.
    let response = match content_type(answer) {
        "application/x-protobuf" => ExportResponse::decode(answer.body.clone()).map_err(SendError::answer)?,
        _ => ExportResponse::default(),
    };
    let partial = response.partial_success.unwrap_or_default();
    let rejected = u64::try_from(partial.rejected).unwrap_or(0);
    Ok(Accepted { rejected, message: partial.error_message, ..Accepted::default() })
}

fn content_type(answer: &Answer) -> &str {
    answer.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// An error for every status but 2xx.
pub(super) fn check_status(answer: &Answer) -> Result<(), SendError> {
    let status = answer.status;
    if status.is_success() {
        return Ok(());
    }
    let kind = match status.as_u16() {
        401 => SendErrorKind::Unauthenticated,
        403 => SendErrorKind::Forbidden,
        429 => SendErrorKind::Throttled,
        502..=504 => SendErrorKind::Unavailable,
        _ => SendErrorKind::Refused,
    };
    let message = format!("{status}: {}", message_of(answer));
    let retry_after = answer.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs);
    Err(SendError { retry_after, ..SendError::new(kind, message) })
}

/// What the body says, cut to a line's length.
fn message_of(answer: &Answer) -> String {
    let text = match content_type(answer) {
        "application/x-protobuf" => RpcStatus::decode(answer.body.clone()).map(|status| status.message).ok(),
        "application/json" => serde_json::from_slice::<serde_json::Value>(&answer.body)
            .ok()
            .and_then(|json| json.get("message").and_then(|message| message.as_str()).map(ToOwned::to_owned)),
        _ => Some(String::from_utf8_lossy(&answer.body).into_owned()),
    };
    text.unwrap_or_default().trim().chars().take(300).collect()
}
