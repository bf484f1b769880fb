//! Rule groups as they were written: what a file says, with the defaults filled in.

use std::collections::BTreeMap;
use std::time::Duration;

use tenantscope_model::Labels;

use crate::template::Template;

/// A group of rules that are evaluated one after the other, at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupSpec {
    /// The file that it comes from.
    pub file: String,
    /// Its name, unique in its file.
    pub name: String,
    /// How often it is evaluated.
    pub interval: Duration,
    /// How far in the past its expressions are evaluated.
    pub query_offset: Duration,
    /// The most series or alerts that one rule may have; 0 for no limit.
    pub limit: usize,
    /// The rules, in order.
    pub rules: Vec<RuleSpec>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleSpec {
    /// What the rule makes of its expression.
    pub kind: RuleKind,
    /// The expression.
    pub expr: String,
    /// Labels that are set on what it makes, those of the group included.
    pub labels: BTreeMap<String, String>,
}

/// What a rule makes of its expression.
#[derive(Debug, Clone, PartialEq)]
pub enum RuleKind {
    /// Series of this name.
    Recording {
        /// The name.
        record: String,
    },
    /// Alerts.
    Alerting {
        /// The alerts' name.
        alert: String,
        /// How long the condition must hold before an alert fires (`for`).
        hold: Duration,
        /// How long an alert goes on firing after its condition ended.
        keep_firing: Duration,
        /// Annotations, as templates.
        annotations: BTreeMap<String, String>,
    },
}

impl RuleSpec {
    /// The name of the alerts or series.
    pub fn name(&self) -> &str {
        match &self.kind {
            RuleKind::Recording { record } => record,
            RuleKind::Alerting { alert, .. } => alert,
        }
    }

    /// Those of its labels that are the same for all its alerts.
    pub fn constant_labels(&self) -> Labels {
        let constant = |value: &str| Template::parse(value).is_ok_and(|template| template.constant().is_some());
        let pairs = self.labels.iter().filter(|(_, value)| constant(value));
        Labels::from_pairs(pairs.map(|(name, value)| (name.as_str(), value.as_str())))
    }

    /// Tenants that the rule names: by a `tenant` label of its own, or by its expression's matchers on `tenant`.
    pub(crate) fn named_tenants(&self) -> Vec<String> {
        const TENANT: &str = "tenant";
        let mut named: Vec<String> = self.constant_labels().get(TENANT).map(str::to_owned).into_iter().collect();
        if let Ok(expr) = tenantscope_promql::parse(&self.expr) {
            let selectors = expr.selectors();
            let matchers = selectors.iter().flat_map(|(selector, _)| &selector.matchers);
            // What a regular expression lists by name; one that is not a list is taken as a name that nobody has.
            let values = matchers.filter(|matcher| matcher.name() == TENANT).flat_map(|m| m.value().split('|'));
            named.extend(values.filter(|value| !matches!(*value, "" | ".*" | ".+")).map(str::to_owned));
        }
        named
    }

    /// Whether it is the same rule, though its expression or times may have changed.
    pub(crate) fn is_same_rule(&self, other: &Self) -> bool {
        let same_kind = matches!(
            (&self.kind, &other.kind),
            (RuleKind::Recording { .. }, RuleKind::Recording { .. })
                | (RuleKind::Alerting { .. }, RuleKind::Alerting { .. })
        );
        same_kind && self.name() == other.name() && self.labels == other.labels
    }
}

impl GroupSpec {
    /// Checks what can be checked without data. Each entry is the place of the rule in the group, and what is wrong.
    pub fn check(&self) -> Vec<(usize, String)> {
        let mut wrong = Vec::new();
        for (at, rule) in self.rules.iter().enumerate() {
            wrong.extend(check_rule(rule).into_iter().map(|message| (at, message)));
            let repeated = self.rules.iter().take(at).any(|earlier| earlier == rule);
            if repeated {
                wrong.push((at, format!("rule {:?} is given twice", rule.name())));
            }
        }
        wrong
    }

    /// The offset of its evaluations within its interval, so that not all groups are evaluated at once.
    fn offset_ms(&self, interval_ms: i64) -> i64 {
        // FNV-1a: the offset has to be the same after a restart, which std's hasher does not promise.
        let bytes = self.file.bytes().chain([0xff]).chain(self.name.bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let interval = u64::try_from(interval_ms).unwrap_or(1).max(1);
        i64::try_from(hash % interval).unwrap_or(0)
    }

    /// The interval in milliseconds, at least one.
    pub(crate) fn interval_ms(&self) -> i64 {
        i64::try_from(self.interval.as_millis()).unwrap_or(i64::MAX).max(1)
    }

    /// The last of the group's times of evaluation that is not after `now_ms`.
    pub fn aligned_at_or_before(&self, now_ms: i64) -> i64 {
        let interval_ms = self.interval_ms();
        let offset_ms = self.offset_ms(interval_ms);
        let since = now_ms.saturating_sub(offset_ms);
        since - since.rem_euclid(interval_ms) + offset_ms
    }
}

fn check_rule(rule: &RuleSpec) -> Vec<String> {
    let mut wrong = Vec::new();
    if rule.expr.trim().is_empty() {
        wrong.push("expr is empty".to_owned());
    } else if let Err(error) = tenantscope_promql::parse(&rule.expr) {
        wrong.push(format!("expr: {error}"));
    }
    if rule.name().is_empty() {
        wrong.push("record or alert is empty".to_owned());
    }
    for name in rule.labels.keys() {
        if name.is_empty() || name == tenantscope_model::METRIC_NAME {
            wrong.push(format!("label name {name:?} can't be set"));
        }
    }
    let RuleKind::Alerting { annotations, .. } = &rule.kind else {
        let name = rule.name();
        if name.contains(['{', '}']) {
            wrong.push(format!("record {name:?} has braces; labels belong under labels"));
        }
        return wrong;
    };
    for (kind, texts) in [("label", &rule.labels), ("annotation", annotations)] {
        for (name, text) in texts {
            if let Err(error) = Template::parse(text) {
                wrong.push(format!("{kind} {name:?}: {error}"));
            }
        }
    }
    wrong
}
