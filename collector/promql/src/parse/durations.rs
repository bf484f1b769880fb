//! Durations in square brackets and after `offset`: numbers, or expressions that are computed with the query's times.

use super::input::{Context, Grown, Input, Parsed, deeper, from_to, must, peek, take, unexpected, within, wrong};
use super::number::{duration_seconds, number};
use super::token::{Kind, Preprocessor, Token};
use crate::ast::{BinaryOp, Position};
use crate::duration::{DurationExpr, DurationKind, DurationOp, MAX_SECONDS};

/// The rank of `*`, which binds like a sign; `^` is above.
const PRODUCT: u8 = 2;
const POWER: u8 = 3;

const OFFSET: Context = Context { within: "offset", expected: "number, duration, step(), or range()" };

/// A duration's value where it is written as a plain number, or how to compute it.
pub(super) enum Span {
    /// In milliseconds.
    Ms(i64),
    Computed(Box<DurationExpr>),
}

impl From<DurationExpr> for Span {
    fn from(duration: DurationExpr) -> Self {
        match literal(&duration) {
            // Prometheus counts nanoseconds, and reads time in milliseconds.
            Some(seconds) => Self::Ms((seconds * 1e9).round() as i64 / 1_000_000),
            None => Self::Computed(Box::new(duration)),
        }
    }
}

/// The value of a plain number, in seconds.
fn literal(duration: &DurationExpr) -> Option<f64> {
    match duration.kind {
        DurationKind::Number { seconds, .. } if !duration.is_wrapped => Some(seconds),
        _ => None,
    }
}

/// The duration of a range or a step, which must be above zero if it is a plain number.
pub(super) fn positive(input: &mut Input<'_>, context: Context) -> Parsed<Span> {
    let duration = within(input, context, |input| sum(input, 0))?.node;
    peek(input)?;
    if literal(&duration).is_some_and(|seconds| seconds <= 0.0) {
        return Err(wrong(duration.position, "duration must be greater than 0"));
    }
    Ok(duration.into())
}

/// What follows `offset`. Without parentheses it ends where an operator follows: `foo offset 1m ^ 2` is a power of
/// `foo offset 1m`.
pub(super) fn offset(input: &mut Input<'_>) -> Parsed<Span> {
    within(input, OFFSET, offset_duration).map(|duration| duration.node.into())
}

fn offset_duration(input: &mut Input<'_>) -> Parsed<Grown<DurationExpr>> {
    let first = peek(input)?;
    match first.kind {
        Kind::Operator(BinaryOp::Add | BinaryOp::Sub) => {
            take(input)?;
            let is_signed_twice = matches!(peek(input)?.kind, Kind::Operator(BinaryOp::Add | BinaryOp::Sub));
            let inner = if is_signed_twice { sum(input, POWER)? } else { operand(input)? };
            let duration = signed(first, inner)?;
            if is_signed_twice { operations(input, duration, 0) } else { Ok(duration) }
        }
        Kind::LeftParen => sum(input, 0),
        _ => operand(input),
    }
}

/// A duration with the operations of a rank and above.
fn sum(input: &mut Input<'_>, least: u8) -> Parsed<Grown<DurationExpr>> {
    deeper(input, |input| {
        let first = peek(input)?;
        let left = match first.kind {
            Kind::Operator(BinaryOp::Add | BinaryOp::Sub) => {
                take(input)?;
                let inner = sum(input, POWER)?;
                signed(first, inner)?
            }
            _ => operand(input)?,
        };
        operations(input, left, least)
    })
}

/// The operations that follow a left side.
fn operations(input: &mut Input<'_>, mut left: Grown<DurationExpr>, least: u8) -> Parsed<Grown<DurationExpr>> {
    loop {
        let token = peek(input)?;
        let Some((op, rank)) = operator(token.kind).filter(|(_, rank)| *rank >= least) else { return Ok(left) };
        take(input)?;
        let right = sum(input, if op == DurationOp::Pow { rank } else { rank + 1 })?;
        match op {
            DurationOp::Div if literal(&right.node) == Some(0.0) => {
                return Err(wrong(token.position, "division by zero"));
            }
            DurationOp::Mod if literal(&right.node) == Some(0.0) => {
                return Err(wrong(token.position, "modulo by zero"));
            }
            _ => {}
        }
        let position = from_to(left.node.position, right.node.position);
        left = joined(op, left, right, position)?;
    }
}

