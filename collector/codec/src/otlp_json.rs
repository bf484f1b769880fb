//! What the messages' own reader of JSON does not do as OTLP asks.
//!
//! It takes a member of a metric's `oneof` that it can't read for one that is not there, and stumbles over a kind of
//! value that it does not know, where unknown fields are to be passed over.
//!
//! Doubles may be text: `"asDouble": "NaN"` is how JSON has to say it. Such values are read again, and put into the
//! points in their order. Where a metric has no data, its data is read once more, so that what is wrong with it is told
//! and it is not lost in silence.

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, Gauge, Histogram, Metric, NumberDataPoint, ResourceMetrics, Sum, Summary, exemplar,
    number_data_point,
};
use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Puts doubles that stand as text into the points that they belong to. The error is what is wrong with a metric.
pub(crate) fn complete(json: &[u8], resources: &mut [ResourceMetrics]) -> Result<(), serde_json::Error> {
    let metrics = || resources.iter().flat_map(|resource| &resource.scope_metrics).flat_map(|scope| &scope.metrics);
    if metrics().any(|metric| metric.data.is_none()) {
        serde_json::from_slice::<Document<StrictMetric>>(json)?;
    }
    // Nearly all senders write numbers.
    if !metrics().flat_map(points_of).any(is_incomplete) {
        return Ok(());
    }
    let document: Document<Points> = serde_json::from_slice(json)?;
    for (resource, told) in resources.iter_mut().zip(document.resource_metrics) {
        for (scope, told) in resource.scope_metrics.iter_mut().zip(told.scope_metrics) {
            for (metric, told) in scope.metrics.iter_mut().zip(told.metrics) {
                let told = told.gauge.or(told.sum).unwrap_or_default().data_points;
                points_of_mut(metric).iter_mut().zip(told).for_each(|(point, told)| add(point, told));
            }
        }
    }
    Ok(())
}

fn is_incomplete(point: &NumberDataPoint) -> bool {
    point.value.is_none() || point.exemplars.iter().any(|exemplar| exemplar.value.is_none())
}

fn points_of(metric: &Metric) -> &[NumberDataPoint] {
    match &metric.data {
        Some(Data::Gauge(gauge)) => &gauge.data_points,
        Some(Data::Sum(sum)) => &sum.data_points,
        _ => &[],
    }
}

fn points_of_mut(metric: &mut Metric) -> &mut [NumberDataPoint] {
    match &mut metric.data {
        Some(Data::Gauge(gauge)) => &mut gauge.data_points,
        Some(Data::Sum(sum)) => &mut sum.data_points,
        _ => &mut [],
    }
}

fn add(point: &mut NumberDataPoint, told: Point) {
    if point.value.is_none() {
        point.value = told.as_double.map(number_data_point::Value::AsDouble);
    }
    let add = |(exemplar, told): (&mut Exemplar, PointExemplar)| {
        if exemplar.value.is_none() {
            exemplar.value = told.as_double.map(exemplar::Value::AsDouble);
        }
    };
    point.exemplars.iter_mut().zip(told.exemplars).for_each(add);
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document<M> {
    #[serde(default = "Vec::new")]
    resource_metrics: Vec<Resource<M>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource<M> {
    #[serde(default = "Vec::new")]
    scope_metrics: Vec<Scope<M>>,
}

#[derive(Deserialize)]
struct Scope<M> {
    #[serde(default = "Vec::new")]
    metrics: Vec<M>,
}

/// A metric whose data is read for the sake of the error.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)]
struct StrictMetric {
    #[serde(default)]
    gauge: Option<Gauge>,
    #[serde(default)]
    sum: Option<Sum>,
    #[serde(default)]
    histogram: Option<Histogram>,
    #[serde(default)]
    exponential_histogram: Option<ExponentialHistogram>,
    #[serde(default)]
    summary: Option<Summary>,
}

#[derive(Deserialize)]
struct Points {
    #[serde(default)]
    gauge: Option<DataPoints>,
    #[serde(default)]
    sum: Option<DataPoints>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct DataPoints {
    #[serde(default)]
    data_points: Vec<Point>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Point {
    #[serde(default, deserialize_with = "double")]
    as_double: Option<f64>,
    #[serde(default)]
    exemplars: Vec<PointExemplar>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PointExemplar {
    #[serde(default, deserialize_with = "double")]
    as_double: Option<f64>,
}

/// Protobuf's mapping: a number, or its text, or one of three names.
fn double<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::Number(number) => Ok(number.as_f64()),
        Value::String(text) => match text.as_str() {
            "NaN" => Ok(Some(f64::NAN)),
            "Infinity" => Ok(Some(f64::INFINITY)),
            "-Infinity" => Ok(Some(f64::NEG_INFINITY)),
            // Rust takes other names for these, too.
            text if text.bytes().any(|b| b.is_ascii_digit()) => text.parse().map(Some).map_err(de::Error::custom),
            text => Err(de::Error::custom(format!("{text:.40?} is no number"))),
        },
        _ => Err(de::Error::custom("a number is none")),
    }
}

/// A larger body is not read a second time, since any JSON takes far more memory than the messages do.
const MAX_SECOND_READING_BYTES: usize = 1 << 20;

/// Reads a body again without the kinds of values that nobody knows, and with doubles that JSON has no numbers for as
/// text; `None` where there are none, so that something else is wrong.
pub(crate) fn without_unknown_values<M: DeserializeOwned>(json: &[u8]) -> Option<M> {
    if json.len() > MAX_SECOND_READING_BYTES {
        return None;
    }
    let mut document: Value = serde_json::from_slice(json).ok()?;
    clean(&mut document).then(|| serde_json::from_value(document).ok())?
}

/// Whether anything changed. As deep as the JSON, whose depth its reader bounds.
fn clean(value: &mut Value) -> bool {
    match value {
        Value::Array(values) => values.iter_mut().fold(false, |changed, value| clean(value) | changed),
        Value::Object(members) => members.iter_mut().fold(false, |changed, (name, member)| {
            let is_any_value = member.is_object() && matches!(name.as_str(), "value" | "body");
            changed | if is_any_value { clean_any_value(member) } else { clean(member) }
        }),
        _ => false,
    }
}

fn clean_any_value(value: &mut Value) -> bool {
    const KNOWN: [&str; 7] =
        ["stringValue", "boolValue", "intValue", "doubleValue", "arrayValue", "kvlistValue", "bytesValue"];
    let Value::Object(members) = value else { return false };
    let before = members.len();
    members.retain(|name, _| KNOWN.contains(&name.as_str()));
    let mut changed = members.len() < before;
    if let Some(Value::String(_)) = members.get("doubleValue") {
        if let Some(text) = members.remove("doubleValue") {
            members.insert("stringValue".to_owned(), text);
        }
        changed = true;
    }
    if let Some(Value::Array(values)) = members.get_mut("arrayValue").and_then(|list| list.get_mut("values")) {
        changed |= values.iter_mut().fold(false, |changed, value| clean_any_value(value) | changed);
    }
    changed | members.get_mut("kvlistValue").is_some_and(clean)
}
