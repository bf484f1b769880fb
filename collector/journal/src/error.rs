use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a journal could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or folder could not be read or made.
    #[error("journal: {path}: {source}", path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is of another journal, or of a version that this release does not know.
    #[error("journal: {path}: {reason}", path = path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Why a record was not appended. It is not in the journal, and never will be.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The journal is at its `max_bytes`; nothing was written.
    #[error("journal is full ({max_bytes} bytes)")]
    Full {
        /// The limit.
        max_bytes: u64,
    },
    /// Too many bytes wait for the disk.
    #[error("journal has too many bytes waiting for the disk")]
    Busy,
    /// The record is larger than any record may be.
    #[error("record of {bytes} bytes is larger than {max_bytes}", max_bytes = crate::MAX_RECORD_BYTES)]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The disk refused.
    #[error("journal could not be written: {0}")]
    Io(Arc<io::Error>),
    /// The journal is closing.
    #[error("journal is closed")]
    Closed,
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
#[error("journal: {path}: {source}", path = path.display())]
pub struct ReadError {
    /// The segment.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Why a cursor could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum CursorError {
    /// Names are 1 to 100 characters of letters, digits, `_`, `-` and `.`.
    #[error("cursor name {0:?} is not 1 to 100 letters, digits, '_', '-' or '.'")]
    Name(String),
    /// The disk refused.
    #[error("journal cursor: {path}: {source}", path = path.display())]
    Io {
        /// The cursor's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
