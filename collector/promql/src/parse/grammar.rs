//! Expressions: operators by rank, what may follow an operand, calls and aggregations.

use winnow::combinator::opt;
use winnow::prelude::*;

use super::durations::literal_value;
use super::input::{Context, Grown, Input, Parsed, deeper, from_to, must, peek, take, unexpected, within, wrong};
use super::modifiers::{labels, modifiers};
use super::postfix::postfixes;
use super::selector::selector;
use super::token::{Keyword, Kind, Token};
use crate::ast::{Aggregate, AggregateOp, Binary, BinaryOp, Call, Expr, ExprKind, Grouping, Position};
use crate::function::Function;
use crate::quoting::{Quoted, unquoted_bytes};

/// The rank of `^`. A sign binds like `*`, so that only powers go into its operand.
const POWER: u8 = 6;

const AGGREGATION: Context = Context { within: "aggregation", expected: "" };

/// A whole query.
pub(super) fn query(input: &mut Input<'_>) -> Parsed<Expr> {
    let start = peek(input)?;
    if start.kind == Kind::EndOfInput {
        return Err(wrong(Position::default(), "no expression found in input"));
    }
    let expr = expression(input)?;
    must(Kind::EndOfInput)(input)?;
    Ok(expr.node)
}

pub(super) fn expression(input: &mut Input<'_>) -> Parsed<Grown<Expr>> {
    operations(input, 0)
}

/// An operand and the operators of a rank and above that follow it.
fn operations(input: &mut Input<'_>, least: u8) -> Parsed<Grown<Expr>> {
    deeper(input, |input| {
        let mut left = signed(input)?;
        loop {
            let Kind::Operator(op) = peek(input)?.kind else { return Ok(left) };
            let rank = rank(op);
            if rank < least {
                return Ok(left);
            }
            take(input)?;
            let (returns_bool, matching) = modifiers(input)?;
            let right = operations(input, if op == BinaryOp::Pow { rank } else { rank + 1 })?;
            let position = from_to(left.node.position, right.node.position);
            let height = left.height().max(right.height());
            let (left_side, right_side) = (Box::new(left.node), Box::new(right.node));
            let kind = ExprKind::Binary(Binary { op, left: left_side, right: right_side, returns_bool, matching });
            left = Grown::over(height, Expr { kind, position }, position)?;
        }
    })
}

fn rank(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And | BinaryOp::Unless => 2,
        BinaryOp::Equal
        | BinaryOp::NotEqual
        | BinaryOp::Greater
        | BinaryOp::Less
        | BinaryOp::GreaterEqual
        | BinaryOp::LessEqual
        | BinaryOp::TrimUpper
        | BinaryOp::TrimLower => 3,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Atan2 => 5,
        BinaryOp::Pow => POWER,
    }
}

/// An operand with its sign, if it has one. A number takes its sign in.
fn signed(input: &mut Input<'_>) -> Parsed<Grown<Expr>> {
    let sign = peek(input)?;
    let is_minus = match sign.kind {
        Kind::Operator(BinaryOp::Sub) => true,
        Kind::Operator(BinaryOp::Add) => false,
        _ => return postfixes(input),
    };
    take(input)?;
    let operand = operations(input, POWER)?;
    let position = from_to(sign.position, operand.node.position);
    if let ExprKind::Number { value, as_duration } = operand.node.kind {
        let value = if is_minus { -value } else { value };
        return Ok(Grown::leaf(Expr { kind: ExprKind::Number { value, as_duration }, position }));
    }
    let height = operand.height();
    let inner = Box::new(operand.node);
    let kind = if is_minus { ExprKind::Negate(inner) } else { ExprKind::Plus(inner) };
    Grown::over(height, Expr { kind, position }, position)
}

/// What operators work on, without what may follow it.
pub(super) fn operand(input: &mut Input<'_>) -> Parsed<Grown<Expr>> {
    let first = peek(input)?;
    match first.kind {
        Kind::Number | Kind::Duration => {
            take(input)?;
            let (value, as_duration) = literal_value(first)?;
            Ok(leaf(ExprKind::Number { value, as_duration }, first.position))
        }
        Kind::Text => {
            take(input)?;
            let kind = match String::from_utf8(unquoted_bytes(first.text)) {
                Ok(text) => ExprKind::Text(text.into()),
                Err(error) => ExprKind::Bytes(error.into_bytes().into()),
            };
            Ok(leaf(kind, first.position))
        }
        Kind::LeftParen => parenthesized(input),
        Kind::LeftBrace => selected(input, None),
        kind if kind.names_metric() => {
            take(input)?;
            named(input, first)
        }
        _ => Err(unexpected(input)),
    }
}

