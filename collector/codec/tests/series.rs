//! OTLP metrics as series.

#![allow(clippy::unwrap_used)] // the lint's exception for tests does not reach their shared functions

mod shared;

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Histogram, HistogramDataPoint, NumberDataPoint,
    Summary, SummaryDataPoint, exemplar,
};
use tenantscope_codec::{Accumulators, CLOUDWATCH_SCOPE, Origin};
use tenantscope_model::{Cadence, MetricKind, is_stale_nan};

use crate::shared::{
    acme, gauge, lines, metadata, metric, metrics_body, open, point, resource_metrics, series, stamped, stamped_with,
    sum,
};

const SERVICE: [(&str, &str); 4] =
    [("service.namespace", "shop"), ("service.name", "api"), ("service.instance.id", "i-1"), ("host.name", "box")];

#[test]
fn names_labels_and_target_info_follow_the_compatibility_rules() {
    let metrics = vec![
        metric("http.requests", "{request}", sum(vec![point(1000, 7.0, &[("http.method", "GET")])], 2)),
        metric("queue.usage", "1", gauge(vec![point(2000, 0.5, &[])])),
    ];
    let stamped = stamped(&metrics_body(vec![resource_metrics(&SERVICE, "lib", metrics)]), &acme());
    let common = r#"instance="i-1", job="shop/api""#;
    let tail = r#"otel_scope_name="lib", region="eu-west-1", tenant="acme"}"#;
    assert_eq!(
        lines(&stamped),
        [
            format!(r#"http_requests_total{{account_id="111122223333", http_method="GET", {common}, {tail} 7 @1000"#),
            format!(r#"queue_usage_ratio{{account_id="111122223333", {common}, {tail} 0.5 @2000"#),
            format!(
                r#"target_info{{account_id="111122223333", cloud_provider="aws", host_name="box", {common}, region="eu-west-1", tenant="acme"}} 1 @2000"#
            ),
        ]
    );
    let kinds: Vec<_> = metadata(&stamped).iter().map(|m| (m.family.to_string(), m.metadata.kind)).collect();
    assert_eq!(
        kinds,
        [
            ("http_requests_total".to_owned(), MetricKind::Counter),
            ("queue_usage_ratio".to_owned(), MetricKind::Gauge),
            ("target_info".to_owned(), MetricKind::Info),
        ]
    );
    assert_eq!((stamped.rejected.total(), stamped.moved_claims), (0, 0));
}

#[test]
fn cloudwatch_names_pass_with_their_cadence_from_agents_only() {
    let attributes = [("dimension_FunctionName", "checkout")];
    let mut errors = metric("aws_lambda_errors_sum", "Count", gauge(vec![point(60_000, 3.0, &attributes)]));
    let number = |key: &str, value: i64| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::IntValue(value)) }),
        ..KeyValue::default()
    };
    errors.metadata = vec![number("tenantscope.cadence_ms", 300_000), number("tenantscope.delay_ms", i64::MAX)];
    let resource = [("cloud.region", "eu-west-1"), ("cloud.account.id", "111122223333")];
    let body = metrics_body(vec![resource_metrics(&resource, CLOUDWATCH_SCOPE, vec![errors])]);
    let from =
        |from_agent| stamped_with(&body, &acme(), Origin { from_agent, ..Origin::default() }, &Accumulators::new(0));
    assert_eq!(
        lines(&from(true)),
        [
            r#"aws_lambda_errors_sum{account_id="111122223333", dimension_FunctionName="checkout", region="eu-west-1", tenant="acme"} 3 @60000"#
        ]
    );
    assert_eq!(series(&from(true))[0].cadence, Some(Cadence::capped(300_000, Cadence::MAX_MS)));
    assert_eq!(series(&from(false))[0].cadence, None);
}

#[test]
fn claims_in_a_points_attributes_never_become_the_stamp() {
    let claims = [("tenant", "other"), ("account_id", "111122223333"), ("region", "us-east-1"), ("__name__", "x")];
    let metrics = vec![metric("a", "", gauge(vec![point(1, 1.0, &claims)]))];
    let body = metrics_body(vec![resource_metrics(&[("tenant.id", "other")], "", metrics)]);
    let result = stamped(&body, &acme());
    assert_eq!(
        lines(&result),
        [
            r#"a{account_id="111122223333", exported_region="us-east-1", exported_tenant="other", key_name_="x", region="eu-west-1", tenant="acme"} 1 @1"#
        ]
    );
    assert_eq!(result.moved_claims, 3);
    let in_open_mode = stamped(&body, &open("anonymous"));
    assert_eq!(
        lines(&in_open_mode),
        [
            r#"a{exported_account_id="111122223333", exported_tenant="other", key_name_="x", region="us-east-1", tenant="anonymous"} 1 @1"#
        ]
    );
}

/// The points count since `start_ms`.
fn since(start_ms: u64, mut points: Vec<NumberDataPoint>) -> Vec<NumberDataPoint> {
    points.iter_mut().for_each(|point| point.start_time_unix_nano = start_ms * 1_000_000);
    points
}

