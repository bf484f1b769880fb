//! What a query may use: whatever it asks, it ends soon after a limit with an error that names it, and what it held is
//! free.

#![allow(clippy::unwrap_used, clippy::panic)]

mod shelf;

use std::sync::Arc;
use std::time::{Duration, Instant};

use shelf::Shelf;
use tenantscope_model::{
    Evaluate, EvaluateError, Histogram, HistogramSample, Labels, QueryBounds, QueryBudget, QueryMemory, Sample, Scope,
    SelectedSeries, Span, Spans,
};
use tenantscope_promql::{Answer, Engine, EngineError, Evaluator, QueryOptions, Times, Value, parse};

const MIB: u64 = 1 << 20;

fn series(name: &str, number: usize, samples: usize, histograms: Vec<HistogramSample>) -> SelectedSeries {
    let sample = |at: usize| Sample { t_ms: at as i64 * 1000, value: (at % 7919) as f64 };
    SelectedSeries {
        labels: Labels::from_pairs([("__name__", name), ("n", &number.to_string())]),
        lookback_ms: 0,
        samples: (0..samples).map(sample).collect(),
        histograms,
        starts: Default::default(),
    }
}

/// A hundred series `x` and ten of histograms of 160 buckets `nh`, a sample each second for 1,000 seconds, and one series
/// `long` of 200,000 samples.
fn shelf() -> Shelf {
    let mut all: Vec<SelectedSeries> = (0..100).map(|number| series("x", number, 1000, Vec::new())).collect();
    let positive = Spans { spans: vec![Span { offset: 0, length: 160 }], counts: vec![1.0; 160] };
    let histogram = |t_ms| HistogramSample {
        t_ms,
        histogram: Arc::new(Histogram { count: 160.0, sum: 1.0, positive: positive.clone(), ..Histogram::default() }),
    };
    all.extend((0..10).map(|n| series("nh", n, 0, (0..1000).map(|at| histogram(at * 1000)).collect())));
    all.push(series("long", 0, 200_000, Vec::new()));
    Shelf::of(all)
}

struct Bench {
    shelf: Shelf,
    memory: Arc<QueryMemory>,
}

impl Bench {
    fn new() -> Self {
        Self { shelf: shelf(), memory: Arc::new(QueryMemory::new(u64::MAX)) }
    }

    fn budget(&self, max_bytes: u64, time: Duration) -> QueryBudget {
        let bounds = QueryBounds { max_bytes, ..QueryBounds::NONE };
        QueryBudget::bounded(Instant::now() + time, bounds, Some(Arc::clone(&self.memory)))
    }

    fn range(&self, query: &str, times: Times, budget: &QueryBudget) -> Result<Answer, EngineError> {
        let options = QueryOptions { budget, lookback_ms: None, text: query };
        let answer = Engine::default().range(&self.shelf, &Scope::All, &parse(query).unwrap(), times, options);
        assert_eq!(self.memory.used_bytes(), 0, "{query}: what was held is free");
        answer
    }
}

/// A thousand times.
const TIMES: Times = Times { start_ms: 0, end_ms: 999_000, step_ms: 1000 };

#[test]
fn what_a_query_holds_is_bounded_wherever_it_holds_it() {
    let bench = Bench::new();
    for (query, max_bytes) in [
        ("sum_over_time(vector(time()^(time()^(time()^(time()^time()))))[13h:1ms])", 300 * MIB),
        ("sum_over_time(vector(1)[13h:1ms])", 300 * MIB),
        ("scalar(sum_over_time(vector(1)[13h:1ms])) * time()", 300 * MIB),
        ("count(x + on(n) (x + on(n) x))", MIB),
        ("count(x and x)", MIB),
        ("count(x or -x)", MIB),
        ("quantile(0.5, x)", MIB / 2),
        ("topk(3, x)", MIB / 2),
        ("count(sum by (n) (x))", MIB),
        ("count(sum by (n) (x > 3))", MIB),
        ("count(stddev by (n) (x))", MIB),
        ("count_values('v', x)", MIB),
        ("count(label_replace(x, 'o', '$1', 'n', '(.*)'))", MIB / 2),
        ("sort(x)", MIB / 2),
        ("x", MIB / 2),
        ("count(nh + on(n) nh)", 4 * MIB),
        ("count(nh*1.5 + on(n) nh)", 4 * MIB),
        ("count(nh * 1.5)", MIB),
        ("count(-nh)", MIB),
        ("count(sum_over_time(nh[1m]))", MIB),
        ("count(sum by (n) (nh))", 4 * MIB),
        ("nh", 4 * MIB),
    ] {
        let budget = bench.budget(max_bytes, Duration::from_secs(600));
        let answer = bench.range(query, TIMES, &budget);
        assert_eq!(answer.map(|_| ()), Err(EngineError::TooMuchMemory { limit_bytes: max_bytes }), "{query}");
        assert!(budget.peak_bytes() <= max_bytes, "{query}");
    }
    let joined = bench.budget(10 * MIB, Duration::from_secs(600));
    assert!(bench.range("x + on(n) (x + on(n) x)", TIMES, &joined).is_ok(), "what was handed on does not count twice");
    assert!(joined.peak_bytes() > MIB, "{}", joined.peak_bytes());
    let summed = bench.budget(MIB / 4, Duration::from_secs(600));
    assert!(bench.range("sum(rate(x[1m]))", TIMES, &summed).is_ok(), "what is summed is not held");
}

