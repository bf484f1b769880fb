//! Answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use prost::Message;

use crate::messages::{ExportResponse, PartialSuccess, RpcStatus};
use crate::{Accepted, Refused};

/// What we take, as gRPC wants to be told.
const GRPC_ACCEPT: HeaderValue = HeaderValue::from_static("identity,gzip,zstd");
const GRPC_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");
const JSON_TYPE: HeaderValue = HeaderValue::from_static("application/json");
const PROTOBUF_TYPE: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const TEXT_TYPE: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// In which form an HTTP answer is written: the request's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyForm {
    Protobuf,
    Json,
}

/// An answer's body: at most one chunk, and with gRPC trailers.
#[derive(Debug, Default)]
pub struct ReplyBody {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().map(Frame::data);
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

fn respond(status: StatusCode, content_type: HeaderValue, data: impl Into<Bytes>) -> Response<ReplyBody> {
    let data = Some(data.into()).filter(|data| !data.is_empty());
    let mut response = Response::new(ReplyBody { data, trailers: None });
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// Text for people.
pub(super) fn plain(status: StatusCode, message: &str) -> Response<ReplyBody> {
    respond(status, TEXT_TYPE, format!("{message}\n"))
}

/// JSON.
pub(super) fn json<T: serde::Serialize>(status: StatusCode, value: &T) -> Response<ReplyBody> {
    match serde_json::to_vec(value) {
        Ok(body) => respond(status, JSON_TYPE, body),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// 405, naming what is allowed.
pub(super) fn method_not_allowed() -> Response<ReplyBody> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only POST is allowed");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

fn partial_success(accepted: &Accepted) -> Option<PartialSuccess> {
    let is_whole = accepted.rejected == 0 && accepted.message.is_empty();
    (!is_whole).then(|| PartialSuccess {
        rejected: i64::try_from(accepted.rejected).unwrap_or(i64::MAX),
        error_message: accepted.message.clone(),
    })
}

/// 200 over HTTP. `rejected_name` is the JSON name of the count.
pub(super) fn http_accepted(form: ReplyForm, rejected_name: &str, accepted: &Accepted) -> Response<ReplyBody> {
    let partial_success = partial_success(accepted);
    match form {
        ReplyForm::Protobuf => {
            respond(StatusCode::OK, PROTOBUF_TYPE, ExportResponse { partial_success }.encode_to_vec())
        }
        ReplyForm::Json => {
            let body = match partial_success {
                // 64-bit numbers are strings in protobuf's JSON mapping.
                Some(partial) => serde_json::json!({"partialSuccess":
                    {rejected_name: partial.rejected.to_string(), "errorMessage": partial.error_message}}),
                None => serde_json::json!({}),
            };
            json(StatusCode::OK, &body)
        }
    }
}

/// A refusal over HTTP, with `google.rpc.Status` as body, as OTLP/HTTP has it.
pub(super) fn http_refused(form: ReplyForm, refused: &Refused) -> Response<ReplyBody> {
    let status = refused.kind.http_status();
    let code = refused.kind.grpc_code() as i32;
    let mut response = match form {
        ReplyForm::Protobuf => {
            let body = RpcStatus::new(code, &refused.message, refused.retry_after).encode_to_vec();
            respond(status, PROTOBUF_TYPE, body)
        }
        ReplyForm::Json => json(status, &serde_json::json!({"code": code, "message": refused.message})),
    };
    add_refusal_headers(response.headers_mut(), refused);
    response
}

fn add_refusal_headers(headers: &mut HeaderMap, refused: &Refused) {
    if let Some(delay) = refused.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(delay)));
    }
    if refused.kind == crate::RefusedKind::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
}

/// HTTP knows whole seconds only: never earlier than asked, never at once.
fn whole_seconds(delay: Duration) -> u64 {
    (delay.as_secs() + u64::from(delay.subsec_nanos() > 0)).max(1)
}

/// Success over gRPC.
pub(super) fn grpc_accepted(accepted: &Accepted) -> Response<ReplyBody> {
    let message = ExportResponse { partial_success: partial_success(accepted) };
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(5 + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // Only a buffer that cannot grow makes this fail.
    let _ = message.encode(&mut frame);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let mut response = Response::new(ReplyBody { data: Some(frame.freeze()), trailers: Some(trailers) });
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC_TYPE);
    response.headers_mut().insert("grpc-accept-encoding", GRPC_ACCEPT);
    response
}

/// A refusal over gRPC, with `RetryInfo` in its details where a retry may help.
pub(super) fn grpc_refused(refused: &Refused) -> Response<ReplyBody> {
    let code = refused.kind.grpc_code();
    let details = RpcStatus::new(code as i32, &refused.message, refused.retry_after).encode_to_vec();
    grpc_status(&match refused.retry_after {
        Some(_) => tonic::Status::with_details(code, refused.message.as_str(), details.into()),
        None => tonic::Status::new(code, refused.message.as_str()),
    })
}

/// A status alone.
pub(super) fn grpc_status(status: &tonic::Status) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::default());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, GRPC_TYPE);
    headers.insert("grpc-accept-encoding", GRPC_ACCEPT);
    if status.add_header(headers).is_err() {
        // A message that cannot be a header; the code alone says enough.
        headers.insert("grpc-status", HeaderValue::from(status.code() as i32));
    }
    response
}
