//! OTLP metrics as series, rule by rule of OpenTelemetry's `prometheus_and_openmetrics.md`; where it leaves a choice, as
//! Prometheus's own translation does.

#![allow(clippy::unwrap_used, clippy::panic)] // the lint's exception for tests does not reach their shared functions

mod shared;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
};
use tenantscope_codec::{Accumulators, Origin, Stamped};
use tenantscope_model::{MetricKind, Span, is_stale_nan};

use crate::shared::{
    attribute, attributes, gauge, lines, metadata, metric, metrics_body, open, point, resource, resource_metrics,
    series, stamped, stamped_with, sum,
};

const CUMULATIVE: i32 = 2;

fn of(metrics: Vec<Metric>) -> Stamped {
    stamped(&metrics_body(vec![resource_metrics(&[], "", metrics)]), &open("t"))
}

fn any(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn scoped(scope: InstrumentationScope, schema_url: &str, metrics: Vec<Metric>) -> Stamped {
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, schema_url: schema_url.into() }];
    let resource = ResourceMetrics { resource: resource(&[]), scope_metrics, ..ResourceMetrics::default() };
    stamped(&metrics_body(vec![resource]), &open("t"))
}

#[test]
fn the_unit_in_words_is_metadata_and_the_description_is_help() {
    for (unit, words) in [
        ("By/s", "bytes_per_second"),
        ("{packet}", ""),
        ("1", ""),
        ("1/s", "per_second"),
        ("kBy", "kilobytes"),
        ("%", "percent"),
        ("custom_unit", "custom_unit"),
    ] {
        let mut metric = metric("a", unit, gauge(vec![point(1, 1.0, &[])]));
        metric.description = "What it is.".into();
        let stamped = of(vec![metric]);
        let family = &metadata(&stamped)[0].metadata;
        assert_eq!((&*family.unit, &*family.help), (words, "What it is."), "{unit}");
    }
}