fn leaf(kind: ExprKind, position: Position) -> Grown<Expr> {
    Grown::leaf(Expr { kind, position })
}

fn parenthesized(input: &mut Input<'_>) -> Parsed<Grown<Expr>> {
    let open = take(input)?;
    let inner = expression(input)?;
    let close = must(Kind::RightParen)(input)?;
    let position = from_to(open.position, close.position);
    Grown::over(inner.height(), Expr { kind: ExprKind::Paren(Box::new(inner.node)), position }, position)
}

/// What begins with a word: a call or an aggregation if the next token says so, else a metric.
fn named<'t>(input: &mut Input<'t>, name: Token<'t>) -> Parsed<Grown<Expr>> {
    let next = peek(input)?.kind;
    match (name.kind, next) {
        (Kind::Aggregator(op), Kind::LeftParen | Kind::Keyword(Keyword::By | Keyword::Without)) => {
            within(input, AGGREGATION, |input| aggregation(input, name, op))
        }
        (Kind::Identifier | Kind::Call(_), Kind::LeftParen) => call(input, name),
        _ => selected(input, Some(name)),
    }
}

fn selected(input: &mut Input<'_>, name: Option<Token<'_>>) -> Parsed<Grown<Expr>> {
    let (selector, position) = selector(input, name)?;
    Ok(leaf(ExprKind::Vector(selector), position))
}

fn call(input: &mut Input<'_>, name: Token<'_>) -> Parsed<Grown<Expr>> {
    let (arguments, close) = arguments(input)?;
    let function = Function::find(name.text)
        .ok_or_else(|| wrong(name.position, format!("unknown function with name {}", Quoted(name.text))))?;
    let position = from_to(name.position, close.position);
    let (arguments, height) = split(arguments);
    Grown::over(height, Expr { kind: ExprKind::Call(Call { function, arguments }), position }, position)
}

/// Arguments in parentheses, and the closing one.
fn arguments<'t>(input: &mut Input<'t>) -> Parsed<(Vec<Grown<Expr>>, Token<'t>)> {
    must(Kind::LeftParen)(input)?;
    let mut arguments = Vec::new();
    if let Some(close) = opt(Kind::RightParen).parse_next(input)? {
        return Ok((arguments, close));
    }
    loop {
        arguments.push(expression(input)?);
        let Some(comma) = opt(Kind::Comma).parse_next(input)? else {
            let close = must(Kind::RightParen)(input)?;
            return Ok((arguments, close));
        };
        if !peek(input)?.kind.begins_operand() {
            return Err(wrong(comma.position, "trailing commas not allowed in function call args"));
        }
    }
}

/// The parts, and the height of the tallest.
fn split(parts: Vec<Grown<Expr>>) -> (Vec<Expr>, usize) {
    let height = parts.iter().map(Grown::height).max().unwrap_or(0);
    (parts.into_iter().map(|part| part.node).collect(), height)
}

fn aggregation<'t>(input: &mut Input<'t>, name: Token<'t>, op: AggregateOp) -> Parsed<Grown<Expr>> {
    let before = grouping(input)?;
    let (arguments, close) = arguments(input)?;
    let mut position = from_to(name.position, close.position);
    let grouping = match before {
        Some((grouping, _)) => grouping,
        None => match grouping(input)? {
            Some((grouping, end)) => {
                position.end = end;
                grouping
            }
            None => Grouping::By(Vec::new()),
        },
    };
    let wanted = if op.has_parameter() { 2 } else { 1 };
    let got = arguments.len();
    if got == 0 {
        return Err(wrong(position, "no arguments for aggregate expression provided"));
    }
    if got != wanted {
        let message =
            format!("wrong number of arguments for aggregate expression provided, expected {wanted}, got {got}");
        return Err(wrong(position, message));
    }
    let (mut arguments, height) = split(arguments);
    let expr = arguments.pop().map(Box::new).ok_or_else(|| unexpected(input))?;
    let parameter = arguments.pop().map(Box::new);
    let kind = ExprKind::Aggregate(Aggregate { op, expr, parameter, grouping });
    Grown::over(height, Expr { kind, position }, position)
}

/// `by` or `without` with its labels, and where that ends.
fn grouping(input: &mut Input<'_>) -> Parsed<Option<(Grouping, usize)>> {
    let make = match peek(input)?.kind {
        Kind::Keyword(Keyword::By) => Grouping::By,
        Kind::Keyword(Keyword::Without) => Grouping::Without,
        _ => return Ok(None),
    };
    take(input)?;
    let (labels, close) = labels(input)?;
    Ok(Some((make(labels), close.position.end)))
}
