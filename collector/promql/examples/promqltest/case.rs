//! One `eval`: a query, what is expected, and whether it came.

use std::time::{Duration, Instant};

use regex::Regex;
use tenantscope_model::{Labels, QueryBudget, Scope};
use tenantscope_promql::{Answer, Engine, EngineError, QueryOptions, Times, parse};

use crate::check;
use crate::script::duration_ms;
use crate::series::{self, Point};
use crate::storage::Storage;

/// When the query is evaluated.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Instant { at_ms: i64 },
    Range { start_ms: i64, end_ms: i64, step_ms: i64 },
}

/// What an annotation or error must say.
#[derive(Debug)]
pub(crate) enum Wording {
    Any,
    Exact(String),
    Pattern(Regex),
}

impl Wording {
    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(wanted) => wanted == text,
            Self::Pattern(pattern) => pattern.is_match(text),
        }
    }
}

/// What is expected.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub(crate) fail: Vec<Wording>,
    warn: Vec<Wording>,
    info: Vec<Wording>,
    no_warn: bool,
    no_info: bool,
    pub(crate) ordered: bool,
    pub(crate) text: Option<String>,
    pub(crate) range: Option<(i64, i64)>,
    pub(crate) scalar: Option<f64>,
    pub(crate) series: Vec<(Labels, Vec<Point>)>,
}

/// One case.
pub(crate) struct Case {
    kind: Kind,
    pub(crate) query: String,
    expected: Result<Expected, String>,
}

impl Case {
    pub(crate) fn new(kind: Kind, query: String, word: &str, block: &[&str]) -> Result<Self, String> {
        let expected = expectations(word, block);
        Ok(Self { kind, query, expected })
    }

    /// Runs the query; the error shows what was expected and what came.
    pub(crate) fn run(self, storage: &Storage) -> Result<(), String> {
        let expected = self.expected?;
        let answer = evaluate(self.kind, &self.query, storage);
        match (answer, expected.fail.is_empty()) {
            (Err(message), true) => Err(format!("failed: {message}")),
            (Err(message), false) if expected.fail.iter().all(|wording| wording.fits(&message)) => Ok(()),
            (Err(message), false) => Err(format!("expected failure {:?}\ngot: {message}", expected.fail)),
            (Ok(_), false) => Err("expected a failure, got an answer".to_owned()),
            (Ok(answer), true) => {
                notes("warning", &expected.warn, expected.no_warn, &answer.warnings)?;
                notes("info", &expected.info, expected.no_info, &answer.infos)?;
                check::value(&self.kind, &expected, &answer.value)
            }
        }
    }
}

fn notes(kind: &str, wanted: &[Wording], none: bool, got: &[String]) -> Result<(), String> {
    if none && !got.is_empty() {
        return Err(format!("expected no {kind}, got {got:#?}"));
    }
    let missing = wanted.iter().any(|wording| !got.iter().any(|text| wording.fits(text)));
    let extra = !wanted.is_empty() && got.iter().any(|text| !wanted.iter().any(|wording| wording.fits(text)));
    if missing || extra { Err(format!("expected {kind} {wanted:#?}\ngot {got:#?}")) } else { Ok(()) }
}

fn evaluate(kind: Kind, query: &str, storage: &Storage) -> Result<Answer, String> {
    let expr = parse(query).map_err(|error| error.to_string())?;
    let budget = QueryBudget::new(Instant::now() + Duration::from_secs(60), 50_000_000);
    let options = QueryOptions { budget: &budget, lookback_ms: None, text: query };
    let engine = Engine::default();
    let answer: Result<Answer, EngineError> = match kind {
        Kind::Instant { at_ms } => engine.instant(&*storage.store, &Scope::All, &expr, at_ms, options),
        Kind::Range { start_ms, end_ms, step_ms } => {
            let times = Times { start_ms, end_ms, step_ms };
            engine.range(&*storage.store, &Scope::All, &expr, times, options)
        }
    };
    answer.map_err(|error| error.to_string())
}

fn expectations(word: &str, block: &[&str]) -> Result<Expected, String> {
    let mut expected = Expected::default();
    match word {
        "eval_fail" => expected.fail.push(Wording::Any),
        "eval_warn" => expected.warn.push(Wording::Any),
        "eval_info" => expected.info.push(Wording::Any),
        "eval_ordered" => expected.ordered = true,
        _ => {}
    }
    for line in block {
        if let Some(rest) = line.strip_prefix("expected_fail_message ") {
            expected.fail = vec![Wording::Exact(rest.to_owned())];
        } else if let Some(rest) = line.strip_prefix("expected_fail_regexp ") {
            expected.fail = vec![pattern(rest)?];
        } else if let Some(rest) = line.strip_prefix("expect ") {
            expect_line(&mut expected, rest.trim())?;
        } else if let Some(value) = series::float(line) {
            expected.scalar = Some(value);
        } else {
            let line = series::parse_line(line)?;
            expected.series.push((line.labels, line.points));
        }
    }
    Ok(expected)
}

fn pattern(text: &str) -> Result<Wording, String> {
    Regex::new(text).map(Wording::Pattern).map_err(|error| error.to_string())
}

fn expect_line(expected: &mut Expected, line: &str) -> Result<(), String> {
    let (kind, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let wording = || match rest.split_once(':') {
        Some((how, text)) if how.trim() == "msg" => Ok(Wording::Exact(text.trim().to_owned())),
        Some((how, text)) if how.trim() == "regex" => pattern(text.trim()),
        _ => Ok(Wording::Any),
    };
    match kind {
        "fail" => expected.fail.push(wording()?),
        "warn" => expected.warn.push(wording()?),
        "info" => expected.info.push(wording()?),
        "no_warn" => expected.no_warn = true,
        "no_info" => expected.no_info = true,
        "ordered" => expected.ordered = true,
        "string" => expected.text = Some(unquoted(rest)),
        "range" => {
            let words: Vec<&str> = rest.split_whitespace().collect();
            let ["vector", "from", from, "to", _, "step", step] = words.as_slice() else {
                return Err(format!("cannot read {line:?}"));
            };
            expected.range = Some((duration_ms(from)?, duration_ms(step)?));
        }
        _ => return Err(format!("cannot read {line:?}")),
    }
    Ok(())
}

fn unquoted(text: &str) -> String {
    match parse(text).map(|expr| expr.kind) {
        Ok(tenantscope_promql::ExprKind::Text(text)) => text.to_string(),
        _ => text.to_owned(),
    }
}
