//! OTLP over gRPC: one unary method for each signal.

use std::error::Error;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use tenantscope_model::Signal;

use super::{ReplyBody, Shared, body, header_text, is_grpc, peer_of, reply};
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
    if !is_grpc(request.headers()) {
        return reply::plain(http::StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type must be application/grpc");
    }
    match take(shared, signal, request).await {
        Ok(accepted) => reply::grpc_accepted(&accepted),
        Err(refused) => {
            telemetry::refused("grpc", &refused);
            reply::grpc_refused(&refused)
        }
    }
}

async fn take<R: Receive, B>(shared: &Shared<R>, signal: Signal, request: Request<B>) -> Result<Accepted, Refused>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let encoding = encoding_of(request.headers())?;
    let sender = shared.receive.authorize(request.headers(), peer_of(&request)).await?;
    match read(shared, &sender, signal, encoding, request).await {
        Ok((body, header, permit)) => shared.receive.receive(sender, body, header, permit).await,
        Err(refused) => {
            shared.receive.refused(&sender, signal, &refused).await;
            Err(refused)
        }
    }
}

async fn read<R: Receive, B>(
    shared: &Shared<R>,
    sender: &R::Sender,
    signal: Signal,
    encoding: Encoding,
    request: Request<B>,
) -> Result<(ReceivedBody, Option<BatchHeader>, R::Permit), Refused>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let header = BatchHeader::from_headers(request.headers())
        .map_err(|error| Refused::invalid("batch_header", error.to_string()))?;
    let reserve = |bytes: usize| shared.receive.reserve(sender, signal, Some(bytes));
    let reading = body::read_message(request.into_body(), shared.limits.body_read_timeout, reserve);
    let (message, Reserved { permit, .. }) = reading.await?;
    let encoding = match (message.compressed, encoding) {
        (false, _) => Encoding::Identity,
        (true, Encoding::Identity) => {
            return Err(Refused::invalid("grpc_frame", "message is compressed but grpc-encoding names no compression"));
        }
        (true, encoding) => encoding,
    };
    let body = ReceivedBody { signal, form: BodyForm::OtlpProtobuf, encoding, bytes: message.bytes };
    Ok((body, header, permit))
}

fn encoding_of(headers: &HeaderMap) -> Result<Encoding, Refused> {
    let content_type = header_text(headers, header::CONTENT_TYPE).unwrap_or_default();
    if !matches!(content_type, "application/grpc" | "application/grpc+proto") {
        return Err(Refused::unsupported("content_type", format!("content-type {content_type:?} is not taken")));
    }
    let name = headers.get("grpc-encoding").map_or(Some(""), |value| value.to_str().ok());
    match name.and_then(Encoding::from_name) {
        Some(encoding @ (Encoding::Identity | Encoding::Gzip | Encoding::Zstd)) => Ok(encoding),
        Some(Encoding::Snappy) | None => {
            let name: String = name.unwrap_or("?").chars().take(64).collect();
            Err(Refused::unsupported("encoding", format!("grpc-encoding {name:?} is not identity, gzip or zstd")))
        }
    }
}
