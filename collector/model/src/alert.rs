use std::collections::BTreeMap;

use serde::Serialize;

use crate::Labels;

/// What state an alert is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// Its condition holds, but not yet for as long as `for` asks.
    Pending,
    /// Its condition holds.
    Firing,
    /// Its condition held and does not hold any more.
    Resolved,
}

/// One alert: a rule's condition for one set of labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// All labels, `alertname` and, if the condition is about a tenant, `tenant` included.
    pub labels: Labels,
    /// Annotations, templates expanded.
    pub annotations: BTreeMap<String, String>,
    /// The state.
    pub state: AlertState,
    /// The value of the expression.
    pub value: f64,
    /// Since when the condition has held, in milliseconds since the epoch.
    pub active_at_ms: i64,
    /// When it began to fire; `None` while it is pending.
    pub fired_at_ms: Option<i64>,
    /// When it ended; `None` while it holds.
    pub resolved_at_ms: Option<i64>,
    /// Until when it holds unless its rule says so again; `None` before it was first handed on.
    pub valid_until_ms: Option<i64>,
    /// Where a person can look at the expression; empty where the server has no external address.
    pub generator_url: String,
}
