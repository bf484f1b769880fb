use datafusion::error::DataFusionError;
use tenantscope_table::TableError;

/// Why the lake could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A table could not be opened or made.
    #[error("{signal} table: {source}")]
    Table {
        /// `logs` or `spans`.
        signal: &'static str,
        /// What the table said.
        source: TableError,
    },
    /// The thread that flushes could not be started.
    #[error("flush thread: {0}")]
    Thread(std::io::Error),
    /// The query engine could not be set up.
    #[error("query engine: {0}")]
    Engine(#[from] DataFusionError),
}

/// Why a tenant's removal is not done yet; it goes on with the next call, or by itself.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    /// A file, or the table, could not be read or written.
    #[error("{signal} table: {source}")]
    Table {
        /// `logs` or `spans`.
        signal: &'static str,
        /// What the table said.
        source: TableError,
    },
    /// The lake closes; it goes on when it opens again.
    #[error("the lake closes before the removal is done")]
    Closing,
}

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The query is wrong: 400.
    #[error("parse error at line 1, col {column}: {message}")]
    Syntax {
        /// Where, counted in characters from 1.
        column: usize,
        /// What was expected there.
        message: String,
    },
    /// The query is well formed but asks for something impossible: 400.
    #[error("{0}")]
    Invalid(String),
    /// It took longer than `query_timeout`: 504.
    #[error("query timed out after {0:?} (lake.query_timeout)")]
    TimedOut(std::time::Duration),
    /// It needed more than a limit allows: 422.
    #[error("{0}")]
    Limit(String),
    /// A tenant was removed, and with it a file that the query still needed: 503, since the same query can be answered now.
    #[error("data was removed while the query ran, ask again")]
    Removed,
    /// Files could not be read: 500.
    #[error("lake: {0}")]
    Store(DataFusionError),
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => {
                Self::Limit("query needs more memory than it may use (lake.query_memory_bytes)".to_owned())
            }
            DataFusionError::Plan(message) => Self::Invalid(message.clone()),
            _ => Self::Store(error),
        }
    }
}

impl From<arrow::error::ArrowError> for QueryError {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::Store(error.into())
    }
}
