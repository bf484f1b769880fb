//! `query`, `query_range`, `format_query` and `parse_query`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use tenantscope_promql::{Answer, Expr, QueryOptions, Times, Value, parse};

use super::PrometheusApi;
use super::answer::{ApiError, Success, past, truncate};
use super::body::body;
use super::form::Form;
use super::limits::{Bounds, PROMETHEUS_STEPS};
use super::pool::Run;
use super::stats::{Stats, Timings, Wanted};
use super::telemetry::Limit;
use super::write::AnswerPieces;
use crate::clock::now_ms;
use crate::reader::Who;

/// When a query is evaluated.
#[derive(Debug, Clone, Copy)]
enum When {
    At(i64),
    Over(Times),
}

impl When {
    fn times(self) -> Times {
        match self {
            Self::At(at_ms) => Times { start_ms: at_ms, end_ms: at_ms, step_ms: 1 },
            Self::Over(times) => times,
        }
    }

    /// How many times there are after the first.
    fn steps(self) -> u64 {
        let Times { start_ms, end_ms, step_ms } = self.times();
        u64::try_from(end_ms.saturating_sub(start_ms) / step_ms.max(1)).unwrap_or(0)
    }
}

pub(super) async fn instant(
    Who(reader): Who,
    State(api): State<PrometheusApi>,
    form: Form,
) -> Result<Success, ApiError> {
    let limit = form.limit()?;
    let at_ms = form.time_ms("time")?.unwrap_or_else(now_ms);
    evaluate(&api, reader, &form, limit, When::At(at_ms)).await
}

pub(super) async fn range(Who(reader): Who, State(api): State<PrometheusApi>, form: Form) -> Result<Success, ApiError> {
    let limit = form.limit()?;
    let start_ms = form.required_time_ms("start")?;
    let end_ms = form.required_time_ms("end")?;
    if end_ms < start_ms {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step_ms = form.required_duration_ms("step")?;
    if step_ms <= 0 {
        let problem = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::parameter("step", problem));
    }
    evaluate(&api, reader, &form, limit, When::Over(Times { start_ms, end_ms, step_ms })).await
}

/// Refuses what is past a bound before anything is read.
fn check(when: When, bounds: &Bounds) -> Result<(), ApiError> {
    if when.steps() > bounds.max_steps {
        let key = if bounds.max_steps == PROMETHEUS_STEPS { "" } else { " (query.max_steps)" };
        return Err(past(
            Limit::Steps,
            ApiError::BadData(format!(
                "exceeded maximum resolution of {} points per timeseries. Try decreasing the query resolution \
                 (?step=XX){key}",
                thousands(bounds.max_steps)
            )),
        ));
    }
    Ok(())
}

/// Refuses an expression that reaches over more time than a query may.
fn check_range(expr: &Expr, when: When, bounds: &Bounds) -> Result<(), ApiError> {
    let Some(max_range) = bounds.max_range else { return Ok(()) };
    let Times { start_ms, end_ms, .. } = when.times();
    let over = match when {
        When::At(_) => None,
        When::Over(times) => Some(times),
    };
    let asked_ms = end_ms.saturating_sub(start_ms).saturating_add(expr.reach_ms(over)?);
    let asked = Duration::from_millis(u64::try_from(asked_ms).unwrap_or(0));
    if asked > max_range {
        let [asked, max_range] = [asked, max_range].map(tenantscope_rules::format_duration);
        let message = format!("the query is about {asked}, more than {max_range} (query.max_range)");
        return Err(past(Limit::Range, ApiError::BadData(message)));
    }
    Ok(())
}

/// `11,000`, as Prometheus writes its limit.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

async fn evaluate(
    api: &PrometheusApi,
    reader: tenantscope_tenancy::Reading,
    form: &Form,
    limit: usize,
    when: When,
) -> Result<Success, ApiError> {
    let (limits, bounds) = api.bounds(&reader);
    check(when, &bounds)?;
    let asked_timeout = form.duration_ms("timeout")?.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
    let lookback_ms = form.lookback_ms()?;
    let (wanted, warning) = Wanted::of(form.get("stats"));
    let text = form.text("query").to_owned();
    let count_steps = (wanted != Wanted::Nothing).then(|| usize::try_from(when.steps()).unwrap_or(0) + 1);
    let asked = Asked { api: api.clone(), scope: reader.scope.clone(), text, when, bounds, lookback_ms, limit, wanted };
    let job = super::pool::Job { reader: &reader, limits: &limits, bounds, asked_timeout, count_steps };
    api.pool.run(job, move |run| asked.answer(&run, warning)).await
}

/// A query that waits for its turn.
struct Asked {
    api: PrometheusApi,
    scope: tenantscope_model::Scope,
    text: String,
    when: When,
    bounds: Bounds,
    lookback_ms: Option<i64>,
    limit: usize,
    wanted: Wanted,
}

impl Asked {
    fn answer(self, run: &Run, warning: Option<String>) -> Result<Success, ApiError> {
        let begun = Instant::now();
        // Readers' queries are not kept: whoever sends many would fill the memory of all.
        let expr = parse(&self.text)?;
        check_range(&expr, self.when, &self.bounds)?;
        let parsed = Instant::now();
        let options = QueryOptions { budget: &run.budget, lookback_ms: self.lookback_ms, text: &self.text };
        let (engine, select) = (self.api.evaluator.engine(), self.api.select());
        let mut answer = match self.when {
            When::At(at_ms) => engine.instant(&*select, &self.scope, &expr, at_ms, options)?,
            When::Over(times) => engine.range(&*select, &self.scope, &expr, times, options)?,
        };
        cut(&mut answer, self.limit);
        answer.warnings.extend(warning);
        run.budget.take_bytes(answer.value.held_bytes())?;
        let timings = Timings { queued: run.queued, preparing: parsed - begun, evaluating: parsed.elapsed() };
        let stats = Stats::new(timings, &run.budget, self.wanted, self.when.times());
        let stats = Some(stats).filter(|_| self.wanted != Wanted::Nothing);
        Ok(Success::written(body(AnswerPieces::new(answer, stats.as_ref(), Arc::clone(&run.budget)))))
    }
}

fn cut(answer: &mut Answer, limit: usize) {
    match &mut answer.value {
        Value::Vector(elements) => truncate(elements, limit, &mut answer.warnings),
        Value::Matrix(series) => truncate(series, limit, &mut answer.warnings),
        Value::Scalar(_) | Value::String { .. } => {}
    }
}

pub(super) async fn format(
    Who(reader): Who,
    State(api): State<PrometheusApi>,
    form: Form,
) -> Result<Success, ApiError> {
    let text = form.text("query").to_owned();
    let work = move |run: Run| {
        run.budget.check()?;
        Success::new(parse(&text)?.pretty())
    };
    api.run(&reader, work).await
}

pub(super) async fn tree(Who(reader): Who, State(api): State<PrometheusApi>, form: Form) -> Result<Success, ApiError> {
    let text = form.text("query").to_owned();
    let work = move |run: Run| {
        run.budget.check()?;
        Success::new(parse(&text)?.to_tree())
    };
    api.run(&reader, work).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([7, 999, 1000, 11_000, 1_234_567].map(thousands), ["7", "999", "1,000", "11,000", "1,234,567"]);
    }
}
