//! The journals' own metrics. The label `journal` is one of `metrics`, `logs`, `spans`, `spool`, `other`.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{
    HistogramVec, IntCounterVec, IntGaugeVec, register_histogram_vec, register_int_counter_vec, register_int_gauge_vec,
};

static TELEMETRY: LazyLock<Telemetry> = LazyLock::new(Telemetry::register);

/// Absent where the registry refused a metric, which is then not counted.
pub(crate) struct Telemetry {
    fsync_seconds: Option<HistogramVec>,
    records: Option<IntCounterVec>,
    bytes: Option<IntCounterVec>,
    dropped: Option<IntCounterVec>,
    damaged: Option<IntCounterVec>,
    lost: Option<IntCounterVec>,
    fsyncs: Option<IntCounterVec>,
    failures: Option<IntCounterVec>,
    size: Option<IntGaugeVec>,
}

impl Telemetry {
    pub(crate) fn get() -> &'static Self {
        &TELEMETRY
    }

    fn register() -> Self {
        let buckets = vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];
        let label = &["journal"];
        let counter = |name: &str, help: &str| register_int_counter_vec!(name, help, label).ok();
        Self {
            fsync_seconds: register_histogram_vec!(
                "tenantscope_journal_fsync_seconds",
                "Time of one fsync of a journal segment.",
                label,
                buckets
            )
            .ok(),
            records: counter("tenantscope_journal_records_total", "Records that became durable."),
            bytes: counter("tenantscope_journal_bytes_total", "Bytes that became durable."),
            dropped: counter(
                "tenantscope_journal_dropped_records_total",
                "Records dropped, oldest first, because the journal was full or they were too old.",
            ),
            damaged: counter("tenantscope_journal_damaged_bytes_total", "Bytes skipped because they were damaged."),
            lost: counter("tenantscope_journal_lost_records_total", "Records that stood in damaged places."),
            fsyncs: counter(
                "tenantscope_journal_fsyncs_total",
                "Fsyncs of segments and of the journal's folder: one for each group of records, two for each new segment.",
            ),
            failures: counter("tenantscope_journal_write_failures_total", "Group commits that the disk refused."),
            size: register_int_gauge_vec!("tenantscope_journal_size_bytes", "Bytes in all segments.", label).ok(),
        }
    }

    pub(crate) fn committed(&self, journal: &str, records: u64, bytes: u64, fsync: Duration) {
        add(self.records.as_ref(), journal, records);
        add(self.bytes.as_ref(), journal, bytes);
        self.fsynced(journal, 1);
        if let Some(histogram) = &self.fsync_seconds {
            histogram.with_label_values(&[journal]).observe(fsync.as_secs_f64());
        }
    }

    pub(crate) fn dropped(&self, journal: &str, records: u64) {
        add(self.dropped.as_ref(), journal, records);
    }

    pub(crate) fn fsynced(&self, journal: &str, n: u64) {
        add(self.fsyncs.as_ref(), journal, n);
    }

    pub(crate) fn damaged(&self, journal: &str, bytes: u64, records: u64) {
        add(self.damaged.as_ref(), journal, bytes);
        add(self.lost.as_ref(), journal, records);
    }

    pub(crate) fn failed(&self, journal: &str) {
        add(self.failures.as_ref(), journal, 1);
    }

    pub(crate) fn set_size(&self, journal: &str, bytes: u64) {
        if let Some(gauge) = &self.size {
            gauge.with_label_values(&[journal]).set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }
}

fn add(counter: Option<&IntCounterVec>, journal: &str, n: u64) {
    if let Some(counter) = counter {
        counter.with_label_values(&[journal]).inc_by(n);
    }
}

/// The label of the journal in that folder: the folder's name, if it is one that we use.
pub(crate) fn journal_label(dir: &Path) -> &'static str {
    match dir.file_name().and_then(|name| name.to_str()) {
        Some("metrics") => "metrics",
        Some("logs") => "logs",
        Some("spans") => "spans",
        Some("spool") => "spool",
        _ => "other",
    }
}
