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

/// Samples that each time of a query looked at, for whoever asks for statistics.
#[derive(Debug)]
pub struct StepSamples(Box<[AtomicU64]>);

impl StepSamples {
    /// Counts samples at the time with this index; times past the end are not counted.
    pub fn add(&self, step: usize, samples: usize) {
        if let Some(count) = self.0.get(step) {
            count.fetch_add(samples as u64, Ordering::Relaxed);
        }
    }

    /// The counts by time.
    pub fn counts(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().map(|count| count.load(Ordering::Relaxed))
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
        let counts = std::iter::repeat_with(|| AtomicU64::new(0)).take(steps).collect();
        self.steps = Some(StepSamples(counts));
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

    /// Takes memory that the query is about to hold.
    pub fn take_bytes(&self, bytes: usize) -> Result<(), SelectError> {
        let bytes = bytes as u64;
        if let Some(shared) = &self.shared {
            shared.take(bytes)?;
        }
        let held = self.held_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        self.peak_bytes.fetch_max(held, Ordering::Relaxed);
        if held > self.bounds.max_bytes {
            return Err(SelectError::TooMuchMemory { limit_bytes: self.bounds.max_bytes });
        }
        Ok(())
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
        assert_eq!(second.take_bytes(20), Err(SelectError::MemoryFull { limit_bytes: 100 }));
        first.give_back_bytes(60);
        assert_eq!((second.take_bytes(60), shared.used_bytes()), (Ok(()), 90));
        assert_eq!((first.peak_bytes(), second.peak_bytes()), (90, 60));
        drop((first, second));
        assert_eq!(shared.used_bytes(), 0);
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
        assert_eq!(steps.counts().collect::<Vec<_>>(), [5, 1]);
    }
}
