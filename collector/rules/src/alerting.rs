//! The state of one alerting rule: pure, given the expression's result and the time.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tenantscope_model::{Alert, AlertState, Evaluated, Labels, LabelsBuilder, METRIC_NAME, Scope, TenantId};

use crate::context::Context;
use crate::failure::Failure;
use crate::isolation::Frozen;
use crate::template::{Template, TemplateData, TemplateError};

/// The series that shows which alerts hold.
pub(crate) const ALERTS: &str = "ALERTS";
/// The series that holds since when, so that a restart does not forget it.
pub(crate) const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";
/// The label that names an alert.
pub(crate) const ALERT_NAME: &str = "alertname";

/// An alert with what is needed to go on with it.
#[derive(Debug, Clone)]
pub(crate) struct Active {
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) state: AlertState,
    pub(crate) value: f64,
    pub(crate) active_at_ms: i64,
    pub(crate) fired_at_ms: Option<i64>,
    pub(crate) resolved_at_ms: Option<i64>,
    pub(crate) keep_firing_since_ms: Option<i64>,
    pub(crate) last_sent_ms: Option<i64>,
    pub(crate) valid_until_ms: Option<i64>,
}

/// What a restart found of an alert.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Restored {
    pub(crate) active_at_ms: i64,
    /// `None` while it was pending.
    pub(crate) fired_at_ms: Option<i64>,
    /// Whether no other rule can have made it, so that it may be resolved if it holds no longer.
    pub(crate) surely_ours: bool,
}

/// Times that the state goes by, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) hold_ms: i64,
    pub(crate) keep_firing_ms: i64,
    pub(crate) resend_ms: i64,
    pub(crate) retention_ms: i64,
    pub(crate) interval_ms: i64,
}

/// The templates of an alerting rule, checked.
pub(crate) struct Templates {
    alert: String,
    labels: Vec<(String, Template)>,
    annotations: Vec<(String, Template)>,
}

/// What the expression gave, as alerts.
pub(crate) type Found = HashMap<Labels, (f64, BTreeMap<String, String>)>;

