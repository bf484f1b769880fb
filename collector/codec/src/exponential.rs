//! OpenTelemetry's exponential histograms as native histograms, and the sum of two native histograms.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::metrics::v1::ExponentialHistogramDataPoint;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use tenantscope_model::{Histogram, Span, Spans, stale_nan};

use crate::native::float;

/// The finest schema that Prometheus has.
const MAX_SCHEMA: i32 = 8;
/// The coarsest.
const MIN_SCHEMA: i32 = -4;
/// Prometheus's own width of the zero bucket, where the sender gives none.
const DEFAULT_ZERO_THRESHOLD: f64 = 1e-128;
/// A gap of up to so many empty buckets costs less inside a span than a span of its own.
const MAX_GAP: i32 = 2;

/// More buckets than any sane histogram has; OpenTelemetry's own senders stay at 160.
const MAX_BUCKETS: usize = 20_000;

/// Reads a point; `None` where its buckets are coarser than any schema, or too many.
pub(crate) fn histogram_of(point: &ExponentialHistogramDataPoint, no_value: bool) -> Option<Histogram> {
    let sides = [&point.positive, &point.negative].into_iter().flatten();
    let buckets: usize = sides.map(|side| side.bucket_counts.len()).sum();
    if point.scale < MIN_SCHEMA || buckets > MAX_BUCKETS {
        return None;
    }
    let schema = point.scale.min(MAX_SCHEMA);
    // An index loses one bit for each step to a coarser schema; more than 31 steps leave the sign alone.
    let steps = point.scale.saturating_sub(schema).min(31);
    let zero_threshold = if point.zero_threshold > 0.0 { point.zero_threshold } else { DEFAULT_ZERO_THRESHOLD };
    let histogram = Histogram {
        schema,
        zero_threshold,
        zero_count: float(point.zero_count),
        count: float(point.count),
        // Nobody knows it, so nobody may take it for none. The specification's stale NaN would end the series.
        sum: point.sum.unwrap_or(f64::NAN),
        positive: spans_of(&buckets_of(point.positive.as_ref(), steps)),
        negative: spans_of(&buckets_of(point.negative.as_ref(), steps)),
        custom_bounds: Vec::new(),
        reset_hint: Default::default(),
    };
    if no_value {
        return Some(Histogram { sum: stale_nan(), zero_threshold, schema, ..Histogram::default() });
    }
    Some(histogram)
}

/// Counts by Prometheus's index, whose bucket ends where OpenTelemetry's of the same index begins.
fn buckets_of(buckets: Option<&Buckets>, steps: i32) -> BTreeMap<i32, f64> {
    let mut counts = BTreeMap::new();
    let Some(buckets) = buckets else { return counts };
    for (place, count) in (0i32..).zip(&buckets.bucket_counts) {
        let index = buckets.offset.saturating_add(place);
        if *count > 0 {
            *counts.entry((index >> steps).saturating_add(1)).or_insert(0.0) += float(*count);
        }
    }
    counts
}

fn spans_of(counts: &BTreeMap<i32, f64>) -> Spans {
    let mut spans = Spans::default();
    let mut end: Option<i32> = None;
    for (index, count) in counts {
        let gap = end.map_or(*index, |end| index.saturating_sub(end));
        match spans.spans.last_mut() {
            Some(span) if gap <= MAX_GAP => {
                span.length += gap.unsigned_abs() + 1;
                spans.counts.extend(std::iter::repeat_n(0.0, gap.unsigned_abs() as usize));
            }
            _ => spans.spans.push(Span { offset: gap, length: 1 }),
        }
        spans.counts.push(*count);
        end = Some(index.saturating_add(1));
    }
    spans
}

