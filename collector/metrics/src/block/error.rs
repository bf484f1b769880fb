use std::io::ErrorKind;

use parquet::errors::ParquetError;
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
        source: ParquetError,
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
    /// Whether a file is damaged or gone, so that the same work would fail again.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Parquet { source: ParquetError::External(source), .. } => {
                source.downcast_ref::<TableError>().is_some_and(is_damage)
            }
            Self::Parquet { .. } | Self::Damaged { .. } | Self::Version { .. } => true,
            Self::Table(error) => is_damage(error),
            Self::Away(_) | Self::Stopped => false,
        }
    }

    /// Whether it names a file of the table.
    pub(super) fn is_about(&self, file: &str) -> bool {
        match self {
            Self::Parquet { path, .. } | Self::Damaged { path, .. } | Self::Version { path, .. } => path == file,
            Self::Table(TableError::Short { path }) => path.ends_with(file),
            Self::Table(TableError::Io { path, .. }) => path.ends_with(file),
            Self::Table(_) | Self::Away(_) | Self::Stopped => false,
        }
    }

    pub(super) fn parquet(path: &str) -> impl FnOnce(ParquetError) -> Self {
        move |source| Self::Parquet { path: path.to_owned(), source }
    }

    pub(super) fn damaged(path: &str, what: &(impl ToString + ?Sized)) -> Self {
        Self::Damaged { path: path.to_owned(), what: what.to_string() }
    }
}

fn is_damage(error: &TableError) -> bool {
    match error {
        TableError::Short { .. } => true,
        TableError::Io { source, .. } => {
            matches!(source.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::NotFound)
        }
        _ => false,
    }
}
