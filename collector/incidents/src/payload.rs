//! What notifiers are sent, and who is sent it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::config::{Config, NotifierKind, RouteConfig};
use crate::incident::{HeldAlert, Incident};
use crate::reach::Reach;

/// The most alerts in one webhook payload.
const MAX_ALERTS: usize = 100;

/// Something to be delivered. A later one of the same subject takes the place of one that still waits.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Notification {
    pub(crate) notifier: String,
    pub(crate) subject: String,
    pub(crate) body: Value,
}

/// Attributes of an alert's tenant.
pub(crate) type Attributes<'a> = &'a dyn Fn(&HeldAlert) -> BTreeMap<String, String>;

/// Alerts as they are, for the Alertmanagers that routes name.
pub(crate) fn alerts_as_they_are(
    config: &Config,
    alerts: &[HeldAlert],
    reach: Option<&Reach>,
    attributes: Attributes<'_>,
) -> Vec<Notification> {
    let mut notifications = Vec::new();
    for alert in alerts {
        let attributes = attributes(alert);
        for notifier in config.notifiers.iter().filter(|n| n.kind == NotifierKind::Alertmanager) {
            if is_routed(config, &notifier.name, alert, &attributes, reach) {
                notifications.push(Notification {
                    notifier: notifier.name.clone(),
                    subject: format!("alert {}", alert.fingerprint()),
                    body: postable(alert),
                });
            }
        }
    }
    notifications
}

/// An incident, for the webhooks that routes name; each is told of those alerts only that its routes match.
pub(crate) fn incident(
    config: &Config,
    incident: &Incident,
    external_url: &str,
    attributes: Attributes<'_>,
) -> Vec<Notification> {
    let mut notifications = Vec::new();
    for notifier in config.notifiers.iter().filter(|n| n.kind == NotifierKind::Webhook) {
        let routed = incident
            .alerts
            .iter()
            .filter(|(_, alert)| is_routed(config, &notifier.name, alert, &attributes(alert), Some(&incident.reach)));
        let alerts: Vec<(&String, &HeldAlert)> = routed.collect();
        if !alerts.is_empty() {
            notifications.push(Notification {
                notifier: notifier.name.clone(),
                subject: format!("incident {}", incident.key),
                body: webhook(&notifier.name, incident, &alerts, external_url),
            });
        }
    }
    notifications
}

fn is_routed(
    config: &Config,
    notifier: &str,
    alert: &HeldAlert,
    attributes: &BTreeMap<String, String>,
    reach: Option<&Reach>,
) -> bool {
    let matches = |route: &RouteConfig| {
        route.matches.iter().all(|(name, wanted)| match (name.as_str(), reach) {
            ("reach", reach) => reach.is_some_and(|reach| reach.name() == wanted),
            _ => alert.labels.get(name).or_else(|| attributes.get(name)) == Some(wanted),
        })
    };
    config.routes.iter().any(|route| route.notify.iter().any(|name| name == notifier) && matches(route))
}

fn time(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| "0001-01-01T00:00:00Z".to_owned(), |at| at.to_string())
}

/// An alert for `POST /api/v2/alerts`.
fn postable(alert: &HeldAlert) -> Value {
    json!({
        "labels": alert.labels,
        "annotations": alert.annotations,
        "startsAt": time(alert.starts_ms),
        "endsAt": time(alert.ended_ms.unwrap_or(alert.valid_until_ms)),
        "generatorURL": alert.generator_url,
    })
}

