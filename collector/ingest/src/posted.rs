//! The way of a posted body that is not OTLP's: who sends it, what its headers tell, room for it, the body, the batch.

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName};
use tenantscope_model::Signal;
use tenantscope_tenancy::Sender;
use tenantscope_wire::{
    Accepted, BatchHeader, BodyForm, Encoding, Receive as _, ReceivedBody, Refused, Reserved, pass_over,
};

use crate::answers;
use crate::bodies;
use crate::in_flight::Permit;
use crate::intake::Intake;
use crate::limits::Limits;

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
    let sender = match intake.authorize(&parts.headers, answers::peer(&parts.extensions)).await {
        Ok(sender) => sender,
        Err(refused) => return Err(unread(body, refused).await),
    };
    let read = async {
        let (form, encoding, header) = match told_by_headers(&parts.headers, form_of) {
            Ok(told) => told,
            Err(refused) => return Err(unread(body, refused).await),
        };
        let (bytes, permit) = read(intake, &sender, signal, &parts.headers, body, Limits::body_bytes).await?;
        Ok((ReceivedBody { signal, form, encoding, bytes }, header, permit))
    };
    let (body, header, permit) = told(intake, &sender, signal, read.await).await?;
    intake.receive(sender, body, header, permit).await
}

fn told_by_headers(headers: &HeaderMap, form_of: FormOf) -> Result<(BodyForm, Encoding, Option<BatchHeader>), Refused> {
    let (form, encoding) = form_of(headers)?;
    let header = BatchHeader::from_headers(headers);
    Ok((form, encoding, header.map_err(|error| Refused::invalid("batch_header", error.to_string()))?))
}

/// The refusal of a body before anybody read it. A small one is read all the same: its sender may send the next request
/// over this connection before it learns that it ends, and would hear nothing of that one.
pub(crate) async fn unread(body: Body, refused: Refused) -> Refused {
    pass_over(body).await;
    refused
}

/// Counts a refusal of what was not received yet, and waits as long as its answer must.
pub(crate) async fn told<T>(
    intake: &Intake,
    sender: &Sender,
    signal: Signal,
    read: Result<T, Refused>,
) -> Result<T, Refused> {
    if let Err(refused) = &read {
        intake.refused(sender, signal, refused).await;
    }
    read
}

/// Makes room for a body, which may be so large, and reads it.
pub(crate) async fn read(
    intake: &Intake,
    sender: &Sender,
    signal: Signal,
    headers: &HeaderMap,
    body: Body,
    max_bytes_of: fn(&Limits) -> usize,
) -> Result<(Bytes, Permit), Refused> {
    let declared_bytes = bodies::declared(headers.get(CONTENT_LENGTH))?;
    match intake.reserve_of(max_bytes_of, sender, signal, declared_bytes) {
        Ok(Reserved { permit, max_bytes }) => Ok((bodies::read(body, max_bytes).await?, permit)),
        Err(refused) => Err(unread(body, refused).await),
    }
}

/// A header's text; empty where it is missing.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, Refused> {
    let no_text = |_| Refused::unsupported("unsupported_form", format!("{name} is no text"));
    headers.get(name).map_or(Ok(""), |value| value.to_str().map(str::trim).map_err(no_text))
}