#[test]
fn rules_have_limits_and_share_the_memory_of_queries() {
    let evaluator = Evaluator::new(Engine::default(), Arc::new(shelf()));
    let error = |expression: &str| match evaluator.evaluate(&Scope::All, expression, 500_000) {
        Err(EvaluateError::Limit(message) | EvaluateError::Unavailable(message)) => message,
        other => panic!("{expression}: {other:?}"),
    };
    let rule = "max(max_over_time((x + on(n) x)[5m:1s]))";
    assert_eq!(evaluator.evaluate(&Scope::All, rule, 500_000).unwrap().len(), 1);
    evaluator.memory().resize(1000);
    assert!(error(rule).contains("query.memory_max_bytes"));
    evaluator.memory().resize(u64::MAX);
    evaluator.limit(Duration::from_secs(60), QueryBounds { max_bytes: 1000, ..QueryBounds::NONE });
    assert!(error(rule).contains("query.max_bytes"));
    evaluator.limit(Duration::ZERO, QueryBounds::NONE);
    assert!(error(rule).contains("timed out"));
    assert_eq!(evaluator.memory().used_bytes(), 0);
}

/// Each looks at all samples of its window at each time.
const SLOW: [&str; 12] = [
    "quantile_over_time(0.5, long[2d])",
    "stddev_over_time(long[2d])",
    "mad_over_time(long[2d])",
    "double_exponential_smoothing(long[2d], 0.5, 0.5)",
    "deriv(long[2d])",
    "ts_of_max_over_time(long[2d])",
    "resets(long[2d])",
    "changes(long[2d])",
    "sum_over_time((long * 1e306)[2d:1s])",
    "rate(long[2d] anchored)",
    "quantile(0.5, quantile_over_time(0.5, long[2d]))",
    "absent(quantile_over_time(0.5, long[2d]))",
];

/// 11,000 times over 200,000 samples.
const MANY_TIMES: Times = Times { start_ms: 0, end_ms: 197_982_000, step_ms: 18_000 };

#[test]
fn a_deadline_ends_work_within_one_series() {
    let bench = Bench::new();
    for query in SLOW {
        let begun = Instant::now();
        let budget = bench.budget(u64::MAX, Duration::from_millis(100));
        assert_eq!(bench.range(query, MANY_TIMES, &budget).map(|_| ()), Err(EngineError::TimedOut), "{query}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{query} took {:?}", begun.elapsed());
    }
}

#[test]
fn a_cancelled_query_ends_within_one_series() {
    let bench = Bench::new();
    let budget = bench.budget(u64::MAX, Duration::from_secs(600));
    std::thread::scope(|scope| {
        let query = scope.spawn(|| bench.range("quantile_over_time(0.5, long[2d])", MANY_TIMES, &budget));
        std::thread::sleep(Duration::from_millis(300));
        budget.cancel();
        let cancelled = Instant::now();
        assert_eq!(query.join().unwrap().map(|_| ()), Err(EngineError::Cancelled));
        assert!(cancelled.elapsed() < Duration::from_secs(3), "{:?}", cancelled.elapsed());
    });
}

#[test]
fn times_at_the_ends_of_the_world_are_times() {
    let bench = Bench::new();
    let values = |query: &str| {
        let budget = bench.budget(u64::MAX, Duration::from_secs(600));
        let options = QueryOptions { budget: &budget, lookback_ms: None, text: query };
        let answer = Engine::default().instant(&bench.shelf, &Scope::All, &parse(query).unwrap(), 60_000, options);
        let Value::Vector(elements) = answer.unwrap().value else { panic!("{query} is no vector") };
        elements.len()
    };
    for nothing in [
        "x @ 9223372036854775 offset -292y",
        "x @ -9223372036854775 offset 292y",
        "x smoothed @ 9223372036854775",
        "rate(x[292y] smoothed @ -9223372036854775 offset 292y)",
        "max_over_time(x[1d:1m] @ -9223372036854775)",
        "max_over_time(max_over_time(x[1d:1m] @ -9223372036854775 offset 292y)[1m:1s] @ 9223372036854775 offset -292y)",
        "rate(x[1d] @ 9223372036854775 offset -292y)",
        "histogram_count(nh @ -9223372036854775)",
    ] {
        assert_eq!(values(nothing), 0, "{nothing}");
    }
    for one in [
        "count_over_time(vector(1)[1m:1s] @ 9223372036854775 offset -292y) == 60",
        "count_over_time(vector(1)[1m:1s] @ -9223372036854775 offset 292y) == 60",
        "sum(count_over_time(x[292y])) == 6100",
    ] {
        assert_eq!(values(one), 1, "{one}");
    }
}
