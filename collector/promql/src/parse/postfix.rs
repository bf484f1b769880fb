//! What may follow an operand: a range, a subquery, `@`, `offset`, `anchored`, `smoothed`.

use winnow::combinator::opt;
use winnow::error::ErrMode;
use winnow::prelude::*;

use super::durations::{Span, offset, positive};
use super::fault::Fault;
use super::grammar::operand;
use super::input::{Context, Grown, Input, Parsed, from_to, must, peek, take, unexpected_in, within, wrong};
use super::modifiers::signed_number;
use super::token::{Keyword, Kind, Preprocessor, Token};
use crate::ast::{At, Edges, Expr, ExprKind, MatrixSelector, Position, Subquery, VectorSelector};
use crate::duration::DurationExpr;
use crate::float_text;

const AT: Context = Context { within: "@", expected: "timestamp" };
const RANGE: Context =
    Context { within: "subquery or range selector", expected: "number, duration, step(), or range()" };
const AFTER_RANGE: Context = Context { within: "subquery or range", expected: "\":\" or \"]\"" };
const STEP: Context = Context { within: "subquery selector", expected: "number, duration, step(), range(), or \"]\"" };
const AFTER_STEP: Context = Context { within: "subquery selector", expected: "\"]\"" };

/// An operand with all that follows it.
pub(super) fn postfixes(input: &mut Input<'_>) -> Parsed<Grown<Expr>> {
    let mut operand = operand(input)?;
    loop {
        let next = peek(input)?;
        operand = match next.kind {
            Kind::LeftBracket => {
                take(input)?;
                bracketed(input, operand, next)?
            }
            Kind::At => {
                take(input)?;
                operand.with(|operand| fixed(input, operand))?
            }
            Kind::Keyword(Keyword::Offset) => {
                take(input)?;
                operand.with(|operand| shifted(input, operand))?
            }
            Kind::Keyword(Keyword::Anchored) => {
                take(input)?;
                operand.with(|operand| with_edges(operand, Edges::Anchored, next))?
            }
            Kind::Keyword(Keyword::Smoothed) => {
                take(input)?;
                operand.with(|operand| with_edges(operand, Edges::Smoothed, next))?
            }
            _ => return Ok(operand),
        };
    }
}

/// What stands in square brackets makes a range or a subquery.
fn bracketed(input: &mut Input<'_>, operand: Grown<Expr>, open: Token<'_>) -> Parsed<Grown<Expr>> {
    let range = positive(input, RANGE)?;
    if let Some(close) = opt(Kind::RightBracket).parse_next(input)? {
        return operand.with(|operand| matrix(operand, range, from_to(open.position, close.position)));
    }
    if opt(Kind::Colon).parse_next(input)?.is_none() {
        return Err(unexpected_in(input, AFTER_RANGE));
    }
    let (step, close) = match opt(Kind::RightBracket).parse_next(input)? {
        Some(close) => (None, close),
        None => {
            let step = positive(input, STEP)?;
            (Some(step), within(input, AFTER_STEP, must(Kind::RightBracket))?)
        }
    };
    let height = operand.height();
    let position = from_to(operand.node.position, close.position);
    let kind = subquery(operand.node, range, step);
    Grown::over(height, Expr { kind, position }, position)
}

/// The milliseconds that are known now, and how to compute them later.
fn parts(span: Span) -> (i64, Option<Box<DurationExpr>>) {
    match span {
        Span::Ms(ms) => (ms, None),
        Span::Computed(expr) => (0, Some(expr)),
    }
}

fn matrix(operand: Expr, range: Span, brackets: Position) -> Parsed<Expr> {
    let ExprKind::Vector(selector) = operand.kind else {
        return Err(wrong(brackets, "ranges only allowed for vector selectors"));
    };
    if is_shifted(selector.offset_ms, selector.offset_expr.as_deref()) {
        return Err(wrong(brackets, "no offset modifiers allowed before range"));
    }
    if selector.at.is_some() {
        return Err(wrong(brackets, "no @ modifiers allowed before range"));
    }
    let (range_ms, range_expr) = parts(range);
    let kind = ExprKind::Matrix(MatrixSelector { selector, range_ms, range_expr });
    Ok(Expr { kind, position: from_to(operand.position, brackets) })
}

fn subquery(expr: Expr, range: Span, step: Option<Span>) -> ExprKind {
    let (range_ms, range_expr) = parts(range);
    let (step_ms, step_expr) = match step {
        None => (None, None),
        Some(Span::Ms(ms)) => (Some(ms), None),
        Some(Span::Computed(expr)) => (None, Some(expr)),
    };
    let expr = Box::new(expr);
    ExprKind::Subquery(Subquery {
        expr,
        range_ms,
        range_expr,
        step_ms,
        step_expr,
        offset_ms: 0,
        offset_expr: None,
        at: None,
    })
}

