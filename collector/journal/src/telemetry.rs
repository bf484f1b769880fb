//! Metrics of all journals of the process together.

use std::sync::LazyLock;

use prometheus::{Histogram, IntCounter, register_histogram, register_int_counter};

/// Seconds that one fsync took.
pub(crate) static FSYNC_SECONDS: LazyLock<Option<Histogram>> = LazyLock::new(|| {
    let buckets = vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];
    register_histogram!("tenantscope_journal_fsync_seconds", "Time of one fsync of a journal segment.", buckets).ok()
});

/// Records that became durable.
pub(crate) static RECORDS: LazyLock<Option<IntCounter>> = LazyLock::new(|| {
    register_int_counter!("tenantscope_journal_records_total", "Records that became durable in a journal.").ok()
});

/// Bytes that became durable.
pub(crate) static BYTES: LazyLock<Option<IntCounter>> = LazyLock::new(|| {
    register_int_counter!("tenantscope_journal_bytes_total", "Bytes that became durable in a journal.").ok()
});

/// Records that a full or over-aged journal dropped.
pub(crate) static DROPPED: LazyLock<Option<IntCounter>> = LazyLock::new(|| {
    register_int_counter!(
        "tenantscope_journal_dropped_records_total",
        "Records dropped, oldest first, because the journal was full or they were too old."
    )
    .ok()
});

/// Adds to a counter, where it could be registered.
pub(crate) fn count(counter: &LazyLock<Option<IntCounter>>, n: u64) {
    if let Some(counter) = &**counter {
        counter.inc_by(n);
    }
}
