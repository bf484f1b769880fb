//! How much memory is used and promised.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes in use, counted and not measured. Cloning shares the counters.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    samples: AtomicUsize,
    index: AtomicUsize,
    families: AtomicUsize,
    reserved: AtomicUsize,
}

/// Bytes promised to a prepared batch; dropping it gives them back.
#[derive(Debug)]
pub(crate) struct Reservation {
    memory: Memory,
    bytes: usize,
}

impl Memory {
    pub(crate) fn samples(&self) -> usize {
        self.0.samples.load(Relaxed)
    }

    /// What index and families take for what is written, which no flush gives back.
    pub(crate) fn index(&self) -> usize {
        self.0.index.load(Relaxed) + self.0.families.load(Relaxed)
    }

    pub(crate) fn used(&self) -> usize {
        self.samples() + self.index() + self.0.reserved.load(Relaxed)
    }

    pub(crate) fn change_samples(&self, bytes: isize) {
        if bytes < 0 {
            self.free_samples(bytes.unsigned_abs());
        } else {
            self.0.samples.fetch_add(bytes.unsigned_abs(), Relaxed);
        }
    }

    pub(crate) fn free_samples(&self, bytes: usize) {
        let _ = self.0.samples.fetch_update(Relaxed, Relaxed, |used| Some(used.saturating_sub(bytes)));
    }

    /// What the index takes, less the series that only blocks have: these are the cache's, which has a bound of its own,
    /// and no reader's query takes room from writers.
    pub(crate) fn set_index(&self, bytes: usize) {
        self.0.index.store(bytes, Relaxed);
    }

    /// What families say of themselves.
    pub(crate) fn set_families(&self, bytes: usize) {
        self.0.families.store(bytes, Relaxed);
    }

    /// Promises bytes whatever the limit.
    pub(crate) fn reserve(&self, bytes: usize) -> Reservation {
        self.0.reserved.fetch_add(bytes, Relaxed);
        Reservation { memory: self.clone(), bytes }
    }

    /// Promises bytes if all that is used stays within the limit.
    pub(crate) fn try_reserve(&self, bytes: usize, max_bytes: usize) -> Option<Reservation> {
        let reservation = self.reserve(bytes);
        (self.used() <= max_bytes).then_some(reservation)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.0.reserved.fetch_sub(self.bytes, Relaxed);
    }
}
