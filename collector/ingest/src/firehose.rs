//! `POST /firehose/metrics` and `/firehose/logs`: Amazon Data Firehose's HTTP endpoint deliveries.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use tenantscope_codec::{Delivery, REGION_ATTRIBUTE};
use tenantscope_model::Signal;
use tenantscope_wire::{Accepted, BodyForm, Encoding, ReceivedBody, Refused, RefusedKind};

use crate::clock::now_ms;
use crate::intake::Intake;
use crate::limits::Limits;
use crate::{answers, audit, posted};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-firehose-request-id");
const SOURCE_ARN: HeaderName = HeaderName::from_static("x-amz-firehose-source-arn");
const COMMON_ATTRIBUTES: HeaderName = HeaderName::from_static("x-amz-firehose-common-attributes");

/// Request ids are GUIDs of 36 characters.
const MAX_REQUEST_ID_BYTES: usize = 128;
/// Firehose allows 50 attributes.
const MAX_COMMON_ATTRIBUTES: usize = 64;

/// Metric streams.
pub(crate) async fn metrics(State(intake): State<Arc<Intake>>, request: Request) -> Response {
    answer(&intake, request, Signal::Metrics).await
}

/// Log subscriptions.
pub(crate) async fn logs(State(intake): State<Arc<Intake>>, request: Request) -> Response {
    answer(&intake, request, Signal::Logs).await
}

/// What Firehose wants to be told, else it takes the delivery for failed, whatever the status.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Acknowledgement<'a> {
    request_id: &'a str,
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<&'a str>,
}

/// 200 once stored, which is the only success that Firehose knows. What was left out of a delivery is counted; one of
/// which nothing could be taken fails, so that Firehose keeps it in its bucket.
async fn answer(intake: &Intake, request: Request, signal: Signal) -> Response {
    let request_id = posted::text(request.headers(), &REQUEST_ID).unwrap_or_default().to_owned();
    let refused = match take(intake, request, signal).await {
        Ok(accepted) if accepted.stored == 0 && accepted.rejected > 0 => {
            Some(Refused::invalid("nothing_taken", format!("nothing was taken: {}", accepted.message)))
        }
        Ok(_) => None,
        Err(refused) => Some(refused),
    };
    let error_message = refused.as_ref().map(|refused| refused.message.as_str());
    let acknowledgement = Acknowledgement { request_id: &request_id, timestamp: now_ms(), error_message };
    // Texts and numbers can always be written.
    let mut response = Response::new(Body::from(serde_json::to_vec(&acknowledgement).unwrap_or_default()));
    *response.status_mut() = refused.as_ref().map_or(StatusCode::OK, |refused| status_of(refused.kind));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(delay) = refused.and_then(|refused| refused.retry_after) {
        response.headers_mut().insert(RETRY_AFTER, answers::whole_seconds(delay));
    }
    response
}

/// For Firehose 413 is the one status after which it forgets a delivery and keeps it nowhere. After any other but 200 it
/// tries again for as long as the stream is told to, and then keeps the delivery in its bucket.
fn status_of(kind: RefusedKind) -> StatusCode {
    match kind {
        RefusedKind::TooLarge => StatusCode::BAD_REQUEST,
        other => other.http_status(),
    }
}

async fn take(intake: &Intake, request: Request, signal: Signal) -> Result<Accepted, Refused> {
    let (parts, body) = request.into_parts();
    let sender = match intake.identity.firehose_sender(&parts.headers) {
        Ok(sender) => sender,
        Err(refused) => {
            let peer = answers::peer(&parts.extensions);
            audit::refused("firehose", &refused, &peer);
            intake.pace.wait(&peer.address.ip().to_string()).await;
            return Err(posted::unread(body, refused).await);
        }
    };
    let read = async {
        let (delivery, encoding) = match told_by_headers(&parts.headers) {
            Ok(told) => told,
            Err(refused) => return Err(posted::unread(body, refused).await),
        };
        let max_bytes_of = Limits::firehose_body_bytes;
        let (bytes, permit) = posted::read(intake, &sender, signal, &parts.headers, body, max_bytes_of).await?;
        Ok((ReceivedBody { signal, form: BodyForm::Firehose, encoding, bytes }, delivery, permit))
    };
    let (body, delivery, permit) = posted::told(intake, &sender, signal, read.await).await?;
    intake.receive_delivery(sender, body, delivery, permit).await
}

fn told_by_headers(headers: &HeaderMap) -> Result<(Delivery, Encoding), Refused> {
    Ok((delivery_of(headers)?, encoding_of(headers)?))
}

fn encoding_of(headers: &HeaderMap) -> Result<Encoding, Refused> {
    let name = posted::text(headers, &CONTENT_ENCODING)?;
    let encoding = Encoding::from_name(name).filter(|known| matches!(known, Encoding::Identity | Encoding::Gzip));
    encoding.ok_or_else(|| Refused::unsupported("encoding", format!("content-encoding {name:.64?} is not gzip")))
}

/// What the headers tell of a delivery.
fn delivery_of(headers: &HeaderMap) -> Result<Delivery, Refused> {
    let id = posted::text(headers, &REQUEST_ID)?;
    if id.is_empty() || id.len() > MAX_REQUEST_ID_BYTES {
        let message = format!("{REQUEST_ID} is missing, or over {MAX_REQUEST_ID_BYTES} bytes");
        return Err(Refused::invalid("request_id", message));
    }
    let mut attributes = common_attributes(posted::text(headers, &COMMON_ATTRIBUTES)?)?;
    // A subscription's records don't name their region, but it is that of the stream which they pass.
    if let Some(region) = region_of(posted::text(headers, &SOURCE_ARN)?) {
        attributes.entry(REGION_ATTRIBUTE.to_owned()).or_insert_with(|| region.to_owned());
    }
    Ok(Delivery { id: id.to_owned(), attributes: attributes.into_iter().collect() })
}

/// `{"commonAttributes": {"deployment.environment": "production"}}`, as the stream is configured.
fn common_attributes(json: &str) -> Result<BTreeMap<String, String>, Refused> {
    #[derive(Deserialize)]
    struct Common {
        #[serde(rename = "commonAttributes", default)]
        attributes: BTreeMap<String, String>,
    }
    let wrong = |what: String| Refused::invalid("common_attributes", format!("{COMMON_ATTRIBUTES}: {what}"));
    if json.is_empty() {
        return Ok(BTreeMap::new());
    }
    let common: Common = serde_json::from_str(json).map_err(|error| wrong(error.to_string()))?;
    if common.attributes.len() > MAX_COMMON_ATTRIBUTES {
        return Err(wrong(format!("there are over {MAX_COMMON_ATTRIBUTES}")));
    }
    Ok(common.attributes)
}

/// `arn:aws:firehose:<region>:<account>:deliverystream/<name>`
fn region_of(arn: &str) -> Option<&str> {
    arn.strip_prefix("arn:")?.split(':').nth(2).filter(|region| !region.is_empty())
}
