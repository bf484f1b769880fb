//! Groups, rules and alerts as readers see them; as JSON they are what Prometheus's API answers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Serialize, Serializer};
use tenantscope_model::{AlertState, Labels, Scope};

use crate::group::Group;
use crate::isolation::Isolation;
use crate::rule::{Health, Rule};
use crate::spec::RuleKind;

/// How many of the tenants that are left out are named.
const MAX_NAMED: usize = 8;

/// A group as a reader sees it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// Its file.
    pub file: String,
    /// Its rules, but for those that name a tenant whom the reader may not see.
    pub rules: Vec<RuleView>,
    /// How often it is evaluated, in seconds.
    pub interval: f64,
    /// The most series or alerts of a rule; 0 for no limit.
    pub limit: usize,
    /// How long the last evaluation took, in seconds.
    pub evaluation_time: f64,
    /// When it was evaluated last, in milliseconds since the epoch.
    #[serde(serialize_with = "time_or_zero")]
    pub last_evaluation: Option<i64>,
    /// Evaluations missed for lack of time.
    #[serde(skip)]
    pub missed_evaluations: u64,
}

/// A rule as a reader sees it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleView {
    /// `alerting` or `recording`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The worst state of its alerts: `firing`, `pending` or `inactive`; none for a recording rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
    /// Its name.
    pub name: String,
    /// Its expression.
    pub query: String,
    /// `for`, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// `keep_firing_for`, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_firing_for: Option<f64>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations, as templates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Those of its alerts that hold and that the reader may see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alerts: Option<Vec<AlertView>>,
    /// `ok`, `err` or `unknown`; `err` too for a reader of tenants who are all left out.
    pub health: &'static str,
    /// What went wrong. A reader of some tenants is told only that something did: an error may name others. Of tenants
    /// that are left out each reader is told of those that it may see, with their own errors.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_error: String,
    /// How long the last evaluation took, in seconds.
    pub evaluation_time: f64,
    /// When it was evaluated last, in milliseconds since the epoch.
    #[serde(serialize_with = "time_or_zero")]
    pub last_evaluation: Option<i64>,
}

/// An alert that holds, as a reader sees it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertView {
    /// Its labels.
    #[serde(serialize_with = "label_map")]
    pub labels: Labels,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// `pending` or `firing`.
    pub state: AlertState,
    /// Since when its condition has held, in milliseconds since the epoch.
    #[serde(serialize_with = "time")]
    pub active_at: i64,
    /// The expression's value.
    #[serde(serialize_with = "number_text")]
    pub value: f64,
}

impl AlertView {
    pub(crate) fn of_rule(rule: &Rule, scope: &Scope) -> Vec<Self> {
        let state = rule.state.lock();
        let holding = state.alerts.active.iter().filter(|(_, alert)| alert.state != AlertState::Resolved);
        let mut alerts: Vec<Self> = holding
            .filter(|(labels, _)| scope.allows_text(labels.get("tenant").unwrap_or("")))
            .map(|(labels, alert)| Self {
                labels: labels.clone(),
                annotations: alert.annotations.clone(),
                state: alert.state,
                active_at: alert.active_at_ms,
                value: alert.value,
            })
            .collect();
        alerts.sort_by(|a, b| a.labels.cmp(&b.labels));
        alerts
    }
}

/// The tenants that a rule is evaluated without, as a reader is told of them.
struct LeftOutView {
    text: String,
    /// Whether the rule works for nobody whom the reader may see.
    is_everyone: bool,
}

