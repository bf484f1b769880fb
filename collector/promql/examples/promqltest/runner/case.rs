//! One `eval`: a query, what is expected, and whether it came.

use std::time::{Duration, Instant};

use tenantscope_model::{HistogramSample, QueryBudget, Sample, Scope};
use tenantscope_promql::{Answer, Element, Engine, Expr, PointValue, QueryOptions, Times, Value, parse};

use super::check;
use super::expectation::Expected;
use super::storage::Storage;
use super::variants;

/// When the query is evaluated.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Instant { at_ms: i64 },
    Range { start_ms: i64, end_ms: i64, step_ms: i64 },
}

/// One case.
pub(crate) struct Case {
    kind: Kind,
    pub(crate) query: String,
    expected: Result<Expected, String>,
}

/// The distance of the times before and after an instant at which its query is evaluated as well.
const AROUND_MS: i64 = 60_000;

impl Case {
    pub(crate) fn new(kind: Kind, query: String, word: &str, block: &[&str]) -> Result<Self, String> {
        Ok(Self { kind, query, expected: Expected::parse(word, block) })
    }

    /// Runs the query; the error shows what was expected and what came.
    pub(crate) fn run(self, storage: &Storage) -> Result<(), String> {
        let expected = self.expected?;
        let running = Running { query: &self.query, expected: &expected, storage };
        let expr = match parse(&self.query) {
            Ok(expr) => expr,
            Err(error) => return running.failed(&error.to_string()),
        };
        match self.kind {
            Kind::Range { start_ms, end_ms, step_ms } => running.range(&expr, Times { start_ms, end_ms, step_ms }),
            Kind::Instant { at_ms } => {
                let at_ms = expected.range.map_or(at_ms, |range| range.end_ms);
                running.instant(&expr, at_ms)?;
                // Fixed to its time by `@`, the query has the same answer at every time.
                let Some(fixed) = variants::fixed(&expr, at_ms) else { return Ok(()) };
                for other_ms in variants::other_times(at_ms) {
                    let variant = |message: String| format!("with @ {at_ms} ms, at {other_ms} ms: {message}");
                    running.instant(&fixed, other_ms).map_err(variant)?;
                }
                Ok(())
            }
        }
    }
}

/// A case while it runs.
struct Running<'a> {
    query: &'a str,
    expected: &'a Expected,
    storage: &'a Storage,
}

impl Running<'_> {
    /// Whether a failure was expected, and this one.
    fn failed(&self, message: &str) -> Result<(), String> {
        match self.expected.fail.first() {
            None => Err(format!("failed: {message}")),
            Some(wording) if wording.fits(message) => Ok(()),
            Some(wording) => Err(format!("expected failure {wording:?}\ngot: {message}")),
        }
    }

    fn evaluate(&self, expr: &Expr, kind: Kind) -> Result<Answer, String> {
        let budget = QueryBudget::new(Instant::now() + Duration::from_secs(60), 50_000_000);
        let options = QueryOptions { budget: &budget, lookback_ms: None, text: self.query };
        let engine = Engine::default();
        let store = &*self.storage.store;
        let answer = match kind {
            Kind::Instant { at_ms } => engine.instant(store, &Scope::All, expr, at_ms, options),
            Kind::Range { start_ms, end_ms, step_ms } => {
                engine.range(store, &Scope::All, expr, Times { start_ms, end_ms, step_ms }, options)
            }
        };
        answer.map_err(|error| error.to_string())
    }

    fn range(&self, expr: &Expr, times: Times) -> Result<(), String> {
        let Times { start_ms, end_ms, step_ms } = times;
        let answer = match self.evaluate(expr, Kind::Range { start_ms, end_ms, step_ms }) {
            Ok(answer) => answer,
            Err(message) => return self.failed(&message),
        };
        if !self.expected.fail.is_empty() {
            return Err("expected a failure, got an answer".to_owned());
        }
        self.expected.check_notes(&answer.warnings, &answer.infos)?;
        check::value(self.expected, &answer.value, start_ms, step_ms)
    }

    fn instant(&self, expr: &Expr, at_ms: i64) -> Result<(), String> {
        let answer = match self.evaluate(expr, Kind::Instant { at_ms }) {
            Ok(answer) => answer,
            Err(message) => return self.failed(&message),
        };
        let expected = self.expected;
        if !expected.fail.is_empty() {
            return Err("expected a failure, got an answer".to_owned());
        }
        expected.check_notes(&answer.warnings, &answer.infos)?;
        let (start_ms, step_ms) = expected.range.map_or((at_ms, 1), |range| (range.start_ms, range.step_ms));
        check::value(expected, &answer.value, start_ms, step_ms)?;
        let only_instant = expected.range.is_some() || expected.text.is_some() || expected.ordered;
        if only_instant || variants::asks_for_its_times(expr) {
            return Ok(());
        }
        self.middle_of_range(expr, &answer.value, at_ms).map_err(|message| format!("in a range: {message}"))
    }

    /// The same query over three times, of which the middle one is the instant.
    fn middle_of_range(&self, expr: &Expr, instant: &Value, at_ms: i64) -> Result<(), String> {
        let (start_ms, end_ms) = (at_ms - AROUND_MS, at_ms + AROUND_MS);
        let answer = self.evaluate(expr, Kind::Range { start_ms, end_ms, step_ms: AROUND_MS })?;
        let Value::Matrix(series) = answer.value else { return Err("no range vector".to_owned()) };
        if series.windows(2).any(|pair| pair[0].labels >= pair[1].labels) {
            return Err("series are not sorted by labels, or come twice".to_owned());
        }
        let mut elements = Vec::new();
        for one in series {
            let float = |s: &Sample| (s.t_ms == at_ms).then_some(PointValue::Float(s.value));
            let histogram = |s: &HistogramSample| (s.t_ms == at_ms).then(|| PointValue::Histogram(s.histogram.clone()));
            let value = one.floats.iter().find_map(float).or_else(|| one.histograms.iter().find_map(histogram));
            elements.extend(value.map(|value| Element { labels: one.labels, t_ms: at_ms, value }));
        }
        let value = match (instant, elements.as_slice()) {
            (Value::Scalar(_), [Element { value: PointValue::Float(value), .. }]) => {
                Value::Scalar(Sample { t_ms: at_ms, value: *value })
            }
            _ => Value::Vector(elements),
        };
        check::value(self.expected, &value, at_ms, 1)
    }
}
