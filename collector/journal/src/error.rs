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
    /// Another process, or another handle in this one, has the journal open.
    #[error("journal: {path}: in use by another process", path = path.display())]
    InUse {
        /// The lock's file.
        path: PathBuf,
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

/// Why a record was not appended. No reader sees it.
///
/// After [`AppendError::Io`] on a disk that then also refused to cut the file, a crash before the next append may leave
/// the record behind, to be found at the next open: a resend is then a repeat, never a loss.
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
    #[error("record of {bytes} bytes is larger than {max_bytes}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit: the smaller of [`crate::MAX_RECORD_BYTES`] and what fits into `max_bytes`.
        max_bytes: u64,
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
