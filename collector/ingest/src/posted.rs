//! The way of a posted body that is not OTLP's: who sends it, what its headers tell, room for it, the body, the batch.

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName};
use tenantscope_model::Signal;
use tenantscope_tenancy::Sender;
use tenantscope_wire::{Accepted, BatchHeader, BodyForm, Encoding, Receive as _, ReceivedBody, Refused};

use crate::answers;
use crate::bodies;
use crate::intake::Intake;
use crate::limits::Permit;
use crate::telemetry;

/// What a route reads from the headers: how the body is to be read.
pub(crate) type FormOf = fn(&HeaderMap) -> Result<(BodyForm, Encoding), Refused>;

/// Takes a body of a signal; nothing of it is read before its sender is known and its bytes are reserved.
pub(crate) async fn take(
    intake: &Intake,
    request: Request,
    signal: Signal,
    form_of: FormOf,
) -> Result<Accepted, Refused> {
    let (parts, body) = request.into_parts();
    let counted = |refused: &Refused| telemetry::refused(signal, refused.reason);
    let sender = intake.authorize(&parts.headers, answers::peer(&parts.extensions)).await?;
    let (form, encoding) = form_of(&parts.headers).inspect_err(counted)?;
    let header = BatchHeader::from_headers(&parts.headers)
        .map_err(|error| Refused::invalid("batch_header", error.to_string()))
        .inspect_err(counted)?;
    let (bytes, permit) = read(intake, &sender, signal, &parts.headers, body).await?;
    intake.receive(sender, ReceivedBody { signal, form, encoding, bytes }, header, permit).await
}

/// Makes room for a body and reads it.
pub(crate) async fn read(
    intake: &Intake,
    sender: &Sender,
    signal: Signal,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Bytes, Permit), Refused> {
    let counted = |refused: &Refused| telemetry::refused(signal, refused.reason);
    let declared_bytes = bodies::declared(headers.get(CONTENT_LENGTH)).inspect_err(counted)?;
    let reserved = declared_bytes.unwrap_or(intake.limits().body_bytes());
    let permit = intake.reserve(sender, reserved)?;
    let bytes = bodies::read(body, reserved).await.inspect_err(counted)?;
    Ok((bytes, permit))
}

/// A header's text; empty where it is missing.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, Refused> {
    let no_text = |_| Refused::unsupported("unsupported_form", format!("{name} is no text"));
    headers.get(name).map_or(Ok(""), |value| value.to_str().map(str::trim).map_err(no_text))
}
