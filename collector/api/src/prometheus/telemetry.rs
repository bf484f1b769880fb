use std::sync::LazyLock;

use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts};

/// Queries and how long they took.
pub(super) struct Telemetry {
    pub(super) queries: IntCounterVec,
    pub(super) seconds: Histogram,
}

pub(super) static TELEMETRY: LazyLock<Telemetry> = LazyLock::new(|| {
    let queries = IntCounterVec::new(
        Opts::new("tenantscope_api_prometheus_queries_total", "Queries and metadata calls, by outcome."),
        &["outcome"],
    );
    let seconds = Histogram::with_opts(
        HistogramOpts::new(
            "tenantscope_api_prometheus_query_seconds",
            "Time from a query's arrival to its answer, waiting included.",
        )
        .buckets(vec![0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 120.0]),
    );
    Telemetry { queries: registered(queries), seconds: registered(seconds) }
});

#[expect(clippy::expect_used, reason = "names are constants; a wrong one is found by the first test that runs")]
fn registered<C: prometheus::core::Collector + Clone + 'static>(made: prometheus::Result<C>) -> C {
    let collector = made.expect("a valid metric");
    prometheus::register(Box::new(collector.clone())).expect("a name that is not taken");
    collector
}
