//! Rule files: YAML to [`GroupSpec`]s, every mistake with its line.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::duration::parse_duration;
use crate::spec::{GroupSpec, RuleKind, RuleSpec};

/// The largest rule file.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// What a group has that does not say otherwise.
#[derive(Debug, Clone, Copy)]
pub struct GroupDefaults {
    /// `interval`.
    pub interval: Duration,
    /// `query_offset`.
    pub query_offset: Duration,
}

impl Default for GroupDefaults {
    fn default() -> Self {
        Self { interval: Duration::from_secs(60), query_offset: Duration::ZERO }
    }
}

/// One mistake in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file.
    pub file: String,
    /// The line, where it is known.
    pub line: Option<u64>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// Files that can't be used, with every mistake that was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct LoadError {
    /// The mistakes; never empty.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.mistakes.iter().enumerate() {
            let newline = if i > 0 { "\n" } else { "" };
            write!(f, "{newline}{mistake}")?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    groups: Option<Vec<RawGroup>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    name: Spanned<String>,
    interval: Option<Spanned<String>>,
    query_offset: Option<Spanned<String>>,
    limit: Option<Spanned<i64>>,
    labels: Option<BTreeMap<String, String>>,
    rules: Option<Vec<RawRule>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    record: Option<Spanned<String>>,
    alert: Option<Spanned<String>>,
    expr: Spanned<String>,
    r#for: Option<Spanned<String>>,
    keep_firing_for: Option<Spanned<String>>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

/// The groups of a file. Finds every mistake, not only the first.
pub(crate) fn load(path: &Path, defaults: GroupDefaults) -> Result<Vec<GroupSpec>, Vec<Mistake>> {
    let file = path.display().to_string();
    let failed = |message: String| vec![Mistake { file: file.clone(), line: None, message }];
    let size = std::fs::metadata(path).map_err(|e| failed(format!("can't be read: {e}")))?.len();
    if size > MAX_FILE_BYTES {
        return Err(failed(format!("has {size} bytes; a rule file has at most {MAX_FILE_BYTES}")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| failed(format!("can't be read: {e}")))?;
    parse(&file, &text, defaults)
}

/// The groups of a file's text.
pub(crate) fn parse(file: &str, text: &str, defaults: GroupDefaults) -> Result<Vec<GroupSpec>, Vec<Mistake>> {
    let only_comments = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    if only_comments {
        return Ok(Vec::new());
    }
    let raw: RawFile = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map(|location| location.line()).filter(|line| *line > 0);
        let message = error.without_snippet().to_string();
        vec![Mistake { file: file.to_owned(), line, message }]
    })?;
    let mut reading = Reading { file, defaults, mistakes: Vec::new() };
    let groups = reading.groups(raw);
    if reading.mistakes.is_empty() { Ok(groups) } else { Err(reading.mistakes) }
}

struct Reading<'a> {
    file: &'a str,
    defaults: GroupDefaults,
    mistakes: Vec<Mistake>,
}

