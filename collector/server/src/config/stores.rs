//! What stores, journals and queries may use; every key has a default.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use tenantscope_api::prometheus::QueryLimits;
use tenantscope_model::{Bytes, TimeSpan};
use tenantscope_tenancy::Registry;

use super::blocks::BlocksConfig;
use super::retention::RetentionConfig;
use tenantscope_tenancy::Quotas;

/// `journal:`, for each of the three.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalConfig {
    /// A segment that has grown to this is closed; default 64 MiB.
    pub segment_max_bytes: Option<Bytes>,
    /// All segments of one journal; at half of it the store flushes, at this size batches get 503; default 4 GiB.
    pub max_bytes: Option<Bytes>,
}

/// `metrics:`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Index and samples that no part holds yet; default 2400 MiB.
    pub memory_max_bytes: Option<Bytes>,
    /// Time between two flushes; default 5m.
    pub flush_interval: Option<TimeSpan>,
    /// How long samples are kept, alike or by class; default 30d.
    pub retention: Option<RetentionConfig>,
    /// When windows become blocks, and where these lie.
    pub blocks: BlocksConfig,
}

/// `lake:`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LakeConfig {
    /// Rows that are not in files yet, for each signal; default 150 MiB.
    pub buffer_max_bytes: Option<Bytes>,
    /// A flush begins at so many buffered bytes; default 32 MiB.
    pub flush_bytes: Option<Bytes>,
    /// A flush begins when the oldest buffered row has waited so long; default 30s.
    pub flush_interval: Option<TimeSpan>,
    /// How long logs and spans are kept; default 30d.
    pub retention: Option<TimeSpan>,
    /// Memory of all queries together; default 400 MiB.
    pub query_memory_bytes: Option<Bytes>,
}

/// `query:`, for PromQL and the calls about series.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueryConfig {
    /// A query that takes longer, waiting included, ends with an error; default 2m.
    pub timeout: Option<TimeSpan>,
    /// Queries that run at the same time; more wait; default 8.
    pub max_concurrent: Option<usize>,
    /// How many of these one reader may have; default 6, or what `max_concurrent` is if that is less.
    pub max_concurrent_per_reader: Option<usize>,
    /// Queries that wait; one more is refused with 503; default 400.
    pub max_waiting: Option<usize>,
    /// How many of these one reader may have; default 200.
    pub max_waiting_per_reader: Option<usize>,
    /// The most samples that one query may load; default 50,000,000.
    pub max_samples: Option<u64>,
    /// The most series that one selector may find; default 5,000,000.
    pub max_series: Option<u64>,
    /// Memory of one query; default 300 MiB.
    pub max_bytes: Option<Bytes>,
    /// Memory of all queries together; default 600 MiB.
    pub memory_max_bytes: Option<Bytes>,
    /// The most steps of a range query; default 11,000.
    pub max_steps: Option<u64>,
    /// The longest time that a query may be about; default: no bound.
    pub max_range: Option<TimeSpan>,
    /// How far back an instant selector looks; default 5m.
    pub lookback: Option<TimeSpan>,
}

impl JournalConfig {
    /// The journals' options.
    pub fn options(&self) -> tenantscope_journal::Options {
        let defaults = tenantscope_journal::Options::default();
        tenantscope_journal::Options {
            segment_max_bytes: self.segment_max_bytes.map_or(defaults.segment_max_bytes, |bytes| bytes.0),
            max_bytes: self.max_bytes.map_or(defaults.max_bytes, |bytes| bytes.0),
            ..defaults
        }
    }
}

impl QueryConfig {
    /// The limits of queries; `quotas` has those of tenants.
    pub fn limits(&self, quotas: Quotas) -> QueryLimits {
        let defaults = QueryLimits::default();
        let max_concurrent = self.max_concurrent.unwrap_or(defaults.max_concurrent).max(1);
        let per_reader = self.max_concurrent_per_reader.unwrap_or(defaults.max_concurrent_per_reader);
        QueryLimits {
            timeout: self.timeout.map_or(defaults.timeout, |span| span.0),
            max_concurrent,
            max_concurrent_per_reader: per_reader.clamp(1, max_concurrent),
            max_waiting: self.max_waiting.unwrap_or(defaults.max_waiting),
            max_waiting_per_reader: self.max_waiting_per_reader.unwrap_or(defaults.max_waiting_per_reader),
            max_samples: self.max_samples.unwrap_or(defaults.max_samples),
            max_series: self.max_series.unwrap_or(defaults.max_series),
            max_bytes: self.max_bytes.map_or(defaults.max_bytes, |bytes| bytes.0),
            memory_max_bytes: self.memory_max_bytes.map_or(defaults.memory_max_bytes, |bytes| bytes.0),
            max_steps: self.max_steps.unwrap_or(defaults.max_steps),
            max_range: self.max_range.map(|span| span.0),
            lookback: self.lookback.map_or(defaults.lookback, |span| span.0),
            quotas,
        }
    }
}

impl MetricsConfig {
    /// How long series without a class of their own are kept; `None`: for ever.
    pub fn own_retention(&self) -> Option<std::time::Duration> {
        let defaults = tenantscope_metrics::Options::default();
        self.retention.as_ref().map_or(defaults.retention, |config| Some(config.of_default().0))
    }

    /// The metric store's options. `dir` is its folder; classes of tenants are looked up in the registry.
    pub fn options(&self, dir: &Path, registry: Option<Arc<Registry>>) -> tenantscope_metrics::Options {
        let defaults = tenantscope_metrics::Options::default();
        let retention = self.retention.as_ref();
        tenantscope_metrics::Options {
            memory_max_bytes: self.memory_max_bytes.map_or(defaults.memory_max_bytes, in_memory),
            flush_interval: self.flush_interval.map_or(defaults.flush_interval, |span| span.0),
            retention: self.own_retention(),
            classes: retention.map_or(defaults.classes, |config| config.classes(registry)),
            blocks: self.blocks.options(&dir.join("bucket")),
            ..defaults
        }
    }
}

impl LakeConfig {
    /// The lake's options.
    pub fn options(&self) -> tenantscope_lake::Options {
        let defaults = tenantscope_lake::Options::default();
        tenantscope_lake::Options {
            buffer_max_bytes: self.buffer_max_bytes.map_or(defaults.buffer_max_bytes, in_memory),
            flush_bytes: self.flush_bytes.map_or(defaults.flush_bytes, in_memory),
            flush_interval: self.flush_interval.map_or(defaults.flush_interval, |span| span.0),
            retention: self.retention.map_or(defaults.retention, |span| span.0),
            query_memory_bytes: self.query_memory_bytes.map_or(defaults.query_memory_bytes, in_memory),
            ..defaults
        }
    }
}

pub(super) fn in_memory(bytes: Bytes) -> usize {
    usize::try_from(bytes.0).unwrap_or(usize::MAX)
}
