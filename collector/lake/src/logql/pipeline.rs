use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::ast::{LabelFilter, LineOp, Stage, Value};
use crate::attributes;
use crate::logs::row::{Row, label_name};

/// Where a parser stage says that it could not parse.
const ERROR_LABEL: &str = "__error__";
/// A line gives at most so many labels.
const MAX_EXTRACTED: usize = 500;
const MAX_JSON_DEPTH: usize = 16;

/// The stages of a selector, applied to a row at a time.
pub(crate) struct Pipeline<'a> {
    stages: &'a [Stage],
}

impl<'a> Pipeline<'a> {
    pub(crate) fn new(stages: &'a [Stage]) -> Self {
        Self { stages }
    }

    /// Whether a scan's own filters do all of it: then a limit may be part of the plan.
    pub(crate) fn is_only_line_filters(&self) -> bool {
        self.stages.iter().all(|stage| matches!(stage, Stage::Line { .. }))
    }

    /// The label whose value is the sample, where a stage names one.
    pub(crate) fn unwrapped(&self) -> Option<&'a str> {
        self.stages.iter().find_map(|stage| match stage {
            Stage::Unwrap(label) => Some(label.as_str()),
            _ => None,
        })
    }

    /// Whether the row passes; its labels are changed as the stages say.
    pub(crate) fn apply(&self, row: &mut Row) -> bool {
        self.stages.iter().all(|stage| match stage {
            Stage::Line { op, texts, regexes } => {
                let line = row.line.as_str();
                match op {
                    LineOp::Contains => texts.iter().any(|text| line.contains(text)),
                    LineOp::ContainsNot => !texts.iter().any(|text| line.contains(text)),
                    LineOp::Matches => regexes.iter().any(|regex| regex.is_match(line)),
                    LineOp::MatchesNot => !regexes.iter().any(|regex| regex.is_match(line)),
                }
            }
            Stage::Json => {
                extract_json(row);
                true
            }
            Stage::Logfmt => {
                extract_logfmt(row);
                true
            }
            Stage::Filter(filter) => passes(filter, row),
            Stage::Drop(names) => {
                row.labels.retain(|name, _| !names.contains(name));
                row.metadata.retain(|name, _| !names.contains(name));
                true
            }
            Stage::Keep(names) => {
                row.labels.retain(|name, _| names.contains(name));
                row.metadata.retain(|name, _| names.contains(name));
                true
            }
            Stage::Unwrap(_) => true,
        })
    }
}

/// A label's value: of the stream or extracted, else structured metadata.
pub(crate) fn value<'r>(row: &'r Row, name: &str) -> &'r str {
    let name = if name == "detected_level" { "level" } else { name };
    row.labels.get(name).or_else(|| row.metadata.get(name)).map_or("", String::as_str)
}

fn passes(filter: &LabelFilter, row: &Row) -> bool {
    match filter {
        LabelFilter::Text(matcher) => matcher.matches(value(row, matcher.name())),
        LabelFilter::Number { name, op, value: wanted } => {
            let text = value(row, name);
            let (found, wanted) = match wanted {
                Value::Number(wanted) => (number(text), *wanted),
                Value::Seconds(wanted) => (seconds(text), *wanted),
            };
            found.is_some_and(|found| op.holds(found, wanted))
        }
        LabelFilter::And(left, right) => passes(left, row) && passes(right, row),
        LabelFilter::Or(left, right) => passes(left, row) || passes(right, row),
    }
}

/// A number, or a duration in seconds.
pub(crate) fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().or_else(|| seconds(text))
}

fn seconds(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 7] =
        [("ms", 1e-3), ("us", 1e-6), ("µs", 1e-6), ("ns", 1e-9), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)];
    let text = text.trim();
    let (unit, factor) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
    Some(number * factor)
}

fn extract_json(row: &mut Row) {
    let Ok(Json::Object(object)) = serde_json::from_str(&row.line) else {
        row.labels.insert(ERROR_LABEL.to_owned(), "JSONParserErr".to_owned());
        return;
    };
    let mut found = BTreeMap::new();
    flatten("", &Json::Object(object), &mut found, 0);
    extend(row, found);
}

fn flatten(prefix: &str, value: &Json, found: &mut BTreeMap<String, String>, depth: usize) {
    match value {
        Json::Object(map) if depth < MAX_JSON_DEPTH => {
            for (key, inner) in map {
                let key = label_name(key);
                let name = if prefix.is_empty() { key } else { format!("{prefix}_{key}") };
                flatten(&name, inner, found, depth + 1);
            }
        }
        // As in Loki: lists are no labels.
        Json::Object(_) | Json::Array(_) => {}
        other => {
            found.insert(prefix.to_owned(), attributes::json_text(other));
        }
    }
}

fn extract_logfmt(row: &mut Row) {
    let mut found = BTreeMap::new();
    let mut rest = row.line.as_str();
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.rsplit(char::is_whitespace).next().unwrap_or(key);
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
        };
        if !key.is_empty() {
            found.insert(label_name(key), value.to_owned());
        }
        rest = after;
    }
    extend(row, found);
}

/// A name that a stream label has already gets a suffix.
fn extend(row: &mut Row, found: BTreeMap<String, String>) {
    for (name, value) in found.into_iter().filter(|(name, _)| !name.is_empty()).take(MAX_EXTRACTED) {
        let name = if row.labels.contains_key(&name) { format!("{name}_extracted") } else { name };
        row.labels.insert(name, value);
    }
}
