use tenantscope_model::SelectError;

use crate::ast::Position;
use crate::parse::Fault;

/// Why a text is no expression; it reads `line:column: parse error: …`, as Prometheus puts it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: parse error: {message}")]
pub struct ParseError {
    message: String,
    position: Position,
    place: String,
}

impl ParseError {
    pub(crate) fn new(fault: Fault, text: &str) -> Self {
        Self { place: fault.position.line_and_column(text), message: fault.message, position: fault.position }
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where it is wrong, in bytes of the text.
    pub fn position(&self) -> Position {
        self.position
    }
}

/// Why an expression has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The request is wrong: an inverted range, a step of nothing, too many steps.
    #[error("{0}")]
    Request(String),
    /// The deadline passed.
    #[error("query timed out in expression evaluation")]
    TimedOut,
    /// The reader went away.
    #[error("query was canceled in expression evaluation")]
    Cancelled,
    /// More samples than a query may hold.
    #[error(
        "query processing would load too many samples into memory in query execution (limit {limit}, query.max_samples)"
    )]
    TooManySamples {
        /// The limit.
        limit: u64,
    },
    /// A selector that finds more series than one may.
    #[error("a selector would find more than {limit} series (query.max_series)")]
    TooManySeries {
        /// The limit.
        limit: u64,
    },
    /// More memory than a query may hold.
    #[error("query processing would hold more than {limit_bytes} bytes in query execution (query.max_bytes)")]
    TooMuchMemory {
        /// The limit.
        limit_bytes: u64,
    },
    /// More memory than all queries together may hold; there may be room again soon.
    #[error("queries would hold more than {limit_bytes} bytes together (query.memory_max_bytes)")]
    MemoryFull {
        /// The limit.
        limit_bytes: u64,
    },
    /// The expression has no meaning over this data.
    #[error("{0}")]
    Execution(String),
    /// The store failed.
    #[error("store: {0}")]
    Store(String),
}

impl EngineError {
    pub(crate) fn execution(message: impl Into<String>) -> Self {
        Self::Execution(message.into())
    }
}

impl From<SelectError> for EngineError {
    fn from(error: SelectError) -> Self {
        match error {
            SelectError::TimedOut => Self::TimedOut,
            SelectError::Cancelled => Self::Cancelled,
            SelectError::TooManySamples { limit } => Self::TooManySamples { limit },
            SelectError::TooManySeries { limit } => Self::TooManySeries { limit },
            SelectError::TooMuchMemory { limit_bytes } => Self::TooMuchMemory { limit_bytes },
            SelectError::MemoryFull { limit_bytes } => Self::MemoryFull { limit_bytes },
            SelectError::Store(message) => Self::Store(message),
        }
    }
}
