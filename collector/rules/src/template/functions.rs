//! The functions of a template: Go's own, and Prometheus's.

use std::cmp::Ordering;
use std::sync::Arc;

use super::format::{go_float, sprintf};
use super::value::Value;
use super::{TemplateData, TemplateError};
use crate::duration::parse_duration;

/// Every function's name, and how many arguments it takes at least and at most.
const FUNCTIONS: [(&str, usize, usize); 46] = [
    ("and", 1, MANY),
    ("or", 1, MANY),
    ("not", 1, 1),
    ("eq", 2, MANY),
    ("ne", 2, 2),
    ("lt", 2, 2),
    ("le", 2, 2),
    ("gt", 2, 2),
    ("ge", 2, 2),
    ("len", 1, 1),
    ("index", 1, MANY),
    ("slice", 1, 3),
    ("print", 0, MANY),
    ("println", 0, MANY),
    ("printf", 1, MANY),
    ("html", 0, MANY),
    ("urlquery", 0, MANY),
    ("query", 1, 1),
    ("first", 1, 1),
    ("label", 2, 2),
    ("value", 1, 1),
    ("strvalue", 1, 1),
    ("args", 0, MANY),
    ("reReplaceAll", 3, 3),
    ("safeHtml", 1, 1),
    ("match", 2, 2),
    ("title", 1, 1),
    ("toUpper", 1, 1),
    ("toLower", 1, 1),
    ("graphLink", 1, 1),
    ("tableLink", 1, 1),
    ("sortByLabel", 2, 2),
    ("stripPort", 1, 1),
    ("stripDomain", 1, 1),
    ("humanize", 1, 1),
    ("humanize1024", 1, 1),
    ("humanizeDuration", 1, 1),
    ("humanizePercentage", 1, 1),
    ("humanizeTimestamp", 1, 1),
    ("toTime", 1, 1),
    ("toDuration", 1, 1),
    ("now", 0, 0),
    ("pathPrefix", 0, 0),
    ("externalURL", 0, 0),
    ("parseDuration", 1, 1),
    ("urlQueryEscape", 1, 1),
];
const MANY: usize = usize::MAX;

/// Whether a function of this name exists.
pub(super) fn exists(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, ..)| *known == name)
}

/// Calls a function.
pub(super) fn call(name: &str, arguments: &[Value], data: &TemplateData<'_>) -> Result<Value, TemplateError> {
    let unknown = || TemplateError::UnknownFunction(name.to_owned());
    let (_, least, most) = FUNCTIONS.iter().find(|(known, ..)| *known == name).ok_or_else(unknown)?;
    if !(*least..=*most).contains(&arguments.len()) {
        let given = arguments.len();
        return Err(TemplateError::Expansion(format!("wrong number of arguments for {name}: {given}")));
    }
    match arguments {
        [] => without_arguments(name, data),
        [only] => of_one(name, only, arguments, data),
        _ => of_several(name, arguments),
    }
}

fn without_arguments(name: &str, data: &TemplateData<'_>) -> Result<Value, TemplateError> {
    Ok(match name {
        #[expect(clippy::cast_precision_loss, reason = "times are far below 2^53 ms")]
        "now" => Value::Float(data.at_ms as f64 / 1000.0),
        "externalURL" => Value::Text(data.external_url.to_owned()),
        "pathPrefix" => {
            let after_scheme = data.external_url.split_once("://").map_or("", |(_, rest)| rest);
            Value::Text(after_scheme.split_once('/').map_or(String::new(), |(_, path)| format!("/{path}")))
        }
        "args" => Value::of_map([]),
        _ => Value::Text(String::new()),
    })
}

