//! Every way in under a fuzzer: what a body of any bytes must not do.
//!
//! Each target's input is a body as it is once decompressed (or what a delivery wraps); `compressed` takes the
//! compression itself, `record` what a journal may give back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod judged;
mod shared;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use tenantscope_codec::{Accumulators, Record};
use tenantscope_fuzz::{Counting, fuzz, peak_bytes};
use tenantscope_model::Signal::{self, Logs, Metrics, Spans};
use tenantscope_wire::{BodyForm, Encoding, ReceivedBody, compress};

use crate::judged::{judge, judge_replay};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Snappy, where the form has no other encoding.
fn judge_plain(signal: Signal, form: BodyForm, plain: &[u8]) {
    let (encoding, bytes) = match form {
        BodyForm::RemoteWriteV1 | BodyForm::RemoteWriteV2 | BodyForm::LokiProtobuf => {
            (Encoding::Snappy, snap::raw::Encoder::new().compress_vec(plain).unwrap().into())
        }
        _ => (Encoding::Identity, Bytes::copy_from_slice(plain)),
    };
    judge(&ReceivedBody { signal, form, encoding, bytes });
}

/// A delivery with this one record.
fn judge_delivered(signal: Signal, data: &[u8]) {
    let data = BASE64.encode(data);
    let delivery = format!(r#"{{"requestId":"r","timestamp":1700000000000,"records":[{{"data":"{data}"}}]}}"#);
    judge_plain(signal, BodyForm::Firehose, delivery.as_bytes());
}

#[test]
fn otlp_metrics() {
    fuzz!("otlp_metrics", |input| judge_plain(Metrics, BodyForm::OtlpProtobuf, input));
}

#[test]
fn otlp_logs() {
    fuzz!("otlp_logs", |input| judge_plain(Logs, BodyForm::OtlpProtobuf, input));
}

#[test]
fn otlp_spans() {
    fuzz!("otlp_spans", |input| judge_plain(Spans, BodyForm::OtlpProtobuf, input));
}

#[test]
fn otlp_json_metrics() {
    fuzz!("otlp_json_metrics", |input| judge_plain(Metrics, BodyForm::OtlpJson, input));
}

#[test]
fn otlp_json_logs() {
    fuzz!("otlp_json_logs", |input| judge_plain(Logs, BodyForm::OtlpJson, input));
}

#[test]
fn otlp_json_spans() {
    fuzz!("otlp_json_spans", |input| judge_plain(Spans, BodyForm::OtlpJson, input));
}

#[test]
fn remote_write_1() {
    fuzz!("remote_write_1", |input| judge_plain(Metrics, BodyForm::RemoteWriteV1, input));
}

#[test]
fn remote_write_2() {
    fuzz!("remote_write_2", |input| judge_plain(Metrics, BodyForm::RemoteWriteV2, input));
}

#[test]
fn loki_protobuf() {
    fuzz!("loki_protobuf", |input| judge_plain(Logs, BodyForm::LokiProtobuf, input));
}

#[test]
fn loki_json() {
    fuzz!("loki_json", |input| judge_plain(Logs, BodyForm::LokiJson, input));
}

#[test]
fn firehose_delivery() {
    fuzz!("firehose_delivery", |input| {
        judge_plain(Metrics, BodyForm::Firehose, input);
        judge_plain(Logs, BodyForm::Firehose, input);
    });
}

/// Lines of JSON, or OpenTelemetry 1.0's requests with their lengths.
#[test]
fn firehose_metrics() {
    fuzz!("firehose_metrics", |input| judge_delivered(Metrics, input));
}

#[test]
fn firehose_logs() {
    fuzz!("firehose_logs", |input| {
        judge_delivered(Logs, input);
        judge_delivered(Logs, &compress(Encoding::Gzip, input).unwrap());
    });
}

/// What is in the compression does not matter here.
#[test]
fn compressed() {
    fuzz!("compressed", |input| {
        let (form, bytes) = (BodyForm::OtlpProtobuf, Bytes::copy_from_slice(input));
        for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Snappy] {
            judge(&ReceivedBody { signal: Logs, form, encoding, bytes: bytes.clone() });
        }
        // A log subscription's own.
        judge_delivered(Logs, input);
    });
}

#[test]
fn record() {
    fuzz!("record", |input| {
        let input = Bytes::copy_from_slice(input);
        let (record, bytes) = peak_bytes(|| Record::from_bytes(input.clone()));
        // A stamp takes two bytes at the least, and a decision one.
        assert!(bytes <= 16 * 1024 + 256 * input.len(), "{bytes} bytes of {}", input.len());
        let Ok(record) = record else { return };
        let again = Record::from_bytes(record.to_bytes().into()).unwrap();
        assert_eq!(format!("{again:?}"), format!("{record:?}"));
        judge_replay(&record);
    });
}

#[test]
fn accumulators() {
    fuzz!("accumulators", |input| {
        let Ok(read) = Accumulators::from_bytes(Bytes::copy_from_slice(input), 100) else { return };
        let again = Accumulators::from_bytes(read.to_bytes().into(), 100).unwrap();
        assert_eq!(again.len(), read.len());
    });
}
