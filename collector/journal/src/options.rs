use std::time::Duration;

use crate::segment::{HEADER_BYTES, RECORD_HEADER_BYTES};

/// The largest record, in bytes.
pub const MAX_RECORD_BYTES: usize = 256 << 20;

/// Bytes that may wait for the writer; past that an append is [`crate::AppendError::Busy`].
pub const MAX_QUEUED_BYTES: usize = 256 << 20;

/// What happens to an append when the journal is at its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// It is refused with [`crate::AppendError::Full`] before anything is written.
    Refuse,
    /// The oldest segments are dropped and their records counted; cursors that stood there move on.
    DropOldest,
}

/// Limits of a journal.
#[derive(Debug, Clone)]
pub struct Options {
    /// A segment that has grown to this is closed. Default 64 MiB.
    pub segment_max_bytes: u64,
    /// Size of all segments together. Default 4 GiB.
    pub max_bytes: u64,
    /// Segments whose last record is older are dropped; only with [`WhenFull::DropOldest`].
    pub max_age: Option<Duration>,
    /// What happens at `max_bytes`.
    pub when_full: WhenFull,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_max_bytes: 64 << 20, max_bytes: 4 << 30, max_age: None, when_full: WhenFull::Refuse }
    }
}

impl Options {
    /// With segments small enough that the journal always has one to let go before it is full.
    pub(crate) fn clamped(mut self) -> Self {
        self.segment_max_bytes = self.segment_max_bytes.min(self.max_bytes / 4).max(HEADER_BYTES as u64 + 1);
        self
    }

    /// The largest payload that fits beside the headers of two segments.
    pub(crate) fn largest_record(&self) -> u64 {
        self.max_bytes.saturating_sub((2 * HEADER_BYTES + RECORD_HEADER_BYTES) as u64)
    }
}
