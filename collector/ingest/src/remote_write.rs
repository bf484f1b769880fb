//! `POST /api/v1/write`: Prometheus remote write, 1.0 and 2.0.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tenantscope_model::Signal;
use tenantscope_wire::{BodyForm, Encoding, Refused, Written};

use crate::answers;
use crate::intake::Intake;
use crate::posted;

const SAMPLES_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

/// 204 once stored; 400 where a part was refused for good (the rest is stored), as the protocol has no other word.
///
/// Every answer to a body whose form is known says how much of it was written, a refusal that nothing was.
pub(crate) async fn write(State(intake): State<Arc<Intake>>, request: Request) -> Response {
    let (mut response, written) = match posted::take(&intake, request, Signal::Metrics, form_of).await {
        Ok(accepted) if accepted.rejected == 0 => (answers::empty(StatusCode::NO_CONTENT), accepted.written),
        Ok(accepted) => {
            let message = format!("{} samples were not taken: {}", accepted.rejected, accepted.message);
            (answers::refused(&Refused::invalid("partly_rejected", message)), accepted.written)
        }
        Err(refused) => (answers::refused(&refused), Written::default()),
    };
    if response.status() != StatusCode::UNSUPPORTED_MEDIA_TYPE {
        let headers = response.headers_mut();
        headers.insert(SAMPLES_WRITTEN, HeaderValue::from(written.samples));
        headers.insert(HISTOGRAMS_WRITTEN, HeaderValue::from(written.histograms));
        headers.insert(EXEMPLARS_WRITTEN, HeaderValue::from(written.exemplars));
    }
    response
}

/// Both versions are protobuf in snappy's block form; the content type says which one it is. Old senders of 1.0 may
/// leave both headers out.
fn form_of(headers: &HeaderMap) -> Result<(BodyForm, Encoding), Refused> {
    let unsupported = |message: String| Refused::unsupported("unsupported_form", message);
    let content_type = posted::text(headers, &CONTENT_TYPE)?;
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or("");
    if !media_type.is_empty() && !media_type.eq_ignore_ascii_case("application/x-protobuf") {
        return Err(unsupported(format!("content-type {content_type:.64?} is not application/x-protobuf")));
    }
    let mut form = BodyForm::RemoteWriteV1;
    for parameter in parts {
        let Some((key, message)) = parameter.split_once('=') else { continue };
        if key.eq_ignore_ascii_case("proto") {
            form = match message.trim_matches('"') {
                "prometheus.WriteRequest" => BodyForm::RemoteWriteV1,
                "io.prometheus.write.v2.Request" => BodyForm::RemoteWriteV2,
                _ => return Err(unsupported(format!("{message:.64?} is no message of remote write 1.0 or 2.0"))),
            };
        }
    }
    let encoding = posted::text(headers, &CONTENT_ENCODING)?;
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("snappy") {
        return Err(unsupported(format!("content-encoding {encoding:.64?} is not snappy")));
    }
    Ok((form, Encoding::Snappy))
}