impl Templates {
    pub(crate) fn try_new(
        alert: &str,
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Self, TemplateError> {
        let parse = |texts: &BTreeMap<String, String>| {
            let parsed = texts.iter().map(|(name, text)| Ok((name.clone(), Template::parse(text)?)));
            parsed.collect::<Result<Vec<_>, TemplateError>>()
        };
        Ok(Self { alert: alert.to_owned(), labels: parse(labels)?, annotations: parse(annotations)? })
    }

    /// Each element under its alert's labels. Two elements that become the same alert are an error.
    pub(crate) fn label(
        &self,
        elements: Vec<Evaluated>,
        context: &Context,
        at_ms: i64,
    ) -> Result<Vec<(Labels, Evaluated)>, Failure> {
        let mut seen = HashSet::with_capacity(elements.len());
        let mut labelled = Vec::with_capacity(elements.len());
        for Evaluated { labels, value } in elements {
            let source = labels.filter(|label| &*label.name != METRIC_NAME);
            let labels = with_data(&source, value, context, at_ms, |data| self.labels(&source, data));
            if !seen.insert(labels.clone()) {
                return Err(Failure::of_data(
                    "vector contains metrics with the same labelset after applying alert labels",
                ));
            }
            labelled.push((labels, Evaluated { labels: source, value }));
        }
        Ok(labelled)
    }

    /// Expands the annotations. One that fails says so in its place.
    pub(crate) fn annotate(&self, labelled: Vec<(Labels, Evaluated)>, context: &Context, at_ms: i64) -> Found {
        let annotated = labelled.into_iter().map(|(labels, Evaluated { labels: source, value })| {
            let annotations = with_data(&source, value, context, at_ms, |data| {
                self.annotations.iter().map(|(name, text)| (name.clone(), expand(text, data))).collect()
            });
            (labels, (value, annotations))
        });
        annotated.collect()
    }

    fn labels(&self, source: &Labels, data: &TemplateData<'_>) -> Labels {
        let mut labels: LabelsBuilder = source.to_builder();
        for (name, template) in &self.labels {
            labels.set(name.as_str(), expand(template, data));
        }
        labels.set(ALERT_NAME, self.alert.as_str());
        labels.build()
    }
}

fn with_data<T>(
    source: &Labels,
    value: f64,
    context: &Context,
    at_ms: i64,
    expanded: impl FnOnce(&TemplateData<'_>) -> T,
) -> T {
    expanded(&TemplateData {
        labels: source,
        value,
        external_labels: &context.options.external_labels,
        external_url: &context.options.external_url,
        evaluate: &*context.evaluate,
        scope: &template_scope(source),
        at_ms,
    })
}

fn expand(template: &Template, data: &TemplateData<'_>) -> String {
    template.expand(data).unwrap_or_else(|error| format!("<error expanding template: {error}>"))
}

/// A query in the annotation of a tenant's alert sees that tenant only: the tenant may read it.
fn template_scope(labels: &Labels) -> Scope {
    match labels.get("tenant") {
        None => Scope::All,
        Some(tenant) => TenantId::try_new(tenant).map_or_else(|_| Scope::none(), Scope::only),
    }
}

/// The alerts of one rule.
#[derive(Debug, Default, Clone)]
pub(crate) struct Alerts {
    pub(crate) active: HashMap<Labels, Active>,
    restored: HashMap<Labels, Restored>,
}

impl Alerts {
    /// Takes what a restart found, before the first evaluation.
    pub(crate) fn restore(&mut self, restored: HashMap<Labels, Restored>) {
        for (labels, found) in &restored {
            let Some(fired_at_ms) = found.fired_at_ms.filter(|_| found.surely_ours) else { continue };
            // As if we had never been away: if the condition ended meanwhile, the alert is resolved, and its
            // receivers are told so.
            let alert = Active {
                annotations: BTreeMap::new(),
                state: AlertState::Firing,
                value: f64::NAN,
                active_at_ms: found.active_at_ms,
                fired_at_ms: Some(fired_at_ms),
                resolved_at_ms: None,
                keep_firing_since_ms: None,
                last_sent_ms: None,
                valid_until_ms: None,
            };
            self.active.insert(labels.clone(), alert);
        }
        self.restored = restored;
    }

    /// Goes on to `at_ms` with what the expression gave then.
    pub(crate) fn advance(&mut self, found: Found, at_ms: i64, times: Times, frozen: &Frozen) {
        let present: HashSet<Labels> = found.keys().cloned().collect();
        let mut restored = std::mem::take(&mut self.restored);
        self.restored = restored.extract_if(|labels, _| frozen.holds(labels)).collect();
        for before in self.restored.values_mut().filter(|before| before.fired_at_ms.is_none()) {
            before.active_at_ms += frozen.for_ms;
        }
        for (labels, (value, annotations)) in found {
            match self.active.get_mut(&labels) {
                Some(alert) if alert.state != AlertState::Resolved => {
                    alert.value = value;
                    alert.annotations = annotations;
                }
                _ => {
                    let before = restored.get(&labels);
                    let alert = Active {
                        annotations,
                        state: if before.is_some_and(|b| b.fired_at_ms.is_some()) {
                            AlertState::Firing
                        } else {
                            AlertState::Pending
                        },
                        value,
                        active_at_ms: before.map_or(at_ms, |b| b.active_at_ms),
                        fired_at_ms: before.and_then(|b| b.fired_at_ms),
                        resolved_at_ms: None,
                        keep_firing_since_ms: None,
                        last_sent_ms: None,
                        valid_until_ms: None,
                    };
                    self.active.insert(labels, alert);
                }
            }
        }
        self.active.retain(|labels, alert| {
            if frozen.holds(labels) && alert.state != AlertState::Resolved {
                alert.wait(frozen.for_ms);
                return true;
            }
            if present.contains(labels) {
                alert.keep_firing_since_ms = None;
            } else if !alert.outlives(at_ms, times) {
                return false;
            }
            if alert.state == AlertState::Pending && at_ms - alert.active_at_ms >= times.hold_ms {
                alert.state = AlertState::Firing;
                alert.fired_at_ms = Some(at_ms);
            }
            true
        });
    }

    /// Forgets the others, as if they had never been.
    pub(crate) fn retain(&mut self, stays: impl Fn(&Labels) -> bool) {
        self.active.retain(|labels, _| stays(labels));
        self.restored.retain(|labels, _| stays(labels));
    }

    /// How many alerts hold, but for those of whom nothing is known.
    pub(crate) fn holding(&self, frozen: &Frozen) -> usize {
        let holds = |(labels, alert): &(&Labels, &Active)| alert.state != AlertState::Resolved && !frozen.holds(labels);
        self.active.iter().filter(holds).count()
    }

    /// Those whose receivers must be told now.
    pub(crate) fn take_due(&mut self, at_ms: i64, times: Times, generator_url: &str) -> Vec<Alert> {
        let mut sent = Vec::new();
        for (labels, alert) in &mut self.active {
            if !alert.needs_sending(at_ms, times.resend_ms) {
                continue;
            }
            alert.last_sent_ms = Some(at_ms);
            alert.valid_until_ms = Some(at_ms + 4 * times.resend_ms.max(times.interval_ms));
            sent.push(alert.to_alert(labels, generator_url));
        }
        sent.sort_by(|a, b| a.labels.cmp(&b.labels));
        sent
    }

    /// `ALERTS` and `ALERTS_FOR_STATE`.
    pub(crate) fn series(&self) -> Vec<(Labels, f64)> {
        let mut series = Vec::with_capacity(self.active.len() * 2);
        for (labels, alert) in &self.active {
            let state = match alert.state {
                AlertState::Resolved => continue,
                AlertState::Firing => "firing",
                AlertState::Pending => "pending",
            };
            let mut shown = labels.to_builder();
            shown.set(METRIC_NAME, ALERTS).set("alertstate", state);
            series.push((shown.build(), 1.0));
            let mut since = labels.to_builder();
            since.set(METRIC_NAME, ALERTS_FOR_STATE);
            #[expect(clippy::cast_precision_loss, reason = "times are far below 2^53 ms")]
            series.push((since.build(), alert.active_at_ms as f64 / 1000.0));
        }
        series
    }
}

impl Active {
    /// Time in which nothing is known does not count: neither for the condition nor against it.
    fn wait(&mut self, for_ms: i64) {
        if self.state == AlertState::Pending {
            self.active_at_ms += for_ms;
        }
        self.keep_firing_since_ms = self.keep_firing_since_ms.map(|since_ms| since_ms + for_ms);
    }

    /// What becomes of an alert whose condition does not hold; `false` if it is to be forgotten.
    fn outlives(&mut self, at_ms: i64, times: Times) -> bool {
        if self.state == AlertState::Pending {
            return false;
        }
        if self.resolved_at_ms.is_some_and(|resolved| at_ms - resolved > times.retention_ms) {
            return false;
        }
        if self.state == AlertState::Firing {
            let since = *self.keep_firing_since_ms.get_or_insert(at_ms);
            let kept = times.keep_firing_ms > 0 && at_ms - since < times.keep_firing_ms;
            if !kept {
                self.state = AlertState::Resolved;
                self.resolved_at_ms = Some(at_ms);
            }
        }
        true
    }

    fn needs_sending(&self, at_ms: i64, resend_ms: i64) -> bool {
        if self.state == AlertState::Pending {
            return false;
        }
        let Some(last_ms) = self.last_sent_ms else { return true };
        // What ended is told at once, not at the next resend.
        self.resolved_at_ms.is_some_and(|resolved| resolved > last_ms) || last_ms + resend_ms <= at_ms
    }

    pub(crate) fn to_alert(&self, labels: &Labels, generator_url: &str) -> Alert {
        Alert {
            labels: labels.clone(),
            annotations: self.annotations.clone(),
            state: self.state,
            value: self.value,
            active_at_ms: self.active_at_ms,
            fired_at_ms: self.fired_at_ms,
            resolved_at_ms: self.resolved_at_ms,
            valid_until_ms: self.valid_until_ms,
            generator_url: generator_url.to_owned(),
        }
    }
}

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times =
        Times { hold_ms: 30_000, keep_firing_ms: 0, resend_ms: 60_000, retention_ms: 900_000, interval_ms: 15_000 };

    fn found(tenants: &[&str]) -> Found {
        let labels = |t: &&str| Labels::from_pairs([("alertname", "A"), ("tenant", *t)]);
        tenants.iter().map(|t| (labels(t), (1.0, BTreeMap::new()))).collect()
    }

    fn states(alerts: &Alerts) -> Vec<AlertState> {
        alerts.active.values().map(|a| a.state).collect()
    }

    #[test]
    fn pending_then_firing_then_resolved_then_forgotten() {
        let mut alerts = Alerts::default();
        alerts.advance(found(&["a"]), 0, TIMES, &Frozen::default());
        assert_eq!(states(&alerts), [AlertState::Pending]);
        assert!(alerts.take_due(0, TIMES, "").is_empty());
        alerts.advance(found(&["a"]), 30_000, TIMES, &Frozen::default());
        assert_eq!(states(&alerts), [AlertState::Firing]);
        let sent = alerts.take_due(30_000, TIMES, "");
        assert_eq!((sent.len(), sent[0].valid_until_ms), (1, Some(30_000 + 240_000)));
        assert!(alerts.take_due(45_000, TIMES, "").is_empty(), "not before the resend delay");
        alerts.advance(found(&[]), 60_000, TIMES, &Frozen::default());
        let sent = alerts.take_due(60_000, TIMES, "");
        assert_eq!((sent[0].state, sent[0].resolved_at_ms), (AlertState::Resolved, Some(60_000)));
        assert!(alerts.series().is_empty());
        alerts.advance(found(&[]), 900_000, TIMES, &Frozen::default());
        assert_eq!(alerts.active.len(), 1, "told again for a while");
        alerts.advance(found(&[]), 1_000_000, TIMES, &Frozen::default());
        assert!(alerts.active.is_empty());
    }

    #[test]
    fn a_pending_alert_that_ends_is_never_told() {
        let mut alerts = Alerts::default();
        alerts.advance(found(&["a"]), 0, TIMES, &Frozen::default());
        alerts.advance(found(&[]), 15_000, TIMES, &Frozen::default());
        assert!(alerts.active.is_empty());
    }

    #[test]
    fn keep_firing_bridges_a_gap() {
        let times = Times { hold_ms: 0, keep_firing_ms: 30_000, ..TIMES };
        let mut alerts = Alerts::default();
        alerts.advance(found(&["a"]), 0, times, &Frozen::default());
        alerts.advance(found(&[]), 15_000, times, &Frozen::default());
        assert_eq!(states(&alerts), [AlertState::Firing]);
        alerts.advance(found(&["a"]), 30_000, times, &Frozen::default());
        alerts.advance(found(&[]), 60_000, times, &Frozen::default());
        alerts.advance(found(&[]), 90_000, times, &Frozen::default());
        assert_eq!(states(&alerts), [AlertState::Resolved]);
    }

    #[test]
    fn a_restart_changes_nothing() {
        let label = |t| Labels::from_pairs([("alertname", "A"), ("tenant", t)]);
        let restored = |active_at_ms, fired_at_ms| Restored { active_at_ms, fired_at_ms, surely_ours: true };
        let mut alerts = Alerts::default();
        alerts.restore(HashMap::from([
            (label("fires"), restored(0, Some(30_000))),
            (label("ended"), restored(0, Some(30_000))),
            (label("pending"), restored(85_000, None)),
        ]));
        alerts.advance(found(&["fires", "pending"]), 100_000, TIMES, &Frozen::default());
        let state = |alerts: &Alerts, t| alerts.active.get(&label(t)).map(|a| (a.state, a.active_at_ms));
        assert_eq!(state(&alerts, "fires"), Some((AlertState::Firing, 0)));
        assert_eq!(state(&alerts, "ended"), Some((AlertState::Resolved, 0)));
        assert_eq!(state(&alerts, "pending"), Some((AlertState::Pending, 85_000)));
        alerts.advance(found(&["fires", "pending"]), 115_000, TIMES, &Frozen::default());
        assert_eq!(state(&alerts, "pending"), Some((AlertState::Firing, 85_000)));
    }
}