/// Alertmanager's webhook payload, version 4.
fn webhook(receiver: &str, incident: &Incident, alerts: &[(&String, &HeldAlert)], external_url: &str) -> Value {
    let status = |ended: bool| if ended { "resolved" } else { "firing" };
    let shown: Vec<Value> = alerts
        .iter()
        .take(MAX_ALERTS)
        .map(|(fingerprint, alert)| {
            json!({
                "status": status(alert.ended_ms.is_some()),
                "labels": alert.labels,
                "annotations": alert.annotations,
                "startsAt": time(alert.starts_ms),
                "endsAt": alert.ended_ms.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), time),
                "generatorURL": alert.generator_url,
                "fingerprint": fingerprint,
            })
        })
        .collect();
    let told = Told::of(incident, alerts);
    let mut group_labels = BTreeMap::from([("alertname", incident.alert.as_str()), ("reach", incident.reach.name())]);
    match &incident.reach {
        Reach::Single { tenant } => {
            group_labels.insert("tenant", tenant.as_str());
        }
        Reach::Cohort { attribute, value } if told.of_everyone => {
            group_labels.insert("cohort", attribute);
            group_labels.insert("cohort_value", value);
        }
        Reach::Cohort { .. } | Reach::Several | Reach::Fleet => {}
    }
    let mut common_labels = common(alerts.iter().map(|(_, alert)| &alert.labels));
    common_labels.insert("reach".to_owned(), incident.reach.name().to_owned());
    let mut common_annotations = common(alerts.iter().map(|(_, alert)| &alert.annotations));
    common_annotations.insert("incident".to_owned(), told.summary(incident));
    if let Some(next) = &incident.superseded_by {
        common_annotations.insert("superseded_by".to_owned(), told.key(&incident.rule, next));
    }
    json!({
        "version": "4",
        "groupKey": told.key(&incident.rule, &incident.key),
        "truncatedAlerts": alerts.len().saturating_sub(MAX_ALERTS),
        "status": status(!incident.is_open()),
        "receiver": receiver,
        "groupLabels": group_labels,
        "commonLabels": common_labels,
        "commonAnnotations": common_annotations,
        "externalURL": external_url,
        "alerts": shown,
    })
}

/// Of whom a notifier is told. It may be a tenant's own, so nothing in what it gets names anybody else, nor what the others
/// have in common.
struct Told<'a> {
    tenants: BTreeSet<&'a str>,
    of_everyone: bool,
}

impl<'a> Told<'a> {
    fn of(incident: &Incident, alerts: &[(&'a String, &'a HeldAlert)]) -> Self {
        let tenants = alerts.iter().filter_map(|(_, alert)| alert.labels.get("tenant")).map(String::as_str).collect();
        Self { tenants, of_everyone: alerts.len() == incident.alerts.len() }
    }

    /// The key of this incident or of the one that takes its place, as far as the notifier may know it.
    fn key(&self, rule: &str, key: &str) -> String {
        let reach = key.strip_prefix(rule).and_then(|rest| rest.strip_prefix('|')).unwrap_or_default();
        let (kind, is_known) = match reach.split_once(':') {
            Some((kind @ "single", tenant)) => (kind, self.tenants.contains(tenant)),
            Some((kind, _)) => (kind, self.of_everyone),
            None => (reach, true),
        };
        if is_known { key.to_owned() } else { format!("{rule}|{kind}") }
    }

    /// The incident in a line.
    fn summary(&self, incident: &Incident) -> String {
        let reach = match &incident.reach {
            Reach::Cohort { attribute, value } if self.of_everyone => format!("cohort {attribute}={value}"),
            other => other.name().to_owned(),
        };
        match self.tenants.iter().collect::<Vec<_>>().as_slice() {
            [] => format!("{} ({reach})", incident.alert),
            [only] => format!("{} in {only} ({reach})", incident.alert),
            several => format!("{} in {} tenants ({reach})", incident.alert, several.len()),
        }
    }
}

/// The pairs that all maps have.
fn common<'a>(maps: impl Iterator<Item = &'a BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let mut maps = maps;
    let mut common = maps.next().cloned().unwrap_or_default();
    for map in maps {
        common.retain(|name, value| map.get(name) == Some(value));
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_no_more_than_its_reader_may_know() {
        let key = |tenants: &[&'static str], of_everyone: bool, key: &str| {
            Told { tenants: tenants.iter().copied().collect(), of_everyone }.key("g|rule", key)
        };
        assert_eq!(key(&["a"], false, "g|rule|single:a"), "g|rule|single:a");
        assert_eq!(key(&["a"], true, "g|rule|single:b"), "g|rule|single");
        assert_eq!(key(&["a"], false, "g|rule|cohort:wave=x|y"), "g|rule|cohort");
        assert_eq!(key(&["a"], true, "g|rule|cohort:wave=x|y"), "g|rule|cohort:wave=x|y");
        assert_eq!(key(&["a"], false, "g|rule|several"), "g|rule|several");
    }
}
