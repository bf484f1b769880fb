//! What stands between an operator and its right side, and label lists.

use std::string::FromUtf8Error;
use std::sync::Arc;

use winnow::combinator::opt;
use winnow::prelude::*;

use super::durations::literal_value;
use super::input::{Context, Input, Parsed, must, peek, take, unexpected, unexpected_in, wrong};
use super::token::{Keyword, Kind, Token};
use crate::ast::{BinaryOp, Cardinality, Matching};
use crate::quoting::{QuotedBytes, unquoted_bytes};

const fn grouping(expected: &'static str) -> Context {
    Context { within: "grouping opts", expected }
}

/// Labels in parentheses, and the closing one.
pub(super) fn labels<'t>(input: &mut Input<'t>) -> Parsed<(Vec<Arc<str>>, Token<'t>)> {
    if opt(Kind::LeftParen).parse_next(input)?.is_none() {
        return Err(unexpected_in(input, grouping("\"(\"")));
    }
    let mut labels = Vec::new();
    if let Some(close) = opt(Kind::RightParen).parse_next(input)? {
        return Ok((labels, close));
    }
    loop {
        labels.push(label(input)?);
        let is_more = opt(Kind::Comma).parse_next(input)?.is_some();
        if let Some(close) = opt(Kind::RightParen).parse_next(input)? {
            return Ok((labels, close));
        }
        if !is_more {
            return Err(unexpected_in(input, grouping("\",\" or \")\"")));
        }
    }
}

fn label(input: &mut Input<'_>) -> Parsed<Arc<str>> {
    let token = peek(input)?;
    let name = match token.kind {
        Kind::Text => unquoted_bytes(token.text),
        kind if kind.names_label() => token.text.as_bytes().to_vec(),
        _ => return Err(unexpected_in(input, grouping("label"))),
    };
    take(input)?;
    match String::from_utf8(name) {
        Ok(name) if !name.is_empty() => Ok(name.into()),
        name => {
            let bytes = name.map_or_else(FromUtf8Error::into_bytes, String::into_bytes);
            let name = QuotedBytes(&bytes);
            Err(wrong(token.position, format!("invalid label name for grouping: {name}")))
        }
    }
}

/// `bool`, and how vectors match.
pub(super) fn modifiers(input: &mut Input<'_>) -> Parsed<(bool, Matching)> {
    let returns_bool = opt(Kind::Keyword(Keyword::Bool)).parse_next(input)?.is_some();
    let mut matching = Matching::default();
    let on_or_ignoring = peek(input)?.kind;
    if let Kind::Keyword(Keyword::On | Keyword::Ignoring) = on_or_ignoring {
        take(input)?;
        matching.on = on_or_ignoring == Kind::Keyword(Keyword::On);
        (matching.labels, _) = labels(input)?;
        group(input, &mut matching)?;
    }
    fill(input, &mut matching)?;
    Ok((returns_bool, matching))
}

fn group(input: &mut Input<'_>, matching: &mut Matching) -> Parsed<()> {
    matching.cardinality = match peek(input)?.kind {
        Kind::Keyword(Keyword::GroupLeft) => Cardinality::ManyToOne,
        Kind::Keyword(Keyword::GroupRight) => Cardinality::OneToMany,
        _ => return Ok(()),
    };
    take(input)?;
    match peek(input)?.kind {
        Kind::LeftParen => (matching.include, _) = labels(input)?,
        // `fill` may name a metric, so that it is among these.
        next if next.begins_operand() => {}
        _ => return Err(unexpected_in(input, grouping("\"(\""))),
    }
    Ok(())
}

/// `fill`, or `fill_left` and `fill_right` in either order.
fn fill(input: &mut Input<'_>, matching: &mut Matching) -> Parsed<()> {
    let (left, right) = (Kind::Keyword(Keyword::FillLeft), Kind::Keyword(Keyword::FillRight));
    if opt(Kind::Keyword(Keyword::Fill)).parse_next(input)?.is_some() {
        let value = fill_value(input)?;
        matching.fill_left = Some(value);
        matching.fill_right = Some(value);
        return Ok(());
    }
    if opt(left).parse_next(input)?.is_some() {
        matching.fill_left = Some(fill_value(input)?);
        if opt(right).parse_next(input)?.is_some() {
            matching.fill_right = Some(fill_value(input)?);
        }
    } else if opt(right).parse_next(input)?.is_some() {
        matching.fill_right = Some(fill_value(input)?);
        if opt(left).parse_next(input)?.is_some() {
            matching.fill_left = Some(fill_value(input)?);
        }
    }
    Ok(())
}

fn fill_value(input: &mut Input<'_>) -> Parsed<f64> {
    must(Kind::LeftParen)(input)?;
    let value = signed_number(input)?;
    must(Kind::RightParen)(input)?;
    Ok(value)
}

/// A number or duration that may have a sign.
pub(super) fn signed_number(input: &mut Input<'_>) -> Parsed<f64> {
    let sign = peek(input)?.kind;
    if let Kind::Operator(BinaryOp::Add | BinaryOp::Sub) = sign {
        take(input)?;
    }
    let token = peek(input)?;
    if !matches!(token.kind, Kind::Number | Kind::Duration) {
        return Err(unexpected(input));
    }
    take(input)?;
    let (value, _) = literal_value(token)?;
    Ok(if sign == Kind::Operator(BinaryOp::Sub) { -value } else { value })
}
