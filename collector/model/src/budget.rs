use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::SelectError;

/// The bounds of one query, beside its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryBounds {
    /// Samples that it may load.
    pub max_samples: u64,
    /// Series that one of its selectors may find.
    pub max_series: u64,
    /// Bytes that it may hold at once.
    pub max_bytes: u64,
}

impl QueryBounds {
    /// No bounds.
    pub const NONE: Self = Self { max_samples: u64::MAX, max_series: u64::MAX, max_bytes: u64::MAX };
}

/// The memory of all queries together. Queries take from it and give back; clones of the `Arc` share it.
#[derive(Debug)]
pub struct QueryMemory {
    max_bytes: AtomicU64,
    used_bytes: AtomicU64,
}

impl QueryMemory {
    /// So many bytes for all.
    pub fn new(max_bytes: u64) -> Self {
        Self { max_bytes: AtomicU64::new(max_bytes), used_bytes: AtomicU64::new(0) }
    }

    /// Another size from now on; what is taken stays taken.
    pub fn resize(&self, max_bytes: u64) {
        self.max_bytes.store(max_bytes, Ordering::Relaxed);
    }

    /// Bytes that queries hold now.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> Result<(), SelectError> {
        let limit_bytes = self.max_bytes.load(Ordering::Relaxed);
        let used = self.used_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if used > limit_bytes {
            self.give_back(bytes);
            return Err(SelectError::MemoryFull { limit_bytes });
        }
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Samples that each time of a query looked at, and read, for whoever asks for statistics.
#[derive(Debug)]
pub struct StepSamples {
    looked_at: Box<[AtomicU64]>,
    read: Box<[AtomicU64]>,
}

impl StepSamples {
    fn new(steps: usize) -> Self {
        let zeros = || std::iter::repeat_with(|| AtomicU64::new(0)).take(steps).collect();
        Self { looked_at: zeros(), read: zeros() }
    }

    /// Counts samples at the time with this index; times past the end are not counted.
    pub fn add(&self, step: usize, samples: usize) {
        add(&self.looked_at, step, samples);
    }

    /// Counts samples that no time before this one has looked at.
    pub fn add_read(&self, step: usize, samples: usize) {
        add(&self.read, step, samples);
    }

    /// What each time looked at.
    pub fn counts(&self) -> impl Iterator<Item = u64> + '_ {
        self.looked_at.iter().map(|count| count.load(Ordering::Relaxed))
    }

    /// What each time read.
    pub fn reads(&self) -> impl Iterator<Item = u64> + '_ {
        self.read.iter().map(|count| count.load(Ordering::Relaxed))
    }
}

fn add(counts: &[AtomicU64], step: usize, samples: usize) {
    if let Some(count) = counts.get(step) {
        count.fetch_add(samples as u64, Ordering::Relaxed);
    }
}

/// What one query may use. Shared by all selectors of the query and by all threads that work for it; checked often, so
/// it is only atomics.
///
/// Samples are counted when they are loaded and never given back; bytes are taken by whoever holds them and given back
/// by whoever lets them go, at the latest when the budget is dropped.
#[derive(Debug)]
pub struct QueryBudget {
    deadline: Instant,
    cancelled: AtomicBool,
    bounds: QueryBounds,
    used_samples: AtomicU64,
    held_bytes: AtomicU64,
    peak_bytes: AtomicU64,
    shared: Option<Arc<QueryMemory>>,
    steps: Option<StepSamples>,
}

impl QueryBudget {
    /// A budget that ends at `deadline` or after `max_samples` samples, and that has no other bounds.
    pub fn new(deadline: Instant, max_samples: u64) -> Self {
        Self::bounded(deadline, QueryBounds { max_samples, ..QueryBounds::NONE }, None)
    }

    /// A budget with bounds of its own, whose bytes also come from the memory of all queries.
    pub fn bounded(deadline: Instant, bounds: QueryBounds, shared: Option<Arc<QueryMemory>>) -> Self {
        Self {
            deadline,
            cancelled: AtomicBool::new(false),
            bounds,
            used_samples: AtomicU64::new(0),
            held_bytes: AtomicU64::new(0),
            peak_bytes: AtomicU64::new(0),
            shared,
            steps: None,
        }
    }

