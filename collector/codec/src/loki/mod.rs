//! Loki's push requests as OTLP logs: Loki's own mapping of OTLP, backwards.
//!
//! | of Loki | of OTLP |
//! |---|---|
//! | a stream | a resource |
//! | labels that Loki makes of resource attributes (`service_name`, `k8s_pod_name`, …) | these attributes (`service.name`, `k8s.pod.name`, …) |
//! | `tenant`, `account_id`, `region`, `log_group`, as we show them | the attributes from which we make them: claims, like all of their kind |
//! | `level`, `detected_level` | severity text |
//! | other labels | resource attributes of the same names, which `loki.resource.labels` names as labels |
//! | structured metadata `trace_id`, `span_id`, `severity_text`, `severity_number`, `observed_timestamp`, `flags`, `dropped_attributes_count` | the record's fields, where the text is one that Loki makes of them |
//! | other structured metadata | attributes of the record |
//!
//! A stream without `service_name` gets its `service.name` from the labels that Loki looks at, in its order, else it is
//! `unknown_service`.

mod json;
mod mapping;
mod protobuf;
mod text;

use opentelemetry_proto::tonic::logs::v1::ResourceLogs;

pub(crate) use self::protobuf::{EntryAdapter, PushRequest, StreamAdapter};
use crate::footprint;
use crate::{DecodeError, Rejected};

/// What a body should have been.
pub(crate) const FORM: &str = "a push request of Loki";

/// Lines under the same labels.
#[derive(Debug, Clone, PartialEq, Default)]
struct Stream {
    /// The last of equal names counts, as in Loki.
    labels: Vec<(String, String)>,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Entry {
    time_unix_nano: u64,
    line: String,
    metadata: Vec<(String, String)>,
}

fn malformed(message: impl Into<String>) -> DecodeError {
    DecodeError::malformed(FORM, &message.into())
}

/// Reads the message.
pub(crate) fn from_protobuf(
    request: PushRequest,
    max_memory_bytes: usize,
    left_out: &mut Rejected,
) -> Result<Vec<ResourceLogs>, DecodeError> {
    mapping::resources_of(protobuf::streams_of(request)?, max_memory_bytes, left_out)
}

/// Reads the JSON.
pub(crate) fn from_json(
    json: &[u8],
    max_memory_bytes: usize,
    left_out: &mut Rejected,
) -> Result<Vec<ResourceLogs>, DecodeError> {
    if footprint::decoded_bytes_of_loki_json(json) > max_memory_bytes {
        return Err(DecodeError::TooMuchMemory { max_bytes: max_memory_bytes });
    }
    mapping::resources_of(json::streams_of(json)?, max_memory_bytes, left_out)
}
