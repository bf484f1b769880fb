//! `/`: every tenant that the reader may see, the worst first.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use tenantscope_model::{AlertState, Scope, Signal, TenantId};
use tenantscope_rules::AlertView;

use super::layout::{self, Mood, Place};
use super::tenant::alerts_section;
use super::{Shared, budgets, respond};
use crate::Scoped;
use crate::asked::AskedInText;
use crate::clock::now_ms;

const ERROR_RATIO: &str = "sum by (tenant) (sum_over_time(aws_lambda_errors_sum[5m])) \
    / sum by (tenant) (sum_over_time(aws_lambda_invocations_sum[5m]))";
const INVOCATIONS: &str = "sum by (tenant) (sum_over_time(aws_lambda_invocations_sum[5m]))";

/// Rows on one page.
const ROWS: usize = 200;
/// A signal that has not come for so long is shown as late.
const LATE_MS: i64 = 10 * 60_000;

/// The page's parameters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    q: String,
    sort: Sort,
    page: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Sort {
    #[default]
    Health,
    Tenant,
    Errors,
    Requests,
    Budget,
}

impl Sort {
    fn as_str(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Tenant => "tenant",
            Self::Errors => "errors",
            Self::Requests => "requests",
            Self::Budget => "budget",
        }
    }
}

/// Puts a query's value into a row.
type SetCell = fn(&mut Row, f64);

/// One tenant's row.
#[derive(Debug, Clone, Default)]
struct Row {
    tenant: String,
    name: Option<String>,
    attributes: Vec<String>,
    firing: usize,
    pending: usize,
    error_ratio: Option<f64>,
    requests: Option<f64>,
    budget: Option<f64>,
    last_seen_ms: BTreeMap<Signal, i64>,
}

pub(super) async fn show(
    State(state): Shared,
    Scoped(scope): Scoped,
    AskedInText(asked): AskedInText<Asked>,
) -> Response {
    let now_ms = now_ms();
    let mut rows = tenants(&state, &scope);
    let mut problems = Vec::new();
    let queries: [(&str, SetCell); 3] = [
        (ERROR_RATIO, |row, value| row.error_ratio = Some(value)),
        (INVOCATIONS, |row, value| row.requests = Some(value)),
        (budgets::EMPTIEST, |row, value| row.budget = Some(value)),
    ];
    for (query, set) in queries {
        match state.queries.instant(&scope, query, now_ms).await {
            Ok(elements) => {
                for element in elements.iter().filter(|element| element.value.is_finite()) {
                    let tenant = element.labels.get("tenant").unwrap_or("");
                    if let Some(row) = rows.get_mut(tenant) {
                        set(row, element.value);
                    }
                }
            }
            Err(why) => problems.push(why),
        }
    }
    let times = Shown { now_ms, budgets_ms: budgets::recorded_ms(&state, &scope, now_ms).await };
    let all: Vec<Row> = rows.into_values().collect();
    let of_nobody = |alert: &AlertView| alert.labels.get("tenant").is_none();
    let fleet_wide: Vec<AlertView> = state.sources.rules.alerts(&scope).into_iter().filter(of_nobody).collect();
    respond(
        StatusCode::OK,
        layout::page("Fleet", Place::Fleet, &scope, &content(all, &fleet_wide, &asked, &problems, times)),
    )
}

/// When the page is made, and since when the budgets are as it shows them.
#[derive(Debug, Clone, Copy, Default)]
struct Shown {
    now_ms: i64,
    budgets_ms: Option<i64>,
}

/// The tenants of the registry and of what has reported, with their alerts and the times of their last data.
fn tenants(state: &super::State, scope: &Scope) -> BTreeMap<String, Row> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let row = |tenant: &TenantId| Row { tenant: tenant.to_string(), ..Row::default() };
    if let Some(registry) = &state.sources.registry {
        for tenant in registry.tenants().iter().filter(|tenant| scope.allows(Some(&tenant.id))) {
            let attributes = tenant.attributes.iter().map(|(name, value)| format!("{name} {value}")).collect();
            rows.insert(tenant.id.to_string(), Row { attributes, name: tenant.name.clone(), ..row(&tenant.id) });
        }
    }
    for seen in state.sources.reporting.seen(scope) {
        let entry = rows.entry(seen.tenant.to_string()).or_insert_with(|| row(&seen.tenant));
        let last = entry.last_seen_ms.entry(seen.signal).or_default();
        *last = seen.last_ms.max(*last);
    }
    for alert in state.sources.rules.alerts(scope) {
        let Some(row) = alert.labels.get("tenant").and_then(|tenant| rows.get_mut(tenant)) else { continue };
        match alert.state {
            AlertState::Firing => row.firing += 1,
            AlertState::Pending => row.pending += 1,
            AlertState::Resolved => {}
        }
    }
    rows
}

