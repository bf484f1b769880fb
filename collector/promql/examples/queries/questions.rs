//! The questions: those of `tests/bench/dashboard.py`.

/// One question.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
    /// Whether it is asked about a time that only blocks hold.
    pub(crate) over_blocks: bool,
}

/// The twelve.
pub(crate) fn all() -> [Question; 12] {
    let blocks = |name, text| Question { name, text, over_blocks: true };
    let parts = |name, text| Question { name, text, over_blocks: false };
    [
        blocks("sum by of rate", "sum by (tenant) (rate(http_requests_total[5m]))"),
        blocks(
            "quantile of buckets",
            "histogram_quantile(0.99, sum by (le, service) (rate(http_request_duration_seconds_bucket[5m])))",
        ),
        parts("topk", "topk(10, sum by (tenant, service) (rate(network_bytes_total[5m])))"),
        blocks("avg over time", "avg by (service) (avg_over_time(process_cpu_ratio[10m]))"),
        parts("max by", "max by (tenant) (queue_depth)"),
        parts(
            "absent-like",
            "count by (tenant) (errors_total) unless on (tenant) (count by (tenant) (queue_depth{queue=\"queue-00\"} > 1e9))",
        ),
        blocks(
            "ratio of sums",
            "sum by (tenant) (rate(http_requests_total{code=~\"4..|5..\"}[5m])) / sum by (tenant) (rate(http_requests_total[5m]))",
        ),
        parts(
            "join with info",
            "sum by (version) (rate(db_queries_total[5m]) * on (tenant, instance) group_left (version) target_info)",
        ),
        parts("count by", "count by (service, area) (memory_used_bytes > 1e9)"),
        blocks("increase over 1h", "sum by (tenant) (increase(errors_total[1h]))"),
        blocks("quantile", "quantile by (service) (0.9, pool_utilisation_ratio)"),
        parts("rate by pod", "sum by (tenant, pod) (rate(network_bytes_total[5m]))"),
    ]
}
