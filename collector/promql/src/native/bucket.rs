//! The buckets of a histogram with their bounds.

use std::collections::BTreeMap;

use tenantscope_model::{Histogram, Span, Spans};

use super::is_custom;

/// A bucket of a native histogram with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// The lower bound.
    pub lower: f64,
    /// The upper bound.
    pub upper: f64,
    /// Observations between the bounds.
    pub count: f64,
}

impl Bucket {
    /// Whether the lower bound belongs to this bucket of a histogram.
    pub fn includes_lower(&self, h: &Histogram) -> bool {
        // The sign tells even where a bound is zero.
        if is_custom(h) { self.lower == f64::NEG_INFINITY } else { self.lower.is_sign_negative() }
    }

    /// Whether the upper bound belongs to this bucket of a histogram.
    pub fn includes_upper(&self, h: &Histogram) -> bool {
        is_custom(h) || self.upper.is_sign_positive()
    }

    /// The share of the bucket that lies below a value within it; on a logarithmic scale if not linear.
    pub(crate) fn share_below(&self, value: f64, linear: bool) -> f64 {
        if linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let (lower, upper, at) = (self.lower.abs().log2(), self.upper.abs().log2(), value.abs().log2());
        if value > 0.0 { (at - lower) / (upper - lower) } else { 1.0 - (at - upper) / (lower - upper) }
    }
}

/// Counts by bucket index.
pub(super) type Counts = BTreeMap<i32, f64>;

/// Index and count of each listed bucket, in order.
pub(super) fn indexed(spans: &Spans) -> impl Iterator<Item = (i32, f64)> {
    let mut end = 0i32;
    let indices = spans.spans.iter().flat_map(move |span| {
        let start = end.saturating_add(span.offset);
        end = start.saturating_add_unsigned(span.length);
        start..end
    });
    indices.zip(spans.counts.iter().copied())
}

/// The spans of the buckets that hold something.
pub(super) fn spans(counts: impl IntoIterator<Item = (i32, f64)>) -> Spans {
    let mut spans = Spans::default();
    let mut end = 0i32;
    for (index, count) in counts.into_iter().filter(|(_, count)| *count != 0.0) {
        match spans.spans.last_mut() {
            Some(span) if end == index => span.length += 1,
            _ => spans.spans.push(Span { offset: index - end, length: 1 }),
        }
        spans.counts.push(count);
        end = index + 1;
    }
    spans
}

/// The upper bound of an exponential bucket.
pub(super) fn bound(index: i32, schema: i32) -> f64 {
    let exponent = f64::from(index) / 2f64.powi(schema);
    // The last finite bucket ends at the largest float, as in Prometheus.
    if exponent == 1024.0 { f64::MAX } else { exponent.exp2() }
}

/// The bounds of the positive bucket at an index: lower and upper.
pub(super) fn bounds(h: &Histogram, index: i32) -> (f64, f64) {
    if !is_custom(h) {
        return (bound(index - 1, h.schema), bound(index, h.schema));
    }
    let at = |i: i32| usize::try_from(i).ok().and_then(|i| h.custom_bounds.get(i)).copied();
    (at(index - 1).unwrap_or(f64::NEG_INFINITY), at(index).unwrap_or(f64::INFINITY))
}

/// All buckets that are listed, from the lowest.
pub fn buckets(h: &Histogram) -> Vec<Bucket> {
    let positive = indexed(&h.positive).map(|(index, count)| {
        let (lower, upper) = bounds(h, index);
        Bucket { lower, upper, count }
    });
    if is_custom(h) {
        return positive.collect();
    }
    // Where a bucket reaches into the zero bucket, it begins at the zero bucket's end.
    let cut = |bound: f64| if bound > 0.0 && bound < h.zero_threshold { h.zero_threshold } else { bound };
    let positive = positive.map(|bucket| Bucket { lower: cut(bucket.lower), ..bucket });
    let mut all: Vec<Bucket> = indexed(&h.negative)
        .map(|(index, count)| {
            let (lower, upper) = bounds(h, index);
            Bucket { lower: -upper, upper: -cut(lower), count }
        })
        .collect();
    all.reverse();
    if h.zero_count > 0.0 {
        all.push(Bucket { lower: -h.zero_threshold, upper: h.zero_threshold, count: h.zero_count });
    }
    all.extend(positive);
    all
}
