//! What LogQL and TraceQL have in common: strings, numbers, durations, and how an error says where it is.

use std::cell::Cell;

use winnow::ascii::{digit1, multispace0};
use winnow::combinator::{alt, cut_err, delimited, eof, fail, opt, preceded, repeat, terminated};
use winnow::error::{ContextError, ErrMode, StrContext, StrContextValue};
use winnow::prelude::*;
use winnow::stream::LocatingSlice;
use winnow::token::{any, none_of, take_till, take_while};

use crate::QueryError;

pub(crate) type Input<'a> = LocatingSlice<&'a str>;
pub(crate) type Parsed<T> = Result<T, ErrMode<ContextError>>;

/// Parentheses and aggregations within one another.
const MAX_DEPTH: usize = 32;
/// Operators of one expression: in a chain, each is a level of the tree.
const MAX_OPERATORS: usize = 256;

/// How high the tree of an expression may still grow: it is parsed, evaluated and let go by calls within calls, and a
/// stack that runs out takes the whole program with it.
#[derive(Clone, Copy)]
pub(crate) struct Height<'a> {
    depth: usize,
    operators: &'a Cell<usize>,
}

impl<'a> Height<'a> {
    /// Of a whole expression, whose operators are counted there.
    pub(crate) fn counted_in(operators: &'a Cell<usize>) -> Self {
        Self { depth: 0, operators }
    }

    /// Within parentheses or an aggregation.
    pub(crate) fn inner(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }

    pub(crate) fn check_depth(self, input: &mut Input<'_>) -> Parsed<()> {
        if self.depth <= MAX_DEPTH { Ok(()) } else { cut_err(fail.context(expected("less nesting"))).parse_next(input) }
    }

    /// Counts an operator.
    pub(crate) fn check_operator(self, input: &mut Input<'_>) -> Parsed<()> {
        self.operators.set(self.operators.get() + 1);
        if self.operators.get() <= MAX_OPERATORS {
            return Ok(());
        }
        cut_err(fail.context(expected("fewer operators"))).parse_next(input)
    }
}

/// Longer queries are refused, so that parsing is bounded.
const MAX_QUERY_BYTES: usize = 32 * 1024;

pub(crate) fn parse_with<'a, T>(
    query: &'a str,
    mut parser: impl FnMut(&mut Input<'a>) -> Parsed<T>,
) -> Result<T, QueryError> {
    if query.len() > MAX_QUERY_BYTES {
        return Err(QueryError::Invalid(format!("query is longer than {MAX_QUERY_BYTES} bytes")));
    }
    tenantscope_model::check_regexes(query).map_err(|error| QueryError::Limit(error.to_string()))?;
    let mut whole = |input: &mut Input<'a>| -> Parsed<T> {
        let parsed = preceded(multispace0, &mut parser).parse_next(input)?;
        let _: &str = eof.context(expected("the end of the query")).parse_next(input)?;
        Ok(parsed)
    };
    whole.parse(LocatingSlice::new(query)).map_err(|error| syntax_error(query, error.offset(), error.inner()))
}

fn syntax_error(query: &str, offset: usize, error: &ContextError) -> QueryError {
    let column = query.get(..offset).map_or(offset, |before| before.chars().count()) + 1;
    let found = match query.get(offset..).and_then(|rest| rest.chars().next()) {
        Some(c) => format!("unexpected {c:?}"),
        None => "unexpected end of input".to_owned(),
    };
    let details = error.to_string().replace('\n', ", ");
    let message = if details.is_empty() { found } else { format!("{found}, {details}") };
    QueryError::Syntax { column, message }
}

pub(crate) fn expected(what: &'static str) -> StrContext {
    StrContext::Expected(StrContextValue::Description(what))
}

/// A parser and the white space behind it.
pub(crate) fn token<'a, T>(
    parser: impl Parser<Input<'a>, T, ErrMode<ContextError>>,
) -> impl Parser<Input<'a>, T, ErrMode<ContextError>> {
    terminated(parser, multispace0)
}

pub(crate) fn symbol<'a>(text: &'static str) -> impl Parser<Input<'a>, &'a str, ErrMode<ContextError>> {
    token(text).context(StrContext::Expected(StrContextValue::StringLiteral(text)))
}

pub(crate) fn name<'a>(input: &mut Input<'a>) -> Parsed<&'a str> {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let rest = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':' || c == '.';
    token((take_while(1, first), take_while(0.., rest)).take()).context(expected("a name")).parse_next(input)
}

pub(crate) fn keyword<'a>(word: &'static str) -> impl Parser<Input<'a>, &'a str, ErrMode<ContextError>> {
    name.verify(move |found: &str| found == word)
}

/// `"…"` with Go's escapes, or `` `…` `` as it is.
pub(crate) fn string(input: &mut Input<'_>) -> Parsed<String> {
    let raw = delimited('`', take_till(0.., '`'), '`').map(str::to_owned);
    let quoted = delimited('"', repeat(0.., character).fold(String::new, push), '"');
    token(alt((raw, quoted))).context(expected("a string")).parse_next(input)
}

fn push(mut text: String, c: char) -> String {
    text.push(c);
    text
}

fn character(input: &mut Input<'_>) -> Parsed<char> {
    let escaped = preceded('\\', any).verify_map(|c| match c {
        'n' => Some('\n'),
        't' => Some('\t'),
        'r' => Some('\r'),
        '\\' | '"' | '\'' | '`' => Some(c),
        _ => None,
    });
    alt((escaped, none_of(['"', '\\', '\n']))).parse_next(input)
}

pub(crate) fn float(input: &mut Input<'_>) -> Parsed<f64> {
    let digits = (opt('-'), digit1, opt(('.', digit1)), opt((alt(('e', 'E')), opt(alt(('+', '-'))), digit1)));
    token(digits.take()).try_map(str::parse).context(expected("a number")).parse_next(input)
}

/// `1h30m` in nanoseconds.
pub(crate) fn duration_ns(input: &mut Input<'_>) -> Parsed<i64> {
    let unit = alt((
        "ms".value(1e6),
        "us".value(1e3),
        "µs".value(1e3),
        "ns".value(1.0),
        "s".value(1e9),
        "m".value(60e9),
        "h".value(3_600e9),
        "d".value(86_400e9),
        "w".value(7.0 * 86_400e9),
        "y".value(365.0 * 86_400e9),
    ));
    let number = (digit1, opt(('.', digit1))).take().try_map(str::parse::<f64>);
    let parts = repeat(1.., (number, unit)).fold(|| 0.0, |sum, (number, unit): (f64, f64)| sum + number * unit);
    token(parts)
        .verify(|total: &f64| *total < i64::MAX as f64)
        .map(|total| total as i64)
        .context(expected("a duration"))
        .parse_next(input)
}
