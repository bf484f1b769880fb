//! Our own API, `/tenantscope/v1/…`: tenants, error budgets, reports, as JSON within the reader's scope.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tenantscope_incidents::{IncidentView, Incidents};
use tenantscope_model::{AccountId, Reporting, Scope, Signal, TenantId};
use tenantscope_slo::{Audience, Budget, Period, Report};
use tenantscope_tenancy::{AccountMove, AccountState, Registry, Tenant, Tenants};

use crate::asked::unreadable;
use crate::clock::now_ms;
use crate::{ObjectivesInForce, Scoped};

/// What our own API reads.
#[derive(Clone)]
pub struct Sources {
    /// Objectives, budgets, reports.
    pub objectives: ObjectivesInForce,
    /// What is wrong.
    pub incidents: Arc<Incidents>,
    /// Who has data.
    pub reporting: Arc<dyn Reporting>,
    /// Tenants and their attributes; none in open mode.
    pub registry: Option<Arc<Registry>>,
}

/// The routes.
pub fn routes(sources: Sources) -> Router {
    Router::new()
        .route("/tenantscope/v1/tenants", get(tenants))
        .route("/tenantscope/v1/incidents", get(incidents))
        .route("/tenantscope/v1/budgets", get(budgets))
        .route("/tenantscope/v1/reports", get(reports))
        .with_state(sources)
}

/// What went wrong, as JSON.
#[derive(Debug, Serialize)]
struct Problem {
    error: String,
}

pub(crate) fn problem(status: StatusCode, error: &dyn Display) -> Response {
    (status, Json(Problem { error: error.to_string() })).into_response()
}

/// What the query of a request asks for; one that can't be read is a bad request.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let asked = Query::from_request_parts(parts, state).await;
        asked
            .map(|Query(asked)| Self(asked))
            .map_err(|rejected| problem(StatusCode::BAD_REQUEST, &unreadable(&rejected)))
    }
}

/// A tenant as `/tenantscope/v1/tenants` lists it.
#[derive(Debug, Default, Serialize)]
struct TenantEntry {
    id: String,
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    accounts: BTreeSet<AccountId>,
    /// Those that it shares with others.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pooled_accounts: BTreeSet<AccountId>,
    /// Of the accounts that are on their way out.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    account_states: BTreeMap<AccountId, AccountState>,
    attributes: BTreeMap<String, String>,
    /// The ids that it had before, under which its history lies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    former_ids: Vec<TenantId>,
    /// The collector that may hold its data.
    #[serde(skip_serializing_if = "Option::is_none")]
    home: Option<String>,
    /// Since when it has an account, in milliseconds since the epoch, where that is known.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    accounts_since_ms: BTreeMap<AccountId, i64>,
    /// Accounts that came from another tenant, or went to one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    moved_accounts: Vec<AccountMove>,
    /// When data of each signal was last acknowledged, in milliseconds since the epoch.
    last_seen_ms: BTreeMap<Signal, i64>,
}

#[derive(Debug, Serialize)]
struct TenantList {
    tenants: Vec<TenantEntry>,
}

async fn tenants(State(sources): State<Sources>, Scoped(scope): Scoped) -> Json<TenantList> {
    let mut entries: BTreeMap<TenantId, TenantEntry> = BTreeMap::new();
    let tenants = sources.registry.as_ref().map(|registry| registry.tenants()).unwrap_or_default();
    if let Some(registry) = &sources.registry {
        for tenant in tenants.iter().filter(|tenant| scope.allows(Some(&tenant.id))) {
            entries.insert(tenant.id.clone(), registered(registry, &tenants, tenant));
        }
        for moved in registry.moves(&scope) {
            let sides: BTreeSet<&TenantId> = [&moved.from, &moved.to].into_iter().flatten().collect();
            for side in sides.into_iter().map(|id| tenants.current_id(id)) {
                if let Some(entry) = entries.get_mut(side) {
                    entry.moved_accounts.push(moved.clone());
                }
            }
        }
    }
    for seen in sources.reporting.seen(&scope) {
        // What came under a former id is the tenant's, for whoever may see the tenant.
        let current = Some(tenants.current_id(&seen.tenant)).filter(|current| scope.allows(Some(current)));
        let id = current.unwrap_or(&seen.tenant);
        // One that has moved is told as that.
        let account = seen.account.filter(|account| tenants.owner(*account).is_none_or(|owner| owner.id == *id));
        let entry = entries.entry(id.clone()).or_default();
        entry.accounts.extend(account);
        let last = entry.last_seen_ms.entry(seen.signal).or_default();
        *last = seen.last_ms.max(*last);
    }
    let with_id = |(id, entry): (TenantId, TenantEntry)| TenantEntry { id: id.to_string(), ..entry };
    Json(TenantList { tenants: entries.into_iter().map(with_id).collect() })
}

