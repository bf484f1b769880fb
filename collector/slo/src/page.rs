//! A report as a page that needs nothing beside itself.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::chart::budget_chart;
use crate::report::{BadPeriod, ObjectiveReport, Report, TenantLine, length_text, time_text};
use crate::rules::percent;

const STYLE: &str = include_str!("page.css");

impl Report {
    /// A self-contained HTML page.
    pub fn to_html(&self) -> String {
        let subject = self.tenant.as_ref().map_or("all tenants", |tenant| tenant.as_str());
        let title = format!("Service levels of {subject}, {}", self.period.name);
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    main {
                        header {
                            p.kicker { "Service level report" }
                            h1 { (subject) }
                            p.sub {
                                (time_text(self.period.from_ms)) " to " (time_text(self.until_ms)) " UTC"
                                @if self.until_ms < self.period.to_ms { ", the period is not over" }
                            }
                        }
                        @if self.objectives.is_empty() { p { "There were no events in this period." } }
                        @else { (self.summary()) }
                        @for objective in &self.objectives { (section(objective)) }
                        footer { "Made by Tenantscope at " (time_text(self.generated_at_ms)) " UTC. All times are UTC." }
                    }
                }
            }
        };
        page.into_string()
    }

    /// The report as JSON.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    fn summary(&self) -> Markup {
        html! {
            table {
                caption { "Objectives at a glance" }
                thead { tr { th scope="col" { "Objective" } th scope="col" { "Result" } th.n scope="col" { "Target" }
                    th.n scope="col" { "Achieved" } th.n scope="col" { "Budget left" } th.n scope="col" { "Downtime equivalent" } } }
                tbody {
                    @for objective in &self.objectives {
                        tr {
                            th scope="row" { a href=(format!("#{}", objective.slo)) { (objective.display_name) } }
                            td { (verdict(objective.met)) }
                            td.n { (percent(objective.target)) " %" }
                            td.n { (percent(objective.achieved)) " %" }
                            td.n { (left(objective.budget_remaining)) }
                            td.n { (length_text(objective.downtime_equivalent_s)) }
                        }
                    }
                }
            }
        }
    }
}

fn section(objective: &ObjectiveReport) -> Markup {
    let from_ms = objective.points.first().map_or(0, |first| {
        let second = objective.points.get(1).map_or(first.t_ms, |second| second.t_ms);
        first.t_ms - (second - first.t_ms)
    });
    let to_ms = objective.points.last().map_or(from_ms, |last| last.t_ms);
    let title =
        format!("Error budget of {}: {} left at the end", objective.display_name, left(objective.budget_remaining));
    html! {
        section id=(objective.slo) {
            h2 { (objective.display_name) " " (verdict(objective.met)) }
            @if !objective.description.is_empty() { p { (objective.description) } }
            dl {
                div { dt { "Events" } dd { (count(objective.total_events)) } }
                div { dt { "Bad events" } dd { (count(objective.bad_events)) } }
                div { dt { "Achieved" } dd { (percent(objective.achieved)) " %" } }
                div { dt { "Target" } dd { (percent(objective.target)) " %" } }
                div { dt { "Budget left" } dd { (left(objective.budget_remaining)) } }
            }
            figure {
                (budget_chart(&objective.points, from_ms, to_ms, &title))
                figcaption { "Error budget left over the time with data" }
            }
            (bad_periods(&objective.bad_periods))
            @if !objective.tenants.is_empty() { (tenants(&objective.tenants)) }
        }
    }
}

fn bad_periods(periods: &[BadPeriod]) -> Markup {
    html! {
        @if periods.is_empty() { p { "At no time was more bad than allowed." } }
        @else {
            table {
                caption { "Times when more was bad than allowed" }
                thead { tr { th scope="col" { "From" } th scope="col" { "To" } th.n scope="col" { "Events" }
                    th.n scope="col" { "Bad" } th.n scope="col" { "Share" } th.n scope="col" { "Budget spent" } } }
                tbody {
                    @for period in periods {
                        tr {
                            td { (time_text(period.from_ms)) }
                            td { (time_text(period.to_ms)) }
                            td.n { (count(period.total_events)) }
                            td.n { (count(period.bad_events)) }
                            td.n { (percent(period.error_ratio)) " %" }
                            td.n { (left(period.budget_spent)) }
                        }
                    }
                }
            }
        }
    }
}

fn tenants(lines: &[TenantLine]) -> Markup {
    html! {
        table {
            caption { "Tenants, the worst first" }
            thead { tr { th scope="col" { "Tenant" } th scope="col" { "Result" } th.n scope="col" { "Events" }
                th.n scope="col" { "Bad" } th.n scope="col" { "Achieved" } th.n scope="col" { "Budget left" } } }
            tbody {
                @for line in lines {
                    tr {
                        th scope="row" { (line.tenant) }
                        td { (verdict(line.met)) }
                        td.n { (count(line.total_events)) }
                        td.n { (count(line.bad_events)) }
                        td.n { (percent(line.achieved)) " %" }
                        td.n { (left(line.budget_remaining)) }
                    }
                }
            }
        }
    }
}

fn verdict(met: bool) -> Markup {
    html! { @if met { span.good { "met" } } @else { span.bad { "missed" } } }
}

fn left(remaining: f64) -> String {
    format!("{:.1} %", remaining * 100.0)
}

/// A number of events, in groups of three digits.
fn count(events: f64) -> String {
    let digits = format!("{:.0}", events.max(0.0));
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}
