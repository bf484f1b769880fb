//! The three stores behind one shape: each [`Sink`] prepares a type of its own, a line knows only that it can be applied.

use std::sync::Arc;

use tenantscope_model::{Position, Refusal, Signal, Sink, StampedBatch};

/// A prepared batch of any store; dropping it gives the reservation back.
pub(crate) type Ready = Box<dyn FnOnce(Position) + Send>;

/// A [`Sink`] without its type.
pub(crate) trait Store: Send + Sync {
    fn leave_out(&self, batch: &mut StampedBatch) -> Vec<(&'static str, usize)>;
    fn prepare(&self, batch: StampedBatch) -> Result<Ready, Refusal>;
    fn prepare_replay(&self, batch: StampedBatch) -> Ready;
    fn durable(&self) -> Position;
    fn flush_soon(&self);
}

struct Erased<S>(Arc<S>);

impl<S: Sink> Store for Erased<S> {
    fn leave_out(&self, batch: &mut StampedBatch) -> Vec<(&'static str, usize)> {
        self.0.leave_out(batch)
    }

    fn prepare(&self, batch: StampedBatch) -> Result<Ready, Refusal> {
        let prepared = self.0.prepare(batch)?;
        let sink = Arc::clone(&self.0);
        Ok(Box::new(move |position| sink.apply(prepared, position)))
    }

    fn prepare_replay(&self, batch: StampedBatch) -> Ready {
        let prepared = self.0.prepare_replay(batch);
        let sink = Arc::clone(&self.0);
        Box::new(move |position| sink.apply(prepared, position))
    }

    fn durable(&self) -> Position {
        self.0.durable()
    }

    fn flush_soon(&self) {
        self.0.flush_soon();
    }
}

/// The stores at the ends of the three journals.
pub struct Stores {
    metrics: Arc<dyn Store>,
    logs: Arc<dyn Store>,
    spans: Arc<dyn Store>,
}

impl Stores {
    /// One store for each signal.
    pub fn new(metrics: Arc<impl Sink>, logs: Arc<impl Sink>, spans: Arc<impl Sink>) -> Self {
        Self { metrics: Arc::new(Erased(metrics)), logs: Arc::new(Erased(logs)), spans: Arc::new(Erased(spans)) }
    }

    pub(crate) fn of(&self, signal: Signal) -> Arc<dyn Store> {
        Arc::clone(match signal {
            Signal::Metrics => &self.metrics,
            Signal::Logs => &self.logs,
            Signal::Spans => &self.spans,
        })
    }
}
