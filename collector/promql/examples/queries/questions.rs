//! The questions.

/// When a question is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum When {
    /// At the newest time.
    Now,
    /// Over the last hour.
    LastHour { step_ms: i64 },
}

/// One question.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
    pub(crate) when: When,
}

/// The twelve.
pub(crate) fn all() -> [Question; 12] {
    let minute = When::LastHour { step_ms: 60_000 };
    let finely = When::LastHour { step_ms: 15_000 };
    let question = |name, text, when| Question { name, text, when };
    [
        question("rate by tenant, now", "sum by (tenant) (rate(http_requests_total[5m]))", When::Now),
        question(
            "quantile of buckets, now",
            "histogram_quantile(0.99, sum by (le, service) (rate(http_request_duration_seconds_bucket[5m])))",
            When::Now,
        ),
        question("ratio of gauges, now", "memory_used_bytes / memory_limit_bytes > 0.995", When::Now),
        question("largest, now", "topk(10, cpu_usage_ratio)", When::Now),
        question("over 30 minutes, now", "count(max_over_time(cpu_usage_ratio[30m]) > 0.9)", When::Now),
        question("how many, now", "count by (region) (cpu_usage_ratio > 0.5)", When::Now),
        question("rate by code", "sum by (code) (rate(http_requests_total[5m]))", minute),
        question(
            "quantile of buckets",
            "histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))",
            minute,
        ),
        question("average by tenant", "avg by (tenant) (cpu_usage_ratio)", finely),
        question(
            "ratio of rates",
            "sum(rate(http_requests_total{code=~\"5..\"}[5m])) / sum(rate(http_requests_total[5m]))",
            minute,
        ),
        question("smoothed by service", "max by (service) (avg_over_time(memory_used_bytes[10m]))", minute),
        question("largest tenants", "topk(5, sum by (tenant) (increase(http_requests_total[10m])))", minute),
    ]
}
