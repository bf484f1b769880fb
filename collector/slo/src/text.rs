//! A report as CSV and Markdown.

use std::fmt::Write as _;

use crate::report::{ObjectiveReport, Report, length_text, time_text};
use crate::rules::percent;

/// One line of the tables.
struct Line<'a> {
    tenant: &'a str,
    objective: &'a ObjectiveReport,
    total: f64,
    bad: f64,
    achieved: f64,
    remaining: f64,
    met: bool,
}

impl Report {
    /// One line for each tenant and objective, with a heading.
    pub fn to_csv(&self) -> String {
        let mut text =
            "period,tenant,slo,service,target,total_events,bad_events,achieved,budget_remaining,met\n".to_owned();
        for line in self.lines() {
            let ObjectiveReport { slo, service, target, .. } = line.objective;
            let _ = writeln!(
                text,
                "{},{},{},{},{target},{},{},{},{},{}",
                self.period.name,
                line.tenant,
                slo,
                csv_field(service),
                line.total,
                line.bad,
                line.achieved,
                line.remaining,
                line.met
            );
        }
        text
    }

    /// Tables for a document or a chat.
    pub fn to_markdown(&self) -> String {
        let subject = self.tenant.as_ref().map_or("all tenants", |tenant| tenant.as_str());
        let mut text = format!("# Service levels of {subject}, {}\n\n", self.period.name);
        text.push_str("| tenant | objective | target | achieved | budget left | met |\n|---|---|--:|--:|--:|---|\n");
        for line in self.lines() {
            let _ = writeln!(
                text,
                "| {} | {} | {} % | {} % | {:.1} % | {} |",
                line.tenant,
                line.objective.display_name.replace('|', "\\|"),
                percent(line.objective.target),
                percent(line.achieved),
                line.remaining * 100.0,
                if line.met { "yes" } else { "no" }
            );
        }
        for objective in &self.objectives {
            let downtime = length_text(objective.downtime_equivalent_s);
            let _ = writeln!(text, "\n## {}\n\nDowntime equivalent: {downtime}.", objective.display_name);
            for period in &objective.bad_periods {
                let (from, to) = (time_text(period.from_ms), time_text(period.to_ms));
                let spent = period.budget_spent * 100.0;
                let ratio = percent(period.error_ratio);
                let _ = writeln!(text, "- {from} to {to} UTC: {ratio} % bad, {spent:.1} % of the budget");
            }
        }
        text
    }

    /// A line for each tenant of a fleet's report; one for each objective of a tenant's.
    fn lines(&self) -> Vec<Line<'_>> {
        let mut lines = Vec::new();
        for objective in &self.objectives {
            if let Some(tenant) = &self.tenant {
                lines.push(Line {
                    tenant: tenant.as_str(),
                    objective,
                    total: objective.total_events,
                    bad: objective.bad_events,
                    achieved: objective.achieved,
                    remaining: objective.budget_remaining,
                    met: objective.met,
                });
            }
            lines.extend(objective.tenants.iter().map(|line| Line {
                tenant: line.tenant.as_str(),
                objective,
                total: line.total_events,
                bad: line.bad_events,
                achieved: line.achieved,
                remaining: line.budget_remaining,
                met: line.met,
            }));
        }
        lines
    }
}

/// A text as a field of a CSV file, as RFC 4180 has it.
pub fn csv_field(text: &str) -> String {
    // A leading sign would make a formula of it in a spreadsheet.
    let safe = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() };
    if safe.contains([',', '"', '\n', '\r']) { format!("\"{}\"", safe.replace('"', "\"\"")) } else { safe }
}
