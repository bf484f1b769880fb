//! What the tests of the doors share.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)] // each test file uses a part of it

pub mod write;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tenantscope_codec::{Accumulators, Decision, DecodeLimits, Origin, Stamped, decode, stamp};
use tenantscope_model::{AccountId, FamilyMetadata, Region, Signal, Stamp, StampedBatch, StampedSeries, TenantId};
use tenantscope_wire::{BodyForm, Encoding, ReceivedBody};

pub fn acme() -> Stamp {
    Stamp {
        tenant: TenantId::try_new("acme").unwrap(),
        account: Some(AccountId::try_new("111122223333").unwrap()),
        region: Some(Region::try_new("eu-west-1").unwrap()),
    }
}

pub fn open(tenant: &str) -> Stamp {
    Stamp { tenant: TenantId::try_new(tenant).unwrap(), account: None, region: None }
}

pub fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

pub fn attributes(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
    pairs.iter().map(|(key, value)| attribute(key, value)).collect()
}

pub fn resource(pairs: &[(&str, &str)]) -> Option<Resource> {
    Some(Resource { attributes: attributes(pairs), ..Resource::default() })
}

pub fn point(t_ms: u64, value: f64, pairs: &[(&str, &str)]) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(pairs),
        time_unix_nano: t_ms * 1_000_000,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

pub fn metric(name: &str, unit: &str, data: Data) -> Metric {
    Metric { name: name.to_owned(), unit: unit.to_owned(), data: Some(data), ..Metric::default() }
}

pub fn gauge(data_points: Vec<NumberDataPoint>) -> Data {
    Data::Gauge(Gauge { data_points })
}

/// 1 is delta, 2 cumulative.
pub fn sum(data_points: Vec<NumberDataPoint>, aggregation_temporality: i32) -> Data {
    Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic: true })
}

pub fn resource_metrics(pairs: &[(&str, &str)], scope: &str, metrics: Vec<Metric>) -> ResourceMetrics {
    let scope = Some(InstrumentationScope { name: scope.to_owned(), ..InstrumentationScope::default() });
    ResourceMetrics {
        resource: resource(pairs),
        scope_metrics: vec![ScopeMetrics { scope, metrics, ..ScopeMetrics::default() }],
        ..ResourceMetrics::default()
    }
}

pub fn body(signal: Signal, message: &impl Message) -> ReceivedBody {
    let bytes = Bytes::from(message.encode_to_vec());
    ReceivedBody { signal, form: BodyForm::OtlpProtobuf, encoding: Encoding::Identity, bytes }
}

pub fn metrics_body(resource_metrics: Vec<ResourceMetrics>) -> ReceivedBody {
    body(Signal::Metrics, &ExportMetricsServiceRequest { resource_metrics })
}

pub fn stamped_with(body: &ReceivedBody, stamp_as: &Stamp, origin: Origin, accumulators: &Accumulators) -> Stamped {
    let decoded = decode(body, &DecodeLimits::default()).unwrap();
    let decisions = vec![Decision::Stamp(stamp_as.clone()); decoded.claims().len()];
    stamp(decoded, &decisions, origin, accumulators)
}

pub fn stamped(body: &ReceivedBody, stamp_as: &Stamp) -> Stamped {
    stamped_with(body, stamp_as, Origin::default(), &Accumulators::new(1000))
}

pub fn series(stamped: &Stamped) -> &[StampedSeries] {
    match &stamped.batch {
        StampedBatch::Metrics { series, .. } => series,
        StampedBatch::Logs(_) | StampedBatch::Spans(_) => &[],
    }
}

pub fn metadata(stamped: &Stamped) -> &[FamilyMetadata] {
    match &stamped.batch {
        StampedBatch::Metrics { metadata, .. } => metadata,
        StampedBatch::Logs(_) | StampedBatch::Spans(_) => &[],
    }
}

/// A line for each float sample, as the series is written in a selector.
pub fn lines(stamped: &Stamped) -> Vec<String> {
    let mut lines = Vec::new();
    for series in series(stamped) {
        for sample in &series.samples {
            lines.push(format!("{} {} @{}", series.labels, sample.value, sample.t_ms));
        }
    }
    lines.sort();
    lines
}
