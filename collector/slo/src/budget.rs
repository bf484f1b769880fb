//! What is left of a budget.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tenantscope_model::{Evaluate, EvaluateError, Scope, TenantId};
use tenantscope_rules::format_duration;

use crate::objective::{Objective, Objectives, Window};

/// An objective's budget of one tenant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Budget {
    /// The objective's name.
    pub slo: String,
    /// Its name for people.
    pub display_name: String,
    /// The service that it is about.
    pub service: String,
    /// The tenant.
    pub tenant: TenantId,
    /// The share of events that must be good.
    pub target: f64,
    /// The time over which it is counted, such as `30d` or `month`.
    pub window: String,
    /// Events in the window.
    pub total_events: f64,
    /// Bad ones among them.
    pub bad_events: f64,
    /// Their share.
    pub error_ratio: f64,
    /// What is left: 1 for everything, 0 for nothing, below 0 if more was spent.
    pub remaining: f64,
}

impl Objectives {
    /// The budgets of every objective and tenant with events, within the scope, by objective and tenant. Blocks.
    pub fn budgets(&self, evaluate: &dyn Evaluate, scope: &Scope, at_ms: i64) -> Result<Vec<Budget>, EvaluateError> {
        let mut budgets = Vec::new();
        for objective in self {
            budgets.extend(objective_budgets(objective, evaluate, scope, at_ms)?);
        }
        Ok(budgets)
    }
}

fn objective_budgets(
    objective: &Objective,
    evaluate: &dyn Evaluate,
    scope: &Scope,
    at_ms: i64,
) -> Result<Vec<Budget>, EvaluateError> {
    let window = window_length(objective.window, at_ms);
    let totals = by_tenant(evaluate, scope, &objective.total_events(window), at_ms)?;
    let bads = by_tenant(evaluate, scope, &objective.bad_events(window), at_ms)?;
    let with_events = totals.into_iter().filter(|(_, total)| *total > 0.0);
    let budgets = with_events.map(|(tenant, total_events)| {
        let bad_events = bads.get(&tenant).copied().unwrap_or(0.0);
        let error_ratio = bad_events / total_events;
        Budget {
            slo: objective.name.clone(),
            display_name: objective.display_name.clone(),
            service: objective.service.clone(),
            tenant,
            target: objective.target,
            window: window_name(objective.window),
            total_events,
            bad_events,
            error_ratio,
            remaining: 1.0 - error_ratio / objective.budget(),
        }
    });
    Ok(budgets.collect())
}

/// An expression's values by tenant; elements without a tenant are left out.
pub(crate) fn by_tenant(
    evaluate: &dyn Evaluate,
    scope: &Scope,
    expression: &str,
    at_ms: i64,
) -> Result<BTreeMap<TenantId, f64>, EvaluateError> {
    let elements = evaluate.evaluate(scope, expression, at_ms)?;
    let named = elements.into_iter().filter_map(|element| {
        let tenant = TenantId::try_new(element.labels.get("tenant")?).ok()?;
        element.value.is_finite().then_some((tenant, element.value))
    });
    Ok(named.collect())
}

/// How far a window reaches back from a time.
pub(crate) fn window_length(window: Window, at_ms: i64) -> Duration {
    match window {
        Window::Rolling(length) => length,
        Window::Month => {
            let since_ms = at_ms - month_start_ms(at_ms);
            Duration::from_millis(u64::try_from(since_ms).unwrap_or(0)).max(Duration::from_secs(60))
        }
    }
}

/// The start of a time's month, in UTC.
pub(crate) fn month_start_ms(at_ms: i64) -> i64 {
    let start = jiff::Timestamp::from_millisecond(at_ms)
        .and_then(|at| at.to_zoned(jiff::tz::TimeZone::UTC).first_of_month())
        .and_then(|day| day.start_of_day());
    start.map_or(at_ms, |day| day.timestamp().as_millisecond())
}

pub(crate) fn window_name(window: Window) -> String {
    match window {
        Window::Rolling(length) => format_duration(length),
        Window::Month => "month".to_owned(),
    }
}

/// PromQL: what is left of each tenant's budget, for the fleet page and for dashboards.
///
/// A calendar month's start can't be said in PromQL; there it is of the last 30 days.
pub(crate) fn remaining_expression(objective: &Objective) -> String {
    let window = match objective.window {
        Window::Rolling(length) => length,
        Window::Month => Duration::from_secs(30 * 86_400),
    };
    format!("1 - ({}) / {:.9}", objective.error_ratio(window), objective.budget())
}
