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
//! - A torn tail is cut at open; damage before valid records, and what the disk does not give back, is reported and
//!   skipped, and costs nothing behind it.
//! - Queue, segments and total size are bounded. The journal never drops a record unless [`WhenFull::DropOldest`].
//!
//! It must never look into a record, and never answer "stored" for what may not be on the disk.

mod backlog;
mod commit;
mod cursor;
mod error;
mod folder;
mod options;
mod reader;
mod retention;
mod search;
mod segment;
mod shared;
mod telemetry;
mod unreadable;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

pub use commit::OnDurable;
pub use cursor::Cursor;
pub use error::{AppendError, CursorError, OpenError, ReadError};
pub use folder::make_folder;
pub use options::{MAX_QUEUED_BYTES, MAX_RECORD_BYTES, Options, WhenFull};
pub use reader::{Reader, Record};
pub use writer::Append;

use shared::Shared;
use writer::Writer;

/// A handle to an open journal; clones share it. The last one dropped stops the writer after what is queued.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
    writer: Arc<Writer>,
}

impl Journal {
    /// Opens the journal in `dir`, which is made if it is not there. Blocks.
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let dir = dir.as_ref().to_path_buf();
        make_folder(&dir).map_err(|source| OpenError::Io { path: dir.clone(), source })?;
        let lock = folder::lock(&dir)?;
        let id = folder::read_or_make_id(&dir)?;
        let cursors = cursor::load(&dir)?;
        let opened = folder::open_segments(&dir, id)?;
        // What a cursor has passed is never written again, even if the disk lost it.
        let end = cursors.values().copied().fold(opened.end, u64::max);
        let goes_on = opened.goes_on && opened.end == end;
        let shared = Arc::new(Shared::new(dir, lock, id, options, opened.segments, cursors, end));
        let last = shared.segments.lock().keys().next_back().copied().unwrap_or(0);
        opened.damage.iter().for_each(|damage| shared.report_damage(last, damage));
        let writer = Arc::new(Writer::start(Arc::clone(&shared), goes_on)?);
        retention::free_passed(&shared);
        Ok(Self { shared, writer })
    }

    /// The id of the journal in `dir`, which is begun if it is not there: for a store that must know the id before the
    /// journal can be opened, since opening replays into the store. Blocks.
    pub fn id_in(dir: impl AsRef<Path>) -> Result<u128, OpenError> {
        let dir = dir.as_ref();
        make_folder(dir).map_err(|source| OpenError::Io { path: dir.to_path_buf(), source })?;
        folder::read_or_make_id(dir)
    }

    /// The journal's random id, stable for its folder.
    pub fn id(&self) -> u128 {
        self.shared.id
    }

    /// The first position that can still be read (or will be written next).
    pub fn first(&self) -> u64 {
        let first = self.shared.segments.lock().keys().next().copied();
        first.unwrap_or_else(|| self.end() + 1)
    }

    /// The last durable position; 0 when nothing was ever written.
    pub fn end(&self) -> u64 {
        self.shared.end()
    }

    /// Tells of each new durable end.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.shared.end.subscribe()
    }

    /// Bytes in all segments.
    pub fn bytes(&self) -> u64 {
        self.shared.total_bytes()
    }

    /// Records dropped because the journal was full or they were too old, since it was opened.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Records that stood in damaged places, as far as what is behind them tells their number.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Bytes that were skipped because they were damaged, as far as it was read since it was opened.
    pub fn damaged_bytes(&self) -> u64 {
        self.shared.damaged.load(Ordering::Relaxed)
    }

    /// The limits in force: `segment_max_bytes` is at most a quarter of `max_bytes`, so that there is always a segment
    /// that can be let go.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// About how many bytes stand behind a position (exact between segments, by proportion within one).
    pub fn bytes_after(&self, position: u64) -> u64 {
        backlog::bytes_after(&self.shared, position)
    }

    /// The position behind which about `bytes` stand; 0 when the whole journal is no larger.
    pub fn position_before_last(&self, bytes: u64) -> u64 {
        backlog::position_before_last(&self.shared, bytes)
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

    /// Closes the segment that has this position, if it is the last one, so that it can go once every cursor has passed it,
    /// however little comes: what is appended from then on begins a new one. It happens behind what waits for the writer, soon
    /// after this returns.
    pub fn cut_behind(&self, position: u64) {
        self.writer.cut_behind(position);
    }

    /// The cursor that is furthest behind, and where it stands.
    pub fn slowest_cursor(&self) -> Option<(String, u64)> {
        let cursors = self.shared.cursors.lock();
        cursors.iter().min_by_key(|(_, at)| **at).map(|(name, at)| (name.clone(), *at))
    }

    /// The names of all cursors.
    pub fn cursor_names(&self) -> Vec<String> {
        self.shared.cursors.lock().keys().cloned().collect()
    }
}
