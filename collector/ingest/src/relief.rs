//! Room in a journal that nears its bound: what holds it back goes on at once rather than at its own time, which may be
//! minutes away, while senders would be told to come again.
//!
//! A journal keeps what the store has not in its files, and what a restart needs for the state. So the state is written,
//! the store is asked to flush, and the cursors follow once it has. Where others hold the journal back (forward targets
//! within their own bounds) nothing of this would help, and nothing is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::line::{Line, LineError};

/// Who asked for room in a line's journal, and how far it has come.
pub(crate) struct Relief {
    /// Told when somebody asks; shared by all lines.
    asked: Arc<Notify>,
    /// What the journal does not keep for store and state any more.
    passed: AtomicU64,
    /// Up to where it is asked not to.
    wanted: AtomicU64,
}

impl Relief {
    pub(crate) fn new(asked: Arc<Notify>, passed: u64) -> Self {
        Self { asked, passed: AtomicU64::new(passed), wanted: AtomicU64::new(0) }
    }

    /// The cursors of store and state have moved up to here.
    pub(crate) fn pass(&self, position: u64) {
        self.passed.fetch_max(position, Ordering::AcqRel);
    }

    fn passed(&self) -> u64 {
        self.passed.load(Ordering::Acquire)
    }

    /// What is still to be passed.
    fn wanted(&self) -> Option<u64> {
        Some(self.wanted.load(Ordering::Acquire)).filter(|wanted| *wanted > self.passed())
    }

    /// One thing after the other: what came since it was asked for is asked for once that is done.
    fn ask(&self, end: u64) {
        if end > self.passed() && self.wanted().is_none() {
            self.wanted.store(end, Ordering::Release);
            self.asked.notify_one();
        }
    }
}

impl Line {
    /// Asks for room once half of the journal's bound waits for store and state: the other half is left for what comes
    /// until they are done.
    pub(crate) fn ask_for_room_in_time(&self) {
        let half_bytes = self.journal.options().max_bytes / 2;
        let may_wait = self.journal.bytes() > half_bytes;
        if may_wait && self.journal.bytes_after(self.relief.passed()) > half_bytes {
            self.ask_for_room();
        }
    }

    /// Asks for all the room that there may be.
    pub(crate) fn ask_for_room(&self) {
        self.relief.ask(self.journal.end());
    }

    /// Makes the room that was asked for, as far as that needs no waiting, and says whether some is left to make. Blocks.
    pub(crate) fn make_room(&self) -> Result<bool, LineError> {
        let Some(wanted) = self.relief.wanted() else { return Ok(false) };
        // A restart takes a state that is not ahead of the store, so it is written before the store goes on.
        self.write_state_from(wanted)?;
        if self.store.durable().0 < wanted {
            self.store.flush_soon();
        }
        self.follow_store()?;
        Ok(self.relief.wanted().is_some())
    }
}
