//! What long loops do beside their work: look at the query's budget now and then, and take memory for what they make.

use std::cell::{Cell as Slot, RefCell};

use tenantscope_model::{HeldBytes, QueryBudget, SelectError};

use crate::column::Cell;
use crate::error::EngineError;

/// How much work lies between two looks at the budget: values or samples, of which a thousand take some microseconds.
pub(crate) const WORK_BETWEEN_CHECKS: usize = 4096;

/// A histogram is as much work as so many floats.
pub(crate) const HISTOGRAM_WORK: usize = 64;

/// The pace of a loop. Where it is stopped the rest of the loop is to do nothing, and [`Pace::ended`] says why.
pub(crate) struct Pace<'a> {
    budget: &'a QueryBudget,
    /// Since the last look; all there can be once it is stopped.
    work: Slot<usize>,
    stopped: Slot<Option<SelectError>>,
    held: RefCell<HeldBytes<'a>>,
}

impl<'a> Pace<'a> {
    pub(crate) fn new(budget: &'a QueryBudget) -> Self {
        Self { budget, work: Slot::new(0), stopped: Slot::new(None), held: RefCell::new(budget.hold()) }
    }

    /// Counts work that is about to be done; whether to go on.
    pub(crate) fn goes_on(&self, work: usize) -> bool {
        let done = self.work.get();
        if done == usize::MAX {
            return false;
        }
        let done = done.saturating_add(work);
        if done < WORK_BETWEEN_CHECKS {
            self.work.set(done);
            return true;
        }
        self.work.set(0);
        self.budget.check().map_err(|error| self.stop(error)).is_ok()
    }

    /// The same, with the reason.
    pub(crate) fn step(&self, work: usize) -> Result<(), EngineError> {
        if self.goes_on(work) { Ok(()) } else { self.ended() }
    }

    /// Takes memory for a histogram that was just made, as long as this pace lasts.
    pub(crate) fn keeps(&self, cell: Cell) -> Cell {
        if let Cell::Histogram(histogram) = &cell
            && std::sync::Arc::strong_count(histogram) == 1
            && let Err(error) = self.held.borrow_mut().grow(histogram.held_bytes())
        {
            self.stop(error);
            return Cell::Empty;
        }
        cell
    }

    fn stop(&self, error: SelectError) {
        self.work.set(usize::MAX);
        self.stopped.set(Some(error));
    }

    /// Why it was stopped, if it was.
    pub(crate) fn ended(&self) -> Result<(), EngineError> {
        self.stopped.take().map_or(Ok(()), |error| Err(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_cancelled_loop_does_no_more_than_a_little() {
        let budget = QueryBudget::new(Instant::now() + Duration::from_secs(600), 1);
        let pace = Pace::new(&budget);
        assert!(pace.goes_on(WORK_BETWEEN_CHECKS * 2) && pace.goes_on(1));
        budget.cancel();
        let done = (0..10 * WORK_BETWEEN_CHECKS).filter(|_| pace.goes_on(1)).count();
        assert!(done < WORK_BETWEEN_CHECKS && !pace.goes_on(0));
        assert_eq!(pace.ended(), Err(EngineError::Cancelled));
    }
}
