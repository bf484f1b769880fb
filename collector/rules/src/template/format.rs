//! Numbers, times and `printf` as Go writes them.

use std::fmt::Write as _;

use super::TemplateError;
use super::value::Value;

/// A float by the verb `e`, `f` or `g`, with a precision or the shortest digits that read back the same.
pub(super) fn go_float(value: f64, verb: char, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    match (verb, precision) {
        ('f' | 'F', Some(digits)) => format!("{value:.digits$}"),
        ('f' | 'F', None) => format!("{value}"),
        ('e' | 'E', Some(digits)) => go_exponent(&format!("{value:.digits$e}")),
        ('e' | 'E', None) => go_exponent(&format!("{value:e}")),
        (_, None) => general(value, &format!("{value:e}"), 6),
        (_, Some(digits)) => {
            let digits = digits.max(1);
            let rounded = format!("{value:.*e}", digits - 1);
            general(value, &rounded, digits)
        }
    }
}

/// `%g`: the exponent form where the exponent is below -4 or not below the limit, else the plain one; no trailing zeros.
fn general(value: f64, scientific: &str, exponent_limit: usize) -> String {
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific.to_owned() };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    let limit = i32::try_from(exponent_limit).unwrap_or(i32::MAX);
    if value != 0.0 && (exponent < -4 || exponent >= limit) {
        return go_exponent(&format!("{mantissa}e{exponent}"));
    }
    let decimals = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let decimals = i32::try_from(decimals).unwrap_or(0) - exponent;
    format!("{value:.*}", usize::try_from(decimals).unwrap_or(0))
}

/// Rust's `1e6` as Go's `1e+06`.
fn go_exponent(text: &str) -> String {
    let Some((mantissa, exponent)) = text.split_once('e') else { return text.to_owned() };
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// A time as Go prints it: `2015-02-13 23:31:30 +0000 UTC`.
pub(super) fn timestamp(at_ms: i64) -> String {
    let Ok(at) = jiff::Timestamp::from_millisecond(at_ms) else { return at_ms.to_string() };
    let whole = at.strftime("%Y-%m-%d %H:%M:%S").to_string();
    let fraction = at_ms.rem_euclid(1000);
    if fraction == 0 {
        return format!("{whole} +0000 UTC");
    }
    let fraction = format!("{fraction:03}");
    format!("{whole}.{} +0000 UTC", fraction.trim_end_matches('0'))
}

/// A duration as Go prints it: `1h0m5s`, `1.5s`, `20ms`.
pub(super) fn go_duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds == 0.0 {
        return "0s".to_owned();
    }
    let sign = if seconds < 0.0 { "-" } else { "" };
    let total = seconds.abs();
    if total < 1.0 {
        let (scaled, unit) = if total >= 1e-3 { (total * 1e3, "ms") } else { (total * 1e6, "µs") };
        return format!("{sign}{}{unit}", (scaled * 1e6).round() / 1e6);
    }
    let minutes = (total / 60.0).floor();
    let rest = ((total - minutes * 60.0) * 1e9).round() / 1e9;
    let hours = (minutes / 60.0).floor();
    match (hours > 0.0, minutes > 0.0) {
        (true, _) => format!("{sign}{hours}h{}m{rest}s", minutes - hours * 60.0),
        (false, true) => format!("{sign}{minutes}m{rest}s"),
        (false, false) => format!("{sign}{rest}s"),
    }
}

/// One `%` directive.
#[derive(Default)]
struct Directive {
    left: bool,
    zeros: bool,
    plus: bool,
    width: usize,
    precision: Option<usize>,
}

/// The widest field that a directive may ask for.
const MAX_WIDTH: usize = 1_000;

/// Go's `fmt.Sprintf`, with the verbs that a template can have use for.
pub(super) fn sprintf(format: &str, arguments: &[Value]) -> Result<String, TemplateError> {
    let mut text = String::new();
    let mut arguments = arguments.iter();
    let mut characters = format.chars().peekable();
    while let Some(c) = characters.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut directive = Directive::default();
        while let Some(flag) = characters.next_if(|c| matches!(c, '-' | '0' | '+' | ' ' | '#')) {
            match flag {
                '-' => directive.left = true,
                '0' => directive.zeros = true,
                '+' => directive.plus = true,
                _ => {}
            }
        }
        directive.width = digits(&mut characters).unwrap_or(0).min(MAX_WIDTH);
        if characters.next_if_eq(&'.').is_some() {
            directive.precision = Some(digits(&mut characters).unwrap_or(0).min(MAX_WIDTH));
        }
        match characters.next() {
            None => text.push_str("%!(NOVERB)"),
            Some('%') => text.push('%'),
            Some(verb) => match arguments.next() {
                Some(value) => text.push_str(&directive.apply(verb, value)),
                None => {
                    let _ = write!(text, "%!{verb}(MISSING)");
                }
            },
        }
    }
    Ok(text)
}

fn digits(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut number = None;
    while let Some(digit) = characters.peek().and_then(|c| c.to_digit(10)) {
        characters.next();
        number = Some((number.unwrap_or(0usize)).saturating_mul(10).saturating_add(digit as usize));
    }
    number
}

impl Directive {
    fn apply(&self, verb: char, value: &Value) -> String {
        let body = match (verb, value) {
            ('v' | 'g' | 'G', Value::Float(number)) => go_float(*number, 'g', self.precision),
            ('f' | 'F', Value::Float(number)) => go_float(*number, 'f', Some(self.precision.unwrap_or(6))),
            ('e' | 'E', Value::Float(number)) => go_float(*number, 'e', Some(self.precision.unwrap_or(6))),
            ('d' | 'v', Value::Int(number)) => number.to_string(),
            ('x', Value::Int(number)) => format!("{number:x}"),
            ('t', Value::Bool(value)) => value.to_string(),
            ('q', Value::Text(text)) => format!("{text:?}"),
            ('s', Value::Text(text)) => match self.precision {
                Some(length) => text.chars().take(length).collect(),
                None => text.clone(),
            },
            ('s', Value::Time(_) | Value::Duration(_) | Value::List(_) | Value::Map(_)) => value.print(),
            ('v', _) => value.print(),
            _ => return format!("%!{verb}({}={})", value.kind(), value.print()),
        };
        let body = if self.plus && !body.starts_with('-') && matches!(value, Value::Float(_) | Value::Int(_)) {
            format!("+{body}")
        } else {
            body
        };
        let missing = self.width.saturating_sub(body.chars().count());
        match (self.left, self.zeros && !matches!(value, Value::Text(_))) {
            (true, _) => format!("{body}{}", " ".repeat(missing)),
            (false, true) => {
                let (sign, digits) = if body.starts_with(['-', '+']) { body.split_at(1) } else { ("", body.as_str()) };
                format!("{sign}{}{digits}", "0".repeat(missing))
            }
            (false, false) => format!("{}{body}", " ".repeat(missing)),
        }
    }
}
