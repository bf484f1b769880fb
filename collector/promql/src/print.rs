//! Expressions back to PromQL, as Prometheus writes them on one line. What is printed parses to the same expression.

use std::fmt::{self, Display, Formatter, Write};
use std::sync::Arc;

use tenantscope_model::{METRIC_NAME, MatchOp, Matcher};

use crate::ast::{
    Aggregate, At, Binary, Cardinality, Edges, Expr, ExprKind, Grouping, Matching, MatrixSelector, Subquery, ValueType,
    VectorSelector,
};
use crate::duration::{DurationExpr, DurationKind, DurationOp};
use crate::float_text;
use crate::quoting::{Quoted, QuotedBytes};

impl ValueType {
    /// Its name in Prometheus's JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }
}

impl Display for ValueType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
            Self::Scalar | Self::String => self.name(),
        })
    }
}

/// The alternate form (`{:#}`) is for what an operator follows, see `modifiers_text`.
impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number { value, as_duration: true } => f.write_str(&seconds_text(*value)),
            ExprKind::Number { value, as_duration: false } => f.write_str(&float_text::plain(*value)),
            ExprKind::Text(text) => write!(f, "{}", Quoted(text)),
            ExprKind::Bytes(bytes) => write!(f, "{}", QuotedBytes(bytes)),
            ExprKind::Vector(selector) => vector_text(f, selector),
            ExprKind::Matrix(matrix) => matrix_text(f, matrix),
            ExprKind::Subquery(subquery) => {
                write!(f, "{}", subquery.expr)?;
                SubqueryTimes(subquery).fmt(f)
            }
            ExprKind::Call(call) => {
                write!(f, "{}(", call.function.name)?;
                for (index, argument) in call.arguments.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{argument}")?;
                }
                f.write_char(')')
            }
            ExprKind::Aggregate(aggregate) => {
                write!(f, "{}(", AggregateHead(aggregate))?;
                if let Some(parameter) = &aggregate.parameter {
                    write!(f, "{parameter}, ")?;
                }
                write!(f, "{})", aggregate.expr)
            }
            ExprKind::Binary(binary) => {
                write!(f, "{:#} {} ", binary.left, Operator(binary))?;
                binary.right.fmt(f)
            }
            ExprKind::Negate(inner) => {
                f.write_char('-')?;
                inner.fmt(f)
            }
            ExprKind::Plus(inner) => {
                f.write_char('+')?;
                inner.fmt(f)
            }
            ExprKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

/// A number as Prometheus's JSON writes it.
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

/// A number of seconds that was written as a duration.
pub(crate) fn seconds_text(seconds: f64) -> String {
    // Prometheus counts nanoseconds, and cuts below a millisecond.
    duration_text((seconds * 1e9).round() as i64 / 1_000_000)
}

fn is_legacy_label(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

pub(crate) fn label_text(name: &str) -> String {
    if is_legacy_label(name) { name.to_owned() } else { Quoted(name).to_string() }
}

fn labels_text(labels: &[Arc<str>]) -> String {
    labels.iter().map(|label| label_text(label)).collect::<Vec<_>>().join(", ")
}

/// The operator of a matcher.
pub(crate) fn match_text(op: MatchOp) -> &'static str {
    match op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    }
}

fn matcher_text(matcher: &Matcher) -> String {
    format!("{}{}{}", label_text(matcher.name()), match_text(matcher.op()), Quoted(matcher.value()))
}

/// Name and matchers, without what concerns time.
fn series_text(f: &mut Formatter<'_>, selector: &VectorSelector) -> fmt::Result {
    let name = selector.name.as_deref().unwrap_or_default();
    let is_name =
        |m: &&Matcher| !name.is_empty() && m.name() == METRIC_NAME && m.op() == MatchOp::Equal && m.value() == name;
    let mut matchers: Vec<String> = selector.matchers.iter().filter(|m| !is_name(m)).map(matcher_text).collect();
    matchers.sort_unstable();
    f.write_str(name)?;
    // `info` takes `{}`, which Prometheus prints as nothing: that does not parse.
    if matchers.is_empty() && !name.is_empty() { Ok(()) } else { write!(f, "{{{}}}", matchers.join(",")) }
}

fn edges_text(edges: Edges) -> &'static str {
    match edges {
        Edges::Plain => "",
        Edges::Anchored => " anchored",
        Edges::Smoothed => " smoothed",
    }
}

fn vector_text(f: &mut Formatter<'_>, selector: &VectorSelector) -> fmt::Result {
    series_text(f, selector)?;
    let modifiers = format!("{}{}", at_text(selector.at), edges_text(selector.edges));
    modifiers_text(f, &modifiers, selector.offset_ms, selector.offset_expr.as_deref())
}

