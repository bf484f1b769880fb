//! PromQL for the pages: bounded in number and time, off the runtime's threads.

use std::sync::Arc;
use std::time::Duration;

use tenantscope_model::{Evaluated, Labels, Sample, Scope};
use tenantscope_promql::{Evaluator, PointValue, QueryOptions, Times, Value};
use tokio::sync::Semaphore;

use super::plot::{Line, Span};

/// How long one query of a page may take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Samples that one query of a page may load: a fleet of 6,000 tenants with an hour of minutes, and some.
const MAX_SAMPLES: u64 = 20_000_000;
/// Queries of all pages at the same time.
const CONCURRENT: usize = 4;

/// Asks the engine over the store.
#[derive(Clone)]
pub(super) struct Queries {
    evaluator: Evaluator,
    permits: Arc<Semaphore>,
}

impl Queries {
    pub(super) fn new(evaluator: Evaluator) -> Self {
        Self { evaluator, permits: Arc::new(Semaphore::new(CONCURRENT)) }
    }

    /// The elements of an instant vector.
    pub(super) async fn instant(&self, scope: &Scope, query: &str, at_ms: i64) -> Result<Vec<Evaluated>, String> {
        let value = self.run(scope, query, At::Instant(at_ms)).await?;
        let element = |labels: Labels, value: PointValue| match value {
            PointValue::Float(value) => Some(Evaluated { labels, value }),
            PointValue::Histogram(_) => None,
        };
        Ok(match value {
            Value::Vector(elements) => elements.into_iter().filter_map(|e| element(e.labels, e.value)).collect(),
            Value::Scalar(sample) => vec![Evaluated { labels: Labels::default(), value: sample.value }],
            Value::String { .. } | Value::Matrix(_) => Vec::new(),
        })
    }

    /// The lines of a plot; a line is named by the label, or by `name` where there is none.
    pub(super) async fn lines(
        &self,
        scope: &Scope,
        query: &str,
        label: &str,
        name: &str,
        span: Span,
    ) -> Result<Vec<Line>, String> {
        let Value::Matrix(series) = self.run(scope, query, At::Range(span)).await? else { return Ok(Vec::new()) };
        let line = |labels: Labels, points: Vec<Sample>| {
            let labelled =
                labels.get(label).map_or_else(|| name.to_owned(), |value| format!("{name} {value}").trim().to_owned());
            Line { name: labelled, points }
        };
        Ok(series.into_iter().map(|one| line(one.labels, one.floats)).collect())
    }

    async fn run(&self, scope: &Scope, query: &str, at: At) -> Result<Value, String> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|error| error.to_string())?;
        let expr = tenantscope_promql::parse(query).map_err(|error| error.to_string())?;
        let (evaluator, scope) = (self.evaluator.clone(), scope.clone());
        let evaluated = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let budget = evaluator.budget(TIMEOUT, MAX_SAMPLES);
            let (engine, select) = (evaluator.engine(), evaluator.select());
            let options = QueryOptions { budget: &budget, lookback_ms: None, text: "" };
            let answer = match at {
                At::Instant(at_ms) => engine.instant(&**select, &scope, &expr, at_ms, options),
                At::Range(Span { start_ms, end_ms, step_ms }) => {
                    engine.range(&**select, &scope, &expr, Times { start_ms, end_ms, step_ms }, options)
                }
            };
            answer.map(|answer| answer.value).map_err(|error| error.to_string())
        });
        evaluated.await.map_err(|error| error.to_string())?
    }
}

enum At {
    Instant(i64),
    Range(Span),
}