    /// Counts samples for each of so many times, too.
    #[must_use]
    pub fn with_steps(mut self, steps: usize) -> Self {
        self.steps = Some(StepSamples::new(steps));
        self
    }

    /// The samples by time, if they are wanted.
    pub fn steps(&self) -> Option<&StepSamples> {
        self.steps.as_ref()
    }

    /// Stops the query at its next check.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Counts samples that were loaded, and checks the limits.
    pub fn charge(&self, samples: usize) -> Result<(), SelectError> {
        let samples = samples as u64;
        let used = self.used_samples.fetch_add(samples, Ordering::Relaxed).saturating_add(samples);
        if used > self.bounds.max_samples {
            return Err(SelectError::TooManySamples { limit: self.bounds.max_samples });
        }
        self.check()
    }

    /// Counts series whose labels are handed out: each takes about as much memory as 20 samples.
    pub fn charge_series(&self, series: usize) -> Result<(), SelectError> {
        const SAMPLES: usize = 20;
        self.charge(series.saturating_mul(SAMPLES))
    }

    /// Refuses a selector that found more series than one may.
    pub fn check_series(&self, found: usize) -> Result<(), SelectError> {
        if found as u64 > self.bounds.max_series {
            return Err(SelectError::TooManySeries { limit: self.bounds.max_series });
        }
        self.check()
    }

    /// Takes memory that the query is about to hold; what is refused is not taken.
    pub fn take_bytes(&self, bytes: usize) -> Result<(), SelectError> {
        let bytes = bytes as u64;
        let limit_bytes = self.bounds.max_bytes;
        let more = |held: u64| held.checked_add(bytes).filter(|held| *held <= limit_bytes);
        let before = self.held_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        let Ok(before) = before else { return Err(SelectError::TooMuchMemory { limit_bytes }) };
        if let Some(shared) = &self.shared
            && let Err(full) = shared.take(bytes)
        {
            self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(full);
        }
        self.peak_bytes.fetch_max(before + bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Memory that is given back when it is dropped; nothing as yet.
    pub fn hold(&self) -> HeldBytes<'_> {
        HeldBytes { budget: self, used: 0, taken: 0 }
    }

    /// Gives back memory that was taken.
    pub fn give_back_bytes(&self, bytes: usize) {
        let given = self
            .held_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| Some(held.saturating_sub(bytes as u64)));
        if let (Some(shared), Ok(held)) = (&self.shared, given) {
            shared.give_back(held.min(bytes as u64));
        }
    }

    /// Checks deadline and cancellation.
    pub fn check(&self) -> Result<(), SelectError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(SelectError::Cancelled);
        }
        if Instant::now() >= self.deadline {
            return Err(SelectError::TimedOut);
        }
        Ok(())
    }

    /// Samples charged so far.
    pub fn used_samples(&self) -> u64 {
        self.used_samples.load(Ordering::Relaxed)
    }

    /// The most bytes that were held at once.
    pub fn peak_bytes(&self) -> u64 {
        self.peak_bytes.load(Ordering::Relaxed)
    }

    /// The bounds.
    pub fn bounds(&self) -> &QueryBounds {
        &self.bounds
    }
}

/// Memory taken from a query's budget until it is dropped.
///
/// It grows by small steps without touching the budget each time: a little more is taken than is used.
#[derive(Debug)]
pub struct HeldBytes<'a> {
    budget: &'a QueryBudget,
    used: usize,
    taken: usize,
}

impl<'a> HeldBytes<'a> {
    /// The most that is taken ahead, in bytes.
    const AHEAD: usize = 64 << 10;

    /// Holds more; what is refused is not held.
    pub fn grow(&mut self, bytes: usize) -> Result<(), SelectError> {
        let used = self.used.saturating_add(bytes);
        if used > self.taken {
            let needed = used - self.taken;
            let ahead = (used / 8).min(Self::AHEAD);
            let mut more = needed.saturating_add(ahead);
            if self.budget.take_bytes(more).is_err() {
                more = needed;
                self.budget.take_bytes(more)?;
            }
            self.taken += more;
        }
        self.used = used;
        Ok(())
    }

    /// Holds less; at the least nothing.
    pub fn shrink(&mut self, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
        let spare = self.taken - self.used;
        if spare > 2 * Self::AHEAD || self.used == 0 {
            self.budget.give_back_bytes(spare);
            self.taken = self.used;
        }
    }

