//! Single records past their tenant's bounds are left out, of a replay as of the batch that came.

#![allow(clippy::unwrap_used)] // the lint's exception for tests does not reach their shared functions

use std::collections::BTreeMap;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tenantscope_codec::{
    Accumulators, Bounds, Decision, OtlpRequest, Record, RecordBody, RecordBounds, Stamped, Volume,
};
use tenantscope_model::{Signal, Stamp, StampedBatch, TenantId};
use tenantscope_wire::{BodyForm, Encoding, ReceivedBody};

fn tenant(id: &str) -> TenantId {
    TenantId::try_new(id).unwrap()
}

/// A record of one resource for each of the tenants.
fn record(signal: Signal, body: &impl Message, tenants: &[&str], bounds: Vec<(TenantId, RecordBounds)>) -> Record {
    let stamp = |id: &&str| Decision::Stamp(Stamp { tenant: tenant(id), account: None, region: None });
    let decisions = tenants.iter().map(stamp).collect();
    let bytes = Bytes::from(body.encode_to_vec());
    let body = ReceivedBody { signal, form: BodyForm::OtlpProtobuf, encoding: Encoding::Identity, bytes };
    let body = RecordBody::Received { decisions, body };
    let made = Record { bounds: Bounds::new(bounds), ..Record::new(1_000_000, body) };
    // What is in the journal is what counts.
    let read = Record::from_bytes(Bytes::from(made.to_bytes())).unwrap();
    assert_eq!(read, made);
    read
}

fn stamped(record: &Record) -> Stamped {
    record.replay(&Accumulators::new(0)).unwrap()
}

fn reasons(stamped: &Stamped) -> BTreeMap<&'static str, u64> {
    stamped.rejected.by_reason().collect()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn gauge(points: Vec<NumberDataPoint>) -> ResourceMetrics {
    let data = Some(Data::Gauge(Gauge { data_points: points }));
    let metrics = vec![Metric { name: "m".into(), data, ..Metric::default() }];
    ResourceMetrics { scope_metrics: vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }], ..Default::default() }
}

fn point(t_ms: u64, attributes: Vec<KeyValue>) -> NumberDataPoint {
    NumberDataPoint {
        time_unix_nano: t_ms * 1_000_000,
        attributes,
        value: Some(number_data_point::Value::AsDouble(1.0)),
        ..NumberDataPoint::default()
    }
}

#[test]
fn series_with_too_many_or_too_long_labels_and_samples_too_old_are_left_out() {
    let points = vec![
        point(1_000, vec![attribute("a", "1")]),
        point(1_000, vec![attribute("a", "1"), attribute("b", "2")]),
        point(1_000, vec![attribute("long_name", "1")]),
        point(1_000, vec![attribute("a", "a long value")]),
        point(999, vec![attribute("a", "1")]),
    ];
    let body = ExportMetricsServiceRequest { resource_metrics: vec![gauge(points)] };
    let bounds = RecordBounds {
        earliest_ms: Some(1_000),
        label_names: Some(2),
        label_name_bytes: Some(8),
        label_value_bytes: Some(8),
        ..RecordBounds::default()
    };
    let stamped = stamped(&record(Signal::Metrics, &body, &["acme"], vec![(tenant("acme"), bounds)]));
    let expected = ["max_label_names_per_series", "max_label_name_length", "max_label_value_length", "max_sample_age"];
    assert_eq!(reasons(&stamped), expected.map(|reason| (reason, 1)).into());
    assert_eq!(Volume::of(&stamped.batch).samples, 1);
}

#[test]
fn a_tenant_of_a_relay_is_bounded_by_its_own_bounds_alone() {
    let resource = || gauge(vec![point(1_000, vec![attribute("a", "1"), attribute("b", "1")])]);
    let body = ExportMetricsServiceRequest { resource_metrics: vec![resource(), resource()] };
    let bounded = RecordBounds { label_names: Some(2), ..RecordBounds::default() };
    let bounds = vec![(tenant("acme"), bounded), (tenant("globex"), RecordBounds::default())];
    let stamped = stamped(&record(Signal::Metrics, &body, &["acme", "globex"], bounds));
    assert_eq!(reasons(&stamped), BTreeMap::from([("max_label_names_per_series", 1)]));
    assert_eq!(
        Volume::by_tenant(&stamped.batch),
        BTreeMap::from([(tenant("globex"), Volume { samples: 1, ..Volume::default() })])
    );
}

#[test]
fn long_lines_and_large_attributes_are_left_out_and_not_forwarded() {
    let log = |line: &str, value: &str| LogRecord {
        body: Some(AnyValue { value: Some(Value::StringValue(line.to_owned())) }),
        attributes: vec![attribute("k", value)],
        ..LogRecord::default()
    };
    let logs = |records| ResourceLogs {
        scope_logs: vec![ScopeLogs { log_records: records, ..ScopeLogs::default() }],
        ..ResourceLogs::default()
    };
    let small = logs(vec![log("short", "v"), log("much too long", "v"), log("short", "much too long")]);
    let resource = Some(Resource { attributes: vec![attribute("k", "much too long")], ..Resource::default() });
    let large = ResourceLogs { resource, ..logs(vec![log("short", "v"), log("short", "v")]) };
    let body = ExportLogsServiceRequest { resource_logs: vec![small, large] };
    // There is room for what we set ourselves: `tenant.id` and its value.
    let bounds = RecordBounds { log_line_bytes: Some(5), attribute_bytes: Some(13), ..RecordBounds::default() };
    let record = record(Signal::Logs, &body, &["acme", "acme"], vec![(tenant("acme"), bounds)]);
    let stamped = stamped(&record);
    assert_eq!(reasons(&stamped), BTreeMap::from([("max_attribute_bytes", 3), ("max_log_line_bytes", 1)]));
    let StampedBatch::Logs(resources) = &stamped.batch else { panic!() };
    assert_eq!(resources.len(), 1);
    let OtlpRequest::Logs(forwarded) = record.to_otlp().unwrap() else { panic!() };
    assert_eq!(forwarded.resource_logs, [resources[0].records.clone()]);
}

#[test]
fn spans_with_large_attributes_are_left_out() {
    let span = |value: &str| Span { attributes: vec![attribute("k", value)], ..Span::default() };
    let spans = vec![span("v"), span("a value that is too long")];
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    let body = ExportTraceServiceRequest { resource_spans };
    let bounds = RecordBounds { attribute_bytes: Some(16), ..RecordBounds::default() };
    let stamped = stamped(&record(Signal::Spans, &body, &["acme"], vec![(tenant("acme"), bounds)]));
    assert_eq!(reasons(&stamped), BTreeMap::from([("max_attribute_bytes", 1)]));
    assert_eq!(Volume::of(&stamped.batch).spans, 1);
}
