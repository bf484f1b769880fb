//! OTLP's JSON mapping to its protobuf form.

use std::io::Read;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde::de::DeserializeOwned;
use tenantscope_model::Signal;
use tenantscope_wire::{BodyForm, Encoding, ReceivedBody, Refused};

/// The largest body once decompressed.
const MAX_PLAIN_BYTES: u64 = 16 << 20;

pub(super) fn to_protobuf(body: &ReceivedBody) -> Result<ReceivedBody, Refused> {
    let json = plain(body)?;
    let bytes = match body.signal {
        Signal::Metrics => encode::<ExportMetricsServiceRequest>(&json)?,
        Signal::Logs => encode::<ExportLogsServiceRequest>(&json)?,
        Signal::Spans => encode::<ExportTraceServiceRequest>(&json)?,
    };
    Ok(ReceivedBody {
        signal: body.signal,
        form: BodyForm::OtlpProtobuf,
        encoding: Encoding::Identity,
        bytes: Bytes::from(bytes),
    })
}

fn encode<T: Message + DeserializeOwned>(json: &[u8]) -> Result<Vec<u8>, Refused> {
    let request: T = serde_json::from_slice(json)
        .map_err(|error| Refused::invalid("json", format!("the body is no OTLP in JSON: {error}")))?;
    Ok(request.encode_to_vec())
}

fn plain(body: &ReceivedBody) -> Result<Vec<u8>, Refused> {
    let compressed = &body.bytes[..];
    match body.encoding {
        Encoding::Identity => Ok(compressed.to_vec()),
        Encoding::Gzip => bounded(flate2::read::MultiGzDecoder::new(compressed)),
        Encoding::Zstd => bounded(zstd::stream::read::Decoder::new(compressed).map_err(|error| wrong(&error))?),
        Encoding::Snappy => Err(Refused::unsupported("encoding", "snappy is not taken here")),
    }
}

fn bounded(reader: impl Read) -> Result<Vec<u8>, Refused> {
    let mut plain = Vec::new();
    reader.take(MAX_PLAIN_BYTES + 1).read_to_end(&mut plain).map_err(|error| wrong(&error))?;
    if plain.len() as u64 > MAX_PLAIN_BYTES {
        let message = format!("the body is larger than {MAX_PLAIN_BYTES} bytes once decompressed");
        return Err(Refused::too_large("body", message));
    }
    Ok(plain)
}

fn wrong(error: &std::io::Error) -> Refused {
    Refused::invalid("encoding", format!("the body cannot be decompressed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(encoding: Encoding, bytes: Vec<u8>) -> ReceivedBody {
        ReceivedBody { signal: Signal::Logs, form: BodyForm::OtlpJson, encoding, bytes: Bytes::from(bytes) }
    }

    #[test]
    fn json_becomes_protobuf_and_what_is_neither_is_refused() {
        let json = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"hello"}}]}]}]}"#;
        let converted = to_protobuf(&body(Encoding::Identity, json.to_vec())).unwrap();
        let request = ExportLogsServiceRequest::decode(converted.bytes).unwrap();
        assert_eq!(request.resource_logs[0].scope_logs[0].log_records.len(), 1);
        let compressed = zstd::bulk::compress(json, 1).unwrap();
        assert!(to_protobuf(&body(Encoding::Zstd, compressed)).is_ok());
        assert!(to_protobuf(&body(Encoding::Identity, b"{]".to_vec())).is_err());
        assert!(to_protobuf(&body(Encoding::Gzip, b"no gzip".to_vec())).is_err());
    }

    #[test]
    fn a_small_body_that_grows_past_the_limit_is_refused() {
        let huge = vec![b' '; MAX_PLAIN_BYTES as usize + 1];
        let refused = to_protobuf(&body(Encoding::Zstd, zstd::bulk::compress(&huge, 1).unwrap())).unwrap_err();
        assert_eq!(refused.kind, tenantscope_wire::RefusedKind::TooLarge);
    }
}
