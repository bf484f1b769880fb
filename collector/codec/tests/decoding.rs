//! Bodies in every form, right and wrong.

#![allow(clippy::unwrap_used)] // the lint's exception for tests does not reach their shared functions

mod shared;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use proptest::prelude::*;
use prost::Message;
use tenantscope_codec::{Accumulators, Decision, DecodeError, DecodeLimits, Origin, decode, stamp};
use tenantscope_model::Signal;
use tenantscope_wire::{BodyForm, Encoding, ReceivedBody, compress};

use crate::shared::{acme, body, gauge, metric, metrics_body, point, resource, resource_metrics};

fn logs(text: &str) -> ExportLogsServiceRequest {
    let record = LogRecord { severity_text: text.to_owned(), ..LogRecord::default() };
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
    let resource = resource(&[("service.name", "api")]);
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }] }
}

#[test]
fn every_encoding_gives_the_same() {
    let plain = body(Signal::Logs, &logs("INFO"));
    let expected = decode(&plain, &DecodeLimits::default()).unwrap();
    assert_eq!((expected.signal(), expected.records()), (Signal::Logs, 1));
    for encoding in [Encoding::Gzip, Encoding::Zstd] {
        let bytes = Bytes::from(compress(encoding, &plain.bytes).unwrap());
        let packed = ReceivedBody { encoding, bytes, ..plain.clone() };
        assert_eq!(decode(&packed, &DecodeLimits::default()).unwrap(), expected);
    }
}

#[test]
fn json_gives_the_same_as_protobuf() {
    let json =
        br#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"api"}}]},
        "scopeMetrics":[{"scope":{"name":"lib"},"metrics":[{"name":"a","gauge":{"dataPoints":[
        {"timeUnixNano":"5000000","asDouble":1.5,"attributes":[{"key":"k","value":{"stringValue":"v"}}]}]}}]}]}]}"#;
    let body = ReceivedBody {
        signal: Signal::Metrics,
        form: BodyForm::OtlpJson,
        encoding: Encoding::Identity,
        bytes: Bytes::from_static(json),
    };
    let metrics = vec![metric("a", "", gauge(vec![point(5, 1.5, &[("k", "v")])]))];
    let same = metrics_body(vec![resource_metrics(&[("service.name", "api")], "lib", metrics)]);
    let limits = DecodeLimits::default();
    assert_eq!(decode(&body, &limits).unwrap(), decode(&same, &limits).unwrap());
}

#[test]
fn a_bomb_is_refused_at_the_limit() {
    let zeros = vec![0; 8 << 20];
    let limits = DecodeLimits { max_decoded_bytes: 1 << 20 };
    for encoding in [Encoding::Gzip, Encoding::Zstd] {
        let bytes = Bytes::from(compress(encoding, &zeros).unwrap());
        assert!(bytes.len() < 64 << 10);
        let bomb = ReceivedBody { signal: Signal::Logs, form: BodyForm::OtlpProtobuf, encoding, bytes };
        assert_eq!(decode(&bomb, &limits), Err(DecodeError::TooLarge { max_bytes: 1 << 20 }));
    }
    let bytes = Bytes::from(snap::raw::Encoder::new().compress_vec(&zeros).unwrap());
    let bomb =
        ReceivedBody { signal: Signal::Metrics, form: BodyForm::RemoteWriteV1, encoding: Encoding::Snappy, bytes };
    assert_eq!(decode(&bomb, &limits), Err(DecodeError::TooLarge { max_bytes: 1 << 20 }));
}

