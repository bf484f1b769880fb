//! Warnings and infos that an evaluation collects.

use std::collections::BTreeSet;

use crate::print::number_text;

/// How many different notes one query keeps; more would only repeat them for other metric names.
const MAX_NOTES: usize = 100;

/// The notes of one evaluation.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    warnings: BTreeSet<String>,
    infos: BTreeSet<String>,
}

/// What may be noted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Note<'a> {
    InvalidQuantile(f64),
    InvalidRatio(f64, f64),
    BadBucketLabel { metric: &'a str, le: &'a str },
    MixedFloatsHistograms(&'a str),
    MixedInAggregation,
    MixedClassicNative(&'a str),
    MixedExponentialCustom(&'a str),
    IncompatibleLayout(&'a str),
    SortInRange,
    PossibleNonCounter(&'a str),
    ForcedMonotonicity(&'a str),
    IncompatibleTypes { left: &'a str, op: &'a str, right: &'a str },
    HistogramIgnoredInAggregation(&'a str),
    HistogramIgnoredInMixedRange(&'a str),
    QuantileNanResult(&'a str),
    QuantileNanSkew(&'a str),
    FractionNan(&'a str),
    BoundsReconciled(&'a str),
}

fn named(text: &str, metric: &str) -> String {
    if metric.is_empty() { text.to_owned() } else { format!("{text} for metric name {metric:?}") }
}

impl Note<'_> {
    fn warning(self) -> Option<String> {
        Some(match self {
            Self::InvalidQuantile(q) => format!("quantile value should be between 0 and 1, got {}", number_text(q)),
            Self::InvalidRatio(ratio, capped) => format!(
                "ratio value should be between -1 and 1, got {}, capping to {}",
                number_text(ratio),
                number_text(capped)
            ),
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
            Self::IncompatibleLayout(op) => {
                format!("incompatible bucket layout encountered for binary operator {op}")
            }
            Self::SortInRange => {
                "sort is ineffective for range queries since results are always ordered by labels".to_owned()
            }
            _ => return None,
        })
    }

    fn info(self) -> Option<String> {
        Some(match self {
            Self::PossibleNonCounter(metric) => {
                format!("metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {metric:?}")
            }
            Self::ForcedMonotonicity(metric) => named(
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
            Self::BoundsReconciled(what) => {
                format!("mismatched custom buckets were reconciled during {what}")
            }
            _ => return None,
        })
    }
}

impl Notes {
    /// Keeps a note, once.
    pub(crate) fn add(&mut self, note: Note<'_>) {
        if let Some(text) = note.warning().filter(|_| self.warnings.len() < MAX_NOTES) {
            self.warnings.insert(format!("PromQL warning: {text}"));
        }
        if let Some(text) = note.info().filter(|_| self.infos.len() < MAX_NOTES) {
            self.infos.insert(format!("PromQL info: {text}"));
        }
    }

    /// Warnings and infos, each sorted.
    pub(crate) fn into_parts(self) -> (Vec<String>, Vec<String>) {
        (self.warnings.into_iter().collect(), self.infos.into_iter().collect())
    }
}