    /// Holds so much from now on.
    pub fn resize(&mut self, bytes: usize) -> Result<(), SelectError> {
        match bytes.checked_sub(self.used) {
            Some(more) => self.grow(more),
            None => {
                self.shrink(self.used - bytes);
                Ok(())
            }
        }
    }

    /// Holds what another held, too.
    pub fn join(&mut self, mut other: HeldBytes<'a>) {
        self.used = self.used.saturating_add(std::mem::take(&mut other.used));
        self.taken = self.taken.saturating_add(std::mem::take(&mut other.taken));
    }

    /// How much it holds.
    pub fn bytes(&self) -> usize {
        self.used
    }
}

impl Drop for HeldBytes<'_> {
    fn drop(&mut self) {
        self.budget.give_back_bytes(self.taken);
    }
}

impl Drop for QueryBudget {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.give_back(*self.held_bytes.get_mut());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn budget(max_bytes: u64, shared: &Arc<QueryMemory>) -> QueryBudget {
        let deadline = Instant::now() + Duration::from_secs(600);
        QueryBudget::bounded(deadline, QueryBounds { max_bytes, ..QueryBounds::NONE }, Some(Arc::clone(shared)))
    }

    #[test]
    fn memory_is_bounded_for_one_query_and_for_all_and_comes_back() {
        let shared = Arc::new(QueryMemory::new(100));
        let (first, second) = (budget(80, &shared), budget(80, &shared));
        assert_eq!(first.take_bytes(70), Ok(()));
        assert_eq!(first.take_bytes(20), Err(SelectError::TooMuchMemory { limit_bytes: 80 }));
        assert_eq!(second.take_bytes(40), Err(SelectError::MemoryFull { limit_bytes: 100 }));
        assert_eq!(shared.used_bytes(), 70, "what was refused is not taken");
        first.give_back_bytes(60);
        assert_eq!((second.take_bytes(60), shared.used_bytes()), (Ok(()), 70));
        assert_eq!((second.take_bytes(20), shared.used_bytes()), (Ok(()), 90));
        assert_eq!((first.peak_bytes(), second.peak_bytes()), (70, 80));
        drop((first, second));
        assert_eq!(shared.used_bytes(), 0);
    }

    #[test]
    fn what_is_held_grows_by_steps_and_comes_back() {
        let shared = Arc::new(QueryMemory::new(u64::MAX));
        let budget = budget(1000, &shared);
        let mut held = budget.hold();
        (0..99).for_each(|_| held.grow(10).unwrap());
        assert!((990..=1000).contains(&shared.used_bytes()), "not much more is taken than is used");
        assert_eq!(held.grow(11), Err(SelectError::TooMuchMemory { limit_bytes: 1000 }));
        assert_eq!((held.bytes(), held.grow(10)), (990, Ok(())), "all that there is can be used");
        held.resize(100).unwrap();
        let mut other = budget.hold();
        assert!(other.grow(10).is_err(), "a little less is not worth giving back");
        held.shrink(100);
        other.grow(900).unwrap();
        held.join(other);
        assert_eq!(held.bytes(), 900);
        drop(held);
        assert_eq!((shared.used_bytes(), budget.take_bytes(1000)), (0, Ok(())));
    }

    #[test]
    fn one_selector_may_find_so_many_series() {
        let bounds = QueryBounds { max_series: 3, ..QueryBounds::NONE };
        let budget = QueryBudget::bounded(Instant::now() + Duration::from_secs(600), bounds, None);
        assert_eq!(budget.check_series(3), Ok(()));
        assert_eq!(budget.check_series(4), Err(SelectError::TooManySeries { limit: 3 }));
    }

    #[test]
    fn samples_are_counted_by_time_if_asked_for() {
        let budget = QueryBudget::new(Instant::now() + Duration::from_secs(600), 10).with_steps(2);
        let steps = budget.steps().unwrap();
        steps.add(0, 3);
        steps.add(1, 1);
        steps.add(0, 2);
        steps.add(7, 9);
        steps.add_read(1, 4);
        assert_eq!(steps.counts().collect::<Vec<_>>(), [5, 1]);
        assert_eq!(steps.reads().collect::<Vec<_>>(), [0, 4]);
    }
}
