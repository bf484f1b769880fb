//! `POST /api/v1/write`: Prometheus remote write 1.0.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use tenantscope_model::Signal;
use tenantscope_wire::{BatchHeader, BodyForm, Encoding, Receive as _, ReceivedBody, Refused};

use crate::answers;
use crate::bodies;
use crate::intake::Intake;
use crate::telemetry;

/// 204 once stored; 400 where a part was refused for good (the rest is stored), as the protocol has no other word.
pub(crate) async fn write(State(intake): State<Arc<Intake>>, request: Request) -> Response {
    match take(&intake, request).await {
        Ok(accepted) if accepted.rejected == 0 => answers::empty(StatusCode::NO_CONTENT),
        Ok(accepted) => {
            let message = format!("{} samples were not taken: {}", accepted.rejected, accepted.message);
            answers::refused(&Refused::invalid("partly_rejected", message))
        }
        Err(refused) => answers::refused(&refused),
    }
}

async fn take(intake: &Intake, request: Request) -> Result<tenantscope_wire::Accepted, Refused> {
    let (parts, body) = request.into_parts();
    let counted = |refused: &Refused| telemetry::refused(Signal::Metrics, refused.reason);
    let sender = intake.authorize(&parts.headers, answers::peer(&parts.extensions)).await?;
    let (header, declared) = read_headers(&parts.headers).inspect_err(counted)?;
    let reserved = declared.unwrap_or(intake.limits().body_bytes());
    let permit = intake.reserve(&sender, reserved)?;
    let bytes = bodies::read(body, reserved).await.inspect_err(counted)?;
    let body =
        ReceivedBody { signal: Signal::Metrics, form: BodyForm::RemoteWriteV1, encoding: Encoding::Snappy, bytes };
    intake.receive(sender, body, header, permit).await
}

fn read_headers(headers: &HeaderMap) -> Result<(Option<BatchHeader>, Option<usize>), Refused> {
    check_form(headers)?;
    let header =
        BatchHeader::from_headers(headers).map_err(|error| Refused::invalid("batch_header", error.to_string()))?;
    Ok((header, bodies::declared(headers.get(CONTENT_LENGTH))?))
}

/// Remote write 1.0 is protobuf in snappy's block form; 2.0 says so in its content type.
fn check_form(headers: &HeaderMap) -> Result<(), Refused> {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok()).unwrap_or("");
    let unsupported = |message: String| Refused::unsupported("unsupported_form", message);
    let content_type = text(CONTENT_TYPE);
    let mut parts = content_type.split(';').map(str::trim);
    if !parts.next().unwrap_or("").eq_ignore_ascii_case("application/x-protobuf") {
        return Err(unsupported(format!("content-type {content_type:.64?} is not application/x-protobuf")));
    }
    for parameter in parts {
        if parameter.strip_prefix("proto=").is_some_and(|proto| proto != "prometheus.WriteRequest") {
            return Err(unsupported(format!("{parameter:.64} is not prometheus.WriteRequest (remote write 1.0)")));
        }
    }
    let encoding = text(CONTENT_ENCODING);
    if !encoding.eq_ignore_ascii_case("snappy") {
        return Err(unsupported(format!("content-encoding {encoding:.64?} is not snappy")));
    }
    Ok(())
}
