//! The built-in pages: the fleet, a tenant, accounts, incidents, objectives. They work without scripts, and show what the reader's
//! scope allows and nothing else.

mod accounts;
mod budgets;
mod fleet;
mod incidents;
mod layout;
mod limits;
mod objectives;
mod plot;
mod queries;
mod tenant;
mod trace;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use maud::Markup;
use tenantscope_incidents::Incidents;
use tenantscope_lake::Lake;
use tenantscope_model::Reporting;
use tenantscope_promql::Evaluator;
use tenantscope_rules::Runner;
use tenantscope_tenancy::Registry;

use crate::{ObjectivesInForce, QuotasInForce};
use queries::Queries;

/// What the pages read.
pub struct Sources {
    /// What evaluates PromQL.
    pub evaluator: Evaluator,
    /// Logs and spans.
    pub lake: Arc<Lake>,
    /// Rules and their alerts.
    pub rules: Arc<Runner>,
    /// What is wrong.
    pub incidents: Arc<Incidents>,
    /// Objectives and their budgets.
    pub objectives: ObjectivesInForce,
    /// Who has data.
    pub reporting: Arc<dyn Reporting>,
    /// Tenants and their attributes; none in open mode.
    pub registry: Option<Arc<Registry>>,
    /// What tenants may send.
    pub quotas: QuotasInForce,
}

struct State {
    queries: Queries,
    sources: Sources,
}

type Shared = axum::extract::State<Arc<State>>;

/// The pages' routes.
pub fn routes(sources: Sources) -> Router {
    let queries = Queries::new(sources.evaluator.clone());
    Router::new()
        .route("/", get(fleet::show))
        .route("/tenants/{tenant}", get(tenant::show))
        .route("/accounts", get(accounts::show))
        .route("/traces/{trace}", get(trace::show))
        .route("/incidents", get(incidents::show))
        .route("/slo", get(objectives::show))
        .with_state(Arc::new(State { queries, sources }))
}

/// A page as a response: no scripts, nothing from elsewhere, never cached for another reader.
fn respond(status: StatusCode, page: Markup) -> Response {
    let policy =
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; frame-ancestors 'none'";
    let headers = [
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    ];
    (status, headers, Html(page.into_string())).into_response()
}
