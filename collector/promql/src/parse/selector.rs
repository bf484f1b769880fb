//! Series selectors: a metric's name and label matchers in braces.

use std::sync::Arc;

use tenantscope_model::{METRIC_NAME, MatchOp, Matcher};
use winnow::combinator::opt;
use winnow::prelude::*;

use super::input::{Context, Input, Parsed, from_to, must, peek, take, unexpected, unexpected_in, wrong};
use super::token::{Kind, Token};
use crate::ast::{BinaryOp, Position, VectorSelector};
use crate::quoting::unquoted;

const fn matching(expected: &'static str) -> Context {
    Context { within: "label matching", expected }
}

/// A selector, which may begin with a name that was taken already.
pub(super) fn selector(input: &mut Input<'_>, name: Option<Token<'_>>) -> Parsed<(VectorSelector, Position)> {
    let mut position = name.map_or_else(|| peek(input).map(|open| open.position), |name| Ok(name.position))?;
    let mut matchers = Vec::new();
    if opt(Kind::LeftBrace).parse_next(input)?.is_some() {
        position.end = braces(input, &mut matchers)?.position.end;
    }
    let name: Option<Arc<str>> = name.map(|name| name.text.into());
    matchers.extend(name.as_deref().map(|name| Matcher::equal(METRIC_NAME, name)));
    Ok((VectorSelector { name, matchers, ..VectorSelector::default() }, position))
}

/// The matchers of a selector that is the whole text.
pub(super) fn alone(input: &mut Input<'_>) -> Parsed<Vec<Matcher>> {
    let first = peek(input)?;
    let name = if first.kind.names_metric() {
        Some(take(input)?)
    } else if first.kind == Kind::LeftBrace {
        None
    } else {
        return Err(unexpected(input));
    };
    let (selector, _) = selector(input, name)?;
    must(Kind::EndOfInput)(input)?;
    Ok(selector.matchers)
}

/// The matchers after the opening brace; gives the closing one.
fn braces<'t>(input: &mut Input<'t>, matchers: &mut Vec<Matcher>) -> Parsed<Token<'t>> {
    if let Some(close) = opt(Kind::RightBrace).parse_next(input)? {
        return Ok(close);
    }
    loop {
        matchers.push(matcher(input)?);
        let is_more = opt(Kind::Comma).parse_next(input)?.is_some();
        if let Some(close) = opt(Kind::RightBrace).parse_next(input)? {
            return Ok(close);
        }
        if !is_more {
            return Err(unexpected_in(input, matching("\",\" or \"}\"")));
        }
    }
}

fn matcher(input: &mut Input<'_>) -> Parsed<Matcher> {
    let label = peek(input)?;
    let name = match label.kind {
        Kind::Identifier => label.text.to_owned(),
        Kind::Text => unquoted(label.text),
        _ => return Err(unexpected_in(input, matching("identifier or \"}\""))),
    };
    take(input)?;
    let op = match peek(input)?.kind {
        Kind::Assign => MatchOp::Equal,
        Kind::Operator(BinaryOp::NotEqual) => MatchOp::NotEqual,
        Kind::Matches => MatchOp::Regex,
        Kind::MatchesNot => MatchOp::NotRegex,
        // A string alone is a metric's name.
        _ if label.kind == Kind::Text => return Ok(Matcher::equal(METRIC_NAME, &name)),
        _ => return Err(unexpected_in(input, matching("label matching operator"))),
    };
    take(input)?;
    let Some(value) = opt(Kind::Text).parse_next(input)? else {
        return Err(unexpected_in(input, matching("string")));
    };
    let text = unquoted(value.text);
    Matcher::try_new(&name, op, &text)
        .map_err(|error| wrong(from_to(label.position, value.position), error.reason().to_string()))
}
