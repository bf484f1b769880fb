//! What is left of alerts, incidents and notifications without one tenant.

use serde_json::Value;
use tenantscope_model::TenantId;

use crate::incident::Incident;
use crate::reach::Reach;

/// What was removed of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RemovedAlerts {
    /// Alerts that fired.
    pub alerts: u64,
    /// Incidents of the tenant alone, and such as lost its part.
    pub incidents: u64,
    /// Notifications that waited, and such as lost its part.
    pub notifications: u64,
}

/// The incident without the tenant; `None` where it was about nobody else.
pub(crate) fn incident_without(mut incident: Incident, tenant: &TenantId) -> Option<Incident> {
    let is_of_tenant = matches!(&incident.reach, Reach::Single { tenant: only } if only == tenant);
    incident.alerts.retain(|_, alert| alert.tenant().as_ref() != Some(tenant));
    if is_of_tenant || incident.alerts.is_empty() {
        return None;
    }
    incident.tenants.remove(tenant);
    let known = &incident.alerts;
    incident.told.retain(|fingerprint| known.contains_key(fingerprint));
    let next_names_it = |next: &String| names_single(next, tenant);
    incident.superseded_by = incident.superseded_by.filter(|next| !next_names_it(next));
    Some(incident)
}

/// A notification's body without the tenant; `None` where nothing is left to be told.
pub(crate) fn body_without(mut body: Value, tenant: &TenantId) -> Option<Value> {
    let is_of_tenant = |alert: &Value| alert.pointer("/labels/tenant").and_then(Value::as_str) == Some(tenant.as_str());
    if is_of_tenant(&body) {
        return None;
    }
    if let Some(alerts) = body.get_mut("alerts").and_then(Value::as_array_mut) {
        alerts.retain(|alert| !is_of_tenant(alert));
        if alerts.is_empty() {
            return None;
        }
    }
    if let Some(annotations) = body.get_mut("commonAnnotations").and_then(Value::as_object_mut) {
        annotations.retain(|name, next| {
            name != "superseded_by" || !next.as_str().is_some_and(|next| names_single(next, tenant))
        });
    }
    Some(body)
}

/// Whether an incident's key is that of one of the tenant alone.
fn names_single(key: &str, tenant: &TenantId) -> bool {
    key.strip_suffix(&Reach::Single { tenant: tenant.clone() }.key()).is_some_and(|rule| rule.ends_with('|'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_notification_about_others_too_loses_the_tenants_part() {
        let acme = TenantId::try_new("acme").unwrap();
        let alert = |tenant: &str| json!({"labels": {"tenant": tenant}, "annotations": {}});
        assert_eq!(body_without(alert("acme"), &acme), None);
        assert_eq!(body_without(alert("beta"), &acme), Some(alert("beta")));
        let payload =
            |alerts: Vec<Value>, annotations: Value| json!({"alerts": alerts, "commonAnnotations": annotations});
        assert_eq!(body_without(payload(vec![alert("acme")], json!({})), &acme), None);
        let both = payload(vec![alert("acme"), alert("beta")], json!({"superseded_by": "g/r{}|single:acme", "a": "b"}));
        assert_eq!(body_without(both, &acme), Some(payload(vec![alert("beta")], json!({"a": "b"}))));
        let other = payload(vec![alert("beta")], json!({"superseded_by": "g/r{}|single:not-acme"}));
        assert_eq!(body_without(other.clone(), &acme), Some(other));
    }
}