#[test]
fn many_empty_messages_are_refused_before_they_take_memory() {
    let limits = DecodeLimits { max_decoded_bytes: 1 << 20 };
    let refused = Err(DecodeError::TooMuchMemory { max_bytes: 4 << 20 });
    let empty_resources = [0x0a, 0].repeat(400_000);
    for signal in Signal::ALL {
        let bytes = Bytes::from(empty_resources.clone());
        let body = ReceivedBody { signal, form: BodyForm::OtlpProtobuf, encoding: Encoding::Identity, bytes };
        assert_eq!(decode(&body, &limits), refused, "{signal}");
    }
    let json = format!(r#"{{"resourceLogs":[{}{{}}]}}"#, "{},".repeat(300_000));
    let body = ReceivedBody {
        signal: Signal::Logs,
        form: BodyForm::OtlpJson,
        encoding: Encoding::Identity,
        bytes: json.into(),
    };
    assert_eq!(decode(&body, &limits), refused);
}

#[test]
fn small_points_take_less_than_eight_times_their_encoded_size() {
    let points = (0..1000).map(|i| point(i, 1.5, &[("http.method", "GET"), ("k", "v")])).collect();
    let body = metrics_body(vec![resource_metrics(&[], "lib", vec![metric("a", "", gauge(points))])]);
    let roomy = DecodeLimits { max_decoded_bytes: 2 * body.bytes.len() };
    assert_eq!(decode(&body, &roomy).unwrap().records(), 1000);
}

#[test]
fn nesting_has_an_end() {
    let deep = format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{}{}}}]}}]}}]}}"#,
        r#"{"arrayValue":{"values":["#.repeat(500),
        "]}}".repeat(500)
    );
    let body = ReceivedBody {
        signal: Signal::Logs,
        form: BodyForm::OtlpJson,
        encoding: Encoding::Identity,
        bytes: deep.into(),
    };
    assert!(matches!(decode(&body, &DecodeLimits::default()), Err(DecodeError::Form { .. })));
    // AnyValue{array_value: ArrayValue{values: [AnyValue…]}}, each level two fields with a length.
    let mut value: Vec<u8> = Vec::new();
    for _ in 0..500 {
        for tag in [0x0a, 0x2a] {
            let mut outer = vec![tag];
            prost::encoding::encode_varint(value.len() as u64, &mut outer);
            outer.append(&mut value);
            value = outer;
        }
    }
    let mut record = vec![0x2a];
    prost::encoding::encode_varint(value.len() as u64, &mut record);
    record.append(&mut value);
    for tag in [0x12, 0x12, 0x0a] {
        let mut outer = vec![tag];
        prost::encoding::encode_varint(record.len() as u64, &mut outer);
        outer.append(&mut record);
        record = outer;
    }
    let body = ReceivedBody { form: BodyForm::OtlpProtobuf, bytes: record.into(), ..body };
    assert!(matches!(decode(&body, &DecodeLimits::default()), Err(DecodeError::Form { .. })));
}

#[test]
fn remote_write_carries_metrics_only() {
    let body = ReceivedBody {
        signal: Signal::Logs,
        form: BodyForm::RemoteWriteV1,
        encoding: Encoding::Identity,
        bytes: Bytes::new(),
    };
    assert_eq!(decode(&body, &DecodeLimits::default()), Err(DecodeError::Signal(Signal::Logs)));
}

fn any_body() -> impl Strategy<Value = ReceivedBody> {
    let signal = prop::sample::select(Signal::ALL.to_vec());
    let form = prop::sample::select(vec![
        BodyForm::OtlpProtobuf,
        BodyForm::OtlpJson,
        BodyForm::RemoteWriteV1,
        BodyForm::RemoteWriteV2,
    ]);
    let encoding = prop::sample::select(vec![Encoding::Identity, Encoding::Gzip, Encoding::Zstd, Encoding::Snappy]);
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    (signal, form, encoding, bytes).prop_map(|(signal, form, encoding, bytes)| ReceivedBody {
        signal,
        form,
        encoding,
        bytes: bytes.into(),
    })
}

/// A real body with some of its bytes changed.
fn damaged_body() -> impl Strategy<Value = ReceivedBody> {
    (prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), any::<bool>()).prop_map(
        |(changes, is_metrics)| {
            let metrics = vec![metric("a.b", "ms", gauge(vec![point(5, 1.5, &[("k", "v"), ("tenant", "x")])]))];
            let metrics = metrics_body(vec![resource_metrics(&[("service.name", "api")], "lib", metrics)]);
            let mut body = if is_metrics { metrics } else { body(Signal::Logs, &logs("INFO")) };
            let mut bytes = body.bytes.to_vec();
            for (index, byte) in changes {
                let at = index.index(bytes.len());
                bytes[at] = byte;
            }
            body.bytes = bytes.into();
            body
        },
    )
}

fn stamp_whatever_decodes(body: &ReceivedBody) {
    let limits = DecodeLimits { max_decoded_bytes: 1 << 16 };
    if let Ok(decoded) = decode(body, &limits) {
        let decisions = vec![Decision::Stamp(acme()); decoded.claims().len()];
        let _ = decoded.records();
        let _ = stamp(decoded, &decisions, Origin::default(), &Accumulators::new(10));
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(body in any_body()) {
        stamp_whatever_decodes(&body);
    }

    #[test]
    fn damaged_bodies_never_panic(body in damaged_body()) {
        stamp_whatever_decodes(&body);
    }

    #[test]
    fn what_is_encoded_is_decoded(text in ".{0,40}") {
        let decoded = decode(&body(Signal::Logs, &logs(&text)), &DecodeLimits::default()).unwrap();
        prop_assert_eq!(decoded.records(), 1);
        prop_assert!(logs(&text).encoded_len() > 0);
    }
}
