//! Error budgets as they were recorded last, which costs little for any number of tenants: the fleet's page and a tenant's say
//! the same, and as of when. What was spent just now is on `/slo`.

use std::sync::Arc;

use maud::{Markup, html};
use tenantscope_model::Scope;

use super::layout;

/// What is left of each tenant's emptiest budget.
pub(super) const EMPTIEST: &str = "min by (tenant) (slo:error_budget_remaining:ratio)";
const EACH: &str = "min by (slo) (slo:error_budget_remaining:ratio)";
const RECORDED_AT: &str = "min(timestamp(slo:error_budget_remaining:ratio))";

/// Since when at least the budgets of a scope are as they are shown, in milliseconds since the epoch.
pub(super) async fn recorded_ms(state: &Arc<super::State>, scope: &Scope, now_ms: i64) -> Option<i64> {
    let recorded = state.queries.instant(scope, RECORDED_AT, now_ms).await.ok()?;
    recorded.first().map(|element| (element.value * 1000.0) as i64)
}

/// A card for each budget of a tenant, whose scope this is.
pub(super) async fn cards(state: &Arc<super::State>, scope: &Scope, now_ms: i64) -> Markup {
    let budgets = match state.queries.instant(scope, EACH, now_ms).await {
        Ok(budgets) => budgets,
        Err(why) => return layout::unreadable("error budgets", &why),
    };
    let recorded_ms = recorded_ms(state, scope, now_ms).await;
    html! {
        @if !budgets.is_empty() {
            div.cards {
                @for budget in &budgets {
                    @let name = budget.labels.get("slo").unwrap_or("");
                    div.card {
                        div { (layout::budget_bar(budget.value)) }
                        div.what { "budget left of “" (state.sources.objectives.display_name(name)) "”" (as_of(recorded_ms)) }
                    }
                }
            }
        }
    }
}

/// ` as of 14:03:07`, UTC.
pub(super) fn as_of(recorded_ms: Option<i64>) -> Markup {
    html! { @if let Some(at_ms) = recorded_ms { span.soft { " as of " (layout::clock(at_ms)) " UTC" } } }
}
