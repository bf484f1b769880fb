//! An objective: checked, with everything that rules, budgets and reports need.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use tenantscope_rules::{LoadError, Mistake, format_duration, parse_duration};

use crate::document::{self, Documents, Metadata, SliSpec, SloDocument};

/// Which tenants an objective is for: `tier=gold,wave!=canary`, matched against `tenantscope_tenant_info`.
pub const SELECTOR: &str = "tenantscope.io/selector";
/// A factor on every window of the burn-rate alerts and on the time between evaluations. 1 if absent. Below 1, a
/// demonstration shows in minutes what takes hours; its series and alerts have the label `time_scale`.
pub const TIME_SCALE: &str = "tenantscope.io/time-scale";
/// Below this number of events in an alert's long window it does not fire. 20 if absent.
pub const MIN_EVENTS: &str = "tenantscope.io/min-events";
/// How far in the past the queries are evaluated. 3m for CloudWatch's series (`aws_…`), which come late, else 0s.
pub const QUERY_OFFSET: &str = "tenantscope.io/query-offset";
/// Where people find what to do.
pub const RUNBOOK: &str = "tenantscope.io/runbook-url";

const KNOWN_ANNOTATIONS: [&str; 5] = [SELECTOR, TIME_SCALE, MIN_EVENTS, QUERY_OFFSET, RUNBOOK];
const DEFAULT_MIN_EVENTS: f64 = 20.0;
/// The registry's attributes are written now and then, not at every moment.
const MIN_INFO_WINDOW: Duration = Duration::from_secs(300);
const CLOUDWATCH_OFFSET: Duration = Duration::from_secs(180);

/// The time over which a budget is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// The last so much time.
    Rolling(Duration),
    /// The current calendar month, in UTC.
    Month,
}

/// Which events are counted beside all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    Good,
    Bad,
}

/// One objective; it applies to every tenant that its selector matches.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    /// Its name, unique.
    pub name: String,
    /// Its name for people.
    pub display_name: String,
    /// What it promises, in words.
    pub description: String,
    /// The service that it is about.
    pub service: String,
    /// The share of events that must be good.
    pub target: f64,
    /// The time over which the budget is counted.
    pub window: Window,
    /// Label matchers on `tenantscope_tenant_info`, such as `tier="gold"`; empty for all tenants.
    pub selector: String,
    /// See [`TIME_SCALE`].
    pub time_scale: f64,
    /// See [`MIN_EVENTS`].
    pub min_events: f64,
    /// See [`QUERY_OFFSET`].
    pub query_offset: Duration,
    /// See [`RUNBOOK`].
    pub runbook_url: Option<String>,
    /// The file that it comes from.
    pub file: String,
    pub(crate) is_counter: bool,
    pub(crate) counted: Counted,
    pub(crate) counted_query: String,
    pub(crate) total_query: String,
}

impl Objective {
    /// The share of events that may be bad.
    pub fn budget(&self) -> f64 {
        1.0 - self.target
    }

    /// A nominal window, scaled; at least one second.
    pub(crate) fn scaled(&self, window: Duration) -> Duration {
        Duration::from_millis((window.as_secs_f64() * self.time_scale * 1000.0).round().max(1000.0) as u64)
    }

    /// PromQL: the number of all events per tenant in a window.
    pub(crate) fn total_events(&self, window: Duration) -> String {
        self.selected(&self.sum(&self.total_query, window), window)
    }

    /// PromQL: the number of bad events per tenant in a window. A tenant with events but no series of bad ones has 0.
    pub(crate) fn bad_events(&self, window: Duration) -> String {
        let total = self.sum(&self.total_query, window);
        let counted = self.sum(&self.counted_query, window);
        let or_none = format!("({counted} or {total} * 0)");
        let bad = match self.counted {
            Counted::Bad => or_none,
            Counted::Good => format!("clamp_min({total} - {or_none}, 0)"),
        };
        self.selected(&bad, window)
    }

