use std::io;
use std::path::PathBuf;

use delta_kernel::KernelError;

/// Why a table did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// A file or folder could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The object store did not do what it was asked.
    #[error("object store: {0}")]
    Store(#[from] object_store::Error),
    /// An object is shorter than the log says.
    #[error("{path}: ends early")]
    Short {
        /// The object within the table.
        path: String,
    },
    /// The URL names no place for a table.
    #[error("table URL: {0}")]
    Url(String),
    /// The Delta log could not be read or extended.
    #[error("delta: {0}")]
    Delta(#[from] KernelError),
    /// Rows could not be encoded.
    #[error("parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// Rows and table do not go together.
    #[error("arrow: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// The folder can't be named by a URL.
    #[error("{0:?} is no absolute folder")]
    Folder(PathBuf),
    /// A partition value that could not be part of a path.
    #[error("partition {column}={value:?} is not made of letters, digits, '_', '.' and '-'")]
    PartitionValue {
        /// The partition column.
        column: String,
        /// The value.
        value: String,
    },
    /// Somebody else wrote this version: the table has two committers.
    #[error("version {0} was written by somebody else")]
    Conflict(u64),
    /// The commit did not reach the log, as far as it could be asked.
    #[error("commit may not have happened: {0}")]
    Doubtful(KernelError),
    /// A change removes a file that the newest version does not have: it was made for an older version.
    #[error("{0} is not live any more")]
    NotLive(String),
    /// The table on disk was made with other columns.
    #[error("table has columns of another version: {0}")]
    Schema(String),
}

impl TableError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
