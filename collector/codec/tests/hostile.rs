//! Whatever comes in, each decoder ends with a batch or a reason, within its memory.

#![allow(clippy::unwrap_used, clippy::panic)] // the lint's exception for tests does not reach their shared functions

mod shared;

use std::io::Write as _;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, Histogram, HistogramDataPoint, exemplar};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use proptest::prelude::*;
use prost::Message as _;
use tenantscope_codec::{Accumulators, Decision, DecodeError, DecodeLimits, Origin, decode, is_known, stamp};
use tenantscope_model::Signal;
use tenantscope_wire::{BodyForm, Encoding, ReceivedBody, compress};

use crate::shared::write::{LabelPair, SampleValue, TimeSeries1};
use crate::shared::{
    acme, attributes, gauge, metric, metrics_body, point, resource, resource_metrics, series, stamped, sum,
};

const FORMS: [BodyForm; 7] = [
    BodyForm::OtlpProtobuf,
    BodyForm::OtlpJson,
    BodyForm::RemoteWriteV1,
    BodyForm::RemoteWriteV2,
    BodyForm::LokiProtobuf,
    BodyForm::LokiJson,
    BodyForm::Firehose,
];
const ENCODINGS: [Encoding; 4] = [Encoding::Identity, Encoding::Gzip, Encoding::Zstd, Encoding::Snappy];
const LIMITS: DecodeLimits = DecodeLimits { max_decoded_bytes: 1 << 20 };

fn packed(encoding: Encoding, bytes: &[u8]) -> Bytes {
    match encoding {
        Encoding::Snappy => snap::raw::Encoder::new().compress_vec(bytes).unwrap().into(),
        _ => compress(encoding, bytes).unwrap().into(),
    }
}

/// Decodes and stamps; tells the reason of a refusal.
fn outcome(body: &ReceivedBody) -> Result<u64, &'static str> {
    let decoded = decode(body, &LIMITS).map_err(|error| error.reason())?;
    let decisions = vec![Decision::Stamp(acme()); decoded.claims().len()];
    let records = decoded.records();
    let origin = Origin { received_at_ms: 1_700_000_000_000, ..Origin::default() };
    let stamped = stamp(decoded, &decisions, origin, &Accumulators::new(100));
    Ok(records - stamped.rejected.total().min(records))
}

/// A whole body of each form and signal that there is, without compression.
fn samples() -> Vec<(BodyForm, Signal, Vec<u8>)> {
    let points = || vec![point(1_000, 1.5, &[("k", "v"), ("http.method", "GET")])];
    let metrics = metrics_body(vec![resource_metrics(
        &[("service.name", "api"), ("tenant.id", "x")],
        "lib",
        vec![metric("a", "s", gauge(points())), metric("b", "By", sum(points(), 1))],
    )]);
    let record = LogRecord { attributes: attributes(&[("k", "v")]), time_unix_nano: 7, ..LogRecord::default() };
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
    let logs = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { resource: resource(&[("a", "b")]), scope_logs, ..ResourceLogs::default() }],
    };
    let span = Span { trace_id: vec![1; 16], span_id: vec![2; 8], name: "GET".into(), ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let spans = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource: resource(&[]), scope_spans, ..ResourceSpans::default() }],
    };
    let delivery = |data: &str| format!(r#"{{"requestId":"r","timestamp":1,"records":[{{"data":"{data}"}}]}}"#);
    // A datapoint of a metric stream, and a subscription's message.
    let datum =
        "eyJuYW1lc3BhY2UiOiJBV1MvU1FTIiwibWV0cmljX25hbWUiOiJTZW50IiwidGltZXN0YW1wIjoxLCJ2YWx1ZSI6eyJzdW0iOjF9fQ==";
    let message =
        "eyJtZXNzYWdlVHlwZSI6IkRBVEFfTUVTU0FHRSIsImxvZ0V2ZW50cyI6W3sidGltZXN0YW1wIjoxLCJtZXNzYWdlIjoieCJ9XX0=";
    let pair = |name: &str, value: &str| LabelPair { name: name.into(), value: value.into() };
    let sample = SampleValue { value: 1.0, timestamp: 5, start_timestamp: 0 };
    let write = TimeSeries1 { labels: vec![pair("__name__", "up"), pair("job", "a")], samples: vec![sample] };
    let write = [vec![0x0a], write.encode_length_delimited_to_vec()].concat();
    // PushRequest{streams: [{a="b"} x]}
    let push = [&[0x0a, 14, 0x0a, 7][..], b"{a=\"b\"}", &[0x12, 3, 0x12, 1], b"x"].concat();
    vec![
        (BodyForm::OtlpProtobuf, Signal::Metrics, metrics.bytes.to_vec()),
        (BodyForm::OtlpProtobuf, Signal::Logs, logs.encode_to_vec()),
        (BodyForm::OtlpProtobuf, Signal::Spans, spans.encode_to_vec()),
        (BodyForm::OtlpJson, Signal::Metrics, include_bytes!("otlp_json/metrics.json").to_vec()),
        (BodyForm::OtlpJson, Signal::Logs, include_bytes!("otlp_json/logs.json").to_vec()),
        (BodyForm::OtlpJson, Signal::Spans, include_bytes!("otlp_json/spans.json").to_vec()),
        (BodyForm::RemoteWriteV1, Signal::Metrics, write),
        (BodyForm::LokiProtobuf, Signal::Logs, push),
        (
            BodyForm::LokiJson,
            Signal::Logs,
            br#"{"streams":[{"stream":{"a":"b"},"values":[["1","x",{"k":"v"}]]}]}"#.to_vec(),
        ),
        (BodyForm::Firehose, Signal::Metrics, delivery(datum).into_bytes()),
        (BodyForm::Firehose, Signal::Logs, delivery(message).into_bytes()),
    ]
}