    /// PromQL: the share of bad events per tenant in a window, where there are events.
    pub(crate) fn error_ratio(&self, window: Duration) -> String {
        let bad = self.bad_events(window);
        let total = self.total_events(window);
        format!("{bad} / ({total} > 0)")
    }

    fn sum(&self, query: &str, window: Duration) -> String {
        let window = format_duration(window);
        if query.contains("{{") {
            let filled = query.replace("{{.window}}", &window).replace("{{ .window }}", &window);
            return format!("sum by (tenant) ({filled})");
        }
        // A counter rises; CloudWatch's sums say how many there were in each period.
        let function = if self.is_counter { "increase" } else { "sum_over_time" };
        format!("sum by (tenant) ({function}({query}[{window}]))")
    }

    /// Those tenants that the selector matched at some time in the window.
    fn selected(&self, expression: &str, window: Duration) -> String {
        if self.selector.is_empty() {
            return expression.to_owned();
        }
        let window = format_duration(window.max(MIN_INFO_WINDOW));
        let info = format!("last_over_time(tenantscope_tenant_info{{{}}}[{window}])", self.selector);
        format!("({expression} and on (tenant) {info})")
    }
}

/// Checked objectives.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Objectives(Vec<Objective>);

impl Objectives {
    /// Reads files of OpenSLO v1 documents; every mistake in all of them is found. Blocks.
    pub fn load<P: AsRef<Path>>(files: &[P]) -> Result<Self, LoadError> {
        let mut read = Vec::new();
        let mut mistakes = Vec::new();
        for path in files {
            let path = path.as_ref();
            match document::load(path) {
                Ok(documents) => read.push((path.display().to_string(), documents)),
                Err(found) => mistakes.extend(found),
            }
        }
        Self::check(read, mistakes)
    }

    /// Reads one file's text.
    pub fn parse(file: &str, text: &str) -> Result<Self, LoadError> {
        match document::parse(file, text) {
            Ok(documents) => Self::check(vec![(file.to_owned(), documents)], Vec::new()),
            Err(mistakes) => Err(LoadError { mistakes }),
        }
    }

    /// The objectives.
    pub fn iter(&self) -> std::slice::Iter<'_, Objective> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The objective of this name.
    pub fn get(&self, name: &str) -> Option<&Objective> {
        self.0.iter().find(|objective| objective.name == name)
    }

    fn check(read: Vec<(String, Documents)>, mut mistakes: Vec<Mistake>) -> Result<Self, LoadError> {
        let indicators: HashMap<String, SliSpec> = read
            .iter()
            .flat_map(|(_, documents)| &documents.slis)
            .map(|sli| (sli.metadata.name.value.clone(), sli.spec.clone()))
            .collect();
        let mut objectives: Vec<Objective> = Vec::new();
        for (file, documents) in read {
            for (before, slo) in documents.slos {
                let mut checking = Checking { file: &file, before, mistakes: Vec::new() };
                let objective = checking.objective(slo, &indicators, &objectives);
                mistakes.append(&mut checking.mistakes);
                objectives.extend(objective);
            }
        }
        for objective in &objectives {
            let groups = crate::rules::rule_groups(objective);
            let wrong = groups.iter().flat_map(tenantscope_rules::GroupSpec::check);
            // One is enough: the same query is in all rules.
            mistakes.extend(wrong.take(1).map(|(_, message)| Mistake {
                file: objective.file.clone(),
                line: None,
                message: format!("objective {:?}: {message}", objective.name),
            }));
        }
        if mistakes.is_empty() { Ok(Self(objectives)) } else { Err(LoadError { mistakes }) }
    }
}

impl<'a> IntoIterator for &'a Objectives {
    type Item = &'a Objective;
    type IntoIter = std::slice::Iter<'a, Objective>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

struct Checking<'a> {
    file: &'a str,
    before: u64,
    mistakes: Vec<Mistake>,
}