impl Reading<'_> {
    fn wrong(&mut self, line: u64, message: String) {
        self.mistakes.push(Mistake { file: self.file.to_owned(), line: (line > 0).then_some(line), message });
    }

    fn duration(&mut self, text: Option<&Spanned<String>>, default: Duration) -> Duration {
        let Some(text) = text else { return default };
        parse_duration(&text.value).unwrap_or_else(|error| {
            self.wrong(text.referenced.line(), error.to_string());
            default
        })
    }

    fn groups(&mut self, raw: RawFile) -> Vec<GroupSpec> {
        let mut names = HashSet::new();
        let mut groups = Vec::new();
        for group in raw.groups.unwrap_or_default() {
            let line = group.name.referenced.line();
            if group.name.value.is_empty() {
                self.wrong(line, "group has an empty name".to_owned());
            }
            if !names.insert(group.name.value.clone()) {
                self.wrong(line, format!("group {:?} is given twice", group.name.value));
            }
            groups.push(self.group(group));
        }
        groups
    }

    fn group(&mut self, raw: RawGroup) -> GroupSpec {
        let interval = self.duration(raw.interval.as_ref(), self.defaults.interval);
        if let Some(zero) = raw.interval.as_ref().filter(|_| interval.is_zero()) {
            self.wrong(zero.referenced.line(), "interval is zero".to_owned());
        }
        let query_offset = self.duration(raw.query_offset.as_ref(), self.defaults.query_offset);
        let limit = raw.limit.map_or(0, |limit| {
            usize::try_from(limit.value).unwrap_or_else(|_| {
                self.wrong(limit.referenced.line(), "limit is negative".to_owned());
                0
            })
        });
        let group_labels = raw.labels.unwrap_or_default();
        let mut rules = Vec::new();
        let mut lines = Vec::new();
        for rule in raw.rules.unwrap_or_default() {
            let line = rule.expr.referenced.line();
            if let Some(rule) = self.rule(rule, &group_labels) {
                rules.push(rule);
                lines.push(line);
            }
        }
        let group =
            GroupSpec { file: self.file.to_owned(), name: raw.name.value, interval, query_offset, limit, rules };
        for (at, message) in group.check() {
            let name = group.rules.get(at).map_or("", RuleSpec::name);
            let message = format!("rule {name:?} of group {:?}: {message}", group.name);
            self.wrong(lines.get(at).copied().unwrap_or(0), message);
        }
        group
    }

    fn rule(&mut self, raw: RawRule, group_labels: &BTreeMap<String, String>) -> Option<RuleSpec> {
        let mut labels = group_labels.clone();
        labels.extend(raw.labels.unwrap_or_default());
        let kind = match (raw.record, raw.alert) {
            (Some(record), None) => {
                let alert_only = [("for", raw.r#for), ("keep_firing_for", raw.keep_firing_for)];
                for (field, value) in alert_only {
                    if let Some(value) = value {
                        let message = format!("recording rule {:?} has {field}", record.value);
                        self.wrong(value.referenced.line(), message);
                    }
                }
                if raw.annotations.is_some_and(|annotations| !annotations.is_empty()) {
                    let message = format!("recording rule {:?} has annotations", record.value);
                    self.wrong(record.referenced.line(), message);
                }
                RuleKind::Recording { record: record.value }
            }
            (None, Some(alert)) => RuleKind::Alerting {
                alert: alert.value,
                hold: self.duration(raw.r#for.as_ref(), Duration::ZERO),
                keep_firing: self.duration(raw.keep_firing_for.as_ref(), Duration::ZERO),
                annotations: raw.annotations.unwrap_or_default(),
            },
            (Some(_), Some(alert)) => {
                self.wrong(alert.referenced.line(), "a rule has both record and alert".to_owned());
                return None;
            }
            (None, None) => {
                self.wrong(raw.expr.referenced.line(), "a rule needs record or alert".to_owned());
                return None;
            }
        };
        Some(RuleSpec { kind, expr: raw.expr.value, labels })
    }
}

#[cfg(test)]
#[path = "file_fuzz.rs"]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> String {
        let mistakes = parse("r.yaml", text, GroupDefaults::default()).unwrap_err();
        LoadError { mistakes }.to_string()
    }

    #[test]
    fn a_prometheus_file_is_read_as_it_is() {
        let text = r#"
# from a Prometheus near you
groups:
  - name: api
    interval: 15s
    query_offset: 1m
    limit: 10
    labels: {team: core, severity: none}
    rules:
      - record: tenant:errors:rate5m
        expr: |
          sum by (tenant) (
            rate(errors_total[5m])
          )
      - alert: ErrorsHigh
        expr: tenant:errors:rate5m > 5
        for: 2m
        keep_firing_for: 90s
        labels:
          severity: page
        annotations:
          summary: "{{ $labels.tenant }} has {{ $value | humanize }} errors/s"
  - name: empty
"#;
        let groups = parse("r.yaml", text, GroupDefaults::default()).unwrap();
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].interval, Duration::from_secs(15));
        assert_eq!((groups[0].query_offset, groups[0].limit), (Duration::from_secs(60), 10));
        assert_eq!(groups[1].interval, Duration::from_secs(60));
        assert!(groups[0].rules[0].expr.contains("rate(errors_total[5m])"));
        assert_eq!(groups[0].rules[0].labels["severity"], "none");
        let alert = &groups[0].rules[1];
        assert_eq!((alert.labels["severity"].as_str(), alert.labels["team"].as_str()), ("page", "core"));
        let RuleKind::Alerting { hold, keep_firing, .. } = &alert.kind else { panic!("not an alert") };
        assert_eq!((*hold, *keep_firing), (Duration::from_secs(120), Duration::from_secs(90)));
        assert_eq!(parse("r.yaml", "# nothing\n", GroupDefaults::default()), Ok(Vec::new()));
    }

    #[test]
    fn every_mistake_is_named_with_its_line() {
        let text = "groups:\n- name: a\n  interval: 5x\n  rules:\n  - alert: A\n    expr: up\n    for: x\n  - record: r\n    expr: up\n    for: 1m\n  - expr: up\n- name: a\n";
        let text = mistakes(text);
        for line in [3, 7, 10, 11, 12] {
            assert!(text.contains(&format!("r.yaml:{line}: ")), "line {line} in {text}");
        }
    }

    #[test]
    fn an_unknown_key_and_a_wrong_template_are_mistakes() {
        let text = mistakes("groups:\n- name: a\n  rules:\n  - alert: A\n    exprs: up\n");
        assert!(text.starts_with("r.yaml:5: ") && text.contains("exprs"), "{text}");
        let text = mistakes(
            "groups:\n- name: a\n  rules:\n  - alert: A\n    expr: up\n    annotations:\n      a: '{{ nope $value }}'\n",
        );
        assert!(text.starts_with("r.yaml:5: ") && text.contains("\"nope\" not defined"), "{text}");
    }

    #[test]
    fn a_wrong_expression_is_a_mistake() {
        let text = mistakes("groups:\n- name: a\n  rules:\n  - alert: A\n    expr: sum(up\n");
        assert!(text.starts_with("r.yaml:5: ") && text.contains("expr"), "{text}");
    }
}
