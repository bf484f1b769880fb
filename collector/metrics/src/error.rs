use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or folder could not be read or made.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not what was written.
    #[error("{}: damaged: {what}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file was written by a release whose format this one does not read.
    #[error("{}: format version {found} is not {known}, which this release reads", path.display())]
    Version {
        /// Which.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version that is read.
        known: u32,
    },
    /// Another process has the folder open.
    #[error("{}: in use by another process", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
}

/// Why a flush, merge or removal failed. Nothing is lost: memory and files stay as they were.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file could not be read, written or made durable.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not what was written.
    #[error("{}: damaged at byte {offset}: {what}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Where the damaged piece begins.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The table of blocks, or one of them.
    #[error(transparent)]
    Block(#[from] crate::block::BlockError),
    /// A piece of work panicked, as decoders do on some damaged files.
    #[error("panicked: {what}")]
    Panicked {
        /// What the panic said.
        what: String,
    },
}

impl StoreError {
    /// Whether a file is damaged, so that the same work would fail again.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(source.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData),
            Self::Damaged { .. } | Self::Panicked { .. } => true,
            Self::Block(error) => error.is_damage(),
        }
    }

    /// For `map_err`: the file with what went wrong.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

impl OpenError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), what: what.into() }
    }
}
