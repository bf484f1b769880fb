use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use prost::Message;
use tenantscope_model::Signal;

use super::{Answer, SendBody, SendError, SendErrorKind, USER_AGENT, with_path};
use crate::messages::{ExportResponse, RpcStatus};
use crate::otlp::GRPC_PATHS;
use crate::{Accepted, Encoding};

pub(super) fn request(
    base: &Uri,
    signal: Signal,
    encoding: Encoding,
    body: Bytes,
    headers: &HeaderMap,
) -> Result<Request<SendBody>, SendError> {
    let path = GRPC_PATHS.into_iter().find(|(known, _)| *known == signal).map_or("/", |(_, path)| path);
    let mut request = Request::new(SendBody::framed(encoding != Encoding::Identity, body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = with_path(base, path)?;
    *request.headers_mut() = headers.clone();
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::USER_AGENT, USER_AGENT);
    headers.insert("grpc-encoding", HeaderValue::from_static(encoding.as_str()));
    Ok(request)
}

pub(super) fn outcome(answer: &Answer) -> Result<Accepted, SendError> {
    let status =
        tonic::Status::from_header_map(&answer.trailers).or_else(|| tonic::Status::from_header_map(&answer.headers));
    match status {
        Some(status) if status.code() == tonic::Code::Ok => accepted(&answer.body),
        Some(status) => Err(error_of(&status)),
        None => Err(without_status(answer.status)),
    }
}

fn accepted(body: &Bytes) -> Result<Accepted, SendError> {
    // An answer is one frame that is never compressed, since we announce no compression for answers.
    let message = body.get(5..).unwrap_or_default();
    let response = ExportResponse::decode(message).map_err(SendError::answer)?;
    let partial = response.partial_success.unwrap_or_default();
    let rejected = u64::try_from(partial.rejected).unwrap_or(0);
    Ok(Accepted { rejected, message: partial.error_message, ..Accepted::default() })
}

fn error_of(status: &tonic::Status) -> SendError {
    let retry_after = RpcStatus::decode(status.details()).ok().and_then(|details| details.retry_after());
    let kind = match status.code() {
        tonic::Code::Unauthenticated => SendErrorKind::Unauthenticated,
        tonic::Code::PermissionDenied => SendErrorKind::Forbidden,
        // By OTLP, only with a delay is this worth another try.
        tonic::Code::ResourceExhausted if retry_after.is_some() => SendErrorKind::Throttled,
        tonic::Code::Cancelled
        | tonic::Code::DeadlineExceeded
        | tonic::Code::Aborted
        | tonic::Code::OutOfRange
        | tonic::Code::Unavailable
        | tonic::Code::DataLoss => SendErrorKind::Unavailable,
        _ => SendErrorKind::Refused,
    };
    let message = format!("{:?}: {}", status.code(), status.message());
    SendError { retry_after, ..SendError::new(kind, message) }
}

/// Something between us and the target answered, or the target speaks no gRPC.
fn without_status(status: StatusCode) -> SendError {
    let kind = match status.as_u16() {
        401 => SendErrorKind::Unauthenticated,
        403 => SendErrorKind::Forbidden,
        429 | 502..=504 => SendErrorKind::Unavailable,
        // The stream broke off between head and trailers.
        200 => SendErrorKind::Unreachable,
        _ => SendErrorKind::Refused,
    };
    SendError::new(kind, format!("answer {status} has no gRPC status"))
}
