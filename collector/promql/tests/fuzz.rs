//! Any text as a query: refused, or printed so that it reads the same, and answered within its bounds and scope.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod shelf;

use std::sync::Arc;
use std::time::{Duration, Instant};

use shelf::Shelf;
use tenantscope_fuzz::{Counting, fuzz, peak_bytes};
use tenantscope_model::{
    Histogram, HistogramSample, Labels, QueryBounds, QueryBudget, Sample, Scope, SelectedSeries, Span, Spans, TenantId,
    stale_nan,
};
use tenantscope_promql::{Answer, Engine, Expr, QueryOptions, Series, Times, Value, parse, parse_selector};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Stands in every label of the tenant that is not asked for.
const CANARY: &str = "k4n4ry";
const MAX_BYTES: u64 = 4 << 20;
const NOW_MS: i64 = 600_000;

fn series(tenant: &str, name: &str, n: &str, values: &[f64]) -> SelectedSeries {
    let labels = [("__name__", name), ("tenant", tenant), ("n", n), ("le", n)];
    let sample = |(at, value): (i64, &f64)| Sample { t_ms: at * 60_000, value: *value };
    SelectedSeries {
        labels: Labels::from_pairs(labels),
        lookback_ms: 0,
        samples: (0..).zip(values).map(sample).collect(),
        histograms: Vec::new(),
        starts: Default::default(),
    }
}

fn histograms(tenant: &str, custom: bool) -> SelectedSeries {
    let positive = Spans { spans: vec![Span { offset: 0, length: 3 }], counts: vec![1.0, 2.0, 3.0] };
    let (schema, custom_bounds) = if custom { (-53, vec![0.5, 1.0]) } else { (1, Vec::new()) };
    let histogram = |at: i64| {
        let histogram = Histogram {
            schema,
            count: 6.0,
            sum: at as f64,
            positive: positive.clone(),
            custom_bounds: custom_bounds.clone(),
            ..Histogram::default()
        };
        HistogramSample { t_ms: at * 60_000, histogram: Arc::new(histogram) }
    };
    let mut series = series(tenant, "h", if custom { "custom" } else { "native" }, &[]);
    series.histograms = (0..=10).map(histogram).collect();
    series
}

fn two_tenants() -> Shelf {
    let edges = [f64::NAN, f64::INFINITY, -0.0, f64::MIN_POSITIVE, f64::MAX, f64::MIN, 1e-320, stale_nan(), 1.0];
    let rising: Vec<f64> = (0..=10).map(|n| f64::from(n) * 60.0).collect();
    Shelf::of(vec![
        series("acme", "up", "1", &rising),
        series("acme", "up", "2", &edges),
        series("acme", "requests_total", "+Inf", &rising),
        series("acme", "requests_total", "0.5", &[3.0, 2.0, 1.0]),
        series("acme", "target_info", "1", &[1.0; 11]),
        histograms("acme", false),
        histograms("acme", true),
        series(CANARY, "up", CANARY, &rising),
        series(CANARY, "requests_total", CANARY, &rising),
        series(CANARY, "target_info", CANARY, &rising),
        histograms(CANARY, false),
    ])
}

fn judge(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _ = parse_selector(text);
    let expr = match parse(text) {
        Err(error) => return assert!(!error.message().is_empty(), "an error says why"),
        Ok(expr) => expr,
    };
    let line = expr.to_string();
    let again = parse(&line).unwrap_or_else(|error| panic!("{text:?} prints {line:?}: {error}"));
    assert_eq!(again.to_string(), line, "what is printed prints the same");
    let pretty = expr.pretty();
    let laid_out = parse(&pretty).unwrap_or_else(|error| panic!("{text:?} prints {pretty:?}: {error}"));
    assert_eq!(laid_out.to_string(), line);
    expr.to_tree();
    // Whoever writes the name himself may read it in the answer.
    if !text.contains(CANARY) && !text.contains('\\') {
        answers(text, &expr);
    }
}

fn answers(text: &str, expr: &Expr) {
    let shelf = two_tenants();
    let acme = Scope::only(TenantId::try_new("acme").unwrap());
    let times = Times { start_ms: 0, end_ms: NOW_MS, step_ms: 60_000 };
    let bounds = || QueryBounds { max_bytes: MAX_BYTES, max_samples: 100_000, ..QueryBounds::NONE };
    for is_range in [false, true] {
        let budget = QueryBudget::bounded(Instant::now() + Duration::from_secs(5), bounds(), None);
        let options = QueryOptions { budget: &budget, lookback_ms: None, text };
        let (answer, bytes) = peak_bytes(|| match is_range {
            false => Engine::default().instant(&shelf, &acme, expr, NOW_MS, options),
            true => Engine::default().range(&shelf, &acme, expr, times, options),
        });
        // What is taken from the budget is what is large; the rest goes with the query's length.
        let allowed = 2 * MAX_BYTES as usize + (1 << 20) + 2048 * text.len();
        assert!(bytes <= allowed, "{bytes} bytes for {text:?}");
        match answer {
            Ok(answer) => check(text, &answer),
            Err(error) => assert!(!error.to_string().contains(CANARY), "{text:?}: {error}"),
        }
    }
}

fn check(text: &str, answer: &Answer) {
    let shown = format!("{:?} {:?} {:?}", answer.value, answer.warnings, answer.infos);
    assert!(!shown.contains(CANARY), "{text:?} shows another tenant: {shown}");
    if let Value::Matrix(series) = &answer.value {
        let is_in_order = |series: &Series| series.floats.is_sorted_by(|a, b| a.t_ms < b.t_ms);
        assert!(series.iter().all(is_in_order), "{text:?}: times rise");
    }
}

#[test]
fn query() {
    fuzz!("query", judge);
}