fn of_one(name: &str, only: &Value, arguments: &[Value], data: &TemplateData<'_>) -> Result<Value, TemplateError> {
    Ok(match name {
        "not" => Value::Bool(!only.truth()),
        "len" => Value::Int(match only {
            Value::Text(text) => int(text.len()),
            Value::List(list) => int(list.len()),
            Value::Map(map) => int(map.len()),
            other => return Err(TemplateError::Expansion(format!("len of {}", other.kind()))),
        }),
        "and" | "or" | "index" | "slice" | "safeHtml" => only.clone(),
        "query" => query(only.text()?, data)?,
        "first" => {
            let first = only.list()?.first().cloned();
            first.ok_or_else(|| TemplateError::Expansion("first() called on vector with no elements".to_owned()))?
        }
        "value" => only.field("Value")?,
        "strvalue" => only.field("Labels")?.field("__value__")?,
        "title" => Value::Text(title(only.text()?)),
        "toUpper" => Value::Text(only.text()?.to_uppercase()),
        "toLower" => Value::Text(only.text()?.to_lowercase()),
        "graphLink" => Value::Text(format!("/graph?g0.expr={}&g0.tab=0", query_escape(only.text()?))),
        "tableLink" => Value::Text(format!("/graph?g0.expr={}&g0.tab=1", query_escape(only.text()?))),
        "stripPort" => Value::Text(strip_port(only.text()?).to_owned()),
        "stripDomain" => Value::Text(strip_domain(only.text()?)),
        "humanize" => Value::Text(humanize(only.number()?)),
        "humanize1024" => Value::Text(humanize_1024(only.number()?)),
        "humanizeDuration" => Value::Text(humanize_duration(only.number()?)),
        "humanizePercentage" => Value::Text(format!("{}%", significant(only.number()? * 100.0))),
        "humanizeTimestamp" => match only.number()? {
            seconds if seconds.is_finite() => Value::Text(Value::Time(millis(seconds)).print()),
            other => Value::Text(significant(other)),
        },
        "toTime" => Value::Time(millis(only.number()?)),
        "toDuration" => Value::Duration(only.number()?),
        "parseDuration" => {
            let text = only.text()?;
            let duration = parse_duration(text).map_err(|e| TemplateError::Expansion(e.to_string()))?;
            Value::Float(duration.as_secs_f64())
        }
        "urlQueryEscape" | "urlquery" => Value::Text(query_escape(&only.print())),
        "html" => Value::Text(html_escape(&only.print())),
        "print" => Value::Text(only.print()),
        "println" => Value::Text(format!("{}\n", only.print())),
        "printf" => Value::Text(sprintf(only.text()?, &[])?),
        _ => return of_several(name, arguments),
    })
}

fn of_several(name: &str, arguments: &[Value]) -> Result<Value, TemplateError> {
    let (first, rest) = arguments.split_first().ok_or_else(|| wrong_count(name))?;
    let second = rest.first().unwrap_or(&Value::Nil);
    Ok(match name {
        "eq" => {
            for other in rest {
                if compare(first, other)? == Some(Ordering::Equal) {
                    return Ok(Value::Bool(true));
                }
            }
            Value::Bool(false)
        }
        "ne" => Value::Bool(compare(first, second)? != Some(Ordering::Equal)),
        "lt" => Value::Bool(compare(first, second)? == Some(Ordering::Less)),
        "gt" => Value::Bool(compare(first, second)? == Some(Ordering::Greater)),
        "le" => Value::Bool(matches!(compare(first, second)?, Some(Ordering::Less | Ordering::Equal))),
        "ge" => Value::Bool(matches!(compare(first, second)?, Some(Ordering::Greater | Ordering::Equal))),
        "index" => {
            let mut value = first.clone();
            for key in rest {
                value = index(&value, key)?;
            }
            value
        }
        "slice" => slice(first, rest)?,
        "print" => Value::Text(arguments.iter().map(Value::print).collect()),
        "println" => Value::Text(arguments.iter().map(Value::print).collect::<Vec<_>>().join(" ") + "\n"),
        "printf" => Value::Text(sprintf(first.text()?, rest)?),
        "html" => Value::Text(html_escape(&arguments.iter().map(Value::print).collect::<String>())),
        "urlquery" => Value::Text(query_escape(&arguments.iter().map(Value::print).collect::<String>())),
        "label" => second.field("Labels")?.field(first.text()?)?,
        "args" => {
            let named = arguments.iter().enumerate().map(|(i, value)| (format!("arg{i}"), value.clone()));
            Value::Map(Arc::new(named.collect()))
        }
        "reReplaceAll" => {
            let text = rest.get(1).ok_or_else(|| wrong_count(name))?.text()?;
            Value::Text(regex(first.text()?)?.replace_all(text, second.text()?).into_owned())
        }
        "match" => Value::Bool(regex(first.text()?)?.is_match(second.text()?)),
        "sortByLabel" => sort_by_label(first.text()?, second)?,
        _ => return Err(wrong_count(name)),
    })
}

fn wrong_count(name: &str) -> TemplateError {
    TemplateError::Expansion(format!("wrong number of arguments for {name}"))
}

fn int(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "the cast saturates, and such a time prints as a number")]
fn millis(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

fn query(expression: &str, data: &TemplateData<'_>) -> Result<Value, TemplateError> {
    let found = data.evaluate.evaluate(data.scope, expression, data.at_ms);
    let found = found.map_err(|e| TemplateError::Expansion(format!("query {expression:?}: {e}")))?;
    let elements = found.iter().map(|element| Value::of_sample(&element.labels, element.value));
    Ok(Value::List(Arc::new(elements.collect())))
}

fn compare(a: &Value, b: &Value) -> Result<Option<Ordering>, TemplateError> {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => Ok(Some(a.cmp(b))),
        (Value::Bool(a), Value::Bool(b)) => Ok(Some(a.cmp(b))),
        (Value::Nil, Value::Nil) => Ok(Some(Ordering::Equal)),
        (Value::Text(_) | Value::Bool(_) | Value::Nil, _) | (_, Value::Text(_) | Value::Bool(_) | Value::Nil) => {
            Err(TemplateError::Expansion("incompatible types for comparison".to_owned()))
        }
        (Value::Time(a), Value::Time(b)) => Ok(Some(a.cmp(b))),
        _ => Ok(a.number()?.partial_cmp(&b.number()?)),
    }
}

