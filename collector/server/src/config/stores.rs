//! What stores, journals and queries may use; every key has a default.

use serde::Deserialize;
use tenantscope_model::{Bytes, TimeSpan};

/// `limits:`, what batches may use.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// A body as it is sent [16 MiB].
    pub max_body_bytes: Option<Bytes>,
    /// A body decompressed [64 MiB].
    pub max_decoded_bytes: Option<Bytes>,
    /// Bodies of all batches in flight [200 MiB].
    pub max_in_flight_bytes: Option<Bytes>,
}

/// `journal:`, for each of the three.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalConfig {
    /// A segment that has grown to this is closed [64 MiB].
    pub segment_max_bytes: Option<Bytes>,
    /// All segments of one journal; at this size batches get 503 [4 GiB].
    pub max_bytes: Option<Bytes>,
}

/// `metrics:`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Index and samples that no part holds yet [2400 MiB].
    pub memory_max_bytes: Option<Bytes>,
    /// Time between two flushes [5m].
    pub flush_interval: Option<TimeSpan>,
    /// How long samples are kept [30d].
    pub retention: Option<TimeSpan>,
}

/// `lake:`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LakeConfig {
    /// Rows that are not in files yet, for each signal [150 MiB].
    pub buffer_max_bytes: Option<Bytes>,
    /// A flush begins at so many buffered bytes [32 MiB].
    pub flush_bytes: Option<Bytes>,
    /// A flush begins when the oldest buffered row has waited so long [30s].
    pub flush_interval: Option<TimeSpan>,
    /// How long logs and spans are kept [30d].
    pub retention: Option<TimeSpan>,
    /// Memory of all queries together [400 MiB].
    pub query_memory_bytes: Option<Bytes>,
}

/// `query:`, for PromQL.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueryConfig {
    /// A query that takes longer ends with an error [2m].
    pub timeout: Option<TimeSpan>,
    /// The most samples that one query may load [50,000,000].
    pub max_samples: Option<u64>,
    /// Queries that run at the same time; more wait [8].
    pub max_concurrent: Option<usize>,
    /// How far back an instant selector looks [5m].
    pub lookback: Option<TimeSpan>,
}
