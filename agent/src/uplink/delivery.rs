use std::collections::BTreeMap;
use std::time::Instant;

use parking_lot::Mutex;
use tenantscope_model::Signal;
use tokio::sync::Notify;

use crate::repeated::Repeated;

/// What became of the batches: shared by the lanes, and asked when the agent ends.
#[derive(Debug, Default)]
pub struct Delivery {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The last record that each lane has dealt with.
    reached: BTreeMap<Signal, u64>,
    /// Batches that were refused for good, and why the last one was.
    refused: u64,
    last_refusal: Option<String>,
    /// Why the last attempt failed; none after one that succeeded.
    last_error: Option<String>,
    said: Repeated,
}

/// Why not everything was delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// Some batches wait, and this is why.
    #[error("not everything was delivered: {0}")]
    Waiting(String),
    /// Some batches were refused for good.
    #[error("{batches} batches were refused for good, the last one because {reason}")]
    Refused {
        /// How many.
        batches: u64,
        /// Why the last one was.
        reason: String,
    },
}

impl Delivery {
    /// A lane has dealt with everything up to here.
    pub(super) fn reached(&self, signal: Signal, position: u64) {
        self.state.lock().reached.insert(signal, position);
        self.changed.notify_waiters();
    }

    pub(super) fn succeeded(&self) {
        let mut state = self.state.lock();
        state.last_error = None;
        state.said.went_well();
    }

    /// Whether it is to be said: all lanes fail for one reason, mostly.
    pub(super) fn failed(&self, error: &str) -> bool {
        let mut state = self.state.lock();
        state.last_error = Some(error.to_owned());
        state.said.is_news(error, Instant::now())
    }

    pub(super) fn refused(&self, reason: &str) {
        let mut state = self.state.lock();
        state.refused += 1;
        state.last_refusal = Some(reason.to_owned());
    }

    /// Waits until every lane has dealt with everything up to `end`.
    pub async fn wait_for(&self, end: u64) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the state is looked at, so that no change goes between.
            changed.as_mut().enable();
            if self.has_reached(end) {
                return;
            }
            changed.await;
        }
    }

    /// Whether every lane has dealt with everything up to `end`.
    pub fn has_reached(&self, end: u64) -> bool {
        let state = self.state.lock();
        Signal::ALL.iter().all(|signal| state.reached.get(signal).is_some_and(|reached| *reached >= end))
    }

    /// Whether everything up to `end` was delivered.
    pub fn outcome(&self, end: u64) -> Result<(), Undelivered> {
        if !self.has_reached(end) {
            let error = self.state.lock().last_error.clone();
            return Err(Undelivered::Waiting(error.unwrap_or_else(|| "time ran out".to_owned())));
        }
        let state = self.state.lock();
        match &state.last_refusal {
            Some(reason) => Err(Undelivered::Refused { batches: state.refused, reason: reason.clone() }),
            None => Ok(()),
        }
    }
}