/// Counts by index of one side.
fn counts_of(side: &Spans, steps: i32) -> BTreeMap<i32, f64> {
    let mut counts = BTreeMap::new();
    let mut values = side.counts.iter();
    let mut index = 0i32;
    for span in &side.spans {
        index = index.saturating_add(span.offset);
        for _ in 0..span.length {
            let Some(value) = values.next() else { return counts };
            // Bucket i covers (2^(i-1), 2^i] of its schema's base, so that i-1 loses the bits.
            let coarser = (index.saturating_sub(1) >> steps).saturating_add(1);
            *counts.entry(coarser).or_insert(0.0) += value;
            index = index.saturating_add(1);
        }
    }
    counts
}

/// A side's buckets, so many schemas coarser.
pub(crate) fn coarser(side: &Spans, steps: i32) -> Spans {
    spans_of(&counts_of(side, steps.min(31)))
}

/// The sum, in the coarser of both schemas and with the wider zero bucket.
pub(crate) fn add_histogram(total: &Histogram, delta: &Histogram) -> Histogram {
    let schema = total.schema.min(delta.schema);
    let zero_threshold = total.zero_threshold.max(delta.zero_threshold);
    let mut zero_count = total.zero_count + delta.zero_count;
    let mut side = |a: &Spans, b: &Spans| {
        let mut counts = counts_of(a, total.schema - schema);
        for (index, count) in counts_of(b, delta.schema - schema) {
            *counts.entry(index).or_insert(0.0) += count;
        }
        // Buckets that the wider zero bucket covers go into it.
        counts.retain(|index, count| {
            let covered = upper_bound(schema, *index) <= zero_threshold;
            if covered {
                zero_count += *count;
            }
            !covered
        });
        spans_of(&counts)
    };
    let positive = side(&total.positive, &delta.positive);
    let negative = side(&total.negative, &delta.negative);
    Histogram {
        schema,
        zero_threshold,
        zero_count,
        count: total.count + delta.count,
        sum: total.sum + delta.sum,
        positive,
        negative,
        custom_bounds: Vec::new(),
        reset_hint: Default::default(),
    }
}

fn upper_bound(schema: i32, index: i32) -> f64 {
    (f64::from(index) * (-f64::from(schema)).exp2()).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(scale: i32, offset: i32, counts: &[u64]) -> ExponentialHistogramDataPoint {
        ExponentialHistogramDataPoint {
            scale,
            count: counts.iter().sum(),
            sum: Some(1.0),
            positive: Some(Buckets { offset, bucket_counts: counts.to_vec() }),
            ..Default::default()
        }
    }

    #[test]
    fn indexes_move_by_one_and_gaps_split_spans() {
        let histogram = histogram_of(&point(0, -1, &[1, 2, 0, 0, 0, 3]), false).unwrap();
        assert_eq!(histogram.positive.spans, [Span { offset: 0, length: 2 }, Span { offset: 3, length: 1 }]);
        assert_eq!(histogram.positive.counts, [1.0, 2.0, 3.0]);
    }

    #[test]
    fn finer_scales_become_schema_eight_and_too_coarse_ones_nothing() {
        let histogram = histogram_of(&point(9, 0, &[1, 2, 4]), false).unwrap();
        assert_eq!((histogram.schema, histogram.positive.counts), (8, vec![3.0, 4.0]));
        assert_eq!(histogram_of(&point(-5, 0, &[1]), false), None);
    }

    #[test]
    fn indexes_at_the_ends_of_their_type_are_harmless() {
        for offset in [i32::MIN, i32::MAX] {
            for scale in [-4, 0, 8, 20, i32::MAX] {
                let histogram = histogram_of(&point(scale, offset, &[1, 2, 3]), false).unwrap();
                assert_eq!(add_histogram(&histogram, &histogram).count, 12.0);
            }
        }
    }

    #[test]
    fn a_sum_is_in_the_coarser_schema() {
        let fine = histogram_of(&point(1, 0, &[1, 1, 1, 1]), false).unwrap();
        let coarse = histogram_of(&point(0, 0, &[10, 10]), false).unwrap();
        let sum = add_histogram(&fine, &coarse);
        assert_eq!((sum.schema, sum.count, sum.positive.counts), (0, 24.0, vec![12.0, 12.0]));
    }
}
