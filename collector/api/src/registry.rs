//! `/tenantscope/v1/registry`: where tenants and accounts come from, and where the sources differ.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tenantscope_model::Scope;
use tenantscope_tenancy::{Conflict, OrganizationStatus, Registry};

use crate::Scoped;
use crate::tenantscope::problem;

/// The most conflicts that an answer lists.
const MAX_CONFLICTS: usize = 1000;

/// The route; without a registry (open mode) it answers that there is none.
pub fn routes(registry: Option<Arc<Registry>>) -> Router {
    Router::new().route("/tenantscope/v1/registry", get(show)).with_state(registry)
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

async fn show(Scoped(scope): Scoped, State(registry): State<Option<Arc<Registry>>>) -> Response {
    // A conflict names two tenants, of which a reader may be allowed one.
    if scope != Scope::All {
        return problem(StatusCode::FORBIDDEN, &"only a reader of all tenants may see the registry's sources");
    }
    let Some(registry) = registry else {
        return problem(StatusCode::NOT_FOUND, &"the collector runs without a registry");
    };
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
