//! What the store says about itself.

use std::sync::LazyLock;

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts};

/// Samples that were applied.
pub(crate) static SAMPLES: LazyLock<IntCounter> =
    LazyLock::new(|| counter("tenantscope_metrics_samples_total", "Samples applied to memory."));
/// Series that were made.
pub(crate) static SERIES_CREATED: LazyLock<IntCounter> =
    LazyLock::new(|| counter("tenantscope_metrics_series_created_total", "Series that the index took in."));
/// Series in the index.
pub(crate) static SERIES: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("tenantscope_metrics_series", "Series in memory or in a live part."));
/// Memory in use.
pub(crate) static MEMORY_BYTES: LazyLock<IntGauge> = LazyLock::new(|| {
    gauge("tenantscope_metrics_memory_bytes", "Memory used by index, metadata, samples and reservations.")
});
/// Live parts.
pub(crate) static PARTS: LazyLock<IntGauge> = LazyLock::new(|| gauge("tenantscope_metrics_parts", "Live parts."));
/// Bytes in live parts.
pub(crate) static PART_BYTES: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("tenantscope_metrics_part_bytes", "Bytes in live parts."));
/// Samples in live parts.
pub(crate) static PART_SAMPLES: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("tenantscope_metrics_part_samples", "Samples in live parts."));
/// Position of `MANIFEST`.
pub(crate) static DURABLE_POSITION: LazyLock<IntGauge> = LazyLock::new(|| {
    gauge("tenantscope_metrics_durable_position", "Journal position up to which the parts hold everything.")
});
/// Batches that were refused, by reason.
pub(crate) static REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("tenantscope_metrics_refused_batches_total", "Batches refused before they were durable.", "reason")
});
/// Samples that were not taken, by reason.
pub(crate) static DROPPED: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("tenantscope_metrics_dropped_samples_total", "Samples not stored, by reason.", "reason"));
/// Metadata of families that was not taken, by reason.
pub(crate) static DROPPED_FAMILIES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("tenantscope_metrics_dropped_families_total", "Metadata of families not stored, by reason.", "reason")
});
/// Flushes and merges that failed, by task.
pub(crate) static FAILURES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters("tenantscope_metrics_failures_total", "Flushes, merges and removals that failed.", "task")
});
/// Seconds that a flush took.
pub(crate) static FLUSH_SECONDS: LazyLock<Histogram> =
    LazyLock::new(|| histogram("tenantscope_metrics_flush_seconds", "Duration of a flush."));
/// Seconds that a merge took.
pub(crate) static MERGE_SECONDS: LazyLock<Histogram> =
    LazyLock::new(|| histogram("tenantscope_metrics_merge_seconds", "Duration of a merge."));

/// Files of the table of blocks.
pub(crate) static BLOCKS: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("tenantscope_metrics_blocks", "Files of the table of blocks."));
/// Bytes in them.
pub(crate) static BLOCK_BYTES: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("tenantscope_metrics_block_bytes", "Bytes in blocks."));
/// Samples in them.
pub(crate) static BLOCK_SAMPLES: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("tenantscope_metrics_block_samples", "Samples in blocks."));
/// Footers and series of blocks in memory.
pub(crate) static BLOCK_CACHE_BYTES: LazyLock<IntGauge> = LazyLock::new(|| {
    gauge("tenantscope_metrics_block_cache_bytes", "Memory for footers and series of blocks that were read lately.")
});
/// Seconds that a conversion took.
pub(crate) static CONVERT_SECONDS: LazyLock<Histogram> =
    LazyLock::new(|| histogram("tenantscope_metrics_convert_seconds", "Duration of a window's conversion to blocks."));
/// Seconds that a compaction took.
pub(crate) static COMPACT_SECONDS: LazyLock<Histogram> =
    LazyLock::new(|| histogram("tenantscope_metrics_compact_seconds", "Duration of a compaction of blocks."));

/// Puts a collector into the default registry. A second one of the same name goes on counting unseen.
fn registered<C: Collector + Clone + 'static>(made: prometheus::Result<C>) -> C {
    // Names and help are constants, and a test makes every one of them.
    #[allow(clippy::expect_used)]
    let collector = made.expect("a constant name is valid");
    if let Err(error) = prometheus::register(Box::new(collector.clone())) {
        tracing::warn!(%error, "could not register a metric");
    }
    collector
}

fn counter(name: &str, help: &str) -> IntCounter {
    registered(IntCounter::new(name, help))
}

fn counters(name: &str, help: &str, label: &str) -> IntCounterVec {
    registered(IntCounterVec::new(Opts::new(name, help), &[label]))
}

fn gauge(name: &str, help: &str) -> IntGauge {
    registered(IntGauge::new(name, help))
}

fn histogram(name: &str, help: &str) -> Histogram {
    let buckets = vec![0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];
    registered(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_can_be_made() {
        SAMPLES.inc_by(0);
        SERIES_CREATED.inc_by(0);
        for gauge in [&SERIES, &MEMORY_BYTES, &PARTS, &PART_BYTES, &PART_SAMPLES, &DURABLE_POSITION] {
            gauge.add(0);
        }
        for counters in [&REFUSED, &DROPPED, &DROPPED_FAMILIES, &FAILURES] {
            counters.with_label_values(&["test"]).inc_by(0);
        }
        for gauge in [&BLOCKS, &BLOCK_BYTES, &BLOCK_SAMPLES, &BLOCK_CACHE_BYTES] {
            gauge.add(0);
        }
        assert!(CONVERT_SECONDS.get_sample_count() + COMPACT_SECONDS.get_sample_count() < u64::MAX);
        assert!(FLUSH_SECONDS.get_sample_count() + MERGE_SECONDS.get_sample_count() < u64::MAX);
    }
}
