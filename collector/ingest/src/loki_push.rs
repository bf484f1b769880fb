//! `POST /loki/api/v1/push`: Loki's own form, in protobuf and JSON.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use tenantscope_model::Signal;
use tenantscope_wire::{BodyForm, Encoding, Refused, RefusedKind};

use crate::answers;
use crate::intake::Intake;
use crate::posted;

/// The statuses are Loki's: 204 once stored; 400 with text for what is wrong with the body or a part of it (the rest is
/// stored); 429 and 503 with a delay for what may work later.
pub(crate) async fn push(State(intake): State<Arc<Intake>>, request: Request) -> Response {
    match posted::take(&intake, request, Signal::Logs, form_of).await {
        Ok(accepted) if accepted.rejected == 0 => answers::empty(StatusCode::NO_CONTENT),
        Ok(accepted) => {
            let message = format!("{} lines were not taken: {}", accepted.rejected, accepted.message);
            answers::refused(&Refused::invalid("partly_rejected", message))
        }
        Err(refused) if refused.kind == RefusedKind::Unsupported => {
            answers::refused(&Refused { kind: RefusedKind::Invalid, ..refused })
        }
        Err(refused) => answers::refused(&refused),
    }
}

/// JSON where the content type says so; anything else is protobuf in snappy's block form, which senders may or may not
/// name as the encoding.
fn form_of(headers: &HeaderMap) -> Result<(BodyForm, Encoding), Refused> {
    let content_type = posted::text(headers, &CONTENT_TYPE)?;
    let is_json = content_type.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/json");
    let name = posted::text(headers, &CONTENT_ENCODING)?;
    let encoding = Encoding::from_name(name);
    match (is_json, encoding) {
        (true, Some(encoding @ (Encoding::Identity | Encoding::Gzip))) => Ok((BodyForm::LokiJson, encoding)),
        (false, Some(Encoding::Identity | Encoding::Snappy)) => Ok((BodyForm::LokiProtobuf, Encoding::Snappy)),
        _ => Err(Refused::unsupported("unsupported_form", format!("Content-Encoding {name:.64?} not supported"))),
    }
}
