//! OTLP's JSON as the specification's own examples write it, with numbers as strings and as numbers, and fields left
//! out.

#![allow(clippy::unwrap_used)] // the lint's exception for tests does not reach their shared functions

mod shared;

use tenantscope_codec::{DecodeLimits, decode};
use tenantscope_model::{Signal, StampedBatch};
use tenantscope_wire::{BodyForm, Encoding, ReceivedBody};

use crate::shared::{lines, open, series, stamped};

fn json(signal: Signal, text: &'static str) -> ReceivedBody {
    let bytes = text.as_bytes().into();
    ReceivedBody { signal, form: BodyForm::OtlpJson, encoding: Encoding::Identity, bytes }
}

#[test]
fn the_metrics_example() {
    let body = json(Signal::Metrics, include_str!("otlp_json/metrics.json"));
    assert_eq!(decode(&body, &DecodeLimits::default()).unwrap().records(), 6);
    let result = stamped(&body, &open("t"));
    assert_eq!(result.rejected.total(), 0, "{:?}", result.rejected);
    let lines = lines(&result);
    let scope = r#"otel_scope_my_scope_attribute="some scope attribute", otel_scope_name="my.library", otel_scope_version="1.0.0", tenant="t"} "#;
    let counter =
        format!(r#"my_counter_total{{job="my.service", my_counter_attr="some value", {scope}5 @1544712660300"#);
    assert!(lines.contains(&counter), "{lines:#?}");
    let gauge = r#"my_gauge_ratio{a="[\"x\",1]", b="true", d="1.5", i="7", j="8", job="my.service", "#;
    assert!(lines.iter().any(|line| line.starts_with(gauge) && line.contains("} 10 @")), "{lines:#?}");
    let bucket = r#"my_cumulative_histogram_seconds_bucket{job="my.service", le="1.5", "#;
    assert!(lines.iter().any(|line| line.starts_with(bucket) && line.contains("} 1 @")), "{lines:#?}");
    let native = series(&result).iter().find(|series| !series.histograms.is_empty()).unwrap();
    assert_eq!(native.labels.metric_name(), "my_exponential_histogram");
    assert_eq!(native.histograms[0].histogram.positive.counts, [2.0]);
    let exemplar = series(&result).iter().find_map(|series| series.exemplars.first()).unwrap();
    assert_eq!(exemplar.labels.get("trace_id"), Some("5b8efff798038103d269b633813fc60c"));
}

#[test]
fn the_logs_example() {
    let result = stamped(&json(Signal::Logs, include_str!("otlp_json/logs.json")), &open("t"));
    let StampedBatch::Logs(resources) = &result.batch else { panic!("{result:?}") };
    let records = &resources[0].records.scope_logs[0].log_records;
    assert_eq!(records.len(), 3);
    assert_eq!((records[0].trace_id.len(), records[0].span_id.len()), (16, 8));
    assert_eq!(records[0].severity_number, 10);
    assert!(records[1].trace_id.is_empty());
}

#[test]
fn the_spans_example() {
    let result = stamped(&json(Signal::Spans, include_str!("otlp_json/spans.json")), &open("t"));
    let StampedBatch::Spans(resources) = &result.batch else { panic!("{result:?}") };
    let spans = &resources[0].records.scope_spans[0].spans;
    assert_eq!((spans[0].kind, spans[0].events.len(), spans[0].links.len()), (2, 1, 1));
    assert_eq!(spans[0].status.as_ref().unwrap().code, 2);
    assert_eq!(spans[1].start_time_unix_nano, 1_544_712_660_000_000_000);
}

#[test]
fn a_kind_of_value_that_nobody_knows_is_passed_over_and_the_rest_is_taken() {
    let body = json(
        Signal::Logs,
        r#"{"resourceLogs":[{"resource":{"attributes":[
            {"key":"service.name","value":{"stringValue":"api"}},
            {"key":"odd","value":{"newKind":{"a":[1]}}},
            {"key":"list","value":{"arrayValue":{"values":[{"newKind":1},{"intValue":"7","more":2}]}}},
            {"key":"map","value":{"kvlistValue":{"values":[{"key":"k","value":{"newKind":1,"boolValue":true}}]}}},
            {"key":"nan","value":{"doubleValue":"NaN"}}]},
            "scopeLogs":[{"logRecords":[{"timeUnixNano":"1","body":{"newKind":1,"stringValue":"kept"}}]}]}]}"#,
    );
    let result = stamped(&body, &open("t"));
    let StampedBatch::Logs(resources) = &result.batch else { panic!("{result:?}") };
    let said = format!("{:?}", resources[0].records);
    for kept in ["api", "IntValue(7)", "BoolValue(true)", "StringValue(\"NaN\")", "kept"] {
        assert!(said.contains(kept), "{kept} in {said}");
    }
    let wrong = json(Signal::Logs, r#"{"resourceLogs":[{"resource":{"attributes":[{"key":7}]}}]}"#);
    assert!(decode(&wrong, &DecodeLimits::default()).is_err());
}
