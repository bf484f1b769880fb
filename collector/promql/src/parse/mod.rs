//! PromQL's syntax, whole: the language of Prometheus 3 with everything on that it keeps behind flags.
//!
//! ```text
//! text ─lex→ tokens with places ─grammar→ Expr ─check→ Expr whose types fit
//! ```
//!
//! The grammar is descent over winnow's token streams, with ranks for operators. An error is the first that
//! Prometheus would report, in its words: a token is unexpected in the innermost rule around it that names itself, and
//! what the lexer cannot read is an error only when a rule looks at it.
//!
//! # Invariants
//! - Length and height are bounded, so that neither parsing nor evaluating exhausts the stack.
//! - Every expression knows its place, in bytes.

mod durations;
mod fault;
mod grammar;
mod input;
mod lex;
mod modifiers;
mod number;
mod postfix;
mod selector;
mod token;

use tenantscope_model::{Matcher, check_regexes};
use winnow::error::ErrMode;

use crate::ast::{Expr, Position};
use crate::check::check;
use crate::error::ParseError;

pub(crate) use fault::Fault;

/// The longest query, in bytes: a dashboard's query is a hundred times shorter.
const MAX_QUERY_BYTES: usize = 64 * 1024;

/// Parses and checks a PromQL expression.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    let mut expr = parsed(text, grammar::query)?;
    check(&mut expr, text).map_err(|fault| ParseError::new(fault, text))?;
    Ok(expr)
}

/// Parses a series selector alone, as metadata calls take it: `up{job="a"}`. It may select everything: the caller
/// decides whether that is fair.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    parsed(text, selector::alone)
}

fn parsed<T>(
    text: &str,
    rule: impl for<'t> FnOnce(&mut input::Input<'t>) -> input::Parsed<T>,
) -> Result<T, ParseError> {
    let refused = |message: String| ParseError::new(Fault::new(Position::default(), message), text);
    if text.len() > MAX_QUERY_BYTES {
        return Err(refused(format!("query is longer than {MAX_QUERY_BYTES} bytes")));
    }
    // Each is compiled as soon as it is read.
    check_regexes(text).map_err(|error| refused(error.to_string()))?;
    let (tokens, unreadable) = lex::tokens(text);
    rule(&mut input::input(&tokens, unreadable.as_ref())).map_err(|error| match error {
        ErrMode::Backtrack(fault) | ErrMode::Cut(fault) => ParseError::new(fault, text),
        ErrMode::Incomplete(_) => refused("unexpected end of input".to_owned()),
    })
}
