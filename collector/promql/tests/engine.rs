//! The engine at its door, over a store that holds what a test gives it.

#![allow(clippy::unwrap_used, clippy::panic)]

mod shelf;

use std::sync::Arc;
use std::time::{Duration, Instant};

use shelf::Shelf;
use tenantscope_model::{Evaluate, QueryBudget, Scope, TenantId, stale_nan};
use tenantscope_promql::{
    Answer, Engine, EngineError, Evaluator, Limits, PointValue, QueryOptions, Times, Value, parse,
};

fn budget() -> QueryBudget {
    QueryBudget::new(Instant::now() + Duration::from_secs(60), 1_000_000)
}

fn ask(shelf: &Shelf, scope: &Scope, query: &str, at_ms: i64) -> Result<Answer, EngineError> {
    let budget = budget();
    let options = QueryOptions { budget: &budget, lookback_ms: None, text: "" };
    Engine::default().instant(shelf, scope, &parse(query).unwrap(), at_ms, options)
}

/// The elements as text: `{labels} value`.
fn shown(answer: Answer) -> Vec<String> {
    let Value::Vector(elements) = answer.value else { panic!("no vector: {:?}", answer.value) };
    let value = |value: &PointValue| match value {
        PointValue::Float(value) => value.to_string(),
        PointValue::Histogram(_) => "histogram".to_owned(),
    };
    elements.iter().map(|element| format!("{} {}", element.labels, value(&element.value))).collect()
}

fn two_tenants() -> Shelf {
    let minute = |n: i64| n * 60_000;
    let counter: Vec<(i64, f64)> = (0..=10).map(|n| (minute(n), n as f64 * 60.0)).collect();
    let faster: Vec<(i64, f64)> = (0..=10).map(|n| (minute(n), n as f64 * 120.0)).collect();
    Shelf::default()
        .with(&[("__name__", "requests_total"), ("tenant", "acme")], &counter)
        .with(&[("__name__", "requests_total"), ("tenant", "globex")], &faster)
        .with(&[("__name__", "gone"), ("tenant", "acme")], &[(0, 1.0), (minute(9), stale_nan())])
}

#[test]
fn a_range_is_open_on_its_left() {
    let shelf = two_tenants();
    let counted = |query: &str| shown(ask(&shelf, &Scope::All, query, 600_000).unwrap());
    assert_eq!(counted("count_over_time(requests_total{tenant=\"acme\"}[5m])"), ["{tenant=\"acme\"} 5"]);
    assert_eq!(counted("sum(rate(requests_total[5m]))"), ["{} 3"]);
}

#[test]
fn what_ended_is_gone_at_once_and_the_rest_after_the_lookback() {
    let shelf = two_tenants();
    let answer = |query: &str, at_ms| shown(ask(&shelf, &Scope::All, query, at_ms).unwrap());
    assert_eq!(answer("gone", 299_999).len(), 1);
    assert_eq!(answer("gone", 300_000).len(), 0);
    assert_eq!(answer("gone offset 9m", 540_000 + 1).len(), 1);
    assert_eq!(answer("requests_total", 899_999).len(), 2);
    assert_eq!(answer("requests_total", 900_000).len(), 0);
}

#[test]
fn a_scope_bounds_every_answer() {
    let shelf = two_tenants();
    let acme = Scope::only(TenantId::try_new("acme").unwrap());
    let answer = |scope: &Scope, query: &str| shown(ask(&shelf, scope, query, 600_000).unwrap());
    assert_eq!(answer(&acme, "sum(requests_total)"), ["{} 600"]);
    assert_eq!(answer(&acme, "count by (tenant) ({tenant=~\".+\"})"), ["{tenant=\"acme\"} 1"]);
    assert_eq!(answer(&Scope::none(), "requests_total").len(), 0);
    assert_eq!(answer(&Scope::none(), "absent(requests_total{tenant=\"acme\"})"), ["{tenant=\"acme\"} 1"]);
}

