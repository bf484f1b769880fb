//! The buffer on disk between sources and uplink.
//!
//! ```text
//! source ── Batch + moves ──→ Spool::append ── fsync ──→ Progress (what each source has handed over)
//!                                  │
//!                                  └──→ Lane (one for each signal) ──→ uplink ──→ acknowledged: the cursor moves
//! ```
//! A record holds a batch and the positions that it moves, so both survive together or not at all. `checkpoint` holds
//! every source's progress up to one record; a start loads it and replays the records behind it.
//!
//! # Invariants
//! - A source's progress never runs ahead of what is on the disk.
//! - The epoch is on the disk before a batch that carries it is sent; a batch's sequence is its record's position.
//! - Bounded in bytes and age: the oldest goes first, and what goes undelivered is counted. What AWS keeps anyway is
//!   not read while half of the bytes wait, so an outage of any length costs none of it.

mod checkpoint;
mod lane;
mod progress;
mod record;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tenantscope_journal::{AppendError, Cursor, CursorError, Journal, OpenError, Options, ReadError, WhenFull};
use tenantscope_model::Signal;
use tokio::sync::watch;

pub use lane::{Lane, Spooled};
pub use progress::{Key, MAX_SEEN, MAX_SEEN_TOTAL, Move, Progress};
pub use record::{Batch, RecordError};

use checkpoint::Checkpoint;

use crate::config;
use crate::telemetry;

/// The cursor that keeps the records which the checkpoint does not cover.
const CHECKPOINT_CURSOR: &str = "checkpoint";

/// How long a source waits for room before its round fails and is tried again.
const ROOM_TIMEOUT: Duration = Duration::from_secs(60);
/// How often it looks.
const ROOM_INTERVAL: Duration = Duration::from_millis(200);

/// A handle to the spool; clones share it.
#[derive(Clone)]
pub struct Spool {
    shared: Arc<Shared>,
}

struct Shared {
    journal: Journal,
    dir: PathBuf,
    max_bytes: u64,
    state: Mutex<State>,
    checkpoint_cursor: Cursor,
}

struct State {
    progress: BTreeMap<String, Progress>,
    /// The last record whose moves `progress` holds.
    position: u64,
    /// The position of the checkpoint on the disk.
    saved: u64,
    epoch: Option<u64>,
}

