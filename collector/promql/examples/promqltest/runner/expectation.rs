//! What is expected of a case.

use regex::Regex;
use tenantscope_model::Labels;
use tenantscope_promql::{ExprKind, parse};

use super::script::duration_ms;
use super::series::{self, Point};

/// What an annotation or error must say.
#[derive(Debug)]
pub(crate) enum Wording {
    Any,
    Exact(String),
    Pattern(Regex),
}

impl Wording {
    pub(crate) fn fits(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(wanted) => wanted == text,
            Self::Pattern(pattern) => pattern.is_match(text),
        }
    }
}

/// The times of an expected range vector.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RangeTimes {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) step_ms: i64,
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
    pub(crate) range: Option<RangeTimes>,
    pub(crate) scalar: Option<f64>,
    pub(crate) series: Vec<(Labels, Vec<Point>)>,
}

impl Expected {
    /// From the command's word and the lines below it.
    pub(crate) fn parse(word: &str, block: &[&str]) -> Result<Self, String> {
        let mut expected = Self::default();
        match word {
            "eval_fail" => expected.fail.push(Wording::Any),
            "eval_warn" => expected.warn.push(Wording::Any),
            "eval_info" => expected.info.push(Wording::Any),
            "eval_ordered" => expected.ordered = true,
            _ => {}
        }
        for line in block {
            expected.take(line)?;
        }
        if expected.fail.len() > 1 || (expected.no_warn && !expected.warn.is_empty()) {
            return Err("expectations that exclude each other".to_owned());
        }
        Ok(expected)
    }

    fn take(&mut self, line: &str) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("expected_fail_message ") {
            self.fail = vec![Wording::Exact(rest.trim().to_owned())];
        } else if let Some(rest) = line.strip_prefix("expected_fail_regexp ") {
            self.fail = vec![pattern(rest.trim())?];
        } else if let Some(rest) = line.strip_prefix("expect ") {
            self.expect(rest.trim())?;
        } else if let Some(value) = series::float(line) {
            self.scalar = Some(value);
        } else {
            self.series.push(series::parse_line(line)?);
        }
        Ok(())
    }

    fn expect(&mut self, line: &str) -> Result<(), String> {
        let (kind, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let wording = || match rest.split_once(':') {
            Some(("msg", text)) => Ok(Wording::Exact(text.trim().to_owned())),
            Some(("regex", text)) => pattern(text.trim()),
            _ if rest.is_empty() => Ok(Wording::Any),
            _ => Err(format!("cannot read {line:?}")),
        };
        match kind {
            "fail" => self.fail.push(wording()?),
            "warn" => self.warn.push(wording()?),
            "info" => self.info.push(wording()?),
            "no_warn" => self.no_warn = true,
            "no_info" => self.no_info = true,
            "ordered" => self.ordered = true,
            "string" => self.text = Some(unquoted(rest)?),
            "range" => {
                let words: Vec<&str> = rest.split_whitespace().collect();
                let ["vector", "from", from, "to", to, "step", step] = words.as_slice() else {
                    return Err(format!("cannot read {line:?}"));
                };
                let (start_ms, end_ms) = (duration_ms(from)?, duration_ms(to)?);
                self.range = Some(RangeTimes { start_ms, end_ms, step_ms: duration_ms(step)? });
            }
            _ => return Err(format!("cannot read {line:?}")),
        }
        Ok(())
    }

    /// Whether the warnings and infos are those that are expected.
    pub(crate) fn check_notes(&self, warnings: &[String], infos: &[String]) -> Result<(), String> {
        check_notes("warning", &self.warn, self.no_warn, warnings)?;
        check_notes("info", &self.info, self.no_info, infos)
    }
}

fn check_notes(kind: &str, wanted: &[Wording], none: bool, got: &[String]) -> Result<(), String> {
    if none && !got.is_empty() {
        return Err(format!("expected no {kind}, got {got:#?}"));
    }
    let missing = wanted.iter().any(|wording| !got.iter().any(|text| wording.fits(text)));
    let extra = !wanted.is_empty() && got.iter().any(|text| !wanted.iter().any(|wording| wording.fits(text)));
    if missing || extra { Err(format!("expected {kind} {wanted:#?}\ngot {got:#?}")) } else { Ok(()) }
}

fn pattern(text: &str) -> Result<Wording, String> {
    Regex::new(text).map(Wording::Pattern).map_err(|error| error.to_string())
}

fn unquoted(text: &str) -> Result<String, String> {
    match parse(text).map(|expr| expr.kind) {
        Ok(ExprKind::Text(text)) => Ok(text.to_string()),
        _ => Err(format!("no string: {text}")),
    }
}
