//! `/incidents`: what is wrong now, how far it reaches, and what ended lately.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use tenantscope_incidents::IncidentView;

use super::layout::{self, Place};
use super::{Shared, respond};
use crate::Scoped;
use crate::clock::now_ms;

/// How many incidents that ended are listed.
const ENDED: usize = 50;
/// How many tenants of an incident are named; the rest is a number.
const NAMED: usize = 12;

pub(super) async fn show(State(state): Shared, Scoped(scope): Scoped) -> Response {
    let now_ms = now_ms();
    let (incidents, asked) = (Arc::clone(&state.sources.incidents), scope.clone());
    let listed = tokio::task::spawn_blocking(move || incidents.list(&asked, ENDED).map_err(|error| error.to_string()));
    let content = match listed.await.map_err(|error| error.to_string()).and_then(|listed| listed) {
        Ok(incidents) => content(&incidents, now_ms),
        Err(why) => layout::unreadable("incidents", &why),
    };
    respond(StatusCode::OK, layout::page("Incidents", Place::Incidents, &scope, &content))
}

fn content(incidents: &[IncidentView], now_ms: i64) -> Markup {
    let (open, ended): (Vec<_>, Vec<_>) = incidents.iter().partition(|incident| incident.resolved_ms.is_none());
    html! {
        h1 { "Incidents" }
        section.card {
            h2 { "Open" }
            @if open.is_empty() { p.good { "nothing is wrong" } } @else { (table(&open, now_ms)) }
        }
        section.card {
            h2 { "Ended" }
            @if ended.is_empty() { p.soft { "none" } } @else { (table(&ended, now_ms)) }
        }
    }
}

fn table(incidents: &[&IncidentView], now_ms: i64) -> Markup {
    html! {
        table {
            thead { tr {
                th scope="col" { "Alert" } th scope="col" { "Reach" } th scope="col" { "Tenants" } th scope="col" { "What" }
                th scope="col" { "Opened (UTC)" } th.n scope="col" { "For" }
            } }
            tbody { @for incident in incidents { (row(incident, now_ms)) } }
        }
    }
}

fn row(incident: &IncidentView, now_ms: i64) -> Markup {
    let class = if incident.resolved_ms.is_none() { "bad" } else { "soft" };
    let summary = incident.alerts.first().and_then(|alert| alert.annotations.get("summary"));
    html! {
        tr {
            td { (incident.alert) }
            td { span.badge.(class) { (incident.reach) } }
            td {
                @for (number, tenant) in incident.tenants.iter().take(NAMED).enumerate() {
                    @if number > 0 { ", " }
                    a href={ "/tenants/" (tenant) } { (tenant) }
                }
                @if incident.tenants.len() > NAMED { " and " (incident.tenants.len() - NAMED) " more" }
            }
            td { (summary.map_or("", String::as_str)) }
            td.time { (layout::moment(incident.opened_ms)) }
            td.n { (layout::age(incident.resolved_ms.unwrap_or(now_ms) - incident.opened_ms)) }
        }
    }
}