fn operator(kind: Kind) -> Option<(DurationOp, u8)> {
    let Kind::Operator(op) = kind else { return None };
    match op {
        BinaryOp::Add => Some((DurationOp::Add, 1)),
        BinaryOp::Sub => Some((DurationOp::Sub, 1)),
        BinaryOp::Mul => Some((DurationOp::Mul, PRODUCT)),
        BinaryOp::Div => Some((DurationOp::Div, PRODUCT)),
        BinaryOp::Mod => Some((DurationOp::Mod, PRODUCT)),
        BinaryOp::Pow => Some((DurationOp::Pow, POWER)),
        _ => None,
    }
}

fn joined(
    op: DurationOp,
    left: Grown<DurationExpr>,
    right: Grown<DurationExpr>,
    position: Position,
) -> Parsed<Grown<DurationExpr>> {
    let height = left.height().max(right.height());
    let kind = DurationKind::Binary { op, left: Box::new(left.node), right: Box::new(right.node) };
    Grown::over(height, unwrapped(kind, position), position)
}

fn unwrapped(kind: DurationKind, position: Position) -> DurationExpr {
    DurationExpr { kind, is_wrapped: false, position }
}

/// A duration behind a sign. A plain number takes the sign in, and `+` changes nothing.
fn signed(sign: Token<'_>, duration: Grown<DurationExpr>) -> Parsed<Grown<DurationExpr>> {
    let is_minus = sign.kind == Kind::Operator(BinaryOp::Sub);
    let position = from_to(sign.position, duration.node.position);
    if let DurationKind::Number { seconds, as_duration } = duration.node.kind
        && !duration.node.is_wrapped
    {
        let seconds = if is_minus { -seconds } else { seconds };
        return duration.with(|_| Ok(unwrapped(DurationKind::Number { seconds, as_duration }, position)));
    }
    if !is_minus {
        return Ok(duration);
    }
    let height = duration.height();
    Grown::over(height, unwrapped(DurationKind::Negate(Box::new(duration.node)), position), position)
}

/// A number, a call, or a duration in parentheses.
fn operand(input: &mut Input<'_>) -> Parsed<Grown<DurationExpr>> {
    let first = peek(input)?;
    match first.kind {
        Kind::Number | Kind::Duration => {
            take(input)?;
            let (seconds, as_duration) = literal_value(first)?;
            // Not a number is no duration either; Prometheus says nothing that could be relied on here.
            if !(-MAX_SECONDS..=MAX_SECONDS).contains(&seconds) {
                return Err(wrong(first.position, "duration out of range"));
            }
            Ok(Grown::leaf(unwrapped(DurationKind::Number { seconds, as_duration }, first.position)))
        }
        Kind::LeftParen => {
            take(input)?;
            let inner = sum(input, 0)?;
            must(Kind::RightParen)(input)?;
            inner.with(|inner| Ok(wrapped(first, inner)))
        }
        Kind::Call(word) => {
            if matches!(word, Preprocessor::Start | Preprocessor::End) {
                return Err(unexpected(input));
            }
            take(input)?;
            must(Kind::LeftParen)(input)?;
            match word {
                Preprocessor::Range => ended(input, first, DurationKind::Range),
                Preprocessor::MinOf => of_two(input, first, DurationOp::MinOf),
                Preprocessor::MaxOf => of_two(input, first, DurationOp::MaxOf),
                _ => ended(input, first, DurationKind::Step),
            }
        }
        _ => Err(unexpected(input)),
    }
}

/// The value of a number or duration, in seconds, and whether it is written as a duration.
pub(super) fn literal_value(token: Token<'_>) -> Parsed<(f64, bool)> {
    let as_duration = token.kind == Kind::Duration;
    let value = if as_duration { duration_seconds(token.text) } else { number(token.text) };
    value.map(|value| (value, as_duration)).map_err(|message| wrong(token.position, message))
}

fn wrapped(open: Token<'_>, mut inner: DurationExpr) -> DurationExpr {
    if let DurationKind::Number { .. } = inner.kind
        && !inner.is_wrapped
    {
        inner.position = from_to(open.position, inner.position);
    }
    inner.is_wrapped = true;
    inner
}

fn ended(input: &mut Input<'_>, word: Token<'_>, kind: DurationKind) -> Parsed<Grown<DurationExpr>> {
    let close = must(Kind::RightParen)(input)?;
    Ok(Grown::leaf(unwrapped(kind, from_to(word.position, close.position))))
}

fn of_two(input: &mut Input<'_>, word: Token<'_>, op: DurationOp) -> Parsed<Grown<DurationExpr>> {
    let left = sum(input, 0)?;
    must(Kind::Comma)(input)?;
    let right = sum(input, 0)?;
    let close = must(Kind::RightParen)(input)?;
    joined(op, left, right, from_to(word.position, close.position))
}
