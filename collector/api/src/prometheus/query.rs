//! `query`, `query_range` and `format_query`.

use std::time::{Duration, Instant};

use axum::extract::State;
use tenantscope_promql::{Answer, Expr, QueryOptions, Times, Value, parse};

use super::PrometheusApi;
use super::answer::{ApiError, Success, truncate};
use super::form::Form;
use super::write::{self, Stats};
use crate::Scoped;
use crate::clock::now_ms;

/// When a query is evaluated.
#[derive(Debug, Clone, Copy)]
enum When {
    At(i64),
    Over(Times),
}

pub(super) async fn instant(
    Scoped(scope): Scoped,
    State(api): State<PrometheusApi>,
    form: Form,
) -> Result<Success, ApiError> {
    let at_ms = form.time_ms("time")?.unwrap_or_else(now_ms);
    evaluate(api, scope, &form, When::At(at_ms)).await
}

pub(super) async fn range(
    Scoped(scope): Scoped,
    State(api): State<PrometheusApi>,
    form: Form,
) -> Result<Success, ApiError> {
    let start_ms = form.required_time_ms("start")?;
    let end_ms = form.required_time_ms("end")?;
    if end_ms < start_ms {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step_ms = form
        .duration_ms("step")?
        .ok_or_else(|| ApiError::parameter("step", "cannot parse \"\" to a valid duration"))?;
    if step_ms <= 0 {
        let problem = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::parameter("step", problem));
    }
    evaluate(api, scope, &form, When::Over(Times { start_ms, end_ms, step_ms })).await
}

async fn evaluate(
    api: PrometheusApi,
    scope: tenantscope_model::Scope,
    form: &Form,
    when: When,
) -> Result<Success, ApiError> {
    let text = form.get("query").unwrap_or("").to_owned();
    let limit = form.limit()?;
    let lookback_ms = form.duration_ms("lookback_delta")?.filter(|ms| *ms > 0);
    let timeout = form.duration_ms("timeout")?.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
    let timeout = timeout.map_or(api.limits.timeout, |asked| asked.min(api.limits.timeout));
    let with_stats = form.get("stats").is_some();
    let (pool, max_samples) = (api.pool.clone(), api.limits.max_samples);
    let work = move |budget: &tenantscope_model::QueryBudget| {
        let begun = Instant::now();
        // Readers' queries are not kept: whoever sends many would fill the memory of all.
        let expr = parse(&text)?;
        let options = QueryOptions { budget, lookback_ms };
        let (engine, select) = (api.evaluator.engine(), api.select());
        let mut answer = match when {
            When::At(at_ms) => engine.instant(&*select, &scope, &expr, at_ms, options)?,
            When::Over(times) => engine.range(&*select, &scope, &expr, times, options)?,
        };
        let mut warnings = std::mem::take(&mut answer.warnings);
        cut(&mut answer, limit, &mut warnings);
        let stats = Stats { samples: budget.used_samples(), seconds: begun.elapsed().as_secs_f64() };
        Ok(write::answer(&answer, &warnings, with_stats.then_some(&stats)))
    };
    pool.run(timeout, max_samples, work).await.map(Success::written)
}

fn cut(answer: &mut Answer, limit: usize, warnings: &mut Vec<String>) {
    match &mut answer.value {
        Value::Vector(elements) => truncate(elements, limit, warnings),
        Value::Matrix(series) => truncate(series, limit, warnings),
        Value::Scalar(_) | Value::String { .. } => {}
    }
}

pub(super) async fn format(_: Scoped, form: Form) -> Result<Success, ApiError> {
    let expr: Expr = parse(form.get("query").unwrap_or(""))?;
    Success::new(expr.to_string(), &[])
}