#[test]
fn what_counts_has_the_start_of_its_counting() {
    let metrics = vec![
        metric("hits", "", sum(since(500, vec![point(2_000, 7.0, &[])]), 2)),
        metric("unknown", "", sum(since(2_000, vec![point(2_000, 7.0, &[])]), 2)),
        metric("level", "", gauge(since(500, vec![point(2_000, 7.0, &[])]))),
    ];
    let result = stamped(&metrics_body(vec![resource_metrics(&[], "", metrics)]), &open("t"));
    let starts = |name: &str| {
        let of_name = series(&result).iter().find(|series| series.labels.metric_name() == name).unwrap();
        of_name.starts.samples_ms.clone()
    };
    assert_eq!((starts("hits_total"), starts("unknown_total"), starts("level")), (vec![500], vec![], vec![]));
}

#[test]
fn a_total_of_deltas_counts_since_the_first_of_them() {
    let mut accumulators = Accumulators::new(10);
    for (start_ms, t_ms, total) in [(1_000, 2_000, 1.0), (2_000, 3_000, 2.0), (3_000, 4_000, 3.0)] {
        let delta = metric("hits", "", sum(since(start_ms, vec![point(t_ms, 1.0, &[])]), 1));
        let body = metrics_body(vec![resource_metrics(&[], "", vec![delta])]);
        let result = stamped_with(&body, &open("t"), Origin::default(), &accumulators);
        let [hits] = series(&result) else { panic!("{result:?}") };
        assert_eq!((hits.samples[0].value, hits.starts.samples_ms.as_slice()), (total, [1_000].as_slice()));
        accumulators.commit(result.deltas);
        accumulators = Accumulators::from_bytes(accumulators.to_bytes().into(), 10).unwrap();
    }
}

#[test]
fn points_too_far_ahead_do_not_count() {
    let points = vec![point(1_000, 1.0, &[]), point(9_000, 1.0, &[("k", "v")])];
    let body = metrics_body(vec![resource_metrics(&[], "", vec![metric("hits", "", sum(points, 1))])]);
    let origin = Origin { latest_ms: Some(5_000), ..Origin::default() };
    let result = stamped_with(&body, &open("t"), origin, &Accumulators::new(10));
    assert_eq!(result.rejected.by_reason().collect::<Vec<_>>(), [("too_far_ahead", 1)]);
    assert_eq!(series(&result).len(), 1);
}

fn histogram(t_ms: u64, counts: &[u64], temporality: i32, flags: u32) -> Data {
    let exemplar = Exemplar {
        value: Some(exemplar::Value::AsDouble(1.5)),
        time_unix_nano: t_ms * 1_000_000,
        trace_id: vec![0xab; 16],
        ..Exemplar::default()
    };
    let point = HistogramDataPoint {
        time_unix_nano: t_ms * 1_000_000,
        count: counts.iter().sum(),
        sum: Some(4.5),
        bucket_counts: counts.to_vec(),
        explicit_bounds: vec![0.005, 2.0],
        exemplars: vec![exemplar],
        flags,
        ..HistogramDataPoint::default()
    };
    Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality: temporality })
}

#[test]
fn a_classic_histogram_becomes_buckets_sum_and_count() {
    let body = metrics_body(vec![resource_metrics(&[], "", vec![metric("d", "s", histogram(9, &[1, 2, 3], 2, 0))])]);
    let result = stamped(&body, &open("t"));
    assert_eq!(
        lines(&result),
        [
            r#"d_seconds_bucket{le="+Inf", tenant="t"} 6 @9"#,
            r#"d_seconds_bucket{le="0.005", tenant="t"} 1 @9"#,
            r#"d_seconds_bucket{le="2", tenant="t"} 3 @9"#,
            r#"d_seconds_count{tenant="t"} 6 @9"#,
            r#"d_seconds_sum{tenant="t"} 4.5 @9"#,
        ]
    );
    let with_exemplars: Vec<_> = series(&result).iter().filter(|series| !series.exemplars.is_empty()).collect();
    assert_eq!(with_exemplars.len(), 1);
    assert_eq!(with_exemplars[0].labels.get("le"), Some("2"));
    assert_eq!(with_exemplars[0].exemplars[0].labels.get("trace_id"), Some("ab".repeat(16).as_str()));
    assert_eq!(metadata(&result)[0].family.as_ref(), "d_seconds");
}

#[test]
fn no_recorded_value_ends_every_series_of_the_point() {
    let body = metrics_body(vec![resource_metrics(&[], "", vec![metric("d", "s", histogram(9, &[0, 0, 0], 1, 1))])]);
    let result = stamped(&body, &open("t"));
    assert_eq!(series(&result).len(), 5);
    assert!(series(&result).iter().all(|series| is_stale_nan(series.samples[0].value)));
    assert!(result.deltas.is_empty());
}