/// Why the spool failed.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A record cannot be written.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// A record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A cursor cannot be moved.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// A record is not one of ours.
    #[error("spool record {position}: {source}")]
    Record {
        /// Which.
        position: u64,
        /// What is wrong.
        source: RecordError,
    },
    /// The collector has not taken what is spooled for too long.
    #[error("spool is half full and is not being delivered")]
    NoRoom,
    /// A task that worked on the spool ended before its time.
    #[error("spool: the agent is stopping")]
    Stopped,
    /// The checkpoint or the epoch cannot be read or written.
    #[error("spool: {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Spool {
    /// Opens the spool and recovers every source's progress. Blocks.
    pub fn open(config: &config::Spool) -> Result<Self, SpoolError> {
        let journal = Journal::open(
            config.dir.join("journal"),
            Options {
                segment_max_bytes: (config.max_bytes.0 / 8).clamp(128 << 10, 16 << 20),
                max_bytes: config.max_bytes.0,
                max_age: config.max_age.map(|age| age.0),
                when_full: WhenFull::DropOldest,
            },
        )?;
        let loaded = Checkpoint::load(&config.dir, journal.id())?;
        let epoch = checkpoint::load_epoch(&config.dir, journal.id())?;
        // Opened before anything else is read, so that no segment goes between.
        let checkpoint_cursor = journal.cursor(CHECKPOINT_CURSOR, loaded.position)?;
        let mut state = State { progress: loaded.progress, position: loaded.position, saved: loaded.position, epoch };
        replay(&journal, &mut state)?;
        let dir = config.dir.clone();
        let max_bytes = config.max_bytes.0;
        let shared = Shared { journal, dir, max_bytes, state: Mutex::new(state), checkpoint_cursor };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The epoch; none in a new spool.
    pub fn epoch(&self) -> Option<u64> {
        self.shared.state.lock().epoch
    }

    /// Makes an epoch durable. Blocks.
    pub fn set_epoch(&self, epoch: u64) -> Result<(), SpoolError> {
        checkpoint::save_epoch(&self.shared.dir, self.shared.journal.id(), epoch)?;
        self.shared.state.lock().epoch = Some(epoch);
        Ok(())
    }

    /// Takes the positions that the collector kept, for sources that have none here.
    pub fn adopt(&self, positions: &BTreeMap<String, serde_json::Value>) {
        let mut state = self.shared.state.lock();
        for (source, position) in positions {
            if let Some(position_ms) = position.as_i64() {
                state.progress.entry(source.clone()).or_insert_with(|| Progress::at(position_ms));
            }
        }
    }

    /// Where a source stands; none if it never handed anything over.
    pub fn position_ms(&self, source: &str) -> Option<i64> {
        self.shared.state.lock().progress.get(source).map(|progress| progress.position_ms)
    }

    /// The time before which a source does not look again.
    pub fn floor_ms(&self, source: &str) -> Option<i64> {
        self.shared.state.lock().progress.get(source).map(|progress| progress.floor_ms)
    }

    /// Whether a source has handed this over before. Known for what is not older than its floor.
    pub fn has_seen(&self, source: &str, key: Key) -> bool {
        self.shared.state.lock().progress.get(source).is_some_and(|progress| progress.has_seen(key))
    }

    /// Appends a batch with what it moves; resolves once both are durable.
    pub async fn append(&self, batch: &Batch, moves: &[Move]) -> Result<u64, SpoolError> {
        let shared = Arc::clone(&self.shared);
        let steps = moves.to_vec();
        // In journal order, so that progress up to a position holds every record up to it: a checkpoint relies on it.
        let on_durable = move |position| {
            let mut state = shared.state.lock();
            steps.iter().for_each(|step| apply(&mut state.progress, step));
            state.position = position;
        };
        let position = self.shared.journal.append_then(record::encode(batch, moves), on_durable)?.await?;
        telemetry::spooled(batch, self.shared.journal.bytes(), self.shared.journal.dropped());
        Ok(position)
    }

    /// Appends what can be read again from where it came. While the spool is half full it waits, and then gives up:
    /// after an outage the source goes on from its position and nothing is lost, and what cannot be read again, the
    /// applications' telemetry, has the other half.
    pub async fn append_repeatable(&self, batch: &Batch, moves: &[Move]) -> Result<u64, SpoolError> {
        let room = async {
            while self.is_half_full() {
                tokio::time::sleep(ROOM_INTERVAL).await;
            }
        };
        tokio::time::timeout(ROOM_TIMEOUT, room).await.map_err(|_| SpoolError::NoRoom)?;
        self.append(batch, moves).await
    }

    /// Whether sources that can wait are to wait.
    pub fn is_half_full(&self) -> bool {
        self.shared.journal.bytes() > self.shared.max_bytes / 2
    }

    /// Moves a source that found nothing new. It is durable with the next checkpoint; losing it costs a second look.
    pub fn advance(&self, step: &Move) {
        apply(&mut self.shared.state.lock().progress, step);
    }

    /// Writes every source's progress. Blocks.
    pub fn checkpoint(&self) -> Result<(), SpoolError> {
        let (checkpoint, end) = {
            let state = self.shared.state.lock();
            (Checkpoint { position: state.position, progress: state.progress.clone() }, state.position)
        };
        checkpoint.save(&self.shared.dir, self.shared.journal.id())?;
        self.shared.checkpoint_cursor.advance(end)?;
        self.shared.state.lock().saved = end;
        Ok(())
    }

    /// How many records the checkpoint is behind.
    pub fn unsaved(&self) -> u64 {
        let state = self.shared.state.lock();
        state.position.saturating_sub(state.saved)
    }

    /// The reader of one signal's batches; there is to be one for each signal.
    pub fn lane(&self, signal: Signal) -> Result<Lane, SpoolError> {
        Lane::open(&self.shared.journal, signal)
    }

    /// Tells of each new record.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.shared.journal.watch()
    }

    /// The position of the last record.
    pub fn end(&self) -> u64 {
        self.shared.journal.end()
    }
}

fn apply(progress: &mut BTreeMap<String, Progress>, step: &Move) {
    match progress.get_mut(&step.source) {
        Some(known) => known.apply(step),
        None => progress.entry(step.source.clone()).or_default().apply(step),
    }
    let total: usize = progress.values().map(Progress::remembered).sum();
    let largest = progress.values_mut().max_by_key(|known| known.remembered());
    if let Some(largest) = largest.filter(|_| total > MAX_SEEN_TOTAL) {
        largest.forget_oldest(total - MAX_SEEN_TOTAL);
    }
}

fn replay(journal: &Journal, state: &mut State) -> Result<(), SpoolError> {
    let mut reader = journal.reader(state.position);
    while let Some(found) = reader.next_record()? {
        let position = found.position;
        match record::decode(found.bytes) {
            Ok((_, moves)) => moves.iter().for_each(|step| apply(&mut state.progress, step)),
            Err(source) => return Err(SpoolError::Record { position, source }),
        }
        state.position = position;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
