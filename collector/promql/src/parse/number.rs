//! Numbers and durations: what looks like one to the lexer, and what it is worth.

use winnow::combinator::{opt, peek};
use winnow::error::EmptyError;
use winnow::prelude::*;
use winnow::token::{any, one_of};

use super::lex::Text;
use crate::quoting::Quoted;

const WORD: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";

fn accepts(input: &mut Text<'_>, set: &str) -> bool {
    opt(one_of::<_, _, EmptyError>(|c| set.contains(c))).parse_next(input).is_ok_and(|found| found.is_some())
}

fn next_is(input: &mut Text<'_>, set: &str) -> bool {
    following(input).is_some_and(|c| set.contains(c))
}

fn following(input: &mut Text<'_>) -> Option<char> {
    peek(any::<_, EmptyError>).parse_next(input).ok()
}

fn is_alphanumeric(character: Option<char>) -> bool {
    character.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Reads over what may be a number; where it is none, the input stays where that became clear, as a duration may
/// go on from there.
pub(super) fn looks_like_number(input: &mut Text<'_>) -> bool {
    let is_hexadecimal = accepts(input, "0") && accepts(input, "xX");
    let digits = if is_hexadecimal { "0123456789abcdefABCDEF" } else { "0123456789" };
    if is_hexadecimal {
        accepts(input, "_");
    }
    accepts(input, ".");
    accepts(input, digits);
    let (mut had_dot, mut had_exponent) = (false, false);
    while next_is(input, digits) || next_is(input, "._eE") {
        let is_second = (had_dot && next_is(input, ".")) || (had_exponent && next_is(input, "eE"));
        if is_second {
            accepts(input, "._eE");
            return false;
        }
        if accepts(input, ".") {
            had_dot = true;
            if accepts(input, "_.") || is_hexadecimal {
                return false;
            }
        } else if accepts(input, "eE") {
            had_exponent = true;
            accepts(input, "+-");
            if accepts(input, "._eE") || following(input).is_none() {
                return false;
            }
        } else if accepts(input, "_") {
            if accepts(input, "._eE") || following(input).is_none() {
                return false;
            }
        } else {
            while accepts(input, digits) {}
        }
    }
    !is_alphanumeric(following(input))
}

/// Reads over the rest of what may be a duration, after its first digits.
pub(super) fn looks_like_duration(input: &mut Text<'_>) -> bool {
    if !accepts(input, "smhdwy") {
        return false;
    }
    accepts(input, "s");
    while accepts(input, "0123456789") {
        while accepts(input, "0123456789") {}
        if !accepts(input, "smhdw") {
            return false;
        }
        accepts(input, "s");
    }
    if !is_alphanumeric(following(input)) {
        return true;
    }
    // The error shows it.
    accepts(input, WORD);
    false
}

/// The value of a number as the lexer lets it through.
pub(super) fn number(text: &str) -> Result<f64, String> {
    let wrong = |why: &str| format!("error parsing number: strconv.ParseFloat: parsing {}: {why}", Quoted(text));
    if text.ends_with('_') {
        return Err(wrong("invalid syntax"));
    }
    if let Some(whole) = integer(text) {
        return Ok(whole);
    }
    let digits = text.replace('_', "");
    let value = match text.to_ascii_lowercase().as_str() {
        "inf" => f64::INFINITY,
        "nan" => f64::NAN,
        lower if lower.starts_with("0x") => return Err(wrong("invalid syntax")),
        _ => digits.parse::<f64>().map_err(|_| wrong("invalid syntax"))?,
    };
    let is_infinite = value.is_infinite() && text.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if is_infinite { Err(wrong("value out of range")) } else { Ok(value) }
}

/// A whole number: decimal, octal after a `0`, hexadecimal after `0x`.
fn integer(text: &str) -> Option<f64> {
    let digits = text.replace('_', "");
    let lower = digits.to_ascii_lowercase();
    let (digits, base) = match lower.strip_prefix("0x") {
        Some(hexadecimal) => (hexadecimal, 16),
        None if lower.len() > 1 && lower.starts_with('0') => (lower.as_str(), 8),
        None => (lower.as_str(), 10),
    };
    if !digits.chars().all(|digit| digit.is_digit(base)) {
        return None;
    }
    i64::from_str_radix(digits, base).ok().map(|whole| whole as f64)
}

/// The value of a duration, in seconds.
pub(super) fn duration_seconds(text: &str) -> Result<f64, String> {
    let invalid = || format!("not a valid duration string: {}", Quoted(text));
    let out_of_range = || "duration out of range".to_owned();
    let mut rest = text;
    let mut total_ns = 0u64;
    let mut last_unit = None;
    while !rest.is_empty() {
        let (digits, behind) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        let (unit, next) = behind.split_at(behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len()));
        let count: u64 = digits.parse().map_err(|_| invalid())?;
        if unit.is_empty() {
            return Err(invalid());
        }
        let known = UNITS.iter().position(|(name, _)| *name == unit);
        let place = known.ok_or_else(|| format!("unknown unit {} in duration {}", Quoted(unit), Quoted(text)))?;
        if last_unit.is_some_and(|last| place <= last) {
            return Err(invalid());
        }
        last_unit = Some(place);
        let unit_ns = UNITS.get(place).map_or(0, |(_, unit_ns)| *unit_ns);
        total_ns = count.checked_mul(unit_ns).and_then(|ns| ns.checked_add(total_ns)).ok_or_else(out_of_range)?;
        if total_ns > i64::MAX as u64 {
            return Err(out_of_range());
        }
        rest = next;
    }
    Ok((total_ns / NS_PER_SECOND) as f64 + (total_ns % NS_PER_SECOND) as f64 / 1e9)
}

const NS_PER_SECOND: u64 = 1_000_000_000;

/// The units from the largest to the smallest, with their nanoseconds.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400 * NS_PER_SECOND),
    ("w", 7 * 86_400 * NS_PER_SECOND),
    ("d", 86_400 * NS_PER_SECOND),
    ("h", 3_600 * NS_PER_SECOND),
    ("m", 60 * NS_PER_SECOND),
    ("s", NS_PER_SECOND),
    ("ms", NS_PER_SECOND / 1_000),
];
