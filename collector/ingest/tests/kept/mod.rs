//! The tests' store: the seam where a store may be another.

// Each test program uses a part of it.
#![allow(dead_code)]

use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use parking_lot::Mutex;
use tenantscope_model::{Position, Refusal, Sink, StampedBatch};

/// Keeps what was applied; refuses, waits and is durable as the test says.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) applied: Mutex<Vec<(u64, StampedBatch)>>,
    pub(crate) durable: Mutex<u64>,
    pub(crate) refuse: Mutex<Option<Refusal>>,
    /// Flushes that were asked for: all that was applied is durable then.
    pub(crate) asked_flushes: Mutex<usize>,
}

impl Sink for Kept {
    type Prepared = StampedBatch;

    fn prepare(&self, batch: StampedBatch) -> Result<StampedBatch, Refusal> {
        match self.refuse.lock().clone() {
            Some(refusal) => Err(refusal),
            None => Ok(batch),
        }
    }

    fn apply(&self, prepared: StampedBatch, position: Position) {
        self.applied.lock().push((position.0, prepared));
    }

    fn prepare_replay(&self, batch: StampedBatch) -> StampedBatch {
        batch
    }

    fn durable(&self) -> Position {
        Position(*self.durable.lock())
    }

    fn flush_soon(&self) {
        *self.asked_flushes.lock() += 1;
        let applied = self.positions().last().copied().unwrap_or_default();
        let mut durable = self.durable.lock();
        *durable = applied.max(*durable);
    }
}

impl Kept {
    pub(crate) fn positions(&self) -> Vec<u64> {
        self.applied.lock().iter().map(|(position, _)| *position).collect()
    }

    /// The bodies of the log records, in the order in which they were applied.
    pub(crate) fn lines(&self) -> Vec<String> {
        let applied = self.applied.lock();
        let resources = applied.iter().flat_map(|(_, batch)| match batch {
            StampedBatch::Logs(resources) => resources.clone(),
            _ => Vec::new(),
        });
        let records = resources.flat_map(|resource| resource.records.scope_logs).flat_map(|scope| scope.log_records);
        records.filter_map(|record| text_of(record.body)).collect()
    }

    /// The float values of a metric, in the order in which they were applied.
    pub(crate) fn values(&self, name: &str) -> Vec<f64> {
        let applied = self.applied.lock();
        let series = applied.iter().flat_map(|(_, batch)| match batch {
            StampedBatch::Metrics { series, .. } => series.clone(),
            _ => Vec::new(),
        });
        let named = series.filter(|series| series.labels.metric_name() == name);
        named.flat_map(|series| series.samples).map(|sample| sample.value).collect()
    }
}

fn text_of(value: Option<AnyValue>) -> Option<String> {
    match value?.value? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}
