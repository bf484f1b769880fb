//! `/slo`: every objective's budget in every tenant that the reader may see, the emptiest first.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use tenantscope_slo::Budget;

use super::layout::{self, Mood, Place};
use super::{Shared, respond};
use crate::Scoped;
use crate::clock::now_ms;

/// Rows of one objective; the emptiest budgets are the ones that matter.
const ROWS: usize = 200;

pub(super) async fn show(State(state): Shared, Scoped(scope): Scoped) -> Response {
    let now_ms = now_ms();
    let content = match state.sources.objectives.budgets(scope.clone(), now_ms).await {
        Ok(budgets) => content(budgets, now_ms),
        Err(why) => layout::unreadable("error budgets", &why),
    };
    respond(StatusCode::OK, layout::page("Objectives", Place::Objectives, &scope, &content))
}

fn content(budgets: Vec<Budget>, now_ms: i64) -> Markup {
    let mut by_objective: BTreeMap<String, Vec<Budget>> = BTreeMap::new();
    for budget in budgets {
        by_objective.entry(budget.slo.clone()).or_default().push(budget);
    }
    html! {
        h1 { "Objectives" }
        @if by_objective.is_empty() { p.soft { "no objective has events yet" } }
        @for (objective, budgets) in &mut by_objective {
            (section(objective, budgets, now_ms))
        }
    }
}

fn section(objective: &str, budgets: &mut [Budget], now_ms: i64) -> Markup {
    budgets.sort_by(|a, b| a.remaining.total_cmp(&b.remaining).then_with(|| a.tenant.cmp(&b.tenant)));
    let month = layout::moment(now_ms);
    let month = month.get(..7).unwrap_or_default();
    let (target, window) = budgets.first().map(|first| (first.target, first.window.clone())).unwrap_or_default();
    let spent = budgets.iter().filter(|budget| budget.remaining <= 0.0).count();
    html! {
        section.card {
            h2 { (budgets.first().map_or(objective, |first| first.display_name.as_str())) }
            p.soft {
                "at least " (layout::percent(target)) " good in " (window) "; spent in " (spent) " of " (budgets.len()) " tenants; "
                a href={ "/tenantscope/v1/reports?month=" (month) "&format=html" } { "this month's report" }
            }
            table {
                thead { tr {
                    th scope="col" { "Tenant" } th scope="col" { "Budget left" } th.n scope="col" { "Bad" }
                    th.n scope="col" { "Of" } th.n scope="col" { "Error ratio" } th scope="col" { "Report" }
                } }
                tbody {
                    @for budget in budgets.iter().take(ROWS) { (row(budget, month)) }
                }
            }
            @if budgets.len() > ROWS { p.soft { "and " (budgets.len() - ROWS) " tenants with more left" } }
        }
    }
}

fn row(budget: &Budget, month: &str) -> Markup {
    let allowed = 1.0 - budget.target;
    let mood = if budget.error_ratio > allowed { Mood::Bad } else { Mood::Good };
    html! {
        tr {
            td { a href={ "/tenants/" (budget.tenant) } { (budget.tenant) } }
            td { (layout::budget_bar(budget.remaining)) }
            td.n { (layout::short(budget.bad_events)) }
            td.n { (layout::short(budget.total_events)) }
            td.n { span.(mood.class()) { (layout::percent(budget.error_ratio)) } }
            td { a href={ "/tenantscope/v1/reports?month=" (month) "&tenant=" (budget.tenant) "&format=html" } { "this month" } }
        }
    }
}
