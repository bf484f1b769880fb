//! Objectives to rule groups: recording rules for every window, and the burn-rate alerts of the SRE workbook's
//! chapter 5.

use std::collections::BTreeMap;
use std::time::Duration;

use tenantscope_rules::{GroupSpec, RuleKind, RuleSpec};

use crate::budget::remaining_expression;
use crate::objective::{Objective, Objectives};

const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;
const DAY: u64 = 86_400;

/// The windows that change quickly, and those that do not: they are read less often.
const SHORT: [(&str, u64); 3] = [("5m", 5 * MINUTE), ("30m", 30 * MINUTE), ("1h", HOUR)];
const LONG: [(&str, u64); 4] = [("2h", 2 * HOUR), ("6h", 6 * HOUR), ("1d", DAY), ("3d", 3 * DAY)];

const SHORT_INTERVAL: Duration = Duration::from_secs(30);
const LONG_INTERVAL: Duration = Duration::from_secs(120);

/// The shortest time between two evaluations, whatever the scale.
const MIN_INTERVAL: Duration = Duration::from_secs(5);

/// A burn rate, and the windows over which it must be exceeded.
struct Burn {
    rate: f64,
    long: &'static str,
    short: &'static str,
}

struct Severity {
    alert: &'static str,
    severity: &'static str,
    burns: [Burn; 2],
}

/// Table 5-8 of the workbook.
const SEVERITIES: [Severity; 2] = [
    Severity {
        alert: "ErrorBudgetBurnFast",
        severity: "page",
        burns: [Burn { rate: 14.4, long: "1h", short: "5m" }, Burn { rate: 6.0, long: "6h", short: "30m" }],
    },
    Severity {
        alert: "ErrorBudgetBurnSlow",
        severity: "ticket",
        burns: [Burn { rate: 3.0, long: "1d", short: "2h" }, Burn { rate: 1.0, long: "3d", short: "6h" }],
    },
];

impl Objectives {
    /// The rule groups of all objectives.
    pub fn rule_groups(&self) -> Vec<GroupSpec> {
        self.iter().flat_map(rule_groups).collect()
    }
}

/// The rule groups of one objective.
pub(crate) fn rule_groups(objective: &Objective) -> Vec<GroupSpec> {
    let mut long = windows(objective, &LONG);
    long.push(recording(objective, "slo:error_budget_remaining:ratio", remaining_expression(objective)));
    let alerts = SEVERITIES.iter().map(|severity| burn_alert(objective, severity)).collect();
    // Alerts read what was recorded, which is written at the time of the data.
    vec![
        group(objective, "short", SHORT_INTERVAL, windows(objective, &SHORT)),
        group(objective, "long", LONG_INTERVAL, long),
        group(objective, "alerts", SHORT_INTERVAL, alerts),
    ]
}

fn group(objective: &Objective, part: &str, interval: Duration, rules: Vec<RuleSpec>) -> GroupSpec {
    GroupSpec {
        file: objective.file.clone(),
        name: format!("slo:{}:{part}", objective.name),
        interval: objective.scaled(interval).max(MIN_INTERVAL),
        query_offset: objective.query_offset,
        limit: 0,
        rules,
    }
}

fn windows(objective: &Objective, windows: &[(&str, u64)]) -> Vec<RuleSpec> {
    let mut rules = Vec::new();
    for (name, seconds) in windows {
        let window = objective.scaled(Duration::from_secs(*seconds));
        rules.push(recording(objective, &ratio_name(name), objective.error_ratio(window)));
        if SEVERITIES.iter().flat_map(|severity| &severity.burns).any(|burn| burn.long == *name) {
            rules.push(recording(objective, &events_name(name), objective.total_events(window)));
        }
    }
    rules
}

fn ratio_name(window: &str) -> String {
    format!("slo:sli_error:ratio_rate{window}")
}

fn events_name(window: &str) -> String {
    format!("slo:sli_events:increase{window}")
}

fn labels(objective: &Objective) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([("slo".to_owned(), objective.name.clone())]);
    if !objective.service.is_empty() {
        labels.insert("service".to_owned(), objective.service.clone());
    }
    // What is not real time says so.
    if objective.time_scale < 1.0 {
        labels.insert("time_scale".to_owned(), objective.time_scale.to_string());
    }
    labels
}

/// A selector of the series that this objective records now: not those that it recorded before its service or its
/// time scale was changed, which are seen for some minutes more.
fn own_series(objective: &Objective) -> String {
    let mut labels = labels(objective);
    for name in ["service", "time_scale"] {
        labels.entry(name.to_owned()).or_default();
    }
    let matchers: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", matchers.join(","))
}

fn recording(objective: &Objective, record: &str, expr: String) -> RuleSpec {
    RuleSpec { kind: RuleKind::Recording { record: record.to_owned() }, expr, labels: labels(objective) }
}

fn burn_alert(objective: &Objective, severity: &Severity) -> RuleSpec {
    let own = own_series(objective);
    let exceeded = severity.burns.iter().map(|burn| {
        let threshold = burn.rate * objective.budget();
        let (long, short, events) = (ratio_name(burn.long), ratio_name(burn.short), events_name(burn.long));
        format!(
            "({long}{own} > {threshold:.9} and on (tenant) {short}{own} > {threshold:.9} \
             and on (tenant) {events}{own} >= {})",
            objective.min_events
        )
    });
    let expr = exceeded.collect::<Vec<_>>().join(" or on (tenant) ");
    let mut labels = labels(objective);
    labels.insert("severity".to_owned(), severity.severity.to_owned());
    let [first, _] = &severity.burns;
    let mut annotations = BTreeMap::from([
        (
            "summary".to_owned(),
            format!("{{{{ $labels.tenant }}}} spends the error budget of {} too fast", objective.display_name),
        ),
        (
            "description".to_owned(),
            format!(
                "{{{{ $value | humanizePercentage }}}} of the events were bad, with {} % allowed; at {} times the \
                 allowed rate, the alert fires.",
                percent(objective.budget()),
                first.rate
            ),
        ),
    ]);
    if let Some(url) = &objective.runbook_url {
        annotations.insert("runbook_url".to_owned(), url.clone());
    }
    RuleSpec {
        kind: RuleKind::Alerting {
            alert: severity.alert.to_owned(),
            hold: Duration::ZERO,
            keep_firing: Duration::ZERO,
            annotations,
        },
        expr,
        labels,
    }
}

/// `0.001` as `0.1`.
pub(crate) fn percent(share: f64) -> String {
    let text = format!("{:.4}", share * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
