//! What a query's reader may be told of its evaluation, in Prometheus's words.

use crate::float_text::general;

/// What may be noted. Metric names may be empty.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Note<'a> {
    InvalidQuantile(f64),
    InvalidRatio(f64, f64),
    BadBucketLabel { metric: &'a str, le: &'a str },
    MixedFloatsHistograms(&'a str),
    MixedInAggregation,
    MixedClassicNative(&'a str),
    MixedExponentialCustom(&'a str),
    HistogramNotCounter(&'a str),
    HistogramNotGauge(&'a str),
    IncompatibleLayout(&'a str),
    SortInRange,
    ResetsCollided(Operation),
    StartsOverlap(&'a str),
    PossibleNonCounter(&'a str),
    ForcedMonotonicity { metric: &'a str, forced: Forced },
    IncompatibleTypes { left: &'a str, op: &'a str, right: &'a str },
    HistogramIgnoredInAggregation(&'a str),
    HistogramIgnoredInMixedRange(&'a str),
    QuantileNanResult(&'a str),
    QuantileNanSkew(&'a str),
    FractionNan(&'a str),
    BoundsReconciled(Operation),
}

/// An operation on histograms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Addition,
    Subtraction,
    Aggregation,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        }
    }
}

/// How the buckets of classic histograms had to be changed so that they grow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Forced {
    /// The earliest and latest time at which that was so, in milliseconds.
    pub(crate) times_ms: (i64, i64),
    /// The lowest and highest upper bound of a changed bucket.
    pub(crate) buckets: (f64, f64),
    /// By how much, at most.
    pub(crate) max_difference: f64,
    /// How many histograms.
    pub(crate) samples: u64,
}

impl Forced {
    /// Both together.
    pub(crate) fn joined(self, other: Self) -> Self {
        Self {
            times_ms: (self.times_ms.0.min(other.times_ms.0), self.times_ms.1.max(other.times_ms.1)),
            buckets: (self.buckets.0.min(other.buckets.0), self.buckets.1.max(other.buckets.1)),
            max_difference: self.max_difference.max(other.max_difference),
            samples: self.samples.saturating_add(other.samples),
        }
    }
}

/// Whether a note tells of something that is probably wrong, or of something to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    Warning,
    Info,
}

fn named(text: &str, metric: &str) -> String {
    if metric.is_empty() { text.to_owned() } else { format!("{text} for metric name {metric:?}") }
}

impl Note<'_> {
    pub(crate) fn severity(&self) -> Severity {
        match self {
            Self::InvalidQuantile(_)
            | Self::InvalidRatio(..)
            | Self::BadBucketLabel { .. }
            | Self::MixedFloatsHistograms(_)
            | Self::MixedInAggregation
            | Self::MixedClassicNative(_)
            | Self::MixedExponentialCustom(_)
            | Self::HistogramNotCounter(_)
            | Self::HistogramNotGauge(_)
            | Self::IncompatibleLayout(_)
            | Self::SortInRange
            | Self::ResetsCollided(_)
            | Self::StartsOverlap(_) => Severity::Warning,
            Self::PossibleNonCounter(_)
            | Self::ForcedMonotonicity { .. }
            | Self::IncompatibleTypes { .. }
            | Self::HistogramIgnoredInAggregation(_)
            | Self::HistogramIgnoredInMixedRange(_)
            | Self::QuantileNanResult(_)
            | Self::QuantileNanSkew(_)
            | Self::FractionNan(_)
            | Self::BoundsReconciled(_) => Severity::Info,
        }
    }

    /// What it says, without its severity, its place and what is counted over all notes that say the same.
    pub(crate) fn text(&self) -> String {
        match *self {
            Self::InvalidQuantile(q) => format!("quantile value should be between 0 and 1, got {}", general(q)),
            Self::InvalidRatio(ratio, capped) => {
                let (ratio, capped) = (general(ratio), general(capped));
                format!("ratio value should be between -1 and 1, got {ratio}, capping to {capped}")
            }
            Self::BadBucketLabel { metric, le } => {
                named(&format!("bucket label \"le\" is missing or has a malformed value of {le:?}"), metric)
            }
            Self::MixedFloatsHistograms(metric) => {
                format!("encountered a mix of histograms and floats for metric name {metric:?}")
            }
            Self::MixedInAggregation => "encountered a mix of histograms and floats for aggregation".to_owned(),
            Self::MixedClassicNative(metric) => named("vector contains a mix of classic and native histograms", metric),
            Self::MixedExponentialCustom(metric) => format!(
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {metric:?}"
            ),
            Self::HistogramNotCounter(metric) => {
                format!("this native histogram metric is not a counter: {metric:?}")
            }
            Self::HistogramNotGauge(metric) => format!("this native histogram metric is not a gauge: {metric:?}"),
            Self::IncompatibleLayout(op) => {
                format!("incompatible bucket layout encountered for binary operator {op}")
            }
            Self::SortInRange => {
                "sort is ineffective for range queries since results are always ordered by labels".to_owned()
            }
            Self::ResetsCollided(operation) => {
                format!("conflicting counter resets during histogram {}", operation.name())
            }
            Self::StartsOverlap(metric) => {
                format!("sample has start time that overlaps with previous sample timestamp for metric {metric:?}")
            }
            Self::PossibleNonCounter(metric) => {
                format!("metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {metric:?}")
            }
            Self::ForcedMonotonicity { metric, .. } => named(
                "input to histogram_quantile needed to be fixed for monotonicity (see \
                 https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)",
                metric,
            ),
            Self::IncompatibleTypes { left, op, right } => {
                format!("incompatible sample types encountered for binary operator {op:?}: {left} {op} {right}")
            }
            Self::HistogramIgnoredInAggregation(op) => format!("ignored histogram in {op} aggregation"),
            Self::HistogramIgnoredInMixedRange(metric) => format!(
                "ignored histograms in a range containing both floats and histograms for metric name {metric:?}"
            ),
            Self::QuantileNanResult(metric) => {
                named("input to histogram_quantile has NaN observations, result is NaN", metric)
            }
            Self::QuantileNanSkew(metric) => {
                named("input to histogram_quantile has NaN observations, result is skewed higher", metric)
            }
            Self::FractionNan(metric) => {
                named("input to histogram_fraction has NaN observations, which are excluded from all fractions", metric)
            }
            Self::BoundsReconciled(operation) => {
                format!("mismatched custom buckets were reconciled during {}", operation.name())
            }
        }
    }
}