fn content(all: Vec<Row>, fleet_wide: &[AlertView], asked: &Asked, problems: &[String], times: Shown) -> Markup {
    let now_ms = times.now_ms;
    let summary = summary(&all, now_ms);
    let wanted = asked.q.trim().to_lowercase();
    let matches = |row: &Row| {
        let texts = [&row.tenant].into_iter().chain(&row.name).chain(&row.attributes);
        texts.map(|text| text.to_lowercase()).any(|text| text.contains(&wanted))
    };
    let mut rows: Vec<Row> = all.into_iter().filter(matches).collect();
    rows.sort_by(|a, b| order(a, b, asked.sort).then_with(|| a.tenant.cmp(&b.tenant)));
    let pages = rows.len().div_ceil(ROWS).max(1);
    let page = asked.page.min(pages - 1);
    let shown: Vec<&Row> = rows.iter().skip(page * ROWS).take(ROWS).collect();
    html! {
        h1 { "Fleet" }
        (summary)
        @if !fleet_wide.is_empty() { (alerts_section("Alerts of the fleet as a whole", fleet_wide, now_ms)) }
        @for problem in problems { (layout::unreadable("a column", problem)) }
        form.filter method="get" action="/" role="search" {
            input type="search" name="q" value=(asked.q) placeholder="tenant or attribute" aria-label="Find tenants";
            input type="hidden" name="sort" value=(asked.sort.as_str());
            button type="submit" { "Find" }
        }
        section.card {
            (table(&shown, asked, times))
            @if pages > 1 {
                nav.pages aria-label="Pages of the table" {
                    @if page > 0 { a href=(link(asked, asked.sort, page - 1)) { "previous" } }
                    span { "page " (page + 1) " of " (pages) }
                    @if page + 1 < pages { a href=(link(asked, asked.sort, page + 1)) { "next" } }
                }
            }
        }
    }
}

fn summary(rows: &[Row], now_ms: i64) -> Markup {
    let firing: usize = rows.iter().map(|row| row.firing).sum();
    let with_firing = rows.iter().filter(|row| row.firing > 0).count();
    let silent = rows.iter().filter(|row| is_silent(row, now_ms)).count();
    let spent = rows.iter().filter(|row| row.budget.is_some_and(|left| left <= 0.0)).count();
    let requests: f64 = rows.iter().filter_map(|row| row.requests).sum();
    let mood = |bad: usize| if bad > 0 { Mood::Bad.class() } else { Mood::Good.class() };
    html! {
        div.cards {
            div.card { div.number { (rows.len()) } div.what { "tenants" } }
            div.card { div.number.(mood(firing)) { (firing) } div.what { "firing alerts, in " (with_firing) @if with_firing == 1 { " tenant" } @else { " tenants" } } }
            div.card { div.number.(mood(spent)) { (spent) } div.what { "error budgets spent" } }
            div.card { div.number.(mood(silent)) { (silent) } div.what { "silent for 10 minutes" } }
            div.card { div.number { (layout::short(requests)) } div.what { "invocations in 5 minutes" } }
        }
    }
}

fn table(rows: &[&Row], asked: &Asked, times: Shown) -> Markup {
    let heading = |sort: Sort, text: &str| {
        let sorted = (asked.sort == sort).then_some("descending");
        html! { a href=(link(asked, sort, 0)) aria-current=[sorted.map(|_| "true")] { (text) } @if sorted.is_some() { " ▾" } }
    };
    html! {
        table {
            caption {
                (rows.len()) " tenants shown; a heading sorts"
                @if times.budgets_ms.is_some() { "; budgets" (budgets::as_of(times.budgets_ms)) }
            }
            thead { tr {
                th scope="col" { (heading(Sort::Tenant, "Tenant")) }
                th scope="col" { (heading(Sort::Health, "Health")) }
                th.n scope="col" { (heading(Sort::Errors, "Errors")) }
                th.n scope="col" { (heading(Sort::Requests, "Invocations, 5 min")) }
                th scope="col" { (heading(Sort::Budget, "Budget left")) }
                @for signal in Signal::ALL { th.n scope="col" { (signal) } }
                th scope="col" { "Attributes" }
            } }
            tbody {
                @for row in rows { (table_row(row, times.now_ms)) }
                @if rows.is_empty() { tr { td colspan="9" { "no tenant matches" } } }
            }
        }
    }
}

