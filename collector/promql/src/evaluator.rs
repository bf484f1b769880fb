use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tenantscope_model::{
    Evaluate, EvaluateApart, EvaluateError, Evaluated, Labels, QueryBounds, QueryBudget, QueryMemory, Scope, Select,
    SelectError, SeriesRequest, TenantId,
};

use crate::ast::{Expr, ExprKind};
use crate::engine::{Engine, QueryOptions};
use crate::error::{EngineError, ParseError};
use crate::parse::parse;
use crate::value::{PointValue, Value};
use crate::without::{TENANT, Without};

/// How many parsed expressions are kept: rules and objectives evaluate the same ones again and again.
const MAX_PARSED: usize = 4096;

/// What one evaluation of a rule may use, unless it is told otherwise.
const DEFAULT_USE: Use = Use {
    timeout: Duration::from_secs(60),
    bounds: QueryBounds { max_samples: 50_000_000, max_series: 5_000_000, max_bytes: 300 << 20 },
};

/// What all of them may hold, and the queries that share it, unless it is told otherwise.
const DEFAULT_MEMORY_BYTES: u64 = 600 << 20;

/// What an evaluation may use.
#[derive(Debug, Clone, Copy)]
struct Use {
    timeout: Duration,
    bounds: QueryBounds,
}

/// How far back tenants are looked for at least: no lookback, widened by a series' cadence, is longer.
const LOOKBACK_MS: i64 = 3_600_000;

/// An [`Engine`] over a store, as rules and objectives use it. Cloning shares store, cache, memory and limits.
#[derive(Clone)]
pub struct Evaluator {
    engine: Engine,
    select: Arc<dyn Select>,
    parsed: Arc<Mutex<Parsed>>,
    memory: Arc<QueryMemory>,
    may_use: Arc<Mutex<Use>>,
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
        let memory = Arc::new(QueryMemory::new(DEFAULT_MEMORY_BYTES));
        Self { engine, select, parsed: Arc::default(), memory, may_use: Arc::new(Mutex::new(DEFAULT_USE)) }
    }

    /// The memory of all queries, which evaluations share with whoever else asks the store.
    pub fn memory(&self) -> &Arc<QueryMemory> {
        &self.memory
    }

    /// What one evaluation may use from now on.
    pub fn limit(&self, timeout: Duration, bounds: QueryBounds) {
        *self.may_use.lock().unwrap_or_else(PoisonError::into_inner) = Use { timeout, bounds };
    }

    /// What an evaluation may use, and no more than this of time and samples.
    pub fn budget(&self, timeout: Duration, max_samples: u64) -> QueryBudget {
        let may_use = *self.may_use.lock().unwrap_or_else(PoisonError::into_inner);
        let max_samples = may_use.bounds.max_samples.min(max_samples);
        let bounds = QueryBounds { max_samples, ..may_use.bounds };
        let deadline = Instant::now() + may_use.timeout.min(timeout);
        QueryBudget::bounded(deadline, bounds, Some(Arc::clone(&self.memory)))
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

    fn evaluate_over(
        &self,
        select: &dyn Select,
        scope: &Scope,
        expression: &str,
        at_ms: i64,
    ) -> Result<Vec<Evaluated>, EvaluateError> {
        let expr = self.parsed(expression).map_err(|error| EvaluateError::Expression(error.to_string()))?;
        let budget = self.budget(Duration::MAX, u64::MAX);
        let options = QueryOptions { budget: &budget, lookback_ms: None, text: expression };
        let answer = self.engine.instant(select, scope, &expr, at_ms, options);
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

impl Evaluate for Evaluator {
    fn evaluate(&self, scope: &Scope, expression: &str, at_ms: i64) -> Result<Vec<Evaluated>, EvaluateError> {
        self.evaluate_over(&*self.select, scope, expression, at_ms)
    }
}

impl EvaluateApart for Evaluator {
    fn evaluate_without(
        &self,
        tenants: &BTreeSet<TenantId>,
        expression: &str,
        at_ms: i64,
    ) -> Result<Vec<Evaluated>, EvaluateError> {
        let without = Without::try_new(&*self.select, tenants).map_err(failed)?;
        self.evaluate_over(&without, &Scope::All, expression, at_ms)
    }

    fn tenants_of(&self, expression: &str, at_ms: i64) -> Result<BTreeSet<TenantId>, EvaluateError> {
        let expr = self.parsed(expression).map_err(|error| EvaluateError::Expression(error.to_string()))?;
        let matchers = expr.selectors().into_iter().map(|(selector, _)| selector.matchers.clone());
        let sets: Vec<_> = matchers.collect();
        if sets.is_empty() {
            return Ok(BTreeSet::new());
        }
        let may_use = *self.may_use.lock().unwrap_or_else(PoisonError::into_inner);
        // A tenant may have so many series that an evaluation may not; only names are kept of them here.
        let (deadline, memory) = (Instant::now() + may_use.timeout, Some(Arc::clone(&self.memory)));
        let budget = QueryBudget::bounded(deadline, QueryBounds::NONE, memory);
        let from_ms =
            reach_ms(&expr).map_or(i64::MIN, |reach_ms| at_ms.saturating_sub(reach_ms.saturating_add(LOOKBACK_MS)));
        let (matcher_sets, budget) = (sets.as_slice(), &budget);
        let request = SeriesRequest { matcher_sets, from_ms, to_ms: i64::MAX, limit: usize::MAX, budget };
        let found = self.select.label_values(&Scope::All, TENANT, &request);
        let found = found.map_err(|error: SelectError| failed(error.into()))?;
        Ok(found.iter().filter_map(|tenant| TenantId::try_new(tenant).ok()).collect())
    }
}

/// How far back an expression looks, but for the lookback; `None` where that hangs on more than its own numbers.
fn reach_ms(expr: &Expr) -> Option<i64> {
    let own_ms = match &expr.kind {
        ExprKind::Vector(selector) if selector.at.is_none() && selector.offset_expr.is_none() => selector.offset_ms,
        ExprKind::Matrix(matrix)
            if matrix.selector.at.is_none() && matrix.selector.offset_expr.is_none() && matrix.range_expr.is_none() =>
        {
            matrix.selector.offset_ms.saturating_add(matrix.range_ms)
        }
        ExprKind::Subquery(subquery)
            if subquery.at.is_none() && subquery.offset_expr.is_none() && subquery.range_expr.is_none() =>
        {
            subquery.offset_ms.saturating_add(subquery.range_ms)
        }
        ExprKind::Vector(_) | ExprKind::Matrix(_) | ExprKind::Subquery(_) => return None,
        _ => 0,
    };
    let parts = expr.children().into_iter().map(reach_ms);
    let furthest = parts.collect::<Option<Vec<i64>>>()?.into_iter().max().unwrap_or(0);
    Some(own_ms.max(0).saturating_add(furthest))
}

fn failed(error: EngineError) -> EvaluateError {
    match error {
        EngineError::Request(message) => EvaluateError::Expression(message),
        EngineError::Execution(message) => EvaluateError::Execution(message),
        limit @ (EngineError::TooManySamples { .. }
        | EngineError::TooManySeries { .. }
        | EngineError::TooMuchMemory { .. }) => EvaluateError::Limit(limit.to_string()),
        other @ (EngineError::TimedOut
        | EngineError::Cancelled
        | EngineError::MemoryFull { .. }
        | EngineError::Store(_)) => EvaluateError::Unavailable(other.to_string()),
    }
}
