//! One rule while it runs.

use std::collections::HashSet;

use parking_lot::Mutex;
use tenantscope_model::{Alert, Evaluated, Labels, METRIC_NAME, Sample, Scope, StampedSeries, stale_nan};

use crate::alerting::{Alerts, Templates, Times, millis};
use crate::context::Context;
use crate::spec::{GroupSpec, RuleKind, RuleSpec};
use crate::template::TemplateError;

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
}

pub(crate) struct Rule {
    pub(crate) spec: RuleSpec,
    pub(crate) constant_labels: Labels,
    /// Only who may see all of these sees the rule.
    named_tenants: Vec<String>,
    templates: Option<Templates>,
    pub(crate) state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) status: Status,
    pub(crate) alerts: Alerts,
    /// The series of the last evaluation; one that is missing in the next gets a staleness marker.
    pub(crate) series: HashSet<Labels>,
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
    pub(crate) fn evaluate(&self, group: &GroupSpec, context: &Context, at_ms: i64) -> Result<Outcome, String> {
        // What is evaluated in the past is written there too.
        let data_ms = at_ms - millis(group.query_offset);
        let elements = context.evaluate.evaluate(&Scope::All, &self.spec.expr, data_ms).map_err(|e| e.to_string())?;
        match (&self.spec.kind, &self.templates) {
            (RuleKind::Recording { record }, _) => self.record(record, &elements, group.limit, data_ms),
            (RuleKind::Alerting { .. }, Some(templates)) => {
                let found = templates.expand(&elements, context, data_ms)?;
                let times = self.times(group, context);
                let url = generator_url(&context.options.external_url, &self.spec.expr);
                let mut state = self.state.lock();
                state.alerts.advance(found, at_ms, times);
                let holding = state.alerts.holding();
                if group.limit > 0 && holding > group.limit {
                    state.alerts = Alerts::default();
                    return Err(format!("exceeded limit of {} with {holding} alerts", group.limit));
                }
                let alerts = state.alerts.take_due(at_ms, times, &url);
                let series = state.alerts.series();
                Ok(Outcome { series: state.stamped(series, data_ms), alerts })
            }
            (RuleKind::Alerting { .. }, None) => Err("rule has no templates".to_owned()),
        }
    }

    fn record(&self, record: &str, elements: &[Evaluated], limit: usize, at_ms: i64) -> Result<Outcome, String> {
        if limit > 0 && elements.len() > limit {
            return Err(format!("exceeded limit of {limit} with {} series", elements.len()));
        }
        let mut seen = HashSet::with_capacity(elements.len());
        let mut series = Vec::with_capacity(elements.len());
        for element in elements {
            let mut labels = element.labels.to_builder();
            labels.set(METRIC_NAME, record);
            for (name, value) in &self.spec.labels {
                labels.set(name.as_str(), value.as_str());
            }
            let labels = labels.build();
            if !seen.insert(labels.clone()) {
                return Err("vector contains metrics with the same labelset after applying rule labels".to_owned());
            }
            series.push((labels, element.value));
        }
        Ok(Outcome { series: self.state.lock().stamped(series, at_ms), alerts: Vec::new() })
    }
}

impl State {
    /// The series with their samples, and staleness markers for those that were there last time and are not now.
    fn stamped(&mut self, series: Vec<(Labels, f64)>, at_ms: i64) -> Vec<StampedSeries> {
        let now: HashSet<Labels> = series.iter().map(|(labels, _)| labels.clone()).collect();
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