fn table_row(row: &Row, now_ms: i64) -> Markup {
    let (mood, health) = health(row, now_ms);
    html! {
        tr {
            td {
                a href={ "/tenants/" (row.tenant) } { (row.tenant) }
                @if let Some(name) = &row.name { span.soft { " " (name) } }
            }
            td { span.badge.(mood.class()) { (health) } }
            td.n {
                @match row.error_ratio {
                    Some(ratio) => span class=(Mood::of_errors(ratio).class()) { (layout::percent(ratio)) },
                    None => span.soft { "—" },
                }
            }
            td.n { @match row.requests { Some(requests) => { (layout::short(requests)) }, None => span.soft { "—" } } }
            td { @match row.budget { Some(left) => { (layout::budget_bar(left)) }, None => span.soft { "—" } } }
            @for signal in Signal::ALL {
                td.n {
                    @match row.last_seen_ms.get(&signal) {
                        Some(last) if now_ms - last > LATE_MS => span.warn { (layout::age(now_ms - last)) },
                        Some(last) => { (layout::age(now_ms - last)) },
                        None => span.soft { "never" },
                    }
                }
            }
            td.soft { (row.attributes.join(", ")) }
        }
    }
}

/// Whether a tenant that had data has none any more.
fn is_silent(row: &Row, now_ms: i64) -> bool {
    !row.last_seen_ms.is_empty() && row.last_seen_ms.values().all(|last| now_ms - last > LATE_MS)
}

fn health(row: &Row, now_ms: i64) -> (Mood, String) {
    match row {
        row if row.firing > 0 => (Mood::Bad, format!("{} firing", row.firing)),
        row if row.budget.is_some_and(|left| left <= 0.0) => (Mood::Bad, "budget spent".to_owned()),
        row if row.last_seen_ms.is_empty() => (Mood::Warn, "never reported".to_owned()),
        row if is_silent(row, now_ms) => (Mood::Warn, "silent".to_owned()),
        row if row.pending > 0 => (Mood::Warn, format!("{} pending", row.pending)),
        _ => (Mood::Good, "healthy".to_owned()),
    }
}

/// The worst, largest or alphabetically first comes first.
fn order(a: &Row, b: &Row, sort: Sort) -> Ordering {
    let largest =
        |a: Option<f64>, b: Option<f64>| b.unwrap_or(f64::NEG_INFINITY).total_cmp(&a.unwrap_or(f64::NEG_INFINITY));
    let least = |a: Option<f64>, b: Option<f64>| a.unwrap_or(f64::INFINITY).total_cmp(&b.unwrap_or(f64::INFINITY));
    match sort {
        Sort::Tenant => Ordering::Equal,
        Sort::Errors => largest(a.error_ratio, b.error_ratio),
        Sort::Requests => largest(a.requests, b.requests),
        Sort::Budget => least(a.budget, b.budget),
        Sort::Health => b
            .firing
            .cmp(&a.firing)
            .then_with(|| b.pending.cmp(&a.pending))
            .then_with(|| least(a.budget, b.budget))
            .then_with(|| largest(a.error_ratio, b.error_ratio)),
    }
}

fn link(asked: &Asked, sort: Sort, page: usize) -> String {
    let mut query = format!("/?sort={}", sort.as_str());
    if !asked.q.is_empty() {
        let escaped: String = asked.q.bytes().map(escape).collect();
        query.push_str(&format!("&q={escaped}"));
    }
    if page > 0 {
        query.push_str(&format!("&page={page}"));
    }
    query
}

/// Percent-encodes whatever is not plain in a query string.
fn escape(byte: u8) -> String {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(tenant: &str, firing: usize, budget: f64) -> Row {
        Row { tenant: tenant.into(), firing, budget: Some(budget), ..Row::default() }
    }

    #[test]
    fn the_worst_tenant_comes_first() {
        let mut rows = [row("a", 0, 0.9), row("b", 2, 0.5), row("c", 0, 0.1)];
        rows.sort_by(|a, b| order(a, b, Sort::Health));
        assert_eq!(rows.map(|row| row.tenant), ["b", "c", "a"]);
    }

    #[test]
    fn what_was_searched_is_escaped() {
        let asked = Asked { q: "a&b=\"<".into(), ..Asked::default() };
        assert_eq!(link(&asked, Sort::Tenant, 2), "/?sort=tenant&q=a%26b%3D%22%3C&page=2");
        let page = content(vec![row("acme", 0, 1.0)], &[], &asked, &[], Shown::default()).into_string();
        assert!(!page.contains("\"<\""), "{page}");
    }

    #[test]
    fn an_alert_about_no_tenant_is_shown() {
        let labels = tenantscope_model::Labels::from_pairs([("alertname", "CollectorLate")]);
        let (annotations, state) = (BTreeMap::new(), AlertState::Firing);
        let alert = AlertView { labels, annotations, state, active_at: 0, value: 1.0 };
        let page = content(vec![row("acme", 0, 1.0)], &[alert], &Asked::default(), &[], Shown::default()).into_string();
        assert!(page.contains("CollectorLate"));
    }
}