fn encoding_of(form: BodyForm) -> Encoding {
    if is_known(form, Encoding::Identity) { Encoding::Identity } else { Encoding::Snappy }
}

fn body(form: BodyForm, signal: Signal, plain: &[u8]) -> ReceivedBody {
    let encoding = encoding_of(form);
    ReceivedBody { signal, form, encoding, bytes: packed(encoding, plain) }
}

#[test]
fn the_samples_are_right() {
    for (form, signal, plain) in samples() {
        let outcome = outcome(&body(form, signal, &plain));
        assert!(outcome.is_ok_and(|stored| stored > 0), "{form:?} {signal} {outcome:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_a_batch_or_a_reason(
        bytes in prop::collection::vec(any::<u8>(), 0..400), form in 0usize..7, encoding in 0usize..4, signal in 0usize..3,
    ) {
        let (form, encoding, signal) = (FORMS[form], ENCODINGS[encoding], Signal::ALL[signal]);
        let _ = outcome(&ReceivedBody { signal, form, encoding, bytes: bytes.clone().into() });
        let _ = outcome(&ReceivedBody { signal, form, encoding, bytes: packed(encoding, &bytes) });
    }

    #[test]
    fn a_body_with_changed_cut_or_repeated_parts_is_a_batch_or_a_reason(
        sample in 0usize..11, at in any::<prop::sample::Index>(), to in any::<u8>(), length in 0usize..40,
        how in 0u8..4,
    ) {
        let (form, signal, mut plain) = samples().swap_remove(sample);
        let at = at.index(plain.len());
        let end = (at + length).min(plain.len());
        match how {
            0 => plain[at] = to,
            1 => plain.truncate(at),
            2 => { let part = plain[at..end].to_vec(); plain.splice(at..at, part); }
            _ => { plain.drain(at..end); }
        }
        let _ = outcome(&body(form, signal, &plain));
    }

    #[test]
    fn any_times_and_numbers_are_taken_or_rejected(
        t_ns: u64, start_ns: u64, value: f64, flags: u32, temporality in 0i32..4, key in ".{0,20}", text in ".{0,40}",
    ) {
        let mut point = point(0, value, &[(&key, &text)]);
        (point.time_unix_nano, point.start_time_unix_nano, point.flags) = (t_ns, start_ns, flags);
        let metrics = vec![metric(&key, &text, sum(vec![point.clone(), point.clone()], temporality)), metric("g", &text, gauge(vec![point]))];
        let resource = resource_metrics(&[(&key, &text), ("service.name", &text)], &text, metrics);
        prop_assert!(outcome(&metrics_body(vec![resource])).is_ok());
    }
}

/// `levels` messages within one another, each in the field of that key.
fn nested(keys: &[u8], levels: usize) -> Vec<u8> {
    // From the inside out, so that every length is known; written backwards, since it grows at the front.
    let mut reversed: Vec<u8> = Vec::new();
    for level in 0..levels {
        let mut head = vec![keys[level % keys.len()]];
        prost::encoding::encode_varint(reversed.len() as u64, &mut head);
        reversed.extend(head.iter().rev());
    }
    reversed.reverse();
    reversed
}

#[test]
fn ten_thousand_levels_are_refused_in_every_form() {
    // AnyValue within ArrayValue within AnyValue, under resource, scope and record.
    let mut deep = nested(&[0x0a, 0x2a], 10_000);
    for key in [0x2a, 0x12, 0x12, 0x0a] {
        let mut outer = vec![key];
        prost::encoding::encode_varint(deep.len() as u64, &mut outer);
        outer.append(&mut deep);
        deep = outer;
    }
    assert_eq!(outcome(&body(BodyForm::OtlpProtobuf, Signal::Logs, &deep)), Err("malformed"));
    for (form, signal) in [(BodyForm::OtlpProtobuf, Signal::Metrics), (BodyForm::OtlpProtobuf, Signal::Spans)] {
        let _ = outcome(&body(form, signal, &nested(&[0x0a, 0x12, 0x2a], 10_000)));
    }
    for form in [BodyForm::RemoteWriteV1, BodyForm::RemoteWriteV2] {
        let _ = outcome(&body(form, Signal::Metrics, &nested(&[0x0a], 10_000)));
    }
    let _ = outcome(&body(BodyForm::LokiProtobuf, Signal::Logs, &nested(&[0x0a, 0x12], 10_000)));
    let brackets = "[".repeat(10_000) + &"]".repeat(10_000);
    // What nobody knows is passed over without going deeper.
    let unknown = format!(r#"{{"unknown":{brackets}}}"#);
    assert_eq!(outcome(&body(BodyForm::OtlpJson, Signal::Logs, unknown.as_bytes())), Ok(0));
    for (form, signal, json) in [
        (BodyForm::OtlpJson, Signal::Logs, format!(r#"{{"resourceLogs":{brackets}}}"#)),
        (BodyForm::LokiJson, Signal::Logs, format!(r#"{{"streams":[{{"stream":{{"a":{brackets}}}}}]}}"#)),
        (BodyForm::Firehose, Signal::Metrics, format!(r#"{{"requestId":"r","records":{brackets}}}"#)),
    ] {
        assert!(matches!(outcome(&body(form, signal, json.as_bytes())), Err("malformed" | "too_large")), "{form:?}");
    }
}

#[test]
fn a_million_empty_attributes_are_refused_before_they_take_memory() {
    let million = vec![KeyValue::default(); 1_000_000];
    let logs = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(opentelemetry_proto::tonic::resource::v1::Resource {
                attributes: million,
                ..Default::default()
            }),
            ..ResourceLogs::default()
        }],
    };
    let plain = logs.encode_to_vec();
    let roomy = DecodeLimits { max_decoded_bytes: 4 << 20 };
    let body = body(BodyForm::OtlpProtobuf, Signal::Logs, &plain);
    assert_eq!(decode(&body, &roomy).err(), Some(DecodeError::TooMuchMemory { max_bytes: 16 << 20 }));
}

#[test]
fn lengths_that_lie_are_malformed() {
    for (form, signal, plain) in samples()
        .into_iter()
        .filter(|(form, ..)| encoding_of(*form) == Encoding::Snappy || *form == BodyForm::OtlpProtobuf)
    {
        for lie in [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0xff; 10], &[0x7f], &[0x80; 11]] {
            let lying = [&[0x0a][..], lie, &plain].concat();
            assert_eq!(outcome(&body(form, signal, &lying)), Err("malformed"), "{form:?} {signal} {lie:?}");
        }
    }
    // Snappy's own length, of 4 GiB.
    let lying = [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0; 20]].concat();
    for form in [BodyForm::RemoteWriteV1, BodyForm::RemoteWriteV2] {
        let body =
            ReceivedBody { signal: Signal::Metrics, form, encoding: Encoding::Snappy, bytes: lying.clone().into() };
        assert!(matches!(outcome(&body), Err("too_large" | "compression")));
    }
}

#[test]
fn bombs_end_at_the_limit_in_every_form_and_encoding() {
    let zeros = vec![b' '; 4 << 20];
    for form in FORMS {
        for encoding in ENCODINGS.into_iter().filter(|encoding| is_known(form, *encoding)) {
            let bytes = if encoding == Encoding::Identity { zeros.clone().into() } else { packed(encoding, &zeros) };
            let signal = match form {
                BodyForm::LokiProtobuf | BodyForm::LokiJson => Signal::Logs,
                _ => Signal::Metrics,
            };
            assert_eq!(
                outcome(&ReceivedBody { signal, form, encoding, bytes }),
                Err("too_large"),
                "{form:?} {encoding}"
            );
        }
    }
    // Gzip members one behind another, each small.
    let member = compress(Encoding::Gzip, &vec![b' '; 64 << 10]).unwrap();
    let mut many = Vec::new();
    (0..200).for_each(|_| many.write_all(&member).unwrap());
    let form = BodyForm::OtlpJson;
    let body = ReceivedBody { signal: Signal::Logs, form, encoding: Encoding::Gzip, bytes: many.into() };
    assert_eq!(outcome(&body), Err("too_large"));
}

#[test]
fn labels_of_a_mebibyte_and_with_control_characters_are_taken_as_they_are_or_refused() {
    let long = "v".repeat(1 << 20);
    for value in [long.as_str(), "\u{0}\u{1}\u{7f}\u{202e}\n", "аdmin", "\u{feff}"] {
        let metrics = vec![metric("a", "", gauge(vec![point(1, 1.0, &[("k", value)])]))];
        let body = metrics_body(vec![resource_metrics(&[("tenant.id", value)], "", metrics)]);
        let outcome = outcome(&body);
        assert!(outcome == Ok(1) || outcome == Err("too_large"), "{outcome:?}");
    }
    let long_name = format!("a{}", ".b".repeat(1 << 18));
    let metrics = vec![metric(&long_name, "", gauge(vec![point(1, 1.0, &[(&long_name, "v")])]))];
    let _ = outcome(&metrics_body(vec![resource_metrics(&[], "", metrics)]));
    // A string that is no UTF-8 is no string of protobuf.
    let mut plain = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { resource: resource(&[("key", "valu")]), ..ResourceLogs::default() }],
    }
    .encode_to_vec();
    let at = plain.windows(4).position(|window| window == b"valu").unwrap();
    plain[at] = 0xff;
    assert_eq!(outcome(&body(BodyForm::OtlpProtobuf, Signal::Logs, &plain)), Err("malformed"));
}

#[test]
fn json_with_doubled_keys_odd_numbers_and_unknown_fields_says_one_thing_or_is_refused() {
    let point = |fields: &str| {
        let json = format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"a","gauge":{{"dataPoints":[{{{fields}}}]}}}}]}}]}}]}}"#
        );
        outcome(&body(BodyForm::OtlpJson, Signal::Metrics, json.as_bytes()))
    };
    assert_eq!(point(r#""timeUnixNano":"1","asDouble":1.5"#), Ok(1));
    assert_eq!(point(r#""timeUnixNano":1,"asInt":"9223372036854775807","newField":{"x":[1]}"#), Ok(1));
    assert_eq!(point(r#""timeUnixNano":"18446744073709551615","asInt":-9223372036854775808"#), Ok(1));
    assert_eq!(point(r#""timeUnixNano":"1","asDouble":"NaN""#), Ok(1));
    assert_eq!(point(r#""timeUnixNano":"1","asDouble":"-Infinity""#), Ok(1));
    assert_eq!(point(r#""timeUnixNano":"1","asDouble":"1.5e3""#), Ok(1));
    // Of a point whose value is none, the rest is taken.
    assert_eq!(point(r#""timeUnixNano":"1","asInt":"9223372036854775808""#), Ok(0));
    assert_eq!(point(r#""timeUnixNano":"1","asDouble":null"#), Ok(0));
    for wrong in [
        r#""timeUnixNano":"abc","asInt":1"#,
        r#""timeUnixNano":"18446744073709551616","asInt":1"#,
        r#""timeUnixNano":"-1","asInt":1"#,
        r#""timeUnixNano":"1","timeUnixNano":"2","asInt":1"#,
        r#""timeUnixNano":"1","asDouble":"one""#,
    ] {
        assert_eq!(point(wrong), Err("malformed"), "{wrong}");
    }
}

/// What a scope or a point says once stands in the labels of each series.
#[test]
fn a_small_body_of_many_wide_series_is_refused_before_they_are_made() {
    let buckets_of = |buckets: usize, pairs: &[(&str, &str)]| HistogramDataPoint {
        attributes: attributes(pairs),
        bucket_counts: vec![0; buckets + 1],
        explicit_bounds: (0..buckets).map(|bound| bound as f64).collect(),
        ..HistogramDataPoint::default()
    };
    let histogram = |data_points: Vec<HistogramDataPoint>| {
        metric("h", "", Data::Histogram(Histogram { data_points, aggregation_temporality: 2 }))
    };
    let names: Vec<String> = (0..200).map(|number| format!("a{number}")).collect();
    let wide: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    let too_wide = metrics_body(vec![resource_metrics(&[], "", vec![histogram(vec![buckets_of(10_000, &wide)])])]);
    assert!(too_wide.bytes.len() < 200_000);
    assert_eq!(outcome(&too_wide), Err("too_large"));
    let usual =
        metrics_body(vec![resource_metrics(&[], "lib", vec![histogram(vec![buckets_of(15, &wide[..10]); 1000])])]);
    assert_eq!(outcome(&usual), Ok(1000));
    // A value of a point is joined to its scope's.
    let said_twice = vec![point(1, 1.0, &[("otel.scope.name", "v")]); 2_000];
    let long_name = "n".repeat(100_000);
    let joined = metrics_body(vec![resource_metrics(&[], &long_name, vec![metric("g", "", gauge(said_twice))])]);
    assert_eq!(outcome(&joined), Err("too_large"));
}

#[test]
fn many_exemplars_find_their_buckets_at_once() {
    const BUCKETS: usize = 50_000;
    let bounds = || (0..BUCKETS).map(|bound| bound as f64);
    let exemplar = |value| Exemplar { value: Some(exemplar::Value::AsDouble(value)), ..Exemplar::default() };
    let point = HistogramDataPoint {
        bucket_counts: vec![1; BUCKETS + 1],
        explicit_bounds: bounds().collect(),
        exemplars: bounds().rev().chain([f64::NAN, 1e9]).map(exemplar).collect(),
        ..HistogramDataPoint::default()
    };
    let histogram = Histogram { data_points: vec![point], aggregation_temporality: 2 };
    let body = metrics_body(vec![resource_metrics(&[], "", vec![metric("h", "", Data::Histogram(histogram))])]);
    let began = std::time::Instant::now();
    let stamped = stamped(&body, &acme());
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "one look at each, not at each for each bucket");
    for series in series(&stamped).iter().filter(|series| series.labels.get("le").is_some()) {
        let values: Vec<f64> = series.exemplars.iter().map(|exemplar| exemplar.value).collect();
        match series.labels.get("le") {
            Some("+Inf") => assert!(values[0] == 1e9 && values[1].is_nan() && values.len() == 2),
            le => assert_eq!(Some(values), le.map(|le| vec![le.parse().unwrap()])),
        }
    }
}

#[test]
fn an_error_does_not_give_a_body_back() {
    let long = format!(r#"{{"resourceLogs":"{}ä"}}"#, "ä".repeat(100_000));
    let decoded = decode(&body(BodyForm::OtlpJson, Signal::Logs, long.as_bytes()), &LIMITS);
    let message = decoded.unwrap_err().to_string();
    assert!(message.len() < 400 && message.contains("invalid type"), "{message}");
}
