//! Prometheus's HTTP API (`/api/v1/…`) over the metric store.
//!
//! ```text
//! request → Form (query string and form body) → parameters → pool (a bounded queue, blocking threads)
//!         → engine or store, within scope and budget → JSON in Prometheus's form
//! ```
//! A request whose client goes away stops its work: the budget is cancelled when the handler is dropped.

mod answer;
mod form;
mod labels;
mod pool;
mod query;
mod rules;
mod status;
mod targets;
mod telemetry;
mod write;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tenantscope_model::{Reporting, Select};
use tenantscope_promql::{Engine, Evaluator, Limits};
use tenantscope_rules::Runner;

use pool::Pool;

/// What queries may use.
#[derive(Debug, Clone)]
pub struct QueryLimits {
    /// The longest that a query may take; a request may ask for less. Default: two minutes.
    pub timeout: Duration,
    /// How many queries run at once. Default: 4.
    pub concurrency: usize,
    /// How many wait for their turn; one more is refused with 503. Default: 200.
    pub max_waiting: usize,
    /// The most samples that a query may load. Default: 50,000,000.
    pub max_samples: u64,
    /// How far an instant selector looks back. Default: five minutes.
    pub lookback: Duration,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(120),
            concurrency: 4,
            max_waiting: 200,
            max_samples: 50_000_000,
            lookback: Duration::from_secs(300),
        }
    }
}

impl QueryLimits {
    /// An engine with these limits.
    pub fn engine(&self) -> Engine {
        let lookback_ms = i64::try_from(self.lookback.as_millis()).unwrap_or(i64::MAX);
        Engine::new(Limits { lookback_ms, max_cells: self.max_samples, ..Limits::default() })
    }
}

/// What the Prometheus routes need. Cloning shares it.
#[derive(Clone)]
pub struct PrometheusApi {
    evaluator: Evaluator,
    rules: Option<Arc<Runner>>,
    reporting: Option<Arc<dyn Reporting>>,
    limits: Arc<QueryLimits>,
    pool: Pool,
}

impl PrometheusApi {
    /// Answers from what an evaluator evaluates over.
    pub fn new(evaluator: Evaluator, limits: QueryLimits) -> Self {
        let pool = Pool::new(limits.concurrency, limits.max_waiting);
        Self { evaluator, rules: None, reporting: None, limits: Arc::new(limits), pool }
    }

    /// With rules and alerts to show.
    #[must_use]
    pub fn with_rules(self, rules: Arc<Runner>) -> Self {
        Self { rules: Some(rules), ..self }
    }

    /// With those who report, as targets.
    #[must_use]
    pub fn with_reporting(self, reporting: Arc<dyn Reporting>) -> Self {
        Self { reporting: Some(reporting), ..self }
    }

    fn select(&self) -> Arc<dyn Select> {
        Arc::clone(self.evaluator.select())
    }
}

/// The routes; to be put into a [`crate::Gate`].
pub fn routes(api: PrometheusApi) -> Router {
    Router::new()
        .route("/api/v1/query", get(query::instant).post(query::instant))
        .route("/api/v1/query_range", get(query::range).post(query::range))
        .route("/api/v1/query_exemplars", get(labels::exemplars).post(labels::exemplars))
        .route("/api/v1/format_query", get(query::format).post(query::format))
        .route("/api/v1/series", get(labels::series).post(labels::series))
        .route("/api/v1/labels", get(labels::names).post(labels::names))
        .route("/api/v1/label/{name}/values", get(labels::values))
        .route("/api/v1/metadata", get(labels::metadata))
        .route("/api/v1/rules", get(rules::rules))
        .route("/api/v1/alerts", get(rules::alerts))
        .route("/api/v1/targets", get(targets::targets))
        .route("/api/v1/status/buildinfo", get(status::build_info))
        .route("/api/v1/status/tsdb", get(status::tsdb))
        .with_state(api)
}
