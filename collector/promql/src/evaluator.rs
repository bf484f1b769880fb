use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tenantscope_model::{Evaluate, EvaluateError, Evaluated, Labels, QueryBudget, Scope, Select};

use crate::ast::Expr;
use crate::engine::{Engine, QueryOptions};
use crate::error::{EngineError, ParseError};
use crate::parse::parse;
use crate::value::{PointValue, Value};

/// How many parsed expressions are kept: rules and objectives evaluate the same ones again and again.
const MAX_PARSED: usize = 4096;

/// What one evaluation of a rule may use.
const MAX_SAMPLES: u64 = 50_000_000;
const TIMEOUT: Duration = Duration::from_secs(60);

/// An [`Engine`] over a store, as rules and objectives use it. Cloning shares store and cache.
#[derive(Clone)]
pub struct Evaluator {
    engine: Engine,
    select: Arc<dyn Select>,
    parsed: Arc<Mutex<Parsed>>,
}

/// Parsed expressions, the oldest leaving first. They are no one's data, so that all scopes share them.
#[derive(Default)]
struct Parsed {
    expressions: HashMap<Arc<str>, Arc<Expr>>,
    order: VecDeque<Arc<str>>,
}

impl Evaluator {
    /// Evaluates over this store.
    pub fn new(engine: Engine, select: Arc<dyn Select>) -> Self {
        Self { engine, select, parsed: Arc::default() }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The store.
    pub fn select(&self) -> &Arc<dyn Select> {
        &self.select
    }

    /// Parses an expression, or takes it from the cache.
    fn parsed(&self, expression: &str) -> Result<Arc<Expr>, ParseError> {
        let lock = || self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(expr) = lock().expressions.get(expression) {
            return Ok(Arc::clone(expr));
        }
        let expr = Arc::new(parse(expression)?);
        let key: Arc<str> = expression.into();
        let mut parsed = lock();
        if parsed.expressions.insert(Arc::clone(&key), Arc::clone(&expr)).is_none() {
            parsed.order.push_back(key);
        }
        if parsed.order.len() > MAX_PARSED
            && let Some(oldest) = parsed.order.pop_front()
        {
            parsed.expressions.remove(&oldest);
        }
        Ok(expr)
    }
}

impl Evaluate for Evaluator {
    fn evaluate(&self, scope: &Scope, expression: &str, at_ms: i64) -> Result<Vec<Evaluated>, EvaluateError> {
        let expr = self.parsed(expression).map_err(|error| EvaluateError::Expression(error.to_string()))?;
        let budget = QueryBudget::new(Instant::now() + TIMEOUT, MAX_SAMPLES);
        let options = QueryOptions { budget: &budget, lookback_ms: None, text: expression };
        let answer = self.engine.instant(&*self.select, scope, &expr, at_ms, options);
        match answer.map_err(failed)?.value {
            Value::Scalar(sample) => Ok(vec![Evaluated { labels: Labels::default(), value: sample.value }]),
            Value::Vector(elements) => {
                let float = |element: crate::value::Element| match element.value {
                    PointValue::Float(value) => Some(Evaluated { labels: element.labels, value }),
                    PointValue::Histogram(_) => None,
                };
                Ok(elements.into_iter().filter_map(float).collect())
            }
            Value::String { .. } | Value::Matrix(_) => {
                Err(EvaluateError::Expression("rule result is not a vector or scalar".to_owned()))
            }
        }
    }
}

fn failed(error: EngineError) -> EvaluateError {
    match error {
        EngineError::Request(message) => EvaluateError::Expression(message),
        other => EvaluateError::Execution(other.to_string()),
    }
}