#[test]
fn an_exponential_histogram_becomes_native() {
    let data_point = ExponentialHistogramDataPoint {
        time_unix_nano: 9_000_000,
        count: 6,
        sum: Some(3.0),
        scale: 2,
        zero_count: 1,
        positive: Some(Buckets { offset: 3, bucket_counts: vec![2, 3] }),
        ..ExponentialHistogramDataPoint::default()
    };
    let data = ExponentialHistogram { data_points: vec![data_point], aggregation_temporality: 2 };
    let metrics = vec![metric("d", "s", Data::ExponentialHistogram(data))];
    let result = stamped(&metrics_body(vec![resource_metrics(&[], "", metrics)]), &open("t"));
    let [only] = series(&result) else { panic!("{result:?}") };
    let histogram = &only.histograms[0].histogram;
    assert_eq!(only.labels.to_string(), r#"d_seconds{tenant="t"}"#);
    assert_eq!((histogram.schema, histogram.count, histogram.zero_count), (2, 6.0, 1.0));
    assert_eq!(histogram.positive.spans[0].offset, 4);
    assert_eq!(histogram.positive.counts, [2.0, 3.0]);
}

#[test]
fn a_summary_becomes_quantiles_sum_and_count() {
    let at = |quantile, value| ValueAtQuantile { quantile, value };
    let data_point = SummaryDataPoint {
        time_unix_nano: 9_000_000,
        count: 4,
        sum: 8.0,
        quantile_values: vec![at(0.5, 1.0), at(1.0, 2.0)],
        ..SummaryDataPoint::default()
    };
    let metrics = vec![metric("d", "", Data::Summary(Summary { data_points: vec![data_point] }))];
    let result = stamped(&metrics_body(vec![resource_metrics(&[], "", metrics)]), &open("t"));
    assert_eq!(
        lines(&result),
        [
            r#"d_count{tenant="t"} 4 @9"#,
            r#"d_sum{tenant="t"} 8 @9"#,
            r#"d{quantile="0.5", tenant="t"} 1 @9"#,
            r#"d{quantile="1", tenant="t"} 2 @9"#,
        ]
    );
}

#[test]
fn deltas_add_up_over_batches_and_survive_a_restart() {
    let mut accumulators = Accumulators::new(10);
    let mut send = |t_ms: u64, value: f64| {
        let metrics = vec![
            metric("c", "", sum(vec![point(t_ms, value, &[])], 1)),
            metric("h", "", histogram(t_ms, &[1, 1, 0], 1, 0)),
        ];
        let body = metrics_body(vec![resource_metrics(&[], "", metrics)]);
        let result = stamped_with(&body, &open("t"), Origin::default(), &accumulators);
        accumulators.commit(result.deltas.clone());
        accumulators = Accumulators::from_bytes(Bytes::from(accumulators.to_bytes()), 10).unwrap();
        result
    };
    send(10, 2.0);
    let second = lines(&send(20, 3.0));
    assert!(second.contains(&r#"c_total{tenant="t"} 5 @20"#.to_owned()), "{second:?}");
    assert!(second.contains(&r#"h_bucket{le="2", tenant="t"} 4 @20"#.to_owned()), "{second:?}");
    assert!(second.contains(&r#"h_sum{tenant="t"} 9 @20"#.to_owned()), "{second:?}");
    let repeated = send(20, 3.0);
    assert_eq!(repeated.rejected.by_reason().collect::<Vec<_>>(), [("delta_out_of_order", 2)]);
    assert_eq!(repeated.rejected.message(), "delta_out_of_order: 2");
}

#[test]
fn accumulators_are_bounded_and_forget() {
    let mut accumulators = Accumulators::new(1);
    let points = vec![point(10, 1.0, &[("k", "a")]), point(10, 1.0, &[("k", "b")])];
    let body = metrics_body(vec![resource_metrics(&[], "", vec![metric("c", "", sum(points, 1))])]);
    let result = stamped_with(&body, &open("t"), Origin::default(), &accumulators);
    assert_eq!(result.rejected.by_reason().collect::<Vec<_>>(), [("delta_series_limit", 1)]);
    accumulators.commit(result.deltas);
    assert_eq!(accumulators.len(), 1);
    accumulators.expire(11);
    assert!(accumulators.is_empty());
}

#[test]
fn a_point_with_too_many_attributes_is_rejected_alone() {
    let keys: Vec<String> = (0..300).map(|i| format!("k{i}")).collect();
    let many: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "v")).collect();
    let metrics = vec![metric("a", "", gauge(vec![point(1, 1.0, &many), point(1, 2.0, &[])]))];
    let result = stamped(&metrics_body(vec![resource_metrics(&[], "", metrics)]), &open("t"));
    assert_eq!(lines(&result), [r#"a{tenant="t"} 2 @1"#]);
    assert_eq!(result.rejected.by_reason().collect::<Vec<_>>(), [("too_many_labels", 1)]);
}

#[test]
fn keys_that_become_one_name_are_joined() {
    let metrics = vec![metric("a", "", gauge(vec![point(1, 1.0, &[("a.b", "2"), ("a-b", "1")])]))];
    let result = stamped(&metrics_body(vec![resource_metrics(&[], "", metrics)]), &open("t"));
    assert_eq!(lines(&result), [r#"a{a_b="1;2", tenant="t"} 1 @1"#]);
}
