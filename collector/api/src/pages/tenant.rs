//! `/tenants/{tenant}`: golden signals, alerts, error logs, slow and failed traces of one tenant.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use tenantscope_lake::{Direction, LogAnswer, LogEntry, LogRequest, SearchRequest, TimeRange, TraceSummary};
use tenantscope_model::{AccountId, AlertState, Scope, TenantId};
use tenantscope_rules::AlertView;
use tenantscope_tenancy::{AccountMove, AccountState, Tenants};

use super::layout::{self, Place};
use super::plot::{self, Line, Span};
use super::{Shared, budgets, limits, respond};
use crate::Scoped;
use crate::clock::now_ms;

const MINUTE_MS: i64 = 60_000;
/// What the plots show.
const PLOT_MS: i64 = 60 * MINUTE_MS;
/// How many log lines and traces are listed.
const LISTED: usize = 20;

/// A plot: its title, the axis' unit, and its queries as (PromQL, label that names a line, line's name).
struct Plot {
    title: &'static str,
    unit: &'static str,
    queries: &'static [(&'static str, &'static str, &'static str)],
}

const FUNCTION: &str = "dimension_FunctionName";

/// Golden signals, from what CloudWatch and OpenTelemetry SDKs report.
const PLOTS: [Plot; 6] = [
    Plot {
        title: "Invocations each minute",
        unit: "",
        queries: &[("sum by (dimension_FunctionName) (aws_lambda_invocations_sum)", FUNCTION, "")],
    },
    Plot {
        title: "Errors each minute",
        unit: "",
        queries: &[
            ("sum by (dimension_FunctionName) (aws_lambda_errors_sum)", FUNCTION, ""),
            ("sum by (dimension_ApiName) (aws_apigateway_5_xxerror_sum)", "dimension_ApiName", "API"),
        ],
    },
    Plot {
        title: "Duration of functions",
        unit: " ms",
        queries: &[
            ("avg by (dimension_FunctionName) (aws_lambda_duration_average)", FUNCTION, "average"),
            ("max by (dimension_FunctionName) (aws_lambda_duration_maximum)", FUNCTION, "maximum"),
        ],
    },
    Plot {
        title: "Requests of HTTP servers, 95th percentile",
        unit: " s",
        queries: &[(
            "histogram_quantile(0.95, sum by (job, le) (rate(http_server_request_duration_seconds_bucket[5m])))",
            "job",
            "",
        )],
    },
    Plot {
        title: "Messages that wait",
        unit: "",
        queries: &[(
            "max by (dimension_QueueName) (aws_sqs_approximate_number_of_messages_visible_average)",
            "dimension_QueueName",
            "",
        )],
    },
    Plot {
        title: "Concurrent executions",
        unit: "",
        queries: &[("max by (dimension_FunctionName) (aws_lambda_concurrent_executions_maximum)", FUNCTION, "")],
    },
];

pub(super) async fn show(State(state): Shared, Scoped(reader): Scoped, Path(tenant): Path<String>) -> Response {
    // A tenant that is outside the scope and one that does not exist look alike.
    let Some(tenant) = TenantId::try_new(&tenant).ok().filter(|tenant| known(&state, &reader, tenant)) else {
        let missing = html! { h1 { "No such tenant" } p { a href="/" { "The fleet" } } };
        return respond(StatusCode::NOT_FOUND, layout::page("No such tenant", Place::Tenant, &reader, &missing));
    };
    let tenants = state.sources.registry.as_ref().map(|registry| registry.tenants()).unwrap_or_default();
    let scope = tenants.with_history(&Scope::only(tenant.clone())).intersect(&reader);
    let now_ms = now_ms();
    let (plots, logs, traces) =
        tokio::join!(plots(&state, &scope, now_ms), error_logs(&state, &scope, now_ms), traces(&state, &scope, now_ms));
    let limits = limits::section(&state, &tenant, &scope, now_ms).await;
    let alerts = state.sources.rules.alerts(&scope);
    let budgets = budgets::cards(&state, &scope, now_ms).await;
    let content = html! {
        h1 { (tenant) }
        (about(&state, &reader, &tenant, now_ms))
        (budgets)
        (alerts_section("Alerts", &alerts, now_ms))
        (limits)
        div.plots { @for plot in plots { (plot) } }
        section.card { h2 { "Recent error logs" } (logs) }
        section.card { h2 { "Slow and failed traces of the last hour" } (traces) }
    };
    respond(StatusCode::OK, layout::page(tenant.as_str(), Place::Tenant, &reader, &content))
}

