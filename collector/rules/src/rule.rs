//! One rule while it runs.

use std::collections::HashSet;

use parking_lot::Mutex;
use tenantscope_model::{Alert, Labels, Sample, Scope, StampedSeries, stale_nan};

use crate::alerting::{Alerts, Found, Templates, Times, millis};
use crate::context::Context;
use crate::isolation::{Frozen, Isolation};
use crate::spec::{GroupSpec, RuleKind, RuleSpec};
use crate::template::TemplateError;
use crate::trial::{Made, Trial};

/// How a rule's last evaluation went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// Not evaluated yet.
    #[default]
    Unknown,
    /// It worked.
    Ok,
    /// It failed.
    Err,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Status {
    pub(crate) health: Health,
    pub(crate) last_error: String,
    pub(crate) last_evaluation_ms: Option<i64>,
    pub(crate) evaluation_seconds: f64,
    /// How many tenants it was evaluated without.
    pub(crate) left_out: usize,
}

pub(crate) struct Rule {
    pub(crate) spec: RuleSpec,
    pub(crate) constant_labels: Labels,
    /// Only who may see all of these sees the rule.
    named_tenants: Vec<String>,
    pub(crate) templates: Option<Templates>,
    pub(crate) state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) status: Status,
    pub(crate) alerts: Alerts,
    /// The series of the last evaluation; one that is missing in the next gets a staleness marker.
    pub(crate) series: HashSet<Labels>,
    /// Whom it is evaluated without.
    pub(crate) isolation: Isolation,
}

/// What an evaluation made.
pub(crate) struct Outcome {
    pub(crate) series: Vec<StampedSeries>,
    pub(crate) alerts: Vec<Alert>,
}

impl Rule {
    pub(crate) fn try_new(spec: RuleSpec) -> Result<Self, TemplateError> {
        let templates = match &spec.kind {
            RuleKind::Recording { .. } => None,
            RuleKind::Alerting { alert, annotations, .. } => {
                Some(Templates::try_new(alert, &spec.labels, annotations)?)
            }
        };
        let constant_labels = spec.constant_labels();
        let named_tenants = spec.named_tenants();
        Ok(Self { spec, constant_labels, named_tenants, templates, state: Mutex::default() })
    }

    /// Whether a reader of this scope may see how the rule is written: it names no tenant outside of it.
    pub(crate) fn is_shown_to(&self, scope: &Scope) -> bool {
        self.named_tenants.iter().all(|tenant| scope.allows_text(tenant))
    }

    pub(crate) fn times(&self, group: &GroupSpec, context: &Context) -> Times {
        let (hold, keep_firing) = match &self.spec.kind {
            RuleKind::Recording { .. } => Default::default(),
            RuleKind::Alerting { hold, keep_firing, .. } => (*hold, *keep_firing),
        };
        Times {
            hold_ms: millis(hold),
            keep_firing_ms: millis(keep_firing),
            resend_ms: millis(context.options.resend_delay),
            retention_ms: millis(context.options.resolved_retention),
            interval_ms: group.interval_ms(),
        }
    }

    /// Evaluates the rule at `at_ms`. Blocks.
    ///
    /// Who makes it fail alone is left out: nothing of theirs begins, ends or goes on waiting meanwhile.
    pub(crate) fn evaluate(&self, group: &GroupSpec, context: &Context, at_ms: i64) -> Result<Outcome, String> {
        // What is evaluated in the past is written there too.
        let data_ms = at_ms - millis(group.query_offset);
        let mut isolation = self.state.lock().isolation.clone();
        let trial = Trial { rule: self, limit: group.limit, context, data_ms };
        // Other rules of the group want their time too.
        let made = isolation.evaluate(&trial, group.interval / 2);
        let mut state = self.state.lock();
        let since_ms = state.status.last_evaluation_ms.unwrap_or(at_ms - group.interval_ms());
        let frozen = Frozen::of(&isolation, at_ms - since_ms);
        state.isolation = isolation;
        let made = made.map_err(|failure| {
            if failure.is_of_results() {
                state.alerts = Alerts::default();
            }
            failure.to_string()
        })?;
        drop(state);
        match (made, &self.templates) {
            (Made::Series(series), _) => {
                Ok(Outcome { series: self.state.lock().stamped(series, data_ms, &frozen), alerts: Vec::new() })
            }
            (Made::Alerts(elements), Some(templates)) => {
                let found = templates.annotate(elements, context, data_ms);
                self.advance(found, group, context, at_ms, &frozen)
            }
            (Made::Alerts(_), None) => Err("rule has no templates".to_owned()),
        }
    }

    fn advance(
        &self,
        found: Found,
        group: &GroupSpec,
        context: &Context,
        at_ms: i64,
        frozen: &Frozen,
    ) -> Result<Outcome, String> {
        let times = self.times(group, context);
        let url = generator_url(&context.options.external_url, &self.spec.expr);
        let mut state = self.state.lock();
        state.alerts.advance(found, at_ms, times, frozen);
        let holding = state.alerts.holding(frozen);
        if group.limit > 0 && holding > group.limit {
            state.alerts = Alerts::default();
            return Err(format!("exceeded limit of {} with {holding} alerts", group.limit));
        }
        let alerts = state.alerts.take_due(at_ms, times, &url);
        let series = state.alerts.series();
        Ok(Outcome { series: state.stamped(series, at_ms - millis(group.query_offset), frozen), alerts })
    }
}

impl State {
    /// The series with their samples, and staleness markers for those that were there last time and are not now.
    fn stamped(&mut self, series: Vec<(Labels, f64)>, at_ms: i64, frozen: &Frozen) -> Vec<StampedSeries> {
        let mut now: HashSet<Labels> = series.iter().map(|(labels, _)| labels.clone()).collect();
        // Nothing is known of these: they go on, or end, when something is.
        now.extend(self.series.iter().filter(|labels| frozen.holds(labels)).cloned());
        let ended = self.series.difference(&now).cloned().map(|labels| (labels, stale_nan()));
        let written = ended.chain(series).map(|(labels, value)| stamped_series(labels, value, at_ms)).collect();
        self.series = now;
        written
    }
}

/// One series with one sample.
pub(crate) fn stamped_series(labels: Labels, value: f64, at_ms: i64) -> StampedSeries {
    StampedSeries::of_samples(labels, vec![Sample { t_ms: at_ms, value }])
}

/// Where a person can look at an expression.
fn generator_url(external_url: &str, expr: &str) -> String {
    if external_url.is_empty() {
        return String::new();
    }
    let escaped: String = expr
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect();
    format!("{external_url}/explore?expr={escaped}")
}
