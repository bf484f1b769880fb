//! OTLP over HTTP: one path for each signal, protobuf and JSON.

use std::error::Error;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use tenantscope_model::Signal;

use super::reply::{self, ReplyForm};
use super::{ReplyBody, Shared, body, header_text, peer_of};
use crate::{Accepted, BatchHeader, BodyForm, Encoding, Receive, ReceivedBody, Refused, Reserved, telemetry};

pub(super) async fn answer<R: Receive, B>(
    shared: &Shared<R>,
    signal: Signal,
    request: Request<B>,
) -> Response<ReplyBody>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if request.method() != Method::POST {
        return reply::method_not_allowed();
    }
    let Some((form, reply_form)) = form_of(request.headers()) else {
        let message = "content-type must be application/x-protobuf or application/json";
        return reply::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    };
    let version = request.version();
    match take(shared, signal, form, request).await {
        Ok(accepted) => reply::http_accepted(reply_form, rejected_name(signal), &accepted),
        Err(NotTaken { refused, body }) => {
            telemetry::refused("http", &refused);
            let mut response = reply::http_refused(reply_form, &refused);
            // The connection ends with what was not read of it, and whoever reused it would meet that end: it is told.
            if body == BodyIs::Unread && version < Version::HTTP_2 {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }
}

/// A refusal, and how far the request was read.
struct NotTaken {
    refused: Refused,
    body: BodyIs,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BodyIs {
    Unread,
    Read,
}

async fn take<R: Receive, B>(
    shared: &Shared<R>,
    signal: Signal,
    form: BodyForm,
    request: Request<B>,
) -> Result<Accepted, NotTaken>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let unread = |refused| NotTaken { refused, body: BodyIs::Unread };
    let encoding = encoding_of(request.headers()).map_err(unread)?;
    let sender = shared.receive.authorize(request.headers(), peer_of(&request)).await.map_err(unread)?;
    let (bytes, header, permit) = match read(shared, &sender, signal, request).await {
        Ok(read) => read,
        Err(not_taken) => {
            shared.receive.refused(&sender, signal, &not_taken.refused).await;
            return Err(not_taken);
        }
    };
    let received = shared.receive.receive(sender, ReceivedBody { signal, form, encoding, bytes }, header, permit).await;
    received.map_err(|refused| NotTaken { refused, body: BodyIs::Read })
}

async fn read<R: Receive, B>(
    shared: &Shared<R>,
    sender: &R::Sender,
    signal: Signal,
    request: Request<B>,
) -> Result<(Bytes, Option<BatchHeader>, R::Permit), NotTaken>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let unread = |refused| NotTaken { refused, body: BodyIs::Unread };
    let header = BatchHeader::from_headers(request.headers())
        .map_err(|error| unread(Refused::invalid("batch_header", error.to_string())))?;
    let declared = body::declared_bytes(request.body()).map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let Reserved { permit, max_bytes } = match shared.receive.reserve(sender, signal, declared) {
        Ok(reserved) => reserved,
        Err(refused) => {
            let is_over = body::pass_over(request.into_body()).await;
            return Err(NotTaken { refused, body: if is_over { BodyIs::Read } else { BodyIs::Unread } });
        }
    };
    let bytes = body::read(request.into_body(), max_bytes, shared.limits.body_read_timeout).await.map_err(unread)?;
    Ok((bytes, header, permit))
}

fn form_of(headers: &HeaderMap) -> Option<(BodyForm, ReplyForm)> {
    let content_type = header_text(headers, header::CONTENT_TYPE)?;
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/x-protobuf") {
        Some((BodyForm::OtlpProtobuf, ReplyForm::Protobuf))
    } else if media_type.eq_ignore_ascii_case("application/json") {
        Some((BodyForm::OtlpJson, ReplyForm::Json))
    } else {
        None
    }
}

fn encoding_of(headers: &HeaderMap) -> Result<Encoding, Refused> {
    let name = headers.get(header::CONTENT_ENCODING).map_or(Some(""), |value| value.to_str().ok());
    match name.and_then(Encoding::from_name) {
        Some(encoding @ (Encoding::Identity | Encoding::Gzip | Encoding::Zstd)) => Ok(encoding),
        Some(Encoding::Snappy) | None => {
            let name: String = name.unwrap_or("?").chars().take(64).collect();
            Err(Refused::unsupported("encoding", format!("content-encoding {name:?} is not identity, gzip or zstd")))
        }
    }
}

/// How protobuf's JSON mapping calls the count of what was rejected.
fn rejected_name(signal: Signal) -> &'static str {
    match signal {
        Signal::Metrics => "rejectedDataPoints",
        Signal::Logs => "rejectedLogRecords",
        Signal::Spans => "rejectedSpans",
    }
}