/// A tenant as the registry has it.
fn registered(registry: &Registry, tenants: &Tenants, tenant: &Tenant) -> TenantEntry {
    let states = tenant.accounts.iter().filter_map(|id| Some((*id, tenants.account(*id)?.state)));
    let shared = tenants.pooled_accounts().filter(|(_, pooled)| pooled.tenants.contains(&tenant.id));
    TenantEntry {
        name: tenant.name.clone(),
        accounts: tenant.accounts.iter().copied().collect(),
        pooled_accounts: shared.map(|(account, _)| account).collect(),
        account_states: states.filter(|(_, state)| *state != AccountState::Active).collect(),
        attributes: tenant.attributes.clone(),
        former_ids: tenants.former_ids(&tenant.id).cloned().collect(),
        home: tenant.home.clone(),
        accounts_since_ms: tenant.accounts.iter().filter_map(|id| Some((*id, registry.since_ms(*id)?))).collect(),
        ..TenantEntry::default()
    }
}

/// How many incidents that ended are listed.
const ENDED_INCIDENTS: usize = 200;

#[derive(Debug, Serialize)]
struct IncidentList {
    incidents: Vec<IncidentView>,
}

async fn incidents(State(sources): State<Sources>, Scoped(scope): Scoped) -> Response {
    let listed = tokio::task::spawn_blocking(move || sources.incidents.list(&scope, ENDED_INCIDENTS)).await;
    match listed {
        Ok(Ok(incidents)) => Json(IncidentList { incidents }).into_response(),
        Ok(Err(error)) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}

/// One tenant's budget of one objective.
#[derive(Debug, Serialize)]
struct BudgetEntry {
    objective: String,
    tenant: TenantId,
    target: f64,
    window: String,
    total_events: f64,
    bad_events: f64,
    error_ratio: f64,
    /// 1 for the whole budget, 0 for none, below 0 if more was spent.
    remaining_ratio: f64,
}

impl From<Budget> for BudgetEntry {
    fn from(budget: Budget) -> Self {
        Self {
            objective: budget.slo,
            tenant: budget.tenant,
            target: budget.target,
            window: budget.window,
            total_events: budget.total_events,
            bad_events: budget.bad_events,
            error_ratio: budget.error_ratio,
            remaining_ratio: budget.remaining,
        }
    }
}

#[derive(Debug, Serialize)]
struct BudgetList {
    budgets: Vec<BudgetEntry>,
}

async fn budgets(State(sources): State<Sources>, Scoped(scope): Scoped) -> Response {
    match sources.objectives.budgets(scope, now_ms()).await {
        Ok(budgets) => {
            Json(BudgetList { budgets: budgets.into_iter().map(BudgetEntry::from).collect() }).into_response()
        }
        Err(error) => problem(StatusCode::UNPROCESSABLE_ENTITY, &error),
    }
}

/// Which report is wanted.
#[derive(Debug, Deserialize)]
struct Wanted {
    /// `2026-10`, in UTC.
    month: String,
    /// One tenant; without it the fleet's report, or, without a format, the names of the tenants.
    tenant: Option<String>,
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Html,
    Json,
    Csv,
    Md,
}

#[derive(Debug, Serialize)]
struct ReportList {
    month: String,
    tenants: BTreeSet<TenantId>,
}

async fn reports(State(sources): State<Sources>, Scoped(scope): Scoped, Asked(wanted): Asked<Wanted>) -> Response {
    let period = match Period::month(&wanted.month) {
        Ok(period) => period,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error),
    };
    let now_ms = now_ms();
    if period.from_ms > now_ms {
        return problem(StatusCode::BAD_REQUEST, &format!("the month {} has not begun", period.name));
    }
    let known = names(&sources, &scope);
    let audience = match (&wanted.tenant, wanted.format) {
        (None, None) => return Json(ReportList { month: wanted.month, tenants: known }).into_response(),
        (None, Some(_)) => Audience::Fleet(scope),
        // A tenant that is outside the scope and one that does not exist look alike.
        (Some(tenant), _) => match known.into_iter().find(|known| known.as_str() == tenant) {
            Some(tenant) => Audience::Tenant(tenant),
            None => return problem(StatusCode::NOT_FOUND, &"no such tenant"),
        },
    };
    match sources.objectives.report(audience, period, now_ms).await {
        Ok(report) => written(&report, wanted.format.unwrap_or(Format::Json)),
        Err(error) => problem(StatusCode::UNPROCESSABLE_ENTITY, &error),
    }
}

fn names(sources: &Sources, scope: &Scope) -> BTreeSet<TenantId> {
    let seen = sources.reporting.seen(scope).into_iter().map(|seen| seen.tenant);
    let registry = sources.registry.as_ref().map(|registry| registry.tenants());
    let registered = registry.iter().flat_map(|tenants| tenants.iter()).map(|tenant| tenant.id.clone());
    let former = registry.iter().flat_map(|tenants| tenants.all_former_ids()).cloned();
    seen.chain(registered).chain(former).filter(|tenant| scope.allows(Some(tenant))).collect()
}

fn written(report: &Report, format: Format) -> Response {
    let of = |content_type: &'static str, text: String| ([(header::CONTENT_TYPE, content_type)], text).into_response();
    match format {
        Format::Html => of("text/html; charset=utf-8", report.to_html()),
        Format::Csv => of("text/csv; charset=utf-8", report.to_csv()),
        Format::Md => of("text/markdown; charset=utf-8", report.to_markdown()),
        Format::Json => match report.to_json() {
            Ok(json) => of("application/json", json),
            Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error),
        },
    }
}
