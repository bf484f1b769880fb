//! A durable, append-only log of records, blind to what they hold.
//!
//! # The data's way
//! ```text
//! append(bytes) → queue → writer thread → segment file → fsync (one for all that wait) → callbacks, in order → Ok(position)
//!                                             ↓
//!                              Reader (after a position)  ←  Cursor (a named, durable position)
//! ```
//! A record's position is its ordinal: 1 for the first record ever, then rising by one. Segments are freed once every
//! cursor has passed them. The files are described in `FORMAT.md` beside this crate.
//!
//! # Invariants
//! - A position is given out only after an fsync covered the record, and never twice.
//! - Callbacks of [`Journal::append_then`] run in journal order, on one thread.
//! - A torn tail is cut at open; damage before valid records is reported and skipped, and costs nothing behind it.
//! - Queue, segments and total size are bounded. The journal never drops a record unless [`WhenFull::DropOldest`].
//!
//! It must never look into a record, and never answer "stored" for what may not be on the disk.

mod cursor;
mod error;
mod reader;
mod segment;
mod telemetry;
mod writer;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

pub use cursor::Cursor;
pub use error::{AppendError, CursorError, OpenError, ReadError};
pub use reader::{Reader, Record};
pub use writer::{Append, OnDurable};

use segment::SegmentFile;
use writer::Writer;

/// What happens to an append when the journal is at its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// It is refused with [`AppendError::Full`] before anything is written.
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

/// The largest record, in bytes.
pub const MAX_RECORD_BYTES: usize = 256 << 20;

/// Bytes that may wait for the writer; past that an append is [`AppendError::Busy`].
pub const MAX_QUEUED_BYTES: usize = 256 << 20;

/// A handle to an open journal; clones share it. The last one dropped stops the writer after what is queued.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
    writer: Arc<Writer>,
}

/// What writer, readers and cursors share.
pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) id: u128,
    pub(crate) options: Options,
    /// The segments by first position; the last one is written to.
    pub(crate) segments: Mutex<BTreeMap<u64, SegmentFile>>,
    /// Durable positions of the cursors, by name.
    pub(crate) cursors: Mutex<BTreeMap<String, u64>>,
    pub(crate) end: watch::Sender<u64>,
    pub(crate) dropped: AtomicU64,
    pub(crate) damaged: AtomicU64,
}

impl Journal {
    /// Opens the journal in `dir`, which is made if it is not there. Blocks.
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let dir = dir.as_ref().to_path_buf();
        let at = |path: &Path| {
            let path = path.to_path_buf();
            move |source| OpenError::Io { path, source }
        };
        fs::create_dir_all(&dir).map_err(at(&dir))?;
        let id = segment::read_or_make_id(&dir)?;
        let cursors = cursor::load(&dir)?;
        let opened = segment::open_all(&dir, id)?;
        let (end, _) = watch::channel(opened.end);
        let shared = Arc::new(Shared {
            dir,
            id,
            options,
            segments: Mutex::new(opened.segments),
            cursors: Mutex::new(cursors),
            end,
            dropped: AtomicU64::new(0),
            damaged: AtomicU64::new(opened.damaged_bytes),
        });
        let writer = Arc::new(Writer::start(Arc::clone(&shared))?);
        Ok(Self { shared, writer })
    }

    /// The journal's random id, stable for its folder.
    pub fn id(&self) -> u128 {
        self.shared.id
    }

    /// The first position that can still be read (or will be written next).
    pub fn first(&self) -> u64 {
        let segments = self.shared.segments.lock();
        segments.keys().next().copied().unwrap_or_else(|| self.end() + 1)
    }

    /// The last durable position; 0 when nothing was ever written.
    pub fn end(&self) -> u64 {
        *self.shared.end.borrow()
    }

    /// Tells of each new durable end.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.shared.end.subscribe()
    }

    /// Bytes in all segments.
    pub fn bytes(&self) -> u64 {
        self.shared.segments.lock().values().map(|segment| segment.bytes).sum()
    }

    /// Records dropped because the journal was full or they were too old, since it was opened.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Bytes that were skipped because they were damaged, since it was opened.
    pub fn damaged_bytes(&self) -> u64 {
        self.shared.damaged.load(Ordering::Relaxed)
    }

    /// Appends a record; resolves to its position once it is durable.
    pub async fn append(&self, record: Vec<u8>) -> Result<u64, AppendError> {
        self.append_then(record, |_| {})?.await
    }

    /// Appends a record; `on_durable` runs on the writer's thread, in journal order, once the record is durable and
    /// before the returned future resolves. It must be quick: the next records wait for it.
    ///
    /// The record is queued when this returns, whether or not the future is awaited.
    pub fn append_then(
        &self,
        record: Vec<u8>,
        on_durable: impl FnOnce(u64) + Send + 'static,
    ) -> Result<Append, AppendError> {
        self.writer.queue(record, Box::new(on_durable))
    }

    /// Reads the records behind `after`, oldest first.
    pub fn reader(&self, after: u64) -> Reader {
        Reader::new(Arc::clone(&self.shared), after)
    }

    /// The cursor of that name; a new one stands where `start` says.
    pub fn cursor(&self, name: &str, start: u64) -> Result<Cursor, CursorError> {
        Cursor::open(Arc::clone(&self.shared), name, start)
    }

    /// The names of all cursors.
    pub fn cursor_names(&self) -> Vec<String> {
        self.shared.cursors.lock().keys().cloned().collect()
    }
}
