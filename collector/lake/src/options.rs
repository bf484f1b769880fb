use std::time::Duration;

/// What the lake may use. Each has a configuration key under `lake`.
#[derive(Debug, Clone)]
pub struct Options {
    /// Rows that are not in files yet, per signal; past it batches are refused with 503. Default 150 MiB.
    pub buffer_max_bytes: usize,
    /// A flush begins at so many buffered bytes. Default 32 MiB.
    pub flush_bytes: usize,
    /// A flush begins when the oldest buffered row has waited so long. Default 30 s.
    pub flush_interval: Duration,
    /// Days whose last record is older are dropped. Default 30 days.
    pub retention: Duration,
    /// The name of the retention class, a partition of the tables. Default `default`.
    pub retention_class: String,
    /// Small files of one day are merged when there are more than this. Default 16.
    pub compact_files: usize,
    /// A merge takes files up to so many bytes in all, and leaves larger ones alone. Default 32 MiB.
    pub compact_max_bytes: u64,
    /// Compaction, retention and expiry are looked at so often. Default 60 s.
    pub maintenance_interval: Duration,
    /// A removed file is kept for so long, for queries that began before; longer than `query_timeout`. Default 15 min.
    pub removed_grace: Duration,
    /// Memory of all queries together. Default 400 MiB.
    pub query_memory_bytes: usize,
    /// Queries that run at the same time; more wait. Default 8.
    pub query_concurrency: usize,
    /// A query that takes longer ends with an error. Default 60 s.
    pub query_timeout: Duration,
    /// The most log lines, or traces, that one query answers. Default 5,000.
    pub max_entries: usize,
    /// The most series that a LogQL metric query answers. Default 2,000.
    pub max_series: usize,
    /// The most steps of a range query. Default 11,000.
    pub max_steps: usize,
    /// The most spans of one trace that are given back. Default 50,000.
    pub max_spans_per_trace: usize,
}

impl Default for Options {
    fn default() -> Self {
        const MIB: usize = 1 << 20;
        const DAY: Duration = Duration::from_secs(86_400);
        Self {
            buffer_max_bytes: 150 * MIB,
            flush_bytes: 32 * MIB,
            flush_interval: Duration::from_secs(30),
            retention: DAY * 30,
            retention_class: "default".to_owned(),
            compact_files: 16,
            compact_max_bytes: 32 << 20,
            maintenance_interval: Duration::from_secs(60),
            removed_grace: Duration::from_secs(15 * 60),
            query_memory_bytes: 400 * MIB,
            query_concurrency: 8,
            query_timeout: Duration::from_secs(60),
            max_entries: 5_000,
            max_series: 2_000,
            max_steps: 11_000,
            max_spans_per_trace: 50_000,
        }
    }
}
