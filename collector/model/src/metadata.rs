use std::fmt;
use std::sync::Arc;

/// What kind of metric a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricKind {
    /// Only grows, but for resets.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Classic or native histogram.
    Histogram,
    /// A histogram of values that come and go.
    GaugeHistogram,
    /// Quantiles computed by the sender.
    Summary,
    /// `*_info`.
    Info,
    /// States, of which each is on or off.
    StateSet,
    /// Not known.
    Unknown,
}

impl fmt::Display for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        })
    }
}

/// What a metric family says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Metadata {
    /// The kind.
    pub kind: MetricKind,
    /// The unit; empty where unknown.
    pub unit: Arc<str>,
    /// The description; empty where there is none.
    pub help: Arc<str>,
}

/// How often a series' next sample comes, and how late it may be. Kept per series, never as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cadence {
    /// Time between two samples, in milliseconds.
    pub cadence_ms: i64,
    /// Time from a sample's own time to its arrival, in milliseconds.
    pub delay_ms: i64,
}

impl Cadence {
    /// The longest cadence or delay that an agent may claim: a day and an hour.
    pub const MAX_MS: i64 = 25 * 3_600_000;

    /// Caps both at [`Cadence::MAX_MS`] and cuts off negatives.
    pub fn capped(cadence_ms: i64, delay_ms: i64) -> Self {
        Self { cadence_ms: cadence_ms.clamp(0, Self::MAX_MS), delay_ms: delay_ms.clamp(0, Self::MAX_MS) }
    }

    /// How far an instant selector looks back for a series of this cadence.
    pub fn lookback_ms(&self, default_ms: i64) -> i64 {
        default_ms.max(2 * self.cadence_ms + self.delay_ms)
    }
}