fn is_shifted(offset_ms: i64, offset_expr: Option<&DurationExpr>) -> bool {
    offset_ms != 0 || offset_expr.is_some()
}

/// Where an operand keeps its time; an error for those that have none.
struct TimeOf<'a> {
    at: &'a mut Option<At>,
    offset_ms: &'a mut i64,
    offset_expr: &'a mut Option<Box<DurationExpr>>,
}

impl<'a> TimeOf<'a> {
    fn of(operand: &'a mut Expr, modifier: &str) -> Result<Self, ErrMode<Fault>> {
        let position = operand.position;
        match &mut operand.kind {
            ExprKind::Vector(selector) => Ok(Self::of_selector(selector)),
            ExprKind::Matrix(matrix) => Ok(Self::of_selector(&mut matrix.selector)),
            ExprKind::Subquery(subquery) => Ok(Self {
                at: &mut subquery.at,
                offset_ms: &mut subquery.offset_ms,
                offset_expr: &mut subquery.offset_expr,
            }),
            _ => Err(wrong(
                position,
                format!(
                    "{modifier} modifier must be preceded by an instant vector selector or range vector selector or \
                     a subquery"
                ),
            )),
        }
    }

    fn of_selector(selector: &'a mut VectorSelector) -> Self {
        Self { at: &mut selector.at, offset_ms: &mut selector.offset_ms, offset_expr: &mut selector.offset_expr }
    }
}

/// `operand offset …`.
fn shifted(input: &mut Input<'_>, mut operand: Expr) -> Parsed<Expr> {
    let offset = offset(input)?;
    let position = operand.position;
    let time = TimeOf::of(&mut operand, "offset")?;
    if is_shifted(*time.offset_ms, time.offset_expr.as_deref()) {
        return Err(wrong(position, "offset may not be set multiple times"));
    }
    (*time.offset_ms, *time.offset_expr) = parts(offset);
    operand.position.end = last_end(input);
    Ok(operand)
}

/// `operand @ …`.
fn fixed(input: &mut Input<'_>, mut operand: Expr) -> Parsed<Expr> {
    let position = operand.position;
    let at = within(input, AT, |input| instant(input, position))?;
    let time = TimeOf::of(&mut operand, "@")?;
    if time.at.is_some() {
        return Err(wrong(position, "@ <timestamp> may not be set multiple times"));
    }
    *time.at = Some(at);
    operand.position.end = last_end(input);
    Ok(operand)
}

fn instant(input: &mut Input<'_>, operand: Position) -> Parsed<At> {
    let at = match peek(input)?.kind {
        Kind::Call(Preprocessor::Start) => At::Start,
        Kind::Call(Preprocessor::End) => At::End,
        _ => {
            let seconds = signed_number(input)?;
            return instant_ms(seconds, operand).map(At::Ms);
        }
    };
    take(input)?;
    must(Kind::LeftParen)(input)?;
    must(Kind::RightParen)(input)?;
    Ok(at)
}

fn instant_ms(seconds: f64, operand: Position) -> Parsed<i64> {
    let limit = i64::MAX as f64;
    if seconds > -limit && seconds < limit {
        return Ok((seconds * 1000.0).round() as i64);
    }
    let seconds = if seconds.is_finite() { format!("{seconds:.6}") } else { float_text::plain(seconds) };
    Err(wrong(operand, format!("timestamp out of bounds for @ modifier: {seconds}")))
}

/// `operand anchored`, `operand smoothed`.
fn with_edges(mut operand: Expr, edges: Edges, word: Token<'_>) -> Parsed<Expr> {
    let position = operand.position;
    let name = word.text.to_ascii_lowercase();
    let selector = match &mut operand.kind {
        ExprKind::Vector(selector) => selector,
        ExprKind::Matrix(matrix) => &mut matrix.selector,
        ExprKind::Subquery(_) => {
            return Err(wrong(position, format!("{name} modifier is not supported for subqueries")));
        }
        _ => return Err(wrong(position, format!("{name} modifier not implemented"))),
    };
    if selector.edges != Edges::Plain && selector.edges != edges {
        return Err(wrong(position, "anchored and smoothed modifiers cannot be used together"));
    }
    selector.edges = edges;
    Ok(operand)
}

/// Where the token ends that was taken last.
fn last_end(input: &Input<'_>) -> usize {
    input.input.previous_tokens().next().map_or(0, |token| token.position.end)
}
