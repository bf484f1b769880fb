//! `tenants remove`, and the removals that are remembered: the routes, and the command that asks them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tenantscope_api::{AskedInText, Gate, Who};
use tenantscope_ingest::{JournalWait, RemovalError, TenantRemoval};
use tenantscope_model::{Scope, TenantId};
use tenantscope_tenancy::AUDIT;

use crate::cli::RemoveTenant;
use crate::config::Config;
use crate::removals::Removals;
use crate::report::Asker;

/// Where removals are asked for and listed.
const PATH: &str = "/tenantscope/v1/removals";
/// A removal goes on if it takes longer; whoever asked for it is told how far it is.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Wanted {
    tenant: String,
}

/// How far a removal has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Stage {
    /// Something is left that can be deleted at once.
    Removing,
    /// Only segments of the journals are left, of which nothing is read any more.
    Deleted,
    /// Nothing is left.
    Final,
}

/// A removal as it is told.
#[derive(Debug, Serialize)]
struct Told {
    state: Stage,
    #[serde(flatten)]
    removal: TenantRemoval,
    /// Why what is pending is, where something went wrong.
    failures: BTreeMap<String, String>,
    waits_for: Vec<JournalWait>,
    /// What a removal does not reach.
    not_removed: &'static [&'static str],
}

#[derive(Debug, Serialize)]
struct List {
    removals: Vec<Told>,
}

const NOT_REMOVED: &[&str] = &[
    "what was forwarded stays where it went",
    "data of its accounts that was held in quarantine is that of tenant unassigned",
    "data that came under a former id (aliases) goes with a removal of that id",
    "the audit log and this record name it",
];

impl Told {
    fn of(removals: &Removals, removal: TenantRemoval) -> Self {
        let state = match (removal.deleted_ms, removal.final_ms) {
            (_, Some(_)) => Stage::Final,
            (Some(_), None) => Stage::Deleted,
            (None, None) => Stage::Removing,
        };
        let failures = removals.failures(removal.number);
        let waits_for = removals.intake().removal_waits(&removal);
        Self { state, removal, failures, waits_for, not_removed: NOT_REMOVED }
    }
}

/// The routes, for readers of all tenants.
pub(crate) fn routes(gate: &Gate, removals: Removals) -> Router {
    gate.around_changes(Router::new().route(PATH, get(list).post(remove)).with_state(removals))
}

fn forbidden() -> Response {
    (StatusCode::FORBIDDEN, "removals are for readers of all tenants\n").into_response()
}

async fn list(Who(reading): Who, State(removals): State<Removals>) -> Response {
    if reading.scope != Scope::All {
        return forbidden();
    }
    let known = removals.intake().removals();
    Json(List { removals: known.into_iter().map(|removal| Told::of(&removals, removal)).collect() }).into_response()
}

async fn remove(
    Who(reading): Who,
    AskedInText(wanted): AskedInText<Wanted>,
    State(removals): State<Removals>,
) -> Response {
    if reading.scope != Scope::All {
        return forbidden();
    }
    let tenant = match TenantId::try_new(&wanted.tenant) {
        Ok(tenant) => tenant,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    match removals.listed_as(&tenant) {
        Some(listed) if listed == tenant => {
            let text = format!("the registry lists tenant {tenant}: take it out there and reload first\n");
            return (StatusCode::CONFLICT, text).into_response();
        }
        Some(listed) => {
            let text = format!("{tenant} is a former id of tenant {listed}, which the registry lists\n");
            return (StatusCode::CONFLICT, text).into_response();
        }
        None => {}
    }
    let begun = match removals.begin(&tenant, &reading.reader).await {
        Ok(begun) => begun,
        Err(error @ RemovalError::TooMany) => {
            return (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response();
        }
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    };
    tracing::info!(target: AUDIT, tenant = %tenant, number = begun.number, reader = &*reading.reader, "removal_begun");
    // It goes on whether or not anybody waits for it.
    let working = {
        let removals = removals.clone();
        tokio::spawn(async move { removals.work(begun.number).await })
    };
    tokio::time::timeout(PATIENCE, working).await.ok();
    let removal = removals.intake().removal(begun.number).unwrap_or(begun);
    let status = match removal.deleted_ms {
        None => StatusCode::ACCEPTED,
        Some(_) if found_something(&removal) => StatusCode::OK,
        Some(_) => return not_found(&removals, &removal),
    };
    (status, Json(Told::of(&removals, removal))).into_response()
}

/// Numbers of what is a tenant's own; others are of files, which may go for another reason.
const OWN: [&str; 13] = [
    "series",
    "samples",
    "families",
    "logs_rows",
    "spans_rows",
    "alerts",
    "incidents",
    "notifications",
    "reporters",
    "lanes",
    "agents",
    "deliveries",
    "running_totals",
];

fn found_something(removal: &TenantRemoval) -> bool {
    removal.deleted.values().flatten().any(|(name, count)| *count > 0 && OWN.contains(&name.as_str()))
}

fn not_found(removals: &Removals, removal: &TenantRemoval) -> Response {
    let known = removals.intake().removals();
    let before = known.iter().rev().find(|other| other.tenant == removal.tenant && other.number < removal.number);
    let before = before.map(|before| format!(", removal {} took it before", before.number)).unwrap_or_default();
    (StatusCode::NOT_FOUND, format!("nothing of tenant {} was found{before}\n", removal.tenant)).into_response()
}

/// Asks the running collector: its record, and whether everything is gone that can go at once.
pub async fn ask(options: &RemoveTenant) -> Result<(String, bool)> {
    let config = Config::read(&options.asking.config)?;
    let asker = Asker::try_new(&config, PATH, &options.asking)?;
    let (status, answer) = asker.post(&[("tenant", &options.tenant)]).await?;
    Ok((String::from_utf8_lossy(&answer).trim().to_owned(), status != StatusCode::ACCEPTED))
}