fn known(state: &super::State, reader: &Scope, tenant: &TenantId) -> bool {
    let registered = || {
        state.sources.registry.as_ref().is_some_and(|registry| {
            let tenants = registry.tenants();
            tenants.get(tenant).is_some() || tenants.current_id(tenant) != tenant
        })
    };
    let reported = || !state.sources.reporting.seen(&Scope::only(tenant.clone())).is_empty();
    reader.allows(Some(tenant)) && (registered() || reported())
}

fn about(state: &super::State, reader: &Scope, tenant: &TenantId, now_ms: i64) -> Markup {
    let Some(registry) = &state.sources.registry else { return html! {} };
    let tenants = registry.tenants();
    let current = tenants.current_id(tenant);
    if current != tenant && reader.allows(Some(current)) {
        return html! { p.soft { "a former id of " a href={ "/tenants/" (current) } { (current) } } };
    }
    let Some(entry) = tenants.get(tenant) else { return html! {} };
    let state_of = |account: &AccountId| {
        tenants.account(*account).map(|known| known.state).filter(|state| *state != AccountState::Active)
    };
    html! {
        p.soft {
            @if let Some(name) = &entry.name { (name) " · " }
            "accounts " @for (n, account) in entry.accounts.iter().enumerate() {
                @if n > 0 { ", " } (account) @if let Some(state) = state_of(account) { " (" (state.as_str().replace('_', " ")) ")" }
            }
            @for (name, value) in &entry.attributes { " · " (name) " " (value) }
            @for former in tenants.former_ids(tenant) { " · formerly " (former) }
        }
        @for moved in registry.moves(reader).iter().filter(|moved| is_of(&tenants, moved, tenant)).take(LISTED) {
            p.soft {
                "account " (moved.account)
                @if moved.to.as_ref().is_some_and(|to| tenants.current_id(to) == tenant) {
                    " came from " (other(moved.from.as_ref())) " " (layout::age(now_ms - moved.at_ms)) " ago; what it sent before stays there"
                } @else {
                    " went to " (other(moved.to.as_ref())) " " (layout::age(now_ms - moved.at_ms)) " ago; what it sent before stays here"
                }
            }
        }
    }
}

fn is_of(tenants: &Tenants, moved: &AccountMove, tenant: &TenantId) -> bool {
    [&moved.from, &moved.to].into_iter().flatten().any(|side| tenants.current_id(side) == tenant)
}

/// The other side of a move, which a reader may not be allowed to know.
fn other(tenant: Option<&TenantId>) -> &str {
    tenant.map_or("another tenant", TenantId::as_str)
}

async fn plots(state: &Arc<super::State>, scope: &Scope, now_ms: i64) -> Vec<Markup> {
    let step_ms = MINUTE_MS;
    let end_ms = now_ms / step_ms * step_ms;
    let span = Span { start_ms: end_ms - PLOT_MS, end_ms, step_ms };
    let mut drawn = Vec::with_capacity(PLOTS.len());
    for Plot { title, unit, queries } in &PLOTS {
        let mut lines: Vec<Line> = Vec::new();
        let mut problem = None;
        for (query, label, name) in *queries {
            match state.queries.lines(scope, query, label, name, span).await {
                Ok(more) => lines.extend(more),
                Err(why) => problem = Some(why),
            }
        }
        drawn.push(match problem {
            Some(why) => html! { section.card { h2 { (title) } (layout::unreadable("this", &why)) } },
            None => plot::plot(title, unit, &lines, span),
        });
    }
    drawn
}

