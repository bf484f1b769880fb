//! `/tenantscope/v1/registry`: where tenants and accounts come from, and where the sources differ;
//! `/tenantscope/v1/tag-policy`: which accounts lack a required tag; `/tenantscope/v1/coverage`: which report;
//! `/tenantscope/v1/quarantine`: what is held of accounts that no tenant has.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tenantscope_model::{AccountId, Reporting, Scope, TenantId};
use tenantscope_tenancy::{AccountCoverage, Conflict, CoverageState, OrganizationStatus, Quarantined, Registry};

use crate::Scoped;
use crate::clock::now_ms;
use crate::tenantscope::{Asked, problem};

/// The most conflicts that an answer lists.
const MAX_CONFLICTS: usize = 1000;

/// What the routes read.
#[derive(Clone)]
pub struct Sources {
    /// None in open mode: then they answer that there is none.
    pub registry: Option<Arc<Registry>>,
    /// Who has data.
    pub reporting: Arc<dyn Reporting>,
}

/// The routes.
pub fn routes(sources: Sources) -> Router {
    Router::new()
        .route("/tenantscope/v1/registry", get(show))
        .route("/tenantscope/v1/tag-policy", get(tag_policy))
        .route("/tenantscope/v1/coverage", get(coverage))
        .route("/tenantscope/v1/quarantine", get(quarantine))
        .with_state(sources)
}

fn no_registry() -> Response {
    problem(StatusCode::NOT_FOUND, &"the collector runs without a registry")
}

#[derive(Debug, Serialize)]
struct RegistryView {
    tenants: usize,
    accounts: usize,
    /// Absent where no organization is configured.
    organization: Option<OrganizationStatus>,
    /// How many there are; at most 1,000 are listed.
    conflicts_total: usize,
    conflicts: Vec<Conflict>,
}

async fn show(Scoped(scope): Scoped, State(Sources { registry, .. }): State<Sources>) -> Response {
    // A conflict names two tenants, of which a reader may be allowed one.
    if scope != Scope::All {
        return problem(StatusCode::FORBIDDEN, &"only a reader of all tenants may see the registry's sources");
    }
    let Some(registry) = registry else { return no_registry() };
    let (tenants, conflicts) = (registry.tenants(), registry.conflicts());
    Json(RegistryView {
        tenants: tenants.len(),
        accounts: tenants.accounts(),
        organization: registry.organization_status(),
        conflicts_total: conflicts.len(),
        conflicts: conflicts.iter().take(MAX_CONFLICTS).cloned().collect(),
    })
    .into_response()
}

async fn tag_policy(Scoped(scope): Scoped, State(Sources { registry, .. }): State<Sources>) -> Response {
    let Some(registry) = registry else { return no_registry() };
    match tokio::task::spawn_blocking(move || registry.tag_report(&scope)).await {
        Ok(report) => Json(report).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}

/// Which accounts are wanted.
#[derive(Debug, Deserialize)]
struct Wanted {
    /// Only those that are this.
    state: Option<CoverageState>,
}

#[derive(Debug, Serialize)]
struct CoverageView {
    /// Accounts by what they are; those that are not listed are counted too.
    summary: BTreeMap<CoverageState, usize>,
    accounts: Vec<AccountCoverage>,
}

async fn coverage(
    Scoped(scope): Scoped,
    State(sources): State<Sources>,
    Asked(Wanted { state: wanted }): Asked<Wanted>,
) -> Response {
    let Some(registry) = sources.registry else { return no_registry() };
    let seen = sources.reporting.seen(&scope);
    let made = tokio::task::spawn_blocking(move || {
        let mut accounts = registry.coverage(&seen, &scope, now_ms());
        let mut summary = BTreeMap::new();
        for account in &accounts {
            *summary.entry(account.state).or_default() += 1;
        }
        accounts.retain(|account| wanted.is_none_or(|state| account.state == state));
        CoverageView { summary, accounts }
    });
    match made.await {
        Ok(view) => Json(view).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}

#[derive(Debug, Serialize)]
struct QuarantineView {
    /// The bounds in force.
    max_accounts: usize,
    max_records_per_day: u64,
    max_bytes_per_day: u64,
    accounts: Vec<QuarantinedAccount>,
}

#[derive(Debug, Serialize)]
struct QuarantinedAccount {
    account: AccountId,
    #[serde(flatten)]
    held: Quarantined,
}

async fn quarantine(Scoped(scope): Scoped, State(Sources { registry, .. }): State<Sources>) -> Response {
    let Some(registry) = registry else { return no_registry() };
    let limits = registry.quarantine_limits();
    // What is held belongs to the tenant `unassigned`, whose readers may see whose it is.
    let may_see = scope.allows(Some(&TenantId::unassigned()));
    let held = if may_see { registry.quarantined() } else { BTreeMap::new() };
    let accounts = held.into_iter().map(|(account, held)| QuarantinedAccount { account, held }).collect();
    Json(QuarantineView {
        max_accounts: limits.max_accounts,
        max_records_per_day: limits.max_records_per_day,
        max_bytes_per_day: limits.max_bytes_per_day.0,
        accounts,
    })
    .into_response()
}
