//! Incidents as readers see them.

use serde::Serialize;
use tenantscope_model::{Scope, TenantId};

use crate::incident::{HeldAlert, Incident};
use crate::reach::Reach;

/// An incident as a reader sees it: of whom the reader may not see there is neither a name nor a number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IncidentView {
    /// Rule and reach.
    pub key: String,
    /// The rule.
    pub rule: String,
    /// The alerts' name.
    pub alert: String,
    /// How far it reaches: in full for readers of everyone, only its kind for others.
    pub reach: String,
    /// `open` or `resolved`.
    pub status: &'static str,
    /// When it opened, in milliseconds since the epoch.
    pub opened_ms: i64,
    /// When something about it last changed.
    pub updated_ms: i64,
    /// When it ended.
    pub resolved_ms: Option<i64>,
    /// The incident that took its place.
    pub superseded_by: Option<String>,
    /// Those affected that the reader may see.
    pub tenants: Vec<TenantId>,
    /// Its alerts that the reader may see.
    pub alerts: Vec<HeldAlert>,
}

impl IncidentView {
    /// `None` if it is about nobody whom the reader may see.
    pub(crate) fn of(incident: &Incident, scope: &Scope) -> Option<Self> {
        let allowed = |alert: &&HeldAlert| scope.allows(alert.tenant().as_ref());
        let alerts: Vec<HeldAlert> = incident.alerts.values().filter(allowed).cloned().collect();
        if alerts.is_empty() {
            return None;
        }
        let sees_all = matches!(scope, Scope::All);
        let reach = match &incident.reach {
            Reach::Cohort { attribute, value } if sees_all => format!("cohort {attribute}={value}"),
            other => other.name().to_owned(),
        };
        let full_key = sees_all || !matches!(incident.reach, Reach::Cohort { .. });
        Some(Self {
            key: if full_key { incident.key.clone() } else { format!("{}|{}", incident.rule, incident.reach.name()) },
            rule: incident.rule.clone(),
            alert: incident.alert.clone(),
            reach,
            status: if incident.is_open() { "open" } else { "resolved" },
            opened_ms: incident.opened_ms,
            updated_ms: incident.updated_ms,
            resolved_ms: incident.resolved_ms,
            // The next one's key may name a tenant outside the scope.
            superseded_by: incident.superseded_by.clone().filter(|_| sees_all),
            tenants: incident.tenants.iter().filter(|tenant| scope.allows(Some(tenant))).cloned().collect(),
            alerts,
        })
    }
}
