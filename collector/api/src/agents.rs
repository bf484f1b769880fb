//! `/tenantscope/v1/agents`: which document each agent goes by, and how far the rollout of a change is;
//! `/tenantscope/v1/agents/resume`: an admin lets a halted rollout go on.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use tenantscope_model::Scope;
use tenantscope_tenancy::{AUDIT, AgentState, Agents, ResumeError};

use crate::reader::from_no_other_page;
use crate::tenantscope::{Asked, problem};
use crate::{Scoped, Who};

/// The routes.
pub fn routes(agents: Arc<Agents>) -> Router {
    let changing = from_no_other_page(
        Router::new().route("/tenantscope/v1/agents/resume", post(resume)).with_state(agents.clone()),
    );
    Router::new().route("/tenantscope/v1/agents", get(show)).with_state(agents).merge(changing)
}

/// Which agents are wanted.
#[derive(Debug, Deserialize)]
struct Wanted {
    /// Only those that stand so.
    state: Option<AgentState>,
}

async fn show(
    Scoped(scope): Scoped,
    State(agents): State<Arc<Agents>>,
    Asked(Wanted { state: wanted }): Asked<Wanted>,
) -> Response {
    match tokio::task::spawn_blocking(move || agents.view(&scope, wanted)).await {
        Ok(view) => Json(view).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}

/// Which rollout is meant.
#[derive(Debug, Deserialize)]
struct Meant {
    release: u64,
}

async fn resume(
    Who(reading): Who,
    State(agents): State<Arc<Agents>>,
    meant: Result<Asked<Meant>, Response>,
) -> Response {
    if reading.scope != Scope::All {
        return problem(StatusCode::FORBIDDEN, &"only a reader of all tenants may let a rollout go on");
    }
    let release = match meant {
        Ok(Asked(meant)) => meant.release,
        Err(refused) => return refused,
    };
    let resumed = tokio::task::spawn_blocking(move || {
        agents.resume(release)?;
        Ok(agents.view(&Scope::All, None).rollout)
    });
    match resumed.await {
        Ok(Ok(rollout)) => {
            tracing::info!(target: AUDIT, reader = &*reading.reader, release, "rollout_resumed");
            Json(rollout).into_response()
        }
        Ok(Err(ResumeError::NotResumed(error))) => problem(StatusCode::CONFLICT, &error),
        Ok(Err(ResumeError::NotKept(error))) => problem(StatusCode::SERVICE_UNAVAILABLE, &error),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}