fn matrix_text(f: &mut Formatter<'_>, matrix: &MatrixSelector) -> fmt::Result {
    let selector = &matrix.selector;
    series_text(f, selector)?;
    write!(f, "[{}]", Span(matrix.range_ms, matrix.range_expr.as_deref()))?;
    let modifiers = format!("{}{}", edges_text(selector.edges), at_text(selector.at));
    modifiers_text(f, &modifiers, selector.offset_ms, selector.offset_expr.as_deref())
}

fn at_text(at: Option<At>) -> String {
    match at {
        Some(At::Start) => " @ start()".to_owned(),
        Some(At::End) => " @ end()".to_owned(),
        Some(At::Ms(ms)) => format!(" @ {:.3}", ms as f64 / 1000.0),
        None => String::new(),
    }
}

/// The offset after the other modifiers. Where an operator follows an offset that is computed, it goes first, unlike
/// in Prometheus: `offset (1m) + 1` would be an offset of 61 seconds.
fn modifiers_text(
    f: &mut Formatter<'_>,
    others: &str,
    offset_ms: i64,
    offset_expr: Option<&DurationExpr>,
) -> fmt::Result {
    if offset_ms == 0 && offset_expr.is_none() {
        return f.write_str(others);
    }
    let offset = Span(offset_ms, offset_expr);
    if f.alternate() && offset_expr.is_some() {
        return write!(f, " offset {offset}{others}");
    }
    write!(f, "{others} offset {offset}")
}

/// A duration, as an expression if it is one.
struct Span<'a>(i64, Option<&'a DurationExpr>);

impl Display for Span<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(expr) => write!(f, "{expr}"),
            None => f.write_str(&duration_text(self.0)),
        }
    }
}

/// The times of a subquery: `[1h:5m] offset 1d`.
pub(crate) struct SubqueryTimes<'a>(pub(crate) &'a Subquery);

impl Display for SubqueryTimes<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let subquery = self.0;
        write!(f, "[{}:", Span(subquery.range_ms, subquery.range_expr.as_deref()))?;
        match (&subquery.step_expr, subquery.step_ms) {
            (Some(expr), _) => write!(f, "{expr}")?,
            (None, Some(ms)) if ms != 0 => f.write_str(&duration_text(ms))?,
            (None, _) => {}
        }
        f.write_char(']')?;
        modifiers_text(f, &at_text(subquery.at), subquery.offset_ms, subquery.offset_expr.as_deref())
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_wrapped {
            f.write_char('(')?;
        }
        match &self.kind {
            DurationKind::Number { seconds, as_duration: true } => f.write_str(&seconds_text(*seconds))?,
            DurationKind::Number { seconds, as_duration: false } => f.write_str(&float_text::plain(*seconds))?,
            DurationKind::Step => f.write_str("step()")?,
            DurationKind::Range => f.write_str("range()")?,
            DurationKind::Negate(inner) => write!(f, "-{inner}")?,
            DurationKind::Binary { op: op @ (DurationOp::MinOf | DurationOp::MaxOf), left, right } => {
                write!(f, "{}({left}, {right})", op.symbol())?;
            }
            DurationKind::Binary { op, left, right } => write!(f, "{left} {} {right}", op.symbol())?,
        }
        if self.is_wrapped { f.write_char(')') } else { Ok(()) }
    }
}

/// An aggregation up to its arguments: `sum by (job) `.
pub(crate) struct AggregateHead<'a>(pub(crate) &'a Aggregate);

impl Display for AggregateHead<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.op.name())?;
        match &self.0.grouping {
            Grouping::Without(labels) => write!(f, " without ({}) ", labels_text(labels)),
            Grouping::By(labels) if !labels.is_empty() => write!(f, " by ({}) ", labels_text(labels)),
            Grouping::By(_) => Ok(()),
        }
    }
}

/// A binary operator with its modifiers: `== bool on (job)`.
pub(crate) struct Operator<'a>(pub(crate) &'a Binary);

impl Display for Operator<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.op.symbol())?;
        if self.0.returns_bool {
            f.write_str(" bool")?;
        }
        matching_text(f, &self.0.matching)
    }
}

fn matching_text(f: &mut Formatter<'_>, matching: &Matching) -> fmt::Result {
    let group = match matching.cardinality {
        Cardinality::ManyToOne => Some("group_left"),
        Cardinality::OneToMany => Some("group_right"),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    if matching.on || !matching.labels.is_empty() || group.is_some() {
        let word = if matching.on { "on" } else { "ignoring" };
        write!(f, " {word} ({})", labels_text(&matching.labels))?;
    }
    if let Some(group) = group {
        write!(f, " {group} ({})", labels_text(&matching.include))?;
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left == right => write!(f, " fill ({})", float_text::general(left)),
        (left, right) => {
            for (word, value) in [("fill_left", left), ("fill_right", right)] {
                if let Some(value) = value {
                    write!(f, " {word} ({})", float_text::general(value))?;
                }
            }
            Ok(())
        }
    }
}
