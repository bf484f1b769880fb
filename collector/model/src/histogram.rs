/// A run of consecutive buckets, as in Prometheus's native histograms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Gap to the end of the previous span; in the first span, the index of the first bucket.
    pub offset: i32,
    /// How many buckets follow.
    pub length: u32,
}

/// Spans of one side of a histogram, with the absolute count of each bucket.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Spans {
    /// The runs, in order.
    pub spans: Vec<Span>,
    /// Counts, one for each bucket of the runs in order.
    pub counts: Vec<f64>,
}

/// What a sender says of a histogram in relation to the one before it in its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResetHint {
    /// Nothing: compare the two.
    #[default]
    Unknown,
    /// Counting began anew with this histogram.
    CounterReset,
    /// Counting went on.
    NotCounterReset,
    /// It is no counter: it may go up and down.
    Gauge,
}

/// A native histogram with float counts, as Prometheus's `FloatHistogram`.
///
/// Bucket `i` of the positive side holds observations in `(2^((i-1)/2^schema), 2^(i/2^schema)]`; schema -53 means
/// custom buckets, with upper bounds in `custom_bounds` and counts on the positive side.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    /// -4 to 8, or -53 for custom bounds.
    pub schema: i32,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations; [`crate::stale_nan`] in `sum` marks the end of the series.
    pub count: f64,
    /// Sum of the observations.
    pub sum: f64,
    /// Buckets above zero.
    pub positive: Spans,
    /// Buckets below zero.
    pub negative: Spans,
    /// Upper bounds where the schema is -53.
    pub custom_bounds: Vec<f64>,
    /// Whether counting began anew.
    pub reset_hint: ResetHint,
}

impl Histogram {
    /// The memory that it takes, in bytes.
    pub fn held_bytes(&self) -> usize {
        let side = |side: &Spans| size_of_val(side.spans.as_slice()) + size_of_val(side.counts.as_slice());
        let bounds = size_of_val(self.custom_bounds.as_slice());
        size_of::<Self>() + side(&self.positive) + side(&self.negative) + bounds
    }
}
