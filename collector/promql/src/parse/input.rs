//! The tokens as a parser's input, and what every rule of the grammar needs: the next token, errors, depth.

use winnow::error::ErrMode;
use winnow::prelude::*;
use winnow::stream::{Stateful, Stream, TokenSlice};

use super::fault::Fault;
use super::token::{Kind, Token};
use crate::ast::Position;

/// How high an expression may be, operators of a chain included: parser, engine and drop recurse, and a thread's
/// stack is bounded (two MiB as a rule).
pub(super) const MAX_DEPTH: usize = 200;

/// The tokens that are left.
pub(super) type Input<'t> = Stateful<TokenSlice<'t, Token<'t>>, State<'t>>;

/// What a rule gives: `Backtrack` means that it did not match, `Cut` that the query is wrong.
pub(super) type Parsed<T> = ModalResult<T, Fault>;

/// What rules share.
#[derive(Debug, Clone, Copy)]
pub(super) struct State<'t> {
    /// What an unexpected token is unexpected in.
    context: Context,
    /// How many rules are open.
    depth: usize,
    /// Why the last token cannot be read, if so.
    unreadable: Option<&'t Fault>,
}

/// Where a token is, and what should be there instead; either may be empty.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Context {
    pub(super) within: &'static str,
    pub(super) expected: &'static str,
}

/// A tree, and how high it is.
pub(super) struct Grown<T> {
    pub(super) node: T,
    height: usize,
}

impl<T> Grown<T> {
    /// A tree without parts.
    pub(super) fn leaf(node: T) -> Self {
        Self { node, height: 1 }
    }

    /// A tree over parts, the tallest of which has a height.
    pub(super) fn over(tallest_part: usize, node: T, position: Position) -> Parsed<Self> {
        if tallest_part >= MAX_DEPTH {
            return Err(too_deep(position));
        }
        Ok(Self { node, height: tallest_part + 1 })
    }

    /// The same height with another tree.
    pub(super) fn with<U>(self, change: impl FnOnce(T) -> Parsed<U>) -> Parsed<Grown<U>> {
        Ok(Grown { node: change(self.node)?, height: self.height })
    }

    pub(super) fn height(&self) -> usize {
        self.height
    }
}

pub(super) fn input<'t>(tokens: &'t [Token<'t>], unreadable: Option<&'t Fault>) -> Input<'t> {
    let state = State { context: Context::default(), depth: 0, unreadable };
    Stateful { input: TokenSlice::new(tokens), state }
}

/// The next token, which stays; an unreadable one is an error as soon as anyone looks.
pub(super) fn peek<'t>(input: &Input<'t>) -> Parsed<Token<'t>> {
    match input.input.peek_token() {
        Some(token) if token.kind == Kind::Unreadable => {
            Err(ErrMode::Cut(input.state.unreadable.cloned().unwrap_or_default()))
        }
        Some(token) => Ok(*token),
        None => Ok(Token { kind: Kind::EndOfInput, text: "", position: Position::default() }),
    }
}

/// The next token, which is taken.
pub(super) fn take<'t>(input: &mut Input<'t>) -> Parsed<Token<'t>> {
    let token = peek(input)?;
    input.input.next_token();
    Ok(token)
}

impl<'t> Parser<Input<'t>, Token<'t>, ErrMode<Fault>> for Kind {
    fn parse_next(&mut self, input: &mut Input<'t>) -> Parsed<Token<'t>> {
        if peek(input)?.kind == *self { take(input) } else { Err(ErrMode::Backtrack(Fault::default())) }
    }
}

/// A token of a kind; any other is unexpected in the context of the rule around.
pub(super) fn must<'t>(kind: Kind) -> impl FnMut(&mut Input<'t>) -> Parsed<Token<'t>> {
    move |input| if peek(input)?.kind == kind { take(input) } else { Err(unexpected(input)) }
}

/// The error that the next token does not belong where it is.
pub(super) fn unexpected(input: &Input<'_>) -> ErrMode<Fault> {
    unexpected_in(input, input.state.context)
}

/// The error that the next token does not belong into a context.
pub(super) fn unexpected_in(input: &Input<'_>, context: Context) -> ErrMode<Fault> {
    let token = match peek(input) {
        Ok(token) => token,
        Err(unreadable) => return unreadable,
    };
    let mut message = format!("unexpected {}", token.description());
    for (word, part) in [(" in ", context.within), (", expected ", context.expected)] {
        if !part.is_empty() {
            message.push_str(word);
            message.push_str(part);
        }
    }
    wrong(token.position, message)
}

/// An error at a place.
pub(super) fn wrong(position: Position, message: impl Into<String>) -> ErrMode<Fault> {
    ErrMode::Cut(Fault::new(position, message))
}

fn too_deep(position: Position) -> ErrMode<Fault> {
    wrong(position, format!("query is deeper than {MAX_DEPTH} operators, calls and brackets"))
}

/// Runs a rule in whose parts unexpected tokens are reported in a context, unless those have their own.
pub(super) fn within<'t, T>(
    input: &mut Input<'t>,
    context: Context,
    mut rule: impl FnMut(&mut Input<'t>) -> Parsed<T>,
) -> Parsed<T> {
    let outer = std::mem::replace(&mut input.state.context, context);
    let parsed = rule(input);
    input.state.context = outer;
    parsed
}

/// Runs a rule one level deeper.
pub(super) fn deeper<'t, T>(input: &mut Input<'t>, mut rule: impl FnMut(&mut Input<'t>) -> Parsed<T>) -> Parsed<T> {
    if input.state.depth >= MAX_DEPTH {
        return Err(too_deep(peek(input)?.position));
    }
    input.state.depth += 1;
    let parsed = rule(input);
    input.state.depth -= 1;
    parsed
}

/// From the start of one place to the end of another.
pub(super) fn from_to(first: Position, last: Position) -> Position {
    Position { start: first.start, end: last.end }
}
