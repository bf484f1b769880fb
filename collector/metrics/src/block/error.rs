use tenantscope_table::TableError;

/// Why blocks could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The table did not do what it was asked.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A block could not be encoded or decoded.
    #[error("block {path}: {source}")]
    Parquet {
        /// The file within the table.
        path: String,
        /// What is wrong with it.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// A block is not what was written.
    #[error("block {path}: damaged: {what}")]
    Damaged {
        /// The file within the table.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// A block's series index was written by a release whose format this one does not read.
    #[error("block {path}: version {found} of the series index is not {known}, which this release reads")]
    Version {
        /// The file within the table.
        path: String,
        /// Its version.
        found: u32,
        /// The version that is read.
        known: u32,
    },
    /// The table could not be opened a moment ago.
    #[error("the table of blocks can't be reached: {0}")]
    Away(String),
    /// The store is stopping; the work is begun again at the next start.
    #[error("the store is stopping")]
    Stopped,
}

impl BlockError {
    pub(super) fn parquet(path: &str) -> impl FnOnce(parquet::errors::ParquetError) -> Self {
        move |source| Self::Parquet { path: path.to_owned(), source }
    }

    pub(super) fn damaged(path: &str, what: &(impl ToString + ?Sized)) -> Self {
        Self::Damaged { path: path.to_owned(), what: what.to_string() }
    }
}
