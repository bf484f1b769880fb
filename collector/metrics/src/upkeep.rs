//! The store's own threads: one flushes, one merges, one makes and keeps blocks and drops what is past retention.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::block::BlockError;
use crate::error::StoreError;
use crate::store::MetricStore;

/// Time between two looks for parts to merge, when no flush gave a reason.
const MERGE_INTERVAL: Duration = Duration::from_secs(60);
/// Time between two looks for windows to convert, blocks to compact and files to delete.
const BLOCKS_INTERVAL: Duration = Duration::from_secs(30);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// What the threads wait for.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    signals: Mutex<Signals>,
    changed: Condvar,
    /// A flush was asked for: looked at on every write, so it is apart from the lock.
    flush_asked: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Signals {
    stop: bool,
    flush: bool,
    merge: bool,
}

impl Upkeep {
    /// Asks for a flush now.
    pub(crate) fn wake(&self) {
        if !self.flush_asked.swap(true, Ordering::Relaxed) {
            self.signals.lock().flush = true;
            self.changed.notify_all();
        }
    }

    /// Whether the threads are to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.signals.lock().stop
    }

    /// Waits until `due` or until a flag is set, which is cleared; says whether to go on.
    fn wait(&self, due: Instant, flag: Option<fn(&mut Signals) -> &mut bool>) -> bool {
        let mut signals = self.signals.lock();
        loop {
            if signals.stop {
                return false;
            }
            if flag.is_some_and(|flag| std::mem::take(flag(&mut signals))) || Instant::now() >= due {
                return true;
            }
            self.changed.wait_until(&mut signals, due);
        }
    }
}

impl MetricStore {
    /// Starts the threads that flush and merge. They hold the store until [`MetricStore::stop`].
    pub fn run(self: &Arc<Self>) -> io::Result<()> {
        self.upkeep.signals.lock().stop = false;
        let mut threads = self.upkeep.threads.lock();
        let store = Arc::clone(self);
        threads.push(thread::Builder::new().name("metrics-flush".to_owned()).spawn(move || store.flush_loop())?);
        let store = Arc::clone(self);
        threads.push(thread::Builder::new().name("metrics-merge".to_owned()).spawn(move || store.merge_loop())?);
        let store = Arc::clone(self);
        threads.push(thread::Builder::new().name("metrics-blocks".to_owned()).spawn(move || store.block_loop())?);
        Ok(())
    }

    /// Ends the threads, and writes what is in memory into parts so that the next start has nothing to replay.
    pub fn stop(&self) -> Result<(), StoreError> {
        self.upkeep.signals.lock().stop = true;
        self.upkeep.changed.notify_all();
        let threads = std::mem::take(&mut *self.upkeep.threads.lock());
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("an upkeep thread of the metric store panicked");
            }
        }
        self.flush()
    }

    fn flush_loop(&self) {
        let mut retry = FIRST_RETRY;
        let mut due = Instant::now() + self.options.flush_interval;
        let mut flag: Option<fn(&mut Signals) -> &mut bool> = Some(|signals| &mut signals.flush);
        while self.upkeep.wait(due, flag) {
            match self.flush() {
                Ok(()) => {
                    retry = FIRST_RETRY;
                    due = Instant::now() + self.options.flush_interval;
                    flag = Some(|signals| &mut signals.flush);
                    self.upkeep.signals.lock().merge = true;
                    self.upkeep.changed.notify_all();
                }
                Err(error) => {
                    tracing::error!(%error, ?retry, "flush failed; memory is kept and it will be tried again");
                    due = Instant::now() + retry;
                    retry = (retry * 2).min(LAST_RETRY);
                    // Writers that ask meanwhile do not shorten the wait.
                    flag = None;
                }
            }
            self.upkeep.flush_asked.store(false, Ordering::Relaxed);
        }
    }

    fn merge_loop(&self) {
        let mut retry = FIRST_RETRY;
        let mut due = Instant::now() + MERGE_INTERVAL;
        while self.upkeep.wait(due, Some(|signals| &mut signals.merge)) {
            due = Instant::now() + MERGE_INTERVAL;
            let merged = self.merge();
            match merged {
                Ok(false) => retry = FIRST_RETRY,
                // There may be more to do; `stop` gets its turn in between.
                Ok(true) => due = Instant::now(),
                Err(error) => {
                    tracing::error!(%error, ?retry, "merge failed; the parts stay as they are");
                    due = Instant::now() + retry;
                    retry = (retry * 2).min(LAST_RETRY);
                }
            }
        }
    }

    /// On its own thread, since the table may be far away.
    fn block_loop(&self) {
        let interval = BLOCKS_INTERVAL.min(self.options.blocks.settle.max(FIRST_RETRY));
        let mut retry = FIRST_RETRY;
        let mut due = Instant::now() + FIRST_RETRY;
        while self.upkeep.wait(due, None) {
            match self.keep_blocks() {
                Ok(true) => (due, retry) = (Instant::now(), FIRST_RETRY),
                Ok(false) => (due, retry) = (Instant::now() + interval, FIRST_RETRY),
                Err(StoreError::Block(BlockError::Stopped)) => {}
                Err(error) => {
                    tracing::error!(%error, ?retry, "could not work on blocks; parts and blocks stay as they are");
                    due = Instant::now() + retry;
                    retry = (retry * 2).min(LAST_RETRY);
                }
            }
        }
    }

    /// One step of what blocks need, and whether there may be more to do.
    fn keep_blocks(&self) -> Result<bool, StoreError> {
        self.leave_unneeded();
        self.resume_removals()?;
        self.expire()?;
        if self.convert()? || self.compact()? {
            return Ok(true);
        }
        self.delete_dead_blocks()?;
        Ok(false)
    }
}
