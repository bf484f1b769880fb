//! Prometheus's HTTP API (`/api/v1/…`, `/federate`) over the metric store.
//!
//! ```text
//! request → edge (headers, compression) → Form (query string and form body) → limits of the reader
//!         → queue (a line for each reader) → pool (a blocking thread, time, samples, memory)
//!         → engine or store, within scope and budget → Pieces → body, as fast as the client reads it
//! ```
//! A request whose client goes away stops its work: the budget is cancelled when the handler is dropped, and an
//! answer that is being sent is dropped with its body.
//!
//! # Invariants
//! - Forms, statuses and words of errors are Prometheus 3's; where a limit of ours is not Prometheus's, its
//!   configuration key is named.
//! - An answer is never whole in memory as text, and what it holds is charged to the query until it is sent.
//! - One reader that asks much waits behind itself.

mod answer;
mod body;
mod compression;
mod edge;
mod escaping;
mod exposition;
mod federate;
mod form;
mod limits;
mod list;
mod messages;
mod metadata;
mod numbers;
mod pool;
mod query;
mod queue;
mod rules;
mod series;
mod stats;
mod status;
mod targets;
mod telemetry;
mod times;
mod write;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodRouter, any, get};
use parking_lot::RwLock;
use tenantscope_model::{Reporting, Scope, Select};
use tenantscope_promql::Evaluator;
use tenantscope_rules::Runner;
use tenantscope_tenancy::{Reading, Registry};

use answer::ApiError;
use limits::Bounds;
pub use limits::QueryLimits;
use pool::{Job, Pool, Run};

use crate::clock::now_ms;

/// What the Prometheus routes need. Cloning shares it.
#[derive(Clone)]
pub struct PrometheusApi {
    evaluator: Evaluator,
    rules: Option<Arc<Runner>>,
    reporting: Option<Arc<dyn Reporting>>,
    registry: Option<Arc<Registry>>,
    retention: Option<Duration>,
    in_force: Arc<RwLock<InForce>>,
    pool: Pool,
    started_ms: i64,
}

/// What a reload exchanges.
struct InForce {
    limits: Arc<QueryLimits>,
    since_ms: i64,
    /// Whether the newest configuration is the one in force.
    is_newest: bool,
}

impl PrometheusApi {
    /// Answers from what an evaluator evaluates over.
    pub fn new(evaluator: Evaluator, limits: QueryLimits) -> Self {
        let pool = Pool::new(Arc::clone(evaluator.memory()));
        limit(&evaluator, &limits);
        let started_ms = now_ms();
        let in_force = InForce { limits: Arc::new(limits), since_ms: started_ms, is_newest: true };
        Self {
            evaluator,
            rules: None,
            reporting: None,
            registry: None,
            retention: None,
            in_force: Arc::new(RwLock::new(in_force)),
            pool,
            started_ms,
        }
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

    /// With the registry, by which tenants' readers have the bounds of their tiers.
    #[must_use]
    pub fn with_registry(self, registry: Option<Arc<Registry>>) -> Self {
        Self { registry, ..self }
    }

    /// With the time that the store keeps samples, to be told.
    #[must_use]
    pub fn with_retention(self, retention: Option<Duration>) -> Self {
        Self { retention, ..self }
    }

    /// Other limits from now on, for queries that come. The lookback holds until the next start.
    pub fn reload(&self, limits: QueryLimits) {
        limit(&self.evaluator, &limits);
        *self.in_force.write() = InForce { limits: Arc::new(limits), since_ms: now_ms(), is_newest: true };
    }

    /// A configuration was refused, and the old one holds on.
    pub fn refused_reload(&self) {
        self.in_force.write().is_newest = false;
    }

    fn limits(&self) -> Arc<QueryLimits> {
        Arc::clone(&self.in_force.read().limits)
    }

    fn configured_ms(&self) -> i64 {
        self.in_force.read().since_ms
    }

    fn config_is_in_force(&self) -> bool {
        self.in_force.read().is_newest
    }

    fn retention(&self) -> Option<Duration> {
        self.retention
    }

    fn select(&self) -> Arc<dyn Select> {
        Arc::clone(self.evaluator.select())
    }

    /// The limits, and what of them is for a reader: its queries are bounded by what each asks for, its room by all
    /// that it may see.
    fn bounds(&self, reader: &Reading) -> (Arc<QueryLimits>, Bounds) {
        let limits = self.limits();
        let tenants = self.registry.as_ref().map(|registry| registry.tenants());
        let within = |scope| limits.within(scope, tenants.as_deref());
        let bounds = Bounds { room: within(&reader.allowed).room, ..within(&reader.scope) };
        (limits, bounds)
    }

    /// Runs work that is no query within what a query may use.
    async fn run<T: Send + 'static>(
        &self,
        reader: &Reading,
        work: impl FnOnce(Run) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (limits, bounds) = self.bounds(reader);
        let job = Job { reader, limits: &limits, bounds, asked_timeout: None, count_steps: None };
        self.pool.run(job, work).await
    }
}

/// Rules and objectives may use what a query may, and share the memory of all.
fn limit(evaluator: &Evaluator, limits: &QueryLimits) {
    evaluator.memory().resize(limits.memory_max_bytes);
    let bounds = limits.within(&Scope::All, None);
    evaluator.limit(bounds.timeout, bounds.query);
}

/// A route that is read by GET alone.
fn read<H: Handler<T, PrometheusApi>, T: 'static>(handler: H) -> MethodRouter<PrometheusApi> {
    get(handler).options(edge::preflight)
}

/// A route whose parameters may also come in the body of a POST.
fn asked<H: Handler<T, PrometheusApi>, T: 'static>(handler: H) -> MethodRouter<PrometheusApi> {
    read(handler.clone()).post(handler)
}

/// The routes; to be put into a [`crate::Gate`].
pub fn routes(api: PrometheusApi) -> Router {
    Router::new()
        .route("/api/v1/query", asked(query::instant))
        .route("/api/v1/query_range", asked(query::range))
        .route("/api/v1/query_exemplars", asked(series::exemplars))
        .route("/api/v1/format_query", asked(query::format))
        .route("/api/v1/parse_query", asked(query::tree))
        .route("/api/v1/series", asked(series::series))
        .route("/api/v1/labels", asked(series::names))
        .route("/api/v1/label/{name}/values", read(series::values))
        .route("/api/v1/metadata", read(metadata::metadata))
        .route("/api/v1/rules", read(rules::rules))
        .route("/api/v1/alerts", read(rules::alerts))
        .route("/api/v1/targets", read(targets::targets))
        .route("/api/v1/scrape_pools", read(targets::pools))
        .route("/api/v1/status/buildinfo", read(status::build_info))
        .route("/api/v1/status/runtimeinfo", read(status::runtime_info))
        .route("/api/v1/status/flags", read(status::flags))
        .route("/api/v1/status/config", read(status::config))
        .route("/api/v1/status/tsdb", read(status::tsdb))
        .route("/federate", get(federate::federate))
        .method_not_allowed_fallback(edge::wrong_method)
        .route("/api/v1/", any(edge::not_found))
        .route("/api/v1/{*path}", any(edge::not_found).options(edge::preflight))
        .layer(axum::middleware::from_fn(edge::around))
        .with_state(api)
}