fn index(value: &Value, key: &Value) -> Result<Value, TemplateError> {
    match (value, key) {
        (Value::Map(_), Value::Text(name)) => value.field(name),
        (Value::List(list), Value::Int(at)) => {
            let found = usize::try_from(*at).ok().and_then(|at| list.get(at)).cloned();
            found.ok_or_else(|| TemplateError::Expansion(format!("index out of range: {at}")))
        }
        _ => Err(TemplateError::Expansion(format!("can't index {} with {}", value.kind(), key.kind()))),
    }
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, TemplateError> {
    let out_of_range = || TemplateError::Expansion("slice bounds out of range".to_owned());
    let bound = |at: usize, otherwise: usize| match bounds.get(at) {
        Some(Value::Int(bound)) => usize::try_from(*bound).map_err(|_| out_of_range()),
        Some(_) => Err(out_of_range()),
        None => Ok(otherwise),
    };
    match value {
        Value::Text(text) => {
            let part = text.get(bound(0, 0)?..bound(1, text.len())?).ok_or_else(out_of_range)?;
            Ok(Value::Text(part.to_owned()))
        }
        Value::List(list) => {
            let part = list.get(bound(0, 0)?..bound(1, list.len())?).ok_or_else(out_of_range)?;
            Ok(Value::List(Arc::new(part.to_vec())))
        }
        other => Err(TemplateError::Expansion(format!("can't slice {}", other.kind()))),
    }
}

fn regex(pattern: &str) -> Result<regex::Regex, TemplateError> {
    regex::RegexBuilder::new(pattern)
        .size_limit(1 << 20)
        .build()
        .map_err(|_| TemplateError::Expansion(format!("wrong regular expression {pattern:?}")))
}

fn sort_by_label(name: &str, list: &Value) -> Result<Value, TemplateError> {
    let mut elements = Vec::new();
    for element in list.list()? {
        elements.push((element.field("Labels")?.field(name)?.print(), element.clone()));
    }
    elements.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(Value::List(Arc::new(elements.into_iter().map(|(_, element)| element).collect())))
}

/// `%.4g`.
fn significant(value: f64) -> String {
    go_float(value, 'g', Some(4))
}

const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

fn scale_down(mut value: f64, step: f64, suffix: &str) -> (f64, String) {
    let mut prefix = "";
    for larger in LARGE {
        if value.abs() < step {
            break;
        }
        prefix = larger;
        value /= step;
    }
    (value, if prefix.is_empty() { String::new() } else { format!("{prefix}{suffix}") })
}

fn scale_up(mut value: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for smaller in SMALL {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = smaller;
        value *= 1000.0;
    }
    (value, prefix)
}

fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return significant(value);
    }
    if value.abs() >= 1.0 {
        let (scaled, prefix) = scale_down(value, 1000.0, "");
        return format!("{}{prefix}", significant(scaled));
    }
    let (scaled, prefix) = scale_up(value);
    format!("{}{prefix}", significant(scaled))
}

fn humanize_1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return significant(value);
    }
    let (scaled, prefix) = scale_down(value, 1024.0, "i");
    format!("{}{prefix}", significant(scaled))
}

/// As Prometheus writes a duration for people: `1d 2h 3m 4s`, `1.5s`, `20ms`.
fn humanize_duration(value: f64) -> String {
    if !value.is_finite() {
        return significant(value);
    }
    if value == 0.0 {
        return "0s".to_owned();
    }
    if value.abs() < 1.0 {
        let (scaled, prefix) = scale_up(value);
        return format!("{}{prefix}s", significant(scaled));
    }
    let sign = if value < 0.0 { "-" } else { "" };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole seconds are wanted; it saturates"
    )]
    let total = value.abs() as u64;
    let (days, hours, minutes, seconds) = (total / 86_400, total / 3_600 % 24, total / 60 % 60, total % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{}s", significant(value)),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, ..) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }
}

fn title(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    let mut in_word = false;
    for c in text.chars() {
        if in_word {
            titled.push(c);
        } else {
            titled.extend(c.to_uppercase());
        }
        in_word = c.is_alphanumeric() || matches!(c, '_' | '\'');
    }
    titled
}

fn strip_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => {
            name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name)
        }
        _ => host,
    }
}

fn strip_domain(host: &str) -> String {
    let name = strip_port(host);
    if name.parse::<std::net::IpAddr>().is_ok() {
        return host.to_owned();
    }
    let short = name.split('.').next().unwrap_or(name);
    match host.strip_prefix(name) {
        Some(port) => format!("{short}{port}"),
        None => short.to_owned(),
    }
}

fn query_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            b' ' => escaped.push('+'),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

fn html_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
