use winnow::error::ParserError;
use winnow::stream::Stream;

use crate::ast::Position;

/// What is wrong with a query, and where. A parser that merely did not match gives the default, which is never shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Fault {
    pub(crate) position: Position,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(position: Position, message: impl Into<String>) -> Self {
        Self { position, message: message.into() }
    }
}

impl<I: Stream> ParserError<I> for Fault {
    type Inner = Self;

    fn from_input(_: &I) -> Self {
        Self::default()
    }

    fn into_inner(self) -> winnow::Result<Self::Inner, Self> {
        Ok(self)
    }
}
