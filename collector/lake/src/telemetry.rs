use std::sync::LazyLock;

use prometheus::{
    Histogram, HistogramVec, IntCounterVec, IntGaugeVec, register_histogram_vec, register_int_counter_vec,
    register_int_gauge_vec,
};

// Registration fails only if a name is taken twice, which the first start of a test would show.
#[allow(clippy::expect_used)]
pub(crate) static BUFFER_BYTES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!("tenantscope_lake_buffer_bytes", "Rows that are not in files yet.", &["signal"])
        .expect("a new name")
});

#[allow(clippy::expect_used)]
pub(crate) static ROWS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!("tenantscope_lake_rows_total", "Rows taken into the buffer.", &["signal"])
        .expect("a new name")
});

#[allow(clippy::expect_used)]
pub(crate) static REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!("tenantscope_lake_refused_total", "Batches that were not taken.", &["signal", "reason"])
        .expect("a new name")
});

#[allow(clippy::expect_used)]
pub(crate) static FILES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!("tenantscope_lake_files", "Live files of the table.", &["signal"]).expect("a new name")
});

#[allow(clippy::expect_used)]
pub(crate) static COMMITS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "tenantscope_lake_commits_total",
        "Commits by what they did (flush, compact, retention, removal) and how they ended (ok, failed).",
        &["signal", "kind", "outcome"]
    )
    .expect("a new name")
});

#[allow(clippy::expect_used)]
static QUERY_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    register_histogram_vec!("tenantscope_lake_query_seconds", "How long queries took.", &["kind"]).expect("a new name")
});

/// The latency histogram of one kind of query.
pub(crate) fn query_seconds(kind: &str) -> Histogram {
    QUERY_SECONDS.with_label_values(&[kind])
}