#[test]
fn a_range_query_equals_its_instants() {
    let shelf = two_tenants();
    let queries = [
        "rate(requests_total[3m])",
        "sum by (tenant) (increase(requests_total[90s])) > 100",
        "max_over_time(rate(requests_total[2m])[5m:30s])",
        "requests_total / on() group_left() sum(requests_total)",
        "topk(1, requests_total) or gone",
        "requests_total @ 300 + time()",
    ];
    for query in queries {
        let budget = budget();
        let options = QueryOptions { budget: &budget, lookback_ms: None, text: "" };
        let times = Times { start_ms: 120_007, end_ms: 660_007, step_ms: 45_000 };
        let range = Engine::default().range(&shelf, &Scope::All, &parse(query).unwrap(), times, options).unwrap();
        let Value::Matrix(series) = range.value else { panic!("no matrix") };
        let mut from_range: Vec<(i64, String)> = Vec::new();
        for one in &series {
            from_range.extend(one.floats.iter().map(|s| (s.t_ms, format!("{} {}", one.labels, s.value))));
        }
        let mut from_instants = Vec::new();
        for at_ms in (times.start_ms..=times.end_ms).step_by(45_000) {
            from_instants
                .extend(shown(ask(&shelf, &Scope::All, query, at_ms).unwrap()).into_iter().map(|e| (at_ms, e)));
        }
        from_range.sort();
        from_instants.sort();
        assert_eq!(from_range, from_instants, "{query}");
    }
}

#[test]
fn limits_end_a_query() {
    let shelf = two_tenants();
    let expr = parse("requests_total[10m]").unwrap();
    let few = QueryBudget::new(Instant::now() + Duration::from_secs(60), 5);
    let options = |budget| QueryOptions { budget, lookback_ms: None, text: "" };
    let answer = Engine::default().instant(&shelf, &Scope::All, &expr, 600_000, options(&few));
    assert_eq!(answer, Err(EngineError::TooManySamples { limit: 5 }));
    let late = QueryBudget::new(Instant::now(), 1000);
    assert_eq!(
        Engine::default().instant(&shelf, &Scope::All, &expr, 600_000, options(&late)),
        Err(EngineError::TimedOut)
    );
    let cancelled = budget();
    cancelled.cancel();
    assert_eq!(
        Engine::default().instant(&shelf, &Scope::All, &expr, 600_000, options(&cancelled)),
        Err(EngineError::Cancelled)
    );
    let engine = Engine::new(Limits { max_cells: 10, ..Limits::default() });
    let times = Times { start_ms: 0, end_ms: 600_000, step_ms: 60_000 };
    let wide = budget();
    let answer = engine.range(&shelf, &Scope::All, &parse("requests_total").unwrap(), times, options(&wide));
    assert!(matches!(answer, Err(EngineError::TooManySamples { .. })));
    let fine = Times { start_ms: 0, end_ms: 11_000_000, step_ms: 1000 };
    let answer = engine.range(&shelf, &Scope::All, &parse("requests_total").unwrap(), fine, options(&wide));
    assert!(matches!(answer, Err(EngineError::Request(_))));
}

#[test]
fn the_deepest_expressions_fit_a_thread() {
    let shelf = two_tenants();
    let chain = vec!["requests_total"; 198].join(" + ");
    assert_eq!(shown(ask(&shelf, &Scope::All, &format!("sum({chain})"), 600_000).unwrap()), ["{} 356400"]);
    let wrapped = |before: &str, after: &str, times: usize| {
        let nested = format!("{}requests_total{}", before.repeat(times), after.repeat(times));
        shown(ask(&shelf, &Scope::All, &nested, 600_000).unwrap()).len()
    };
    assert_eq!(wrapped("abs(", ")", 198), 2);
    assert_eq!(wrapped("sum by (tenant) (", ")", 198), 2);
    assert_eq!(wrapped("(1 + (", "))", 65), 2);
    assert_eq!(wrapped("last_over_time(", "[1m:1m])", 98), 2);
    assert_eq!(wrapped("-(", ")", 98), 2);
}

#[test]
fn rules_get_values() {
    let evaluator = Evaluator::new(Engine::default(), Arc::new(two_tenants()));
    let values = evaluator.evaluate(&Scope::All, "sum(requests_total) * 2", 600_000).unwrap();
    assert_eq!(values.iter().map(|v| v.value).collect::<Vec<_>>(), [3600.0]);
    let scalar = evaluator.evaluate(&Scope::All, "1 + 1", 0).unwrap();
    assert_eq!((scalar.len(), scalar[0].value), (1, 2.0));
    assert!(evaluator.evaluate(&Scope::All, "requests_total[5m]", 0).is_err());
}
