use tenantscope_model::SelectError;

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("parse error: {message}")]
pub struct ParseError {
    message: String,
}

impl ParseError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
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
    #[error("query processing would load too many samples into memory in query execution (limit {limit})")]
    TooManySamples {
        /// The limit.
        limit: u64,
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
            SelectError::Store(message) => Self::Store(message),
        }
    }
}
