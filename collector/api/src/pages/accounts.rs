//! `/accounts`: which accounts report, which lack tags, what is held in quarantine, and where the registry's sources differ.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use tenantscope_model::{AccountId, Scope, Seen, Signal, TenantId};
use tenantscope_tenancy::{
    AccountCoverage, AccountState, Conflict, CoverageState, Quarantined, Registry, TagFinding, TagProblem, TagReport,
};

use super::layout::{self, Mood, Place};
use super::{Shared, respond};
use crate::Scoped;
use crate::asked::AskedInText;
use crate::clock::now_ms;

/// Rows of one table.
const ROWS: usize = 500;

/// The page's parameters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    /// Only accounts that are this; any word that is none shows all.
    state: String,
}

pub(super) async fn show(
    State(state): Shared,
    Scoped(scope): Scoped,
    AskedInText(asked): AskedInText<Asked>,
) -> Response {
    let content = match &state.sources.registry {
        None => html! { h1 { "Accounts" } p { "This collector runs without a registry." } },
        Some(registry) => {
            let registry = registry.clone();
            let (reader, seen) = (scope.clone(), state.sources.reporting.seen(&scope));
            let made = tokio::task::spawn_blocking(move || content(&registry, &reader, &seen, &asked, now_ms())).await;
            made.unwrap_or_else(|error| layout::unreadable("the accounts", &error.to_string()))
        }
    };
    respond(StatusCode::OK, layout::page("Accounts", Place::Accounts, &scope, &content))
}

fn content(registry: &Registry, scope: &Scope, seen: &[Seen], asked: &Asked, now_ms: i64) -> Markup {
    html! {
        h1 { "Accounts" }
        (coverage(&registry.coverage(seen, scope, now_ms), asked, now_ms))
        (tags(&registry.tag_report(scope)))
        @if scope.allows(Some(&TenantId::unassigned())) { (quarantine(&registry.quarantined(), now_ms)) }
        // A conflict names two tenants, of which a reader may be allowed one.
        @if *scope == Scope::All {
            @if let Some(status) = registry.organization_status() {
                section.card {
                    h2 { "AWS Organizations" }
                    p {
                        (status.accounts) " accounts, "
                        @match status.read_ms {
                            Some(read_ms) => { "read " (layout::age(now_ms - read_ms)) " ago" },
                            None => "not read to the end yet",
                        }
                    }
                    @if let Some(failure) = &status.failure {
                        p.bad role="status" { "can't be read for " (layout::age(now_ms - failure.since_ms)) ": " (failure.error) }
                    }
                }
                (conflicts(&registry.conflicts()))
            }
        }
    }
}

fn mood(state: CoverageState) -> &'static str {
    match state {
        CoverageState::Never | CoverageState::Silent | CoverageState::Failing => Mood::Bad.class(),
        CoverageState::Settling | CoverageState::Closing => Mood::Warn.class(),
        CoverageState::Idle | CoverageState::Reporting => Mood::Good.class(),
    }
}

fn coverage(covered: &[AccountCoverage], asked: &Asked, now_ms: i64) -> Markup {
    let count = |state| covered.iter().filter(|one| one.state == state).count();
    let wanted = CoverageState::ALL.into_iter().find(|state| state.as_str() == asked.state);
    let mut rows: Vec<&AccountCoverage> =
        covered.iter().filter(|one| wanted.is_none_or(|state| one.state == state)).collect();
    rows.sort_by(|a, b| a.state.cmp(&b.state).then_with(|| a.last_contact_ms.cmp(&b.last_contact_ms)));
    html! {
        div.cards {
            @for state in CoverageState::ALL {
                div.card {
                    div.number.(if count(state) > 0 { mood(state) } else { "soft" }) { (count(state)) }
                    div.what { a href={ "/accounts?state=" (state.as_str()) } { (state.as_str()) } }
                }
            }
        }
        section.card {
            h2 { "Which accounts report" }
            @if rows.is_empty() { p.soft { "none" } } @else {
                table {
                    caption {
                        (rows.len()) " of " (covered.len()) " accounts, the worst first"
                        @if rows.len() > ROWS { ", of which " (ROWS) " are shown" }
                    }
                    thead { tr {
                        th scope="col" { "Account" } th scope="col" { "Tenant" } th scope="col" { "State" }
                        th.n scope="col" { "Last heard of" }
                        @for signal in Signal::ALL { th scope="col" { (signal) } }
                    } }
                    tbody { @for one in rows.iter().take(ROWS) { (coverage_row(one, now_ms)) } }
                }
            }
        }
    }
}

