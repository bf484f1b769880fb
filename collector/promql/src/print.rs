//! Expressions back to PromQL, as Prometheus writes them on one line.

use std::fmt::{self, Display, Formatter, Write};
use std::sync::Arc;

use tenantscope_model::{METRIC_NAME, MatchOp, Matcher};

use crate::ast::{
    Aggregate, At, Binary, Cardinality, Expr, ExprKind, Grouping, Matching, Subquery, ValueType, VectorSelector,
};

impl Display for ValueType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        })
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number { value, .. } => f.write_str(&number_text(*value)),
            ExprKind::Text(text) => write!(f, "{}", Quoted(text)),
            ExprKind::Vector(selector) => selector_text(f, selector, None),
            ExprKind::Matrix(matrix) => selector_text(f, &matrix.selector, Some(matrix.range_ms)),
            ExprKind::Subquery(subquery) => subquery_text(f, subquery),
            ExprKind::Call(call) => {
                write!(f, "{}(", call.function.name)?;
                comma_separated(f, &call.arguments)?;
                f.write_char(')')
            }
            ExprKind::Aggregate(aggregate) => aggregate_text(f, aggregate),
            ExprKind::Binary(binary) => binary_text(f, binary),
            ExprKind::Negate(inner) => write!(f, "-{inner}"),
            ExprKind::Plus(inner) => write!(f, "+{inner}"),
            ExprKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

/// A number as Go's `%v` and Prometheus's JSON write it.
pub fn number_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(("+", exponent), |digits| ("-", digits));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{value}")
}

/// A duration as Prometheus writes it: `1h30m`.
pub fn duration_text(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut text = if ms < 0 { "-".to_owned() } else { String::new() };
    let mut rest = ms.unsigned_abs();
    let units: [(&str, u64, bool); 7] = [
        ("y", 365 * 86_400_000, true),
        ("w", 7 * 86_400_000, true),
        ("d", 86_400_000, false),
        ("h", 3_600_000, false),
        ("m", 60_000, false),
        ("s", 1_000, false),
        ("ms", 1, false),
    ];
    for (unit, size, only_whole) in units {
        if only_whole && !rest.is_multiple_of(size) {
            continue;
        }
        let count = rest / size;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            rest -= count * size;
        }
    }
    text
}

/// A string in double quotes, escaped as Go does.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c if c.is_control() => write!(f, "\\x{:02x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

fn is_legacy_label(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_legacy_metric(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || c == ':')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

fn comma_separated(f: &mut Formatter<'_>, parts: &[Expr]) -> fmt::Result {
    for (i, part) in parts.iter().enumerate() {
        let comma = if i > 0 { ", " } else { "" };
        write!(f, "{comma}{part}")?;
    }
    Ok(())
}

fn names(labels: &[Arc<str>]) -> String {
    let one = |label: &Arc<str>| if is_legacy_label(label) { label.to_string() } else { Quoted(label).to_string() };
    labels.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn matcher_text(matcher: &Matcher) -> String {
    let op = match matcher.op() {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    };
    let name = matcher.name();
    let name = if is_legacy_label(name) { name.to_owned() } else { Quoted(name).to_string() };
    format!("{name}{op}{}", Quoted(matcher.value()))
}

fn selector_text(f: &mut Formatter<'_>, selector: &VectorSelector, range_ms: Option<i64>) -> fmt::Result {
    let is_name = |m: &&Matcher| m.name() == METRIC_NAME && m.op() == MatchOp::Equal;
    let name = selector.matchers.iter().find(is_name).filter(|m| !m.value().is_empty());
    let mut inside = Vec::new();
    if let Some(name) = name {
        if is_legacy_metric(name.value()) {
            f.write_str(name.value())?;
        } else {
            inside.push(Quoted(name.value()).to_string());
        }
    }
    let rest = selector.matchers.iter().filter(|m| !name.is_some_and(|name| std::ptr::eq(name, *m)));
    inside.extend(rest.map(matcher_text));
    if !inside.is_empty() || name.is_none() {
        write!(f, "{{{}}}", inside.join(","))?;
    }
    if let Some(range_ms) = range_ms {
        write!(f, "[{}]", duration_text(range_ms))?;
    }
    modifiers(f, selector.at, selector.offset_ms)
}

fn modifiers(f: &mut Formatter<'_>, at: Option<At>, offset_ms: i64) -> fmt::Result {
    match at {
        Some(At::Start) => f.write_str(" @ start()")?,
        Some(At::End) => f.write_str(" @ end()")?,
        Some(At::Ms(ms)) => write!(f, " @ {:.3}", ms as f64 / 1000.0)?,
        None => {}
    }
    if offset_ms != 0 {
        write!(f, " offset {}", duration_text(offset_ms))?;
    }
    Ok(())
}

fn subquery_text(f: &mut Formatter<'_>, subquery: &Subquery) -> fmt::Result {
    let step = subquery.step_ms.map(duration_text).unwrap_or_default();
    write!(f, "{}[{}:{step}]", subquery.expr, duration_text(subquery.range_ms))?;
    modifiers(f, subquery.at, subquery.offset_ms)
}

fn aggregate_text(f: &mut Formatter<'_>, aggregate: &Aggregate) -> fmt::Result {
    f.write_str(aggregate.op.name())?;
    match &aggregate.grouping {
        Grouping::Without(labels) => write!(f, " without ({}) ", names(labels))?,
        Grouping::By(labels) if !labels.is_empty() => write!(f, " by ({}) ", names(labels))?,
        Grouping::By(_) => {}
    }
    f.write_char('(')?;
    if let Some(parameter) = &aggregate.parameter {
        write!(f, "{parameter}, ")?;
    }
    write!(f, "{})", aggregate.expr)
}

fn binary_text(f: &mut Formatter<'_>, binary: &Binary) -> fmt::Result {
    let returns_bool = if binary.returns_bool { " bool" } else { "" };
    write!(f, "{} {}{returns_bool}", binary.left, binary.op.symbol())?;
    matching_text(f, &binary.matching)?;
    write!(f, " {}", binary.right)
}

fn matching_text(f: &mut Formatter<'_>, matching: &Matching) -> fmt::Result {
    if matching.on || !matching.labels.is_empty() {
        let word = if matching.on { "on" } else { "ignoring" };
        write!(f, " {word} ({})", names(&matching.labels))?;
    }
    match matching.cardinality {
        Cardinality::ManyToOne => write!(f, " group_left ({})", names(&matching.include))?,
        Cardinality::OneToMany => write!(f, " group_right ({})", names(&matching.include))?,
        Cardinality::OneToOne | Cardinality::ManyToMany => {}
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left == right => write!(f, " fill ({})", number_text(left)),
        (left, right) => {
            if let Some(left) = left {
                write!(f, " fill_left ({})", number_text(left))?;
            }
            if let Some(right) = right {
                write!(f, " fill_right ({})", number_text(right))?;
            }
            Ok(())
        }
    }
}
