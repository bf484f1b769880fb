//! `rules` and `alerts`: what the rule groups show within the scope.

use axum::extract::State;
use serde::Serialize;
use tenantscope_rules::{AlertView, GroupView};

use super::PrometheusApi;
use super::answer::{ApiError, Success};
use super::form::Form;
use crate::Scoped;

#[derive(Serialize)]
struct Groups {
    groups: Vec<GroupView>,
}

#[derive(Serialize)]
struct Alerts {
    alerts: Vec<AlertView>,
}

pub(super) async fn rules(
    Scoped(scope): Scoped,
    State(api): State<PrometheusApi>,
    form: Form,
) -> Result<Success, ApiError> {
    let kind = match form.get("type") {
        None => None,
        Some("alert") => Some("alerting"),
        Some("record") => Some("recording"),
        Some(other) => return Err(ApiError::parameter("type", format_args!("not supported value {other:?}"))),
    };
    let without_alerts = form.get("exclude_alerts") == Some("true");
    let mut groups = api.rules.as_ref().map(|rules| rules.groups(&scope)).unwrap_or_default();
    for rule in groups.iter_mut().flat_map(|group| &mut group.rules) {
        if without_alerts && rule.alerts.is_some() {
            rule.alerts = Some(Vec::new());
        }
    }
    let wanted = |value: &str, name: &str| {
        let mut given = form.values(name).peekable();
        given.peek().is_none() || given.any(|one| one == value)
    };
    for group in &mut groups {
        group.rules.retain(|rule| kind.is_none_or(|kind| rule.kind == kind) && wanted(&rule.name, "rule_name[]"));
    }
    groups.retain(|group| {
        !group.rules.is_empty() && wanted(&group.name, "rule_group[]") && wanted(&group.file, "file[]")
    });
    Success::new(Groups { groups }, &[])
}

pub(super) async fn alerts(Scoped(scope): Scoped, State(api): State<PrometheusApi>) -> Result<Success, ApiError> {
    let alerts = api.rules.as_ref().map(|rules| rules.alerts(&scope)).unwrap_or_default();
    Success::new(Alerts { alerts }, &[])
}
