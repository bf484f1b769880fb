use std::sync::Arc;

use crate::{Histogram, Labels};

/// The bits of the NaN by which Prometheus marks that a series ended.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The staleness marker.
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Whether a value is the staleness marker; an ordinary NaN is not.
pub fn is_stale_nan(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// A float value at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Milliseconds since the Unix epoch.
    pub t_ms: i64,
    /// The value; [`stale_nan`] marks the end of the series.
    pub value: f64,
}

/// A native histogram at a time. The histogram is shared: a clone costs a counter.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramSample {
    /// Milliseconds since the Unix epoch.
    pub t_ms: i64,
    /// The histogram.
    pub histogram: Arc<Histogram>,
}

/// When the counting that samples report began (created timestamps): milliseconds since the Unix epoch, 0 where it is
/// not known. Each list is empty where none is known, else as long as the list that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Starts {
    /// Of the float samples.
    pub samples_ms: Vec<i64>,
    /// Of the native histograms.
    pub histograms_ms: Vec<i64>,
}

/// An example of what a sample counted, usually with a trace id.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Milliseconds since the Unix epoch.
    pub t_ms: i64,
    /// The value that was observed.
    pub value: f64,
    /// `trace_id`, `span_id` and what else the sender gave.
    pub labels: Labels,
}
