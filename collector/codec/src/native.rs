//! Native histograms between remote write's form and the model's.

use tenantscope_model::{Histogram, ResetHint, Span, Spans};

use crate::exponential;
use crate::remote_write::{BucketSpan, Count, NativeHistogram, ZeroCount};

/// The schema of custom buckets.
pub(crate) const CUSTOM: i32 = -53;
/// The finest schema that Prometheus computes with; finer ones are made coarser.
const FINEST: i32 = 8;
/// The finest that a sender may use.
const FINEST_RESERVED: i32 = 52;

/// More buckets than any sane histogram has; Prometheus's own senders stay under a few hundred.
const MAX_BUCKETS: usize = 20_000;

/// Reads a histogram as a sender gave it; `None` where it is none that could have been observed.
///
/// These are the rules of Prometheus's own check: no count below zero, gaps only forward, rising custom bounds that
/// cover all buckets, and whole counts that add up.
pub(crate) fn from_sender(message: &NativeHistogram) -> Option<Histogram> {
    let is_whole = !matches!(message.count, Some(Count::Float(_)));
    let mut histogram = from_message(message)?;
    let sides = [&histogram.positive, &histogram.negative];
    let is_below_zero = |count: &f64| *count < 0.0;
    if is_below_zero(&histogram.count)
        || is_below_zero(&histogram.zero_count)
        || sides.iter().any(|side| side.counts.iter().any(is_below_zero))
        || sides.iter().any(|side| side.spans.iter().skip(1).any(|span| span.offset < 0))
    {
        return None;
    }
    if histogram.schema == CUSTOM {
        has_custom_form(&histogram)?;
    } else if !histogram.custom_bounds.is_empty() {
        return None;
    }
    let in_buckets: f64 = sides.iter().flat_map(|side| &side.counts).sum::<f64>() + histogram.zero_count;
    let adds_up = if histogram.sum.is_nan() { in_buckets <= histogram.count } else { in_buckets == histogram.count };
    // Above 2^53 floats tell no neighbours apart.
    if is_whole && !adds_up && histogram.count < 9e15 {
        return None;
    }
    if histogram.schema > FINEST {
        let steps = histogram.schema - FINEST;
        histogram.positive = exponential::coarser(&histogram.positive, steps);
        histogram.negative = exponential::coarser(&histogram.negative, steps);
        histogram.schema = FINEST;
    }
    Some(histogram)
}

fn has_custom_form(histogram: &Histogram) -> Option<()> {
    let bounds = &histogram.custom_bounds;
    let rises = bounds.windows(2).all(|pair| pair.first() < pair.last());
    let is_finite = bounds.iter().all(|bound| !bound.is_nan() && *bound != f64::INFINITY);
    let is_plain = histogram.zero_count == 0.0 && histogram.zero_threshold == 0.0;
    let is_one_sided = histogram.negative.spans.is_empty();
    let spans = &histogram.positive.spans;
    let covered = spans.iter().try_fold(0usize, |covered, span| {
        let offset = usize::try_from(span.offset).ok()?;
        covered.checked_add(offset)?.checked_add(usize::try_from(span.length).ok()?)
    })?;
    (rises && is_finite && is_plain && is_one_sided && covered <= bounds.len() + 1).then_some(())
}

/// Reads a histogram; `None` where spans and counts do not fit each other, or its schema is unknown.
pub(crate) fn from_message(message: &NativeHistogram) -> Option<Histogram> {
    if !matches!(message.schema, CUSTOM | -4..=FINEST_RESERVED) {
        return None;
    }
    Some(Histogram {
        schema: message.schema,
        zero_threshold: message.zero_threshold,
        zero_count: match message.zero_count {
            Some(ZeroCount::Int(count)) => float(count),
            Some(ZeroCount::Float(count)) => count,
            None => 0.0,
        },
        count: match message.count {
            Some(Count::Int(count)) => float(count),
            Some(Count::Float(count)) => count,
            None => 0.0,
        },
        sum: message.sum,
        positive: side(&message.positive_spans, &message.positive_deltas, &message.positive_counts)?,
        negative: side(&message.negative_spans, &message.negative_deltas, &message.negative_counts)?,
        custom_bounds: message.custom_values.clone(),
        reset_hint: hint_of(message.reset_hint),
    })
}

const HINTS: [(i32, ResetHint); 4] =
    [(0, ResetHint::Unknown), (1, ResetHint::CounterReset), (2, ResetHint::NotCounterReset), (3, ResetHint::Gauge)];

fn hint_of(number: i32) -> ResetHint {
    HINTS.into_iter().find(|(known, _)| *known == number).map_or(ResetHint::Unknown, |(_, hint)| hint)
}

fn hint_number(hint: ResetHint) -> i32 {
    HINTS.into_iter().find(|(_, known)| *known == hint).map_or(0, |(number, _)| number)
}

/// Counts are floats in the model; above 2^53 they lose the last digits, as in Prometheus.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

fn side(spans: &[BucketSpan], deltas: &[i64], counts: &[f64]) -> Option<Spans> {
    let counts: Vec<f64> = if deltas.is_empty() {
        counts.to_vec()
    } else {
        let running = |total: &mut i64, delta: &i64| {
            *total = total.checked_add(*delta)?;
            u64::try_from(*total).ok().map(float)
        };
        deltas.iter().scan(0, running).collect()
    };
    let wanted = spans.iter().try_fold(0usize, |sum, span| sum.checked_add(usize::try_from(span.length).ok()?))?;
    let complete = deltas.is_empty() || counts.len() == deltas.len();
    if wanted != counts.len() || wanted > MAX_BUCKETS || !complete {
        return None;
    }
    let spans = spans.iter().map(|span| Span { offset: span.offset, length: span.length }).collect();
    Some(Spans { spans, counts })
}

/// Writes a histogram with float counts.
pub(crate) fn to_message(histogram: &Histogram, timestamp: i64) -> NativeHistogram {
    let spans = |side: &Spans| {
        side.spans.iter().map(|span| BucketSpan { offset: span.offset, length: span.length }).collect::<Vec<_>>()
    };
    NativeHistogram {
        count: Some(Count::Float(histogram.count)),
        sum: histogram.sum,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        zero_count: Some(ZeroCount::Float(histogram.zero_count)),
        negative_spans: spans(&histogram.negative),
        negative_deltas: Vec::new(),
        negative_counts: histogram.negative.counts.clone(),
        positive_spans: spans(&histogram.positive),
        positive_deltas: Vec::new(),
        positive_counts: histogram.positive.counts.clone(),
        reset_hint: hint_number(histogram.reset_hint),
        timestamp,
        custom_values: histogram.custom_bounds.clone(),
        start_timestamp: 0,
    }
}
