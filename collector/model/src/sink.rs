use std::time::Duration;

use crate::{Position, StampedBatch};

/// Why a batch was not taken. Everything that can be refused is refused before anything is durable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Try again later: 503 / UNAVAILABLE. Nothing is wrong with the batch.
    #[error("unavailable: {reason}")]
    Unavailable {
        /// A fixed word for the counter's `reason` label, such as `store_memory`.
        reason: &'static str,
        /// When to try again.
        retry_after: Duration,
    },
    /// Never send it again: 400 / INVALID_ARGUMENT.
    #[error("invalid: {message}")]
    Invalid {
        /// A fixed word for the counter's `reason` label.
        reason: &'static str,
        /// What is wrong, for the sender.
        message: String,
    },
}

/// A store at the end of a journal. Ingest calls `prepare`, makes the batch durable, then `apply`, in journal order.
pub trait Sink: Send + Sync + 'static {
    /// A batch with what it needs reserved; dropping it gives the reservation back.
    type Prepared: Send + 'static;

    /// Takes out of a batch what the store would not keep, before the rest is prepared; says how many samples or records
    /// these were, by a fixed word for the counter's `reason` label.
    fn leave_out(&self, _batch: &mut StampedBatch) -> Vec<(&'static str, usize)> {
        Vec::new()
    }

    /// Reserves series and memory; may refuse. Nothing can be queried yet.
    fn prepare(&self, batch: StampedBatch) -> Result<Self::Prepared, Refusal>;

    /// Makes the batch queryable; cannot refuse. Called in journal order, also when a restart replays.
    fn apply(&self, prepared: Self::Prepared, position: Position);

    /// Reserves without limits, for a replay: what was acknowledged is taken whatever it costs.
    fn prepare_replay(&self, batch: StampedBatch) -> Self::Prepared;

    /// Up to where the store's own files hold everything; a restart replays from the next position.
    fn durable(&self) -> Position;

    /// Asks for a flush now rather than at the store's own time, since the journal waits for it. Returns at once; a store
    /// that fails to flush keeps its own pauses. May be called often.
    fn flush_soon(&self) {}
}