impl LeftOutView {
    fn of(isolation: &Isolation, scope: &Scope) -> Self {
        let seen: Vec<_> = isolation.left_out().filter(|(tenant, _)| scope.allows(Some(tenant))).collect();
        let is_everyone = matches!(scope, Scope::Tenants(all) if !all.is_empty() && seen.len() == all.len());
        if seen.is_empty() {
            return Self { text: String::new(), is_everyone };
        }
        let (count, plural) = (seen.len(), if seen.len() == 1 { "" } else { "s" });
        let mut text = format!("evaluated without {count} tenant{plural}, whose data alone makes it fail");
        for (at, (tenant, failure)) in seen.into_iter().take(MAX_NAMED).enumerate() {
            let separator = if at == 0 { ": " } else { "; " };
            let _ = write!(text, "{separator}{}: {failure}", tenant.as_str());
        }
        if count > MAX_NAMED {
            let _ = write!(text, "; and {} more", count - MAX_NAMED);
        }
        Self { text, is_everyone }
    }
}

impl RuleView {
    fn of(rule: &Rule, scope: &Scope) -> Self {
        let (kind, times, alerts) = match &rule.spec.kind {
            RuleKind::Recording { .. } => ("recording", None, None),
            RuleKind::Alerting { hold, keep_firing, annotations, .. } => (
                "alerting",
                Some((hold.as_secs_f64(), keep_firing.as_secs_f64(), annotations.clone())),
                Some(AlertView::of_rule(rule, scope)),
            ),
        };
        let worst = |alerts: &Vec<AlertView>| {
            let has = |state| alerts.iter().any(|alert| alert.state == state);
            match (has(AlertState::Firing), has(AlertState::Pending)) {
                (true, _) => "firing",
                (false, true) => "pending",
                (false, false) => "inactive",
            }
        };
        let (status, left_out) = {
            let state = rule.state.lock();
            (state.status.clone(), LeftOutView::of(&state.isolation, scope))
        };
        let health = match status.health {
            Health::Unknown => "unknown",
            Health::Ok if left_out.is_everyone => "err",
            Health::Ok => "ok",
            Health::Err => "err",
        };
        let last_error = match (status.health, scope) {
            (Health::Err, Scope::Tenants(_)) => "evaluation failed".to_owned(),
            (Health::Err, Scope::All) => status.last_error,
            (Health::Ok | Health::Unknown, _) => left_out.text,
        };
        let (duration, keep_firing_for, annotations) = match times {
            Some((hold, keep_firing, annotations)) => (Some(hold), Some(keep_firing), Some(annotations)),
            None => (None, None, None),
        };
        Self {
            kind,
            state: alerts.as_ref().map(worst),
            name: rule.spec.name().to_owned(),
            query: rule.spec.expr.clone(),
            duration,
            keep_firing_for,
            labels: rule.spec.labels.clone(),
            annotations,
            alerts,
            health,
            last_error,
            evaluation_time: status.evaluation_seconds,
            last_evaluation: status.last_evaluation_ms,
        }
    }
}

impl GroupView {
    pub(crate) fn of(group: &Group, scope: &Scope) -> Self {
        let status = *group.status.lock();
        let shown = group.rules.iter().filter(|rule| rule.is_shown_to(scope));
        Self {
            name: group.spec.name.clone(),
            file: group.spec.file.clone(),
            rules: shown.map(|rule| RuleView::of(rule, scope)).collect(),
            interval: group.spec.interval.as_secs_f64(),
            limit: group.spec.limit,
            evaluation_time: status.evaluation_seconds,
            last_evaluation: status.last_evaluation_ms,
            missed_evaluations: status.missed,
        }
    }
}

fn rfc3339(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |at| at.to_string())
}

// serde passes fields by reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn time<S: Serializer>(at_ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*at_ms))
}

/// Go's zero time stands for "never", as in Prometheus.
#[expect(clippy::ref_option, reason = "serde passes fields by reference")]
fn time_or_zero<S: Serializer>(at_ms: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    match at_ms {
        Some(at_ms) => serializer.serialize_str(&rfc3339(*at_ms)),
        None => serializer.serialize_str("0001-01-01T00:00:00Z"),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn number_text<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&crate::template::number_text(*value))
}

fn label_map<S: Serializer>(labels: &Labels, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(labels.iter().map(|label| (&*label.name, &*label.value)))
}
