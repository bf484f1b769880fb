//! Answers in Loki's JSON.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use axum::Json;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use tenantscope_lake::{LogAnswer, LogEntry, LogSeries, LogStream, Point, StreamVolume};

const FLAGS_HEADER: &str = "x-loki-response-encoding-flags";
const CATEGORIZE: &str = "categorize-labels";

/// Whether the client wants structured metadata beside the lines, as Grafana does.
pub(super) fn categorizes(headers: &HeaderMap) -> bool {
    let flags = headers.get(FLAGS_HEADER).and_then(|value| value.to_str().ok());
    flags.is_some_and(|flags| flags.split(',').any(|flag| flag.trim() == CATEGORIZE))
}

/// `{"status": "success", "data": […]}`
pub(super) fn values<T: Serialize>(values: &[T]) -> Response {
    Json(json!({ "status": "success", "data": values })).into_response()
}

pub(super) fn query(answer: LogAnswer, categorize: bool) -> Response {
    let (kind, result) = match answer {
        LogAnswer::Streams(streams) if categorize => ("streams", streams.into_iter().map(categorized).collect()),
        LogAnswer::Streams(streams) => ("streams", streams.into_iter().flat_map(merged).collect()),
        LogAnswer::Matrix(series) => ("matrix", series.iter().map(matrix).collect()),
        LogAnswer::Vector(series) => ("vector", series.iter().map(vector).collect()),
        LogAnswer::Scalar(value) => ("scalar", point(&value)),
    };
    let mut data = json!({ "resultType": kind, "result": result, "stats": {} });
    if let Some(data) = data.as_object_mut().filter(|_| categorize && kind == "streams") {
        data.insert("encodingFlags".to_owned(), json!([CATEGORIZE]));
    }
    Json(json!({ "status": "success", "data": data })).into_response()
}

/// What an editor shows before a large query is run.
pub(super) fn stats(volumes: &[StreamVolume]) -> Response {
    let lines: u64 = volumes.iter().map(|volume| volume.lines).sum();
    let bytes: u64 = volumes.iter().map(|volume| volume.bytes).sum();
    Json(json!({ "streams": volumes.len(), "chunks": 0, "entries": lines, "bytes": bytes })).into_response()
}

/// Bytes by stream, or by the labels that are asked for, the largest first.
pub(super) fn volume(volumes: &[StreamVolume], targets: Option<&[&str]>, limit: usize, now_ns: i64) -> Response {
    let mut sums: BTreeMap<BTreeMap<&str, &str>, u64> = BTreeMap::new();
    for volume in volumes {
        let labels = volume.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let chosen = labels.filter(|(name, _)| targets.is_none_or(|targets| targets.contains(name)));
        *sums.entry(chosen.collect()).or_default() += volume.bytes;
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, bytes)| Reverse(*bytes));
    let seconds = now_ns as f64 / 1e9;
    let element = |(labels, bytes): (BTreeMap<&str, &str>, u64)| json!({ "metric": labels, "value": [seconds, bytes.to_string()] });
    let result: Vec<Value> = sums.into_iter().take(limit).map(element).collect();
    Json(json!({ "status": "success", "data": { "resultType": "vector", "result": result, "stats": {} } }))
        .into_response()
}

/// A stream with the metadata of each line beside it.
fn categorized(stream: LogStream) -> Value {
    let entry =
        |entry: LogEntry| json!([entry.time_ns.to_string(), entry.line, { "structuredMetadata": entry.metadata }]);
    let values: Vec<Value> = stream.entries.into_iter().map(entry).collect();
    json!({ "stream": stream.labels, "values": values })
}

/// Lines by stream and metadata, as Loki has them for clients that do not ask for more: metadata are labels among labels.
fn merged(stream: LogStream) -> Vec<Value> {
    let mut parts: BTreeMap<BTreeMap<String, String>, Vec<Value>> = BTreeMap::new();
    for entry in stream.entries {
        parts.entry(entry.metadata).or_default().push(json!([entry.time_ns.to_string(), entry.line]));
    }
    let part = |(metadata, values): (BTreeMap<String, String>, Vec<Value>)| {
        let mut labels = stream.labels.clone();
        for (name, value) in metadata {
            let name = if labels.contains_key(&name) { format!("{name}_extracted") } else { name };
            labels.insert(name, value);
        }
        json!({ "stream": labels, "values": values })
    };
    parts.into_iter().map(part).collect()
}

fn matrix(series: &LogSeries) -> Value {
    let values: Vec<Value> = series.points.iter().map(point).collect();
    json!({ "metric": series.labels, "values": values })
}

fn vector(series: &LogSeries) -> Value {
    json!({ "metric": series.labels, "value": series.points.last().map(point) })
}

fn point(point: &Point) -> Value {
    json!([point.t_ms as f64 / 1_000.0, number(point.value)])
}

/// As Go writes floats in answers: infinities have a sign.
fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}
