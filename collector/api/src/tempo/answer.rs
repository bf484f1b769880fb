//! Answers in Tempo's JSON and protobuf.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use serde::Serialize;
use serde_json::{Value, json};
use tenantscope_lake::{SpanSummary, TagScope, TraceSummary};

use crate::loki::failure::Failure;

const PROTOBUF: &str = "application/protobuf";

/// Whether the client reads protobuf, as Grafana does.
pub(super) fn wants_protobuf(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains(PROTOBUF))
}

/// Tempo's `Trace` has the wire form of OTLP's `TracesData`; in JSON its list has the name that it had at first.
pub(super) fn trace<T: Message + Serialize>(trace: &T, protobuf: bool) -> Result<Response, Failure> {
    if protobuf {
        return Ok(([(header::CONTENT_TYPE, PROTOBUF)], trace.encode_to_vec()).into_response());
    }
    let mut json = as_json(trace)?;
    Ok(Json(json!({ "batches": json["resourceSpans"].take() })).into_response())
}

/// Tempo's `TraceByIDResponse`: the trace is its first field.
pub(super) fn trace_v2<T: Message + Serialize>(trace: &T, protobuf: bool) -> Result<Response, Failure> {
    if !protobuf {
        return Ok(Json(json!({ "trace": as_json(trace)?, "metrics": {} })).into_response());
    }
    const FIRST_FIELD_BYTES: u8 = 0x0a;
    let mut body = vec![FIRST_FIELD_BYTES];
    prost::encoding::encode_varint(trace.encoded_len() as u64, &mut body);
    trace.encode_raw(&mut body);
    Ok(([(header::CONTENT_TYPE, PROTOBUF)], body).into_response())
}

fn as_json<T: Serialize>(trace: &T) -> Result<Value, Failure> {
    let mut json = serde_json::to_value(trace).map_err(|error| {
        tracing::error!(%error, "a trace has no JSON form");
        Failure::internal("the trace has no JSON form")
    })?;
    to_protobufs_json(&mut json);
    Ok(json)
}

/// From OTLP's JSON to that of protobuf, which is Tempo's: ids in base64, enumerations by name. What an attribute is called
/// is a value here, so no name that a sender gave is taken for a field.
fn to_protobufs_json(json: &mut Value) {
    match json {
        Value::Array(items) => items.iter_mut().for_each(to_protobufs_json),
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), &*value) {
                    ("traceId" | "spanId" | "parentSpanId", Value::String(digits)) => {
                        *value = BASE64.encode(hex::decode(digits).unwrap_or_default()).into();
                    }
                    ("kind", Value::Number(number)) => *value = name_of(number, SpanKind::as_str_name),
                    ("code", Value::Number(number)) => *value = name_of(number, StatusCode::as_str_name),
                    _ => to_protobufs_json(value),
                }
            }
        }
        _ => {}
    }
}

/// A number that has no name stays one.
fn name_of<E: TryFrom<i32>>(number: &serde_json::Number, name: fn(&E) -> &'static str) -> Value {
    let known = number.as_i64().and_then(|number| E::try_from(i32::try_from(number).ok()?).ok());
    known.map_or_else(|| Value::Number(number.clone()), |known| name(&known).into())
}

pub(super) fn search(traces: &[TraceSummary]) -> Response {
    let traces: Vec<Value> = traces.iter().map(summary).collect();
    let inspected = traces.len();
    Json(json!({ "traces": traces, "metrics": { "inspectedTraces": inspected } })).into_response()
}

fn summary(trace: &TraceSummary) -> Value {
    let spans: Vec<Value> = trace.matched_spans.iter().map(span).collect();
    let set = json!({ "spans": spans, "matched": trace.matched });
    json!({
        "traceID": trace.trace_id,
        "rootServiceName": or_missing(&trace.root_service),
        "rootTraceName": trace.root_name,
        "startTimeUnixNano": trace.start_ns.to_string(),
        "durationMs": trace.duration_ns / 1_000_000,
        "spanSet": set,
        "spanSets": [set],
    })
}

/// As Tempo says it where the root span is not there (yet).
fn or_missing(service: &str) -> &str {
    if service.is_empty() { "<root span not yet received>" } else { service }
}

fn span(span: &SpanSummary) -> Value {
    let attribute = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    json!({
        "spanID": span.span_id,
        "name": span.name,
        "startTimeUnixNano": span.start_ns.to_string(),
        "durationNanos": span.duration_ns.to_string(),
        "attributes": [attribute("service.name", &span.service), attribute("status", span.status)],
    })
}

type Tags = BTreeMap<TagScope, BTreeSet<String>>;

pub(super) fn tag_names(tags: &Tags) -> Response {
    let own = tags.iter().filter(|(scope, _)| **scope != TagScope::Intrinsic);
    let names: BTreeSet<&String> = own.flat_map(|(_, names)| names).collect();
    Json(json!({ "tagNames": names })).into_response()
}

pub(super) fn tag_names_v2(tags: &Tags, wanted: Option<&str>) -> Response {
    let named = tags.iter().map(|(scope, names)| (scope_name(*scope), names));
    let chosen = named.filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name));
    let scopes: Vec<Value> = chosen.map(|(name, tags)| json!({ "name": name, "tags": tags })).collect();
    Json(json!({ "scopes": scopes })).into_response()
}

fn scope_name(scope: TagScope) -> &'static str {
    match scope {
        TagScope::Resource => "resource",
        TagScope::Span => "span",
        TagScope::Intrinsic => "intrinsic",
    }
}

pub(super) fn tag_values(values: &BTreeSet<String>) -> Response {
    Json(json!({ "tagValues": values })).into_response()
}

pub(super) fn tag_values_v2(tag: &str, values: &BTreeSet<String>) -> Response {
    // Words of TraceQL are written without quotes.
    let kind = if matches!(tag, "status" | "kind") { "keyword" } else { "string" };
    let values: Vec<Value> = values.iter().map(|value| json!({ "type": kind, "value": value })).collect();
    Json(json!({ "tagValues": values })).into_response()
}
