use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts};
use tenantscope_model::QueryMemory;

/// A limit that a query may be past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    Samples,
    Series,
    Memory,
    AllMemory,
    Steps,
    Range,
    Time,
    Queue,
    ReaderQueue,
}

impl Limit {
    const ALL: [Self; 9] = [
        Self::Samples,
        Self::Series,
        Self::Memory,
        Self::AllMemory,
        Self::Steps,
        Self::Range,
        Self::Time,
        Self::Queue,
        Self::ReaderQueue,
    ];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Samples => "samples",
            Self::Series => "series",
            Self::Memory => "memory",
            Self::AllMemory => "all_memory",
            Self::Steps => "steps",
            Self::Range => "range",
            Self::Time => "time",
            Self::Queue => "queue",
            Self::ReaderQueue => "reader_queue",
        }
    }
}

/// Counts a limit that bit.
pub(super) fn limited(limit: Limit) {
    TELEMETRY.limited.with_label_values(&[limit.word()]).inc();
}

/// Queries, how long they took, what they hold and where they were stopped.
pub(super) struct Telemetry {
    pub(super) queries: IntCounterVec,
    pub(super) seconds: Histogram,
    pub(super) queue_seconds: Histogram,
    pub(super) running: IntGauge,
    pub(super) waiting: IntGauge,
    pub(super) memory: Held,
    pub(super) streams: IntGauge,
    pub(super) stalled: IntCounter,
    pub(super) limited: IntCounterVec,
}

pub(super) static TELEMETRY: LazyLock<Telemetry> = LazyLock::new(|| {
    let telemetry = Telemetry {
        queries: counters("queries_total", "Queries and metadata calls, by outcome.", "outcome"),
        seconds: histogram("query_seconds", "Time from a query's arrival to its answer, waiting included."),
        queue_seconds: histogram("queue_seconds", "Time that a query waited for its turn."),
        running: gauge("running", "Queries that run."),
        waiting: gauge("waiting", "Queries that wait for their turn."),
        memory: registered(
            IntGauge::new(
                name("memory_bytes"),
                "Memory that queries and unread answers hold, as far as it is counted.",
            )
            .map(|gauge| Held { gauge, pools: Arc::default() }),
        ),
        streams: gauge("streams", "Answers too large for one frame that are being sent."),
        stalled: registered(IntCounter::new(
            name("stalled_total"),
            "Answers that were dropped because their reader took nothing any more, or too little.",
        )),
        limited: counters("limited_total", "Queries that were past a limit, by limit.", "limit"),
    };
    for limit in Limit::ALL {
        telemetry.limited.with_label_values(&[limit.word()]);
    }
    telemetry
});

/// What queries hold, summed when it is asked for.
#[derive(Clone)]
pub(super) struct Held {
    gauge: IntGauge,
    pools: Arc<Mutex<Vec<Weak<QueryMemory>>>>,
}

impl Held {
    /// Tells of this memory too.
    pub(super) fn add(&self, memory: &Arc<QueryMemory>) {
        let mut pools = self.pools.lock();
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(memory));
    }
}

impl Collector for Held {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let bytes: u64 = self.pools.lock().iter().filter_map(Weak::upgrade).map(|pool| pool.used_bytes()).sum();
        self.gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.gauge.collect()
    }
}

fn name(name: &str) -> String {
    format!("tenantscope_api_prometheus_{name}")
}

fn counters(of: &str, help: &str, label: &str) -> IntCounterVec {
    registered(IntCounterVec::new(Opts::new(name(of), help), &[label]))
}

fn gauge(of: &str, help: &str) -> IntGauge {
    registered(IntGauge::new(name(of), help))
}

fn histogram(of: &str, help: &str) -> Histogram {
    let buckets = vec![0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 120.0];
    registered(Histogram::with_opts(HistogramOpts::new(name(of), help).buckets(buckets)))
}

#[expect(clippy::expect_used, reason = "names are constants; a wrong one is found by the first test that runs")]
fn registered<C: Collector + Clone + 'static>(made: prometheus::Result<C>) -> C {
    let collector = made.expect("a valid metric");
    prometheus::register(Box::new(collector.clone())).expect("a name that is not taken");
    collector
}