fn coverage_row(one: &AccountCoverage, now_ms: i64) -> Markup {
    html! {
        tr {
            td { (one.account) @if let Some(name) = &one.account_name { span.soft { " " (name) } } }
            td { a href={ "/tenants/" (one.tenant) } { (one.tenant) } }
            td {
                span.badge.(mood(one.state)) { (one.state.as_str()) }
                @if let Some(failing) = &one.failing { span.soft { " " (failing) } }
                @if one.account_state != AccountState::Active { span.soft { " " (one.account_state.as_str().replace('_', " ")) } }
            }
            td.n { @match one.last_contact_ms { Some(at_ms) => { (layout::age(now_ms - at_ms)) }, None => span.soft { "never" } } }
            @for signal in one.signals.values() {
                td {
                    span class=(mood(signal.state)) { (signal.state.as_str()) }
                    @if let Some(at_ms) = signal.last_ms { span.soft { " " (layout::age(now_ms - at_ms)) } }
                }
            }
        }
    }
}

fn quarantine(held: &BTreeMap<AccountId, Quarantined>, now_ms: i64) -> Markup {
    html! {
        section.card {
            h2 { "In quarantine" }
            @if held.is_empty() { p.soft { "no account" } } @else {
                p.soft { "Held under the tenant unassigned. An account's next data is stamped with its tenant once the registry has it." }
                table {
                    thead { tr {
                        th scope="col" { "Account" } th.n scope="col" { "Records" } th.n scope="col" { "Bytes" }
                        th.n scope="col" { "Refused" } th.n scope="col" { "First" } th.n scope="col" { "Last" }
                    } }
                    tbody {
                        @for (account, held) in held {
                            tr {
                                td { (account) }
                                td.n { (held.records) } td.n { (layout::short(held.bytes as f64)) } td.n { (held.refused) }
                                td.n { (layout::age(now_ms - held.first_ms)) } td.n { (layout::age(now_ms - held.last_ms)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn tags(report: &TagReport) -> Markup {
    html! {
        section.card {
            h2 { "Required tags" }
            @if report.accounts == 0 {
                p.soft { "no tag is required, or there is no account" }
            } @else if report.findings.is_empty() {
                p.good { "all " (report.accounts) " accounts have them" }
            } @else {
                table {
                    caption { (report.findings.len()) " findings in " (report.accounts) " accounts" @if report.findings.len() > ROWS { ", of which " (ROWS) " are shown" } }
                    thead { tr {
                        th scope="col" { "Account" } th scope="col" { "Tenant" } th scope="col" { "Tag" }
                        th scope="col" { "Problem" } th scope="col" { "Found" } th scope="col" { "Meant, perhaps" }
                    } }
                    tbody { @for finding in report.findings.iter().take(ROWS) { (tag_row(finding)) } }
                }
            }
        }
    }
}

fn tag_row(finding: &TagFinding) -> Markup {
    let problem = match finding.problem {
        TagProblem::Missing => "missing",
        TagProblem::Misspelled => "misspelled",
        TagProblem::Value => "not allowed",
    };
    html! {
        tr {
            td { (finding.account) @if let Some(name) = &finding.account_name { span.soft { " " (name) } } }
            td {
                @match &finding.tenant {
                    Some(tenant) => a href={ "/tenants/" (tenant) } { (tenant) },
                    None => span.soft { "—" },
                }
            }
            td { (finding.tag) }
            td { span.badge.(Mood::Warn.class()) { (problem) } }
            td {
                @if let Some(tag) = &finding.found_tag { @if *tag != finding.tag { (tag) ": " } }
                @if let Some(value) = &finding.found_value { (value) }
            }
            td { @if let Some(value) = &finding.suggested_value { (value) } }
        }
    }
}

fn conflicts(conflicts: &[Conflict]) -> Markup {
    html! {
        section.card {
            h2 { "Where file and organization differ" }
            @if conflicts.is_empty() { p.soft { "nowhere" } } @else {
                table {
                    caption { (conflicts.len()) " conflicts" @if conflicts.len() > ROWS { ", of which " (ROWS) " are shown" } }
                    thead { tr {
                        th scope="col" { "Account" } th scope="col" { "About" } th scope="col" { "In force" } th scope="col" { "Ignored" }
                    } }
                    tbody {
                        @for conflict in conflicts.iter().take(ROWS) {
                            tr {
                                td { (conflict.account) }
                                td { (conflict.kind.as_str().replace('_', " ")) @if let Some(attribute) = &conflict.attribute { " " (attribute) } }
                                td { @if let Some(value) = &conflict.in_force { (value) } @else { span.soft { "—" } } }
                                td { (conflict.ignored) }
                            }
                        }
                    }
                }
            }
        }
    }
}
