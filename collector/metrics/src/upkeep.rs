//! The store's own threads: one flushes, one merges, one makes and keeps blocks and drops what is past retention.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
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
/// How long work is left alone that met damage.
const HELD_FOR: Duration = Duration::from_secs(3600);
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
    /// Held for the length of a removal.
    pub(crate) removing: Mutex<()>,
    /// A panic kept a batch from being applied.
    apply_failed: AtomicBool,
    /// What is left alone, and until when.
    held: Mutex<HashMap<Work, Instant>>,
}

/// Work that may be left alone for a while, so that what is damaged does not stop the rest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Work {
    /// To merge the parts of a window.
    Merge(i64),
    /// To convert a window.
    Convert(i64),
    /// To compact a file of the table.
    Compact(String),
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

    pub(crate) fn refuse_writes(&self) {
        self.apply_failed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_failed_to_apply(&self) -> bool {
        self.apply_failed.load(Ordering::Relaxed)
    }

    /// Leaves work alone for a while: it met damage, and would meet it again.
    pub(crate) fn hold(&self, work: Work) {
        let now = Instant::now();
        let mut held = self.held.lock();
        held.retain(|_, until| *until > now);
        held.insert(work, now + HELD_FOR);
    }

    pub(crate) fn is_held(&self, work: &Work) -> bool {
        self.held.lock().get(work).is_some_and(|until| *until > Instant::now())
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
            match guarded(|| self.flush()) {
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
            match guarded(|| self.merge()) {
                Ok(false) => retry = FIRST_RETRY,
                // There may be more to do; `stop` gets its turn in between.
                Ok(true) => due = Instant::now(),
                Err(error) if error.is_damage() => {
                    tracing::error!(%error, "these parts can't be merged and stay as they are; others go on");
                    due = Instant::now() + FIRST_RETRY;
                }
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

    /// One step of what blocks need, and whether there may be more to do. What fails does not keep the rest from being done.
    pub(crate) fn keep_blocks(&self) -> Result<bool, StoreError> {
        self.leave_unneeded();
        let mut failed = None;
        let mut done = |outcome: Result<bool, StoreError>| {
            outcome.unwrap_or_else(|error| {
                let is_first = failed.is_none();
                if !is_first {
                    tracing::error!(%error, "could not work on blocks");
                } else {
                    failed = Some(error);
                }
                false
            })
        };
        done(guarded(|| self.resume_removals()).map(|()| false));
        done(guarded(|| self.expire()).map(|()| false));
        let has_more = done(guarded(|| self.convert())) || done(guarded(|| self.compact()));
        if !has_more {
            done(guarded(|| self.delete_dead_blocks()).map(|()| false));
        }
        failed.map_or(Ok(has_more), Err)
    }
}

/// Does a piece of work in which a panic is an error: damaged files may make a decoder panic.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        Err(StoreError::Panicked { what: text.to_owned() })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use tenantscope_model::{Labels, Position, Refusal, ReportDirty, Sample, Sink, StampedBatch, StampedSeries};

    use super::*;
    use crate::options::Options;

    fn batch(t_ms: i64) -> StampedBatch {
        let labels = Labels::from_pairs([("__name__", "up")]);
        let series = StampedSeries::of_samples(labels, vec![Sample { t_ms, value: 1.0 }]);
        StampedBatch::Metrics { series: vec![series], metadata: Vec::new() }
    }

    #[test]
    fn no_flush_passes_a_batch_that_was_not_applied_and_writes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { retention: None, future_max: None, ..Options::default() };
        let store = MetricStore::open(dir.path(), options).unwrap();
        let write = |position: u64| {
            let prepared = store.prepare(batch(position as i64)).unwrap();
            store.apply(prepared, Position(position));
        };
        write(1);
        let late = store.prepare(batch(3)).unwrap();
        store.stop_before(Position(2));
        store.apply(late, Position(3));
        store.flush().unwrap();
        assert_eq!((store.durable(), store.stats().part_samples), (Position(1), 2));
        let refused = store.prepare(batch(4)).unwrap_err();
        assert!(matches!(refused, Refusal::Unavailable { reason: "store_failed", .. }));
        store.flush().unwrap();
        assert_eq!(store.durable(), Position(1));
    }

    #[test]
    fn a_batch_that_was_not_applied_is_late_for_what_was_summed_without_it() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { retention: None, future_max: None, ..Options::default() };
        let store = MetricStore::open(dir.path(), options.clone()).unwrap();
        let later = store.prepare(batch(3)).unwrap();
        store.stop_before(Position(1));
        store.apply(later, Position(2));
        store.summed_until(100).unwrap();
        drop(store);
        let store = MetricStore::open(dir.path(), options).unwrap();
        store.apply(store.prepare_replay(batch(1)), Position(1));
        let told = store.dirty().ranges;
        assert_eq!(told.iter().map(|range| (range.from_ms, range.to_ms)).collect::<Vec<_>>(), [(1, 1)]);
    }

    #[test]
    fn a_flush_that_is_asked_for_does_not_wait_for_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let flush_interval = Duration::from_secs(86_400);
        let options = Options { retention: None, future_max: None, flush_interval, ..Options::default() };
        let store = MetricStore::open(dir.path(), options).unwrap();
        store.run().unwrap();
        store.apply(store.prepare(batch(1)).unwrap(), Position(1));
        let until = Instant::now() + Duration::from_secs(120);
        while store.durable() < Position(1) {
            // As the journal's keeper does: a flush that was under way did not have it.
            store.flush_soon();
            assert!(Instant::now() < until, "the flush never came");
            thread::sleep(Duration::from_millis(5));
        }
        store.stop().unwrap();
    }

    #[test]
    fn a_panic_is_an_error() {
        let error = guarded::<()>(|| panic!("out of {}", 5)).unwrap_err();
        assert_eq!(error.to_string(), "panicked: out of 5");
        assert!(error.is_damage());
    }
}