/// Alerts that hold, as a table.
pub(super) fn alerts_section(title: &str, alerts: &[AlertView], now_ms: i64) -> Markup {
    html! {
        section.card {
            h2 { (title) }
            @if alerts.is_empty() { p.soft { "none" } } @else {
                table {
                    thead { tr { th scope="col" { "State" } th scope="col" { "Alert" } th scope="col" { "What" } th.n scope="col" { "Since" } } }
                    tbody {
                        @for alert in alerts {
                            @let (class, text) = if alert.state == AlertState::Firing { ("bad", "firing") } else { ("warn", "pending") };
                            tr {
                                td { span.badge.(class) { (text) } }
                                td { (alert.labels.get("alertname").unwrap_or("")) }
                                td { (alert.annotations.get("summary").or_else(|| alert.annotations.get("description")).map_or("", String::as_str)) }
                                td.n { (layout::age(now_ms - alert.active_at)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn last_hour(now_ms: i64) -> TimeRange {
    let ns = |ms: i64| ms.saturating_mul(1_000_000);
    TimeRange { start_ns: ns(now_ms - PLOT_MS), end_ns: ns(now_ms + MINUTE_MS) }
}

async fn error_logs(state: &Arc<super::State>, scope: &Scope, now_ms: i64) -> Markup {
    let request = LogRequest {
        query: r#"{level=~"error|fatal|critical"}"#,
        range: last_hour(now_ms),
        step: None,
        limit: LISTED,
        direction: Direction::Backward,
    };
    let streams = match state.sources.lake.log_query(scope, &request).await {
        Ok(LogAnswer::Streams(streams)) => streams,
        Ok(_) => Vec::new(),
        Err(error) => return layout::unreadable("logs", &error.to_string()),
    };
    let mut entries: Vec<(String, LogEntry)> = Vec::new();
    for stream in streams {
        let service = stream.labels.get("service_name").cloned().unwrap_or_default();
        entries.extend(stream.entries.into_iter().map(|entry| (service.clone(), entry)));
    }
    entries.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.time_ns));
    html! {
        @if entries.is_empty() { p.soft { "none in the last hour" } } @else {
            table {
                thead { tr { th scope="col" { "Time (UTC)" } th scope="col" { "Service" } th scope="col" { "Line" } } }
                tbody {
                    @for (service, entry) in &entries {
                        tr { td.time { (layout::clock(entry.time_ns / 1_000_000)) } td { (service) } td.line { (shortened(&entry.line)) } }
                    }
                }
            }
        }
    }
}

/// A line as far as a page shows it.
fn shortened(line: &str) -> String {
    const SHOWN: usize = 400;
    let mut text: String = line.chars().take(SHOWN).collect();
    if line.chars().nth(SHOWN).is_some() {
        text.push('…');
    }
    text
}

async fn traces(state: &Arc<super::State>, scope: &Scope, now_ms: i64) -> Markup {
    let request = |query| SearchRequest {
        query: Some(query),
        tags: Vec::new(),
        min_duration: None,
        max_duration: None,
        range: last_hour(now_ms),
        limit: LISTED,
        spans_per_trace: 1,
    };
    let mut found: Vec<TraceSummary> = Vec::new();
    for query in ["{ status = error }", "{ duration > 100ms }"] {
        match state.sources.lake.search(scope, &request(query)).await {
            Ok(traces) => found.extend(traces),
            Err(error) => return layout::unreadable("traces", &error.to_string()),
        }
    }
    found.sort_by(|a, b| b.duration_ns.cmp(&a.duration_ns).then_with(|| a.trace_id.cmp(&b.trace_id)));
    found.dedup_by(|a, b| a.trace_id == b.trace_id);
    found.truncate(LISTED);
    html! {
        @if found.is_empty() { p.soft { "none" } } @else {
            table {
                thead { tr {
                    th scope="col" { "Begun (UTC)" } th scope="col" { "Trace" } th scope="col" { "Root" }
                    th.n scope="col" { "Duration" } th.n scope="col" { "Spans" } th.n scope="col" { "Failed" }
                } }
                tbody { @for trace in &found { (trace_row(trace)) } }
            }
        }
    }
}

fn trace_row(trace: &TraceSummary) -> Markup {
    let milliseconds = trace.duration_ns as f64 / 1e6;
    html! {
        tr {
            td.time { (layout::clock(trace.start_ns / 1_000_000)) }
            td.line { a href={ "/traces/" (trace.trace_id) } { (trace.trace_id) } }
            td { (trace.root_service) " " (trace.root_name) }
            td.n { (layout::short(milliseconds)) " ms" }
            td.n { (trace.spans) }
            td.n { @if trace.errors > 0 { span.bad { (trace.errors) } } @else { "0" } }
        }
    }
}
