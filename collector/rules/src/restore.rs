//! What a restart finds of the alerts that held before it, from the series that the rules themselves wrote.

use std::collections::HashMap;

use tenantscope_model::{EvaluateError, Labels, METRIC_NAME, Scope};

use crate::alerting::{ALERT_NAME, ALERTS_FOR_STATE, Restored, millis};
use crate::context::Context;
use crate::rule::Rule;
use crate::spec::GroupSpec;

/// The longest step at which the past is looked through. It is no longer than the rule's interval either: every sample
/// is followed by the next, or by a staleness marker, one interval later, so none is stepped over.
const MAX_STEP_MS: i64 = 60_000;

/// The alerts of a rule that held when the collector stopped. Blocks.
///
/// A restart is not an end: an alert that fired goes on firing, one that was pending goes on from where it was, the
/// time of the outage not counted. An alert that had ended before is left out: its series ends with a staleness
/// marker, so that it can't be seen at the rule's next evaluation after its last sample.
pub(crate) fn restore(
    rule: &Rule,
    group: &GroupSpec,
    context: &Context,
    at_ms: i64,
    surely_ours: bool,
) -> Result<HashMap<Labels, Restored>, EvaluateError> {
    let times = rule.times(group, context);
    let selector = selector(rule);
    let data_ms = at_ms - millis(group.query_offset);
    let range_s = (millis(context.options.outage_tolerance) / 1000).max(60);
    let step_ms = group.interval_ms().clamp(1_000, MAX_STEP_MS);
    let last_seen = format!("max_over_time(timestamp({selector})[{range_s}s:{step_ms}ms])");
    let seen = context.evaluate.evaluate(&Scope::All, &last_seen, data_ms)?;
    let Some(last_s) = seen.iter().map(|element| element.value).max_by(f64::total_cmp) else {
        return Ok(HashMap::new());
    };
    let last_ms = from_seconds(last_s);
    let next_ms = last_ms.saturating_add(group.interval_ms()).min(data_ms);
    let held = context.evaluate.evaluate(&Scope::All, &selector, next_ms)?;
    let down_ms = (data_ms - last_ms - group.interval_ms()).max(0);
    let mut restored = HashMap::new();
    for element in held {
        let labels = element.labels.filter(|label| &*label.name != METRIC_NAME);
        let active_at_ms = from_seconds(element.value);
        let fired = last_ms - active_at_ms >= times.hold_ms;
        let found = Restored {
            active_at_ms: if fired { active_at_ms } else { active_at_ms + down_ms },
            fired_at_ms: fired.then_some(active_at_ms + times.hold_ms),
            surely_ours,
        };
        restored.insert(labels, found);
    }
    Ok(restored)
}

#[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
fn from_seconds(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

fn selector(rule: &Rule) -> String {
    let name = format!("{ALERT_NAME}={:?}", rule.spec.name());
    let constant = rule.constant_labels.iter().filter(|label| &*label.name != ALERT_NAME);
    let matchers: Vec<String> =
        std::iter::once(name).chain(constant.map(|label| format!("{}={:?}", label.name, label.value))).collect();
    format!("{ALERTS_FOR_STATE}{{{}}}", matchers.join(","))
}

/// Whether no rule but this one can have made an alert that fits its name and constant labels.
pub(crate) fn is_distinct(rule: &Rule, all: &[&Rule]) -> bool {
    let namesakes = all.iter().filter(|other| other.spec.name() == rule.spec.name());
    let differing = namesakes.filter(|other| {
        let conflicts = |label: &&tenantscope_model::Label| {
            other.constant_labels.get(&label.name).is_some_and(|value| value != &*label.value)
        };
        rule.constant_labels.iter().find(conflicts).is_some()
    });
    let namesake_count = all.iter().filter(|other| other.spec.name() == rule.spec.name()).count();
    differing.count() + 1 == namesake_count
}