#[test]
fn a_scope_is_in_labels_and_nothing_takes_their_place() {
    let scope = InstrumentationScope {
        name: "lib".into(),
        version: "v0.24.0".into(),
        attributes: attributes(&[
            ("library.mascot", "gopher"),
            ("library_mascot", "crab"),
            ("name", "forged"),
            ("schema.url", "forged"),
        ]),
        ..InstrumentationScope::default()
    };
    let metrics = || vec![metric("a", "", gauge(vec![point(1, 1.0, &[("otel.scope.name", "own")])]))];
    assert_eq!(
        lines(&scoped(scope, "https://opentelemetry.io/schemas/1.31.0", metrics())),
        [
            r#"a{otel_scope_library_mascot="gopher;crab", otel_scope_name="own;lib", otel_scope_schema_url="https://opentelemetry.io/schemas/1.31.0", otel_scope_version="v0.24.0", tenant="t"} 1 @1"#
        ]
    );
    let nameless = InstrumentationScope { attributes: attributes(&[("name", "forged")]), ..Default::default() };
    let plain = vec![metric("a", "", gauge(vec![point(1, 1.0, &[])]))];
    assert_eq!(lines(&scoped(nameless, "", plain)), [r#"a{tenant="t"} 1 @1"#]);
}

#[test]
fn a_gauge_may_say_what_it_was_before_and_drops_its_exemplars() {
    for (hint, kind) in [
        (None, MetricKind::Gauge),
        (Some("gauge"), MetricKind::Gauge),
        (Some("unknown"), MetricKind::Unknown),
        (Some("unkown"), MetricKind::Unknown),
        (Some("info"), MetricKind::Info),
        (Some("stateset"), MetricKind::StateSet),
        (Some("counter"), MetricKind::Gauge),
    ] {
        for non_monotonic in [false, true] {
            let with_exemplar = NumberDataPoint { exemplars: vec![exemplar(1.0, &[])], ..point(1, 1.0, &[]) };
            let data = match non_monotonic {
                true => Data::Sum(Sum {
                    data_points: vec![with_exemplar],
                    aggregation_temporality: CUMULATIVE,
                    is_monotonic: false,
                }),
                false => gauge(vec![with_exemplar]),
            };
            let mut metric = metric("a", "", data);
            metric.metadata = hint.map(|hint| attribute("prometheus.type", hint)).into_iter().collect();
            let stamped = of(vec![metric]);
            assert_eq!(metadata(&stamped)[0].metadata.kind, kind, "{hint:?}");
            assert_eq!(lines(&stamped), [r#"a{tenant="t"} 1 @1"#]);
            assert!(series(&stamped)[0].exemplars.is_empty());
        }
    }
}

#[test]
fn a_sum_without_temporality_is_rejected_and_its_neighbours_are_not() {
    let stamped =
        of(vec![metric("a", "", sum(vec![point(1, 1.0, &[])], 0)), metric("b", "", gauge(vec![point(1, 1.0, &[])]))]);
    assert_eq!(stamped.rejected.by_reason().collect::<Vec<_>>(), [("no_temporality", 1)]);
    assert_eq!(lines(&stamped), [r#"b{tenant="t"} 1 @1"#]);
}

#[test]
fn deltas_of_what_goes_up_and_down_are_rejected() {
    let up_and_down = |aggregation_temporality| {
        Data::Sum(Sum { data_points: vec![point(1, -2.0, &[])], aggregation_temporality, is_monotonic: false })
    };
    let stamped = of(vec![metric("a", "", up_and_down(1)), metric("b", "", up_and_down(CUMULATIVE))]);
    assert_eq!(stamped.rejected.by_reason().collect::<Vec<_>>(), [("delta_not_monotonic", 1)]);
    assert_eq!(lines(&stamped), [r#"b{tenant="t"} -2 @1"#]);
}

fn exemplar(value: f64, filtered: &[(&str, &str)]) -> Exemplar {
    Exemplar {
        filtered_attributes: attributes(filtered),
        time_unix_nano: 5_000_000,
        trace_id: vec![0xab; 16],
        span_id: vec![0xcd; 8],
        value: Some(exemplar::Value::AsDouble(value)),
    }
}

#[test]
fn an_exemplar_has_its_ids_before_all_else_and_what_room_is_left_for() {
    let long = "v".repeat(100);
    let filtered = [("trace_id", "forged"), ("user.id", "7"), ("long", long.as_str())];
    let counted = NumberDataPoint { exemplars: vec![exemplar(3.0, &filtered)], ..point(9, 1.0, &[]) };
    let stamped = of(vec![metric("hits", "", sum(vec![counted], CUMULATIVE))]);
    let [exemplar] = &series(&stamped)[0].exemplars[..] else { panic!("{stamped:?}") };
    assert_eq!((exemplar.t_ms, exemplar.value), (5, 3.0));
    let expected = format!(r#"{{span_id="{}", trace_id="{}", user_id="7"}}"#, "cd".repeat(8), "ab".repeat(16));
    assert_eq!(exemplar.labels.to_string(), expected);
}

#[test]
fn values_become_text_as_for_any_protocol_without_types() {
    let list = ArrayValue {
        values: [Value::IntValue(1), Value::DoubleValue(f64::NEG_INFINITY), Value::StringValue("a".into())]
            .map(|value| AnyValue { value: Some(value) })
            .into_iter()
            .chain([AnyValue { value: None }])
            .collect(),
    };
    let map = KeyValueList { values: vec![any("n", Value::BytesValue(b"hello world".to_vec()))] };
    for (value, text) in [
        (Value::BoolValue(true), "true"),
        (Value::IntValue(-123), "-123"),
        (Value::DoubleValue(3.5), "3.5"),
        (Value::DoubleValue(1.0), "1"),
        (Value::DoubleValue(1.25e300), "1.25e300"),
        (Value::DoubleValue(1e-9), "1e-9"),
        (Value::DoubleValue(f64::NAN), "NaN"),
        (Value::DoubleValue(f64::INFINITY), "Infinity"),
        (Value::BytesValue(b"hello world".to_vec()), "aGVsbG8gd29ybGQ="),
        (Value::ArrayValue(list), r#"[1,"-Infinity","a",null]"#),
        (Value::KvlistValue(map), r#"{"n":"aGVsbG8gd29ybGQ="}"#),
    ] {
        let data = NumberDataPoint { attributes: vec![any("k", value)], ..point(1, 1.0, &[]) };
        let stamped = of(vec![metric("a", "", gauge(vec![data]))]);
        assert_eq!(series(&stamped)[0].labels.get("k"), Some(text));
    }
}

#[test]
fn keys_that_become_one_label_are_joined_in_their_order() {
    let pairs = [("http_method", "b"), ("http.method", "a"), ("http..method", "c")];
    let stamped = of(vec![metric("a", "", gauge(vec![point(1, 1.0, &pairs)]))]);
    assert_eq!(lines(&stamped), [r#"a{http_method="c;a;b", tenant="t"} 1 @1"#]);
}

fn explicit(sum: Option<f64>, bounds: &[f64], counts: &[u64], flags: u32) -> Data {
    let point = HistogramDataPoint {
        time_unix_nano: 1_000_000,
        count: counts.iter().sum(),
        sum,
        bucket_counts: counts.to_vec(),
        explicit_bounds: bounds.to_vec(),
        flags,
        ..HistogramDataPoint::default()
    };
    Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality: CUMULATIVE })
}

#[test]
fn a_histogram_is_cumulative_with_one_infinite_bucket_and_no_sum_where_it_has_none() {
    let whole = of(vec![metric("h", "", explicit(Some(7.5), &[0.5, 1e21], &[1, 2, 3], 0))]);
    let bucket = |le: &str, value: u32| format!(r#"h_bucket{{le="{le}", tenant="t"}} {value} @1"#);
    let rest = [r#"h_count{tenant="t"} 6 @1"#.to_owned(), r#"h_sum{tenant="t"} 7.5 @1"#.to_owned()];
    let buckets = [bucket("+Inf", 6), bucket("0.5", 1), bucket("1000000000000000000000", 3)];
    assert_eq!(lines(&whole), [&buckets[..], &rest].concat());
    let written_out = of(vec![metric("h", "", explicit(None, &[0.5, f64::INFINITY], &[1, 5, 0], 0))]);
    assert_eq!(lines(&written_out), [bucket("+Inf", 6), bucket("0.5", 1), rest[0].clone()]);
    let without_buckets = of(vec![metric("h", "", explicit(Some(7.5), &[], &[], 0))]);
    assert_eq!(lines(&without_buckets).len(), 3);
    let wrong = [(&[1.0, 0.5][..], &[1, 1, 1][..]), (&[1.0], &[1]), (&[f64::NAN], &[1, 1])];
    for (bounds, counts) in wrong {
        let stamped = of(vec![metric("h", "", explicit(None, bounds, counts, 0))]);
        assert_eq!(stamped.rejected.by_reason().collect::<Vec<_>>(), [("invalid_histogram", 1)]);
    }
}

#[test]
fn what_was_not_recorded_is_stale() {
    let no_value = NumberDataPoint { flags: 1, value: None, ..point(1, 0.0, &[]) };
    let stale = of(vec![
        metric("g", "", gauge(vec![no_value])),
        metric("h", "", explicit(Some(1.0), &[0.5], &[1, 1], 1)),
        metric("e", "", exponential(0, None, 1)),
    ]);
    assert_eq!(stale.rejected.total(), 0);
    for series in series(&stale) {
        assert!(series.samples.iter().all(|sample| is_stale_nan(sample.value)), "{}", series.labels);
        for sample in &series.histograms {
            assert!(is_stale_nan(sample.histogram.sum) && sample.histogram.count == 0.0);
            assert!(sample.histogram.positive.spans.is_empty() && sample.histogram.zero_count == 0.0);
        }
    }
}

fn exponential(scale: i32, sum: Option<f64>, flags: u32) -> Data {
    let point = ExponentialHistogramDataPoint {
        time_unix_nano: 1_000_000,
        count: 37,
        sum,
        scale,
        positive: Some(Buckets { offset: 3, bucket_counts: vec![10, 0, 0, 20, 5, 2] }),
        flags,
        ..ExponentialHistogramDataPoint::default()
    };
    Data::ExponentialHistogram(ExponentialHistogram { data_points: vec![point], aggregation_temporality: CUMULATIVE })
}

#[test]
fn an_exponential_histogram_is_a_native_one_of_the_same_buckets() {
    let stamped = of(vec![metric("e", "s", exponential(2, Some(1.5), 0))]);
    let histogram = &series(&stamped)[0].histograms[0].histogram;
    assert_eq!(series(&stamped)[0].labels.metric_name(), "e_seconds");
    assert_eq!((histogram.schema, histogram.count, histogram.sum, histogram.zero_threshold), (2, 37.0, 1.5, 1e-128));
    // The specification's own example, its gap of two written as empty buckets.
    assert_eq!(histogram.positive.spans, [Span { offset: 4, length: 6 }]);
    assert_eq!(histogram.positive.counts, [10.0, 0.0, 0.0, 20.0, 5.0, 2.0]);
    let without_sum = of(vec![metric("e", "", exponential(2, None, 0))]);
    let histogram = &series(&without_sum)[0].histograms[0].histogram;
    assert!(histogram.sum.is_nan() && !is_stale_nan(histogram.sum), "not known, and not the end of the series");
    assert_eq!(histogram.count, 37.0);
    let too_coarse = of(vec![metric("e", "", exponential(-5, Some(1.0), 0))]);
    assert_eq!(too_coarse.rejected.by_reason().collect::<Vec<_>>(), [("invalid_histogram", 1)]);
}

#[test]
fn a_summary_has_its_quantiles_sum_and_count_and_no_unit_twice() {
    let quantile = |quantile, value| ValueAtQuantile { quantile, value };
    let point = SummaryDataPoint {
        time_unix_nano: 1_000_000,
        count: 4,
        sum: 10.0,
        quantile_values: vec![quantile(0.5, 1.0), quantile(1.0, 5.0)],
        ..SummaryDataPoint::default()
    };
    let stamped = of(vec![metric("rpc.seconds", "s", Data::Summary(Summary { data_points: vec![point] }))]);
    assert_eq!(
        lines(&stamped),
        [
            r#"rpc_seconds_count{tenant="t"} 4 @1"#,
            r#"rpc_seconds_sum{tenant="t"} 10 @1"#,
            r#"rpc_seconds{quantile="0.5", tenant="t"} 1 @1"#,
            r#"rpc_seconds{quantile="1", tenant="t"} 5 @1"#,
        ]
    );
}

#[test]
fn a_resource_without_a_service_has_no_target_info_and_one_with_it_keeps_all_other_attributes_there() {
    let one = |pairs: &[(&str, &str)]| {
        let metrics = vec![metric("a", "", gauge(vec![point(1, 1.0, &[])]))];
        lines(&stamped(&metrics_body(vec![resource_metrics(pairs, "", metrics)]), &open("t")))
    };
    assert_eq!(one(&[("host.name", "box")]), [r#"a{tenant="t"} 1 @1"#]);
    assert_eq!(one(&[("service.name", "api")]), [r#"a{job="api", tenant="t"} 1 @1"#]);
    assert_eq!(
        one(&[("service.name", "api"), ("service.namespace", ""), ("host.name", "box"), ("host_name", "other")]),
        [r#"a{job="api", tenant="t"} 1 @1"#, r#"target_info{host_name="box;other", job="api", tenant="t"} 1 @1"#,]
    );
}

#[test]
fn names_keep_their_characters_where_that_is_asked_for_and_the_stamp_keeps_its_place() {
    let pairs = [("http.method", "GET"), ("größe", "1"), ("__name__", "x"), ("tenant", "other")];
    let metrics = vec![metric("http.requests", "{request}", sum(vec![point(1, 7.0, &pairs)], CUMULATIVE))];
    let resource = [("service.name", "api"), ("host.name", "box")];
    let body = metrics_body(vec![resource_metrics(&resource, "lib", metrics)]);
    let origin = Origin { utf8_names: true, ..Origin::default() };
    assert_eq!(
        lines(&stamped_with(&body, &open("t"), origin, &Accumulators::new(0))),
        [
            r#"http.requests_total{exported_tenant="other", größe="1", http.method="GET", job="api", key_name_="x", otel_scope_name="lib", tenant="t"} 7 @1"#,
            r#"target_info{host.name="box", job="api", tenant="t"} 1 @1"#,
        ]
    );
}