impl Checking<'_> {
    fn wrong<T>(&mut self, line: u64, message: impl Into<String>) -> Option<T> {
        let line = (line > 0).then(|| line + self.before);
        self.mistakes.push(Mistake { file: self.file.to_owned(), line, message: message.into() });
        None
    }

    fn objective(
        &mut self,
        slo: SloDocument,
        indicators: &HashMap<String, SliSpec>,
        known: &[Objective],
    ) -> Option<Objective> {
        let SloDocument { metadata, spec, .. } = slo;
        let line = metadata.name.referenced.line();
        let name = metadata.name.value.clone();
        let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 63 || !name.chars().all(letters) {
            return self.wrong(line, format!("name {name:?} is not 1 to 63 letters, digits, '-', '_' or '.'"));
        }
        if known.iter().any(|other| other.name == name) {
            return self.wrong(line, format!("objective {name:?} is given twice"));
        }
        if spec.budgeting_method.value != "Occurrences" {
            let message =
                format!("budgetingMethod {:?} is not supported, only Occurrences", spec.budgeting_method.value);
            return self.wrong(spec.budgeting_method.referenced.line(), message);
        }
        let indicator = match (spec.indicator, spec.indicator_ref) {
            (Some(indicator), None) => indicator.spec,
            (None, Some(reference)) => match indicators.get(&reference.value) {
                Some(indicator) => indicator.clone(),
                None => {
                    let message = format!("indicatorRef {:?} names no SLI document", reference.value);
                    return self.wrong(reference.referenced.line(), message);
                }
            },
            _ => return self.wrong(line, "an SLO needs indicator or indicatorRef, and not both"),
        };
        let Some(ratio) = indicator.ratio_metric else {
            return self.wrong(line, "only ratioMetric indicators are supported");
        };
        let (counted, metric) = match (ratio.good, ratio.bad) {
            (Some(good), None) => (Counted::Good, good),
            (None, Some(bad)) => (Counted::Bad, bad),
            _ => return self.wrong(line, "ratioMetric needs good or bad, and not both, beside total"),
        };
        let counted_query = self.query(&metric)?;
        let total_query = self.query(&ratio.total)?;
        let target = self.target(&spec.objectives)?;
        let window = self.window(&spec.time_window)?;
        let cloudwatch = [&counted_query, &total_query].iter().any(|query| query.contains("aws_"));
        let default_offset = if cloudwatch { CLOUDWATCH_OFFSET } else { Duration::ZERO };
        self.known_annotations(&metadata);
        Some(Objective {
            display_name: metadata.display_name.clone().unwrap_or_else(|| name.clone()),
            name,
            description: spec.description,
            service: spec.service,
            target,
            window,
            selector: self.selector(&metadata)?,
            time_scale: self.number(&metadata, TIME_SCALE, 1.0, 1e-4..=1.0)?,
            min_events: self.number(&metadata, MIN_EVENTS, DEFAULT_MIN_EVENTS, 0.0..=1e9)?,
            query_offset: self.offset(&metadata, default_offset)?,
            runbook_url: metadata.annotations.get(RUNBOOK).map(|url| url.value.clone()),
            file: self.file.to_owned(),
            is_counter: ratio.counter,
            counted,
            counted_query,
            total_query,
        })
    }

    fn query(&mut self, metric: &document::Metric) -> Option<String> {
        let source = &metric.metric_source;
        if let Some(kind) = source.r#type.as_ref().filter(|kind| !kind.value.eq_ignore_ascii_case("prometheus")) {
            let message = format!("metricSource type {:?} is not Prometheus", kind.value);
            return self.wrong(kind.referenced.line(), message);
        }
        let query = source.spec.query.value.trim();
        if query.is_empty() {
            return self.wrong(source.spec.query.referenced.line(), "query is empty");
        }
        Some(query.to_owned())
    }

    fn target(&mut self, objectives: &serde_saphyr::Spanned<Vec<document::ObjectiveDocument>>) -> Option<f64> {
        let [only] = objectives.value.as_slice() else {
            return self.wrong(objectives.referenced.line(), "an SLO has exactly one objective");
        };
        let (target, line) = match (&only.target, &only.target_percent) {
            (Some(target), None) => (target.value, target.referenced.line()),
            (None, Some(percent)) => (percent.value / 100.0, percent.referenced.line()),
            _ => return self.wrong(objectives.referenced.line(), "an objective needs target or targetPercent"),
        };
        if target > 0.0 && target < 1.0 {
            return Some(target);
        }
        self.wrong(line, format!("target {target} is not between 0 and 1"))
    }

    fn window(&mut self, windows: &serde_saphyr::Spanned<Vec<document::TimeWindow>>) -> Option<Window> {
        let [only] = windows.value.as_slice() else {
            return self.wrong(windows.referenced.line(), "an SLO has exactly one timeWindow");
        };
        let line = only.duration.referenced.line();
        if let Some(calendar) = &only.calendar {
            if calendar.time_zone.value != "UTC" {
                return self.wrong(calendar.time_zone.referenced.line(), "timeZone must be UTC");
            }
            if only.duration.value != "1M" {
                return self.wrong(line, "a calendar's duration must be 1M");
            }
            return Some(Window::Month);
        }
        if only.is_rolling == Some(false) {
            return self.wrong(line, "a timeWindow that is not rolling needs a calendar");
        }
        match rolling(&only.duration.value) {
            Some(duration) if duration >= Duration::from_secs(60) => Some(Window::Rolling(duration)),
            _ => self.wrong(line, format!("duration {:?} is not one such as 28d, 4w or 1M", only.duration.value)),
        }
    }

    fn selector(&mut self, metadata: &Metadata) -> Option<String> {
        let Some(annotation) = metadata.annotations.get(SELECTOR) else { return Some(String::new()) };
        let mut matchers = Vec::new();
        for part in annotation.value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let operator = ["!~", "=~", "!=", "="].into_iter().find(|operator| part.contains(operator));
            let parts = operator.and_then(|operator| Some((part.split_once(operator)?, operator)));
            let Some(((name, value), operator)) = parts else {
                let message = format!("selector {part:?} is not one such as tier=gold");
                return self.wrong(annotation.referenced.line(), message);
            };
            let value = value.trim().trim_matches('"');
            matchers.push(format!("{}{operator}{value:?}", name.trim()));
        }
        Some(matchers.join(","))
    }

    fn number(
        &mut self,
        metadata: &Metadata,
        annotation: &str,
        default: f64,
        allowed: std::ops::RangeInclusive<f64>,
    ) -> Option<f64> {
        let Some(text) = metadata.annotations.get(annotation) else { return Some(default) };
        match text.value.trim().parse::<f64>() {
            Ok(number) if allowed.contains(&number) => Some(number),
            _ => {
                let (from, to) = (allowed.start(), allowed.end());
                let message = format!("{annotation} {:?} is not a number from {from} to {to}", text.value);
                self.wrong(text.referenced.line(), message)
            }
        }
    }

    fn offset(&mut self, metadata: &Metadata, default: Duration) -> Option<Duration> {
        let Some(text) = metadata.annotations.get(QUERY_OFFSET) else { return Some(default) };
        parse_duration(&text.value).map_or_else(|e| self.wrong(text.referenced.line(), e.to_string()), Some)
    }

    /// A misspelt annotation of ours would silently change nothing.
    fn known_annotations(&mut self, metadata: &Metadata) {
        for (name, value) in &metadata.annotations {
            if name.starts_with("tenantscope.io/") && !KNOWN_ANNOTATIONS.contains(&name.as_str()) {
                let line = value.referenced.line();
                self.wrong::<()>(line, format!("annotation {name:?} is not one of {KNOWN_ANNOTATIONS:?}"));
            }
        }
    }
}

/// OpenSLO's durations: Prometheus's, and `M`, `Q`, `Y` for months, quarters and years.
fn rolling(text: &str) -> Option<Duration> {
    let days = |unit, days| {
        let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(Duration::from_secs(count.checked_mul(days)?.checked_mul(86_400)?))
    };
    days('M', 30).or_else(|| days('Q', 90)).or_else(|| days('Y', 365)).or_else(|| parse_duration(text).ok())
}
