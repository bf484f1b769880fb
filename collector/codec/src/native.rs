//! Native histograms between remote write's form and the model's.

use tenantscope_model::{Histogram, Span, Spans};

use crate::remote_write::{BucketSpan, Count, NativeHistogram, ZeroCount};

/// More buckets than any sane histogram has; Prometheus's own senders stay under a few hundred.
const MAX_BUCKETS: usize = 20_000;

/// Reads a histogram; `None` where spans and counts do not fit each other, or its schema is unknown.
pub(crate) fn from_message(message: &NativeHistogram) -> Option<Histogram> {
    if !matches!(message.schema, -53 | -4..=8) {
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
        reset_hint: Default::default(),
    })
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
        timestamp,
        custom_values: histogram.custom_bounds.clone(),
    }
}
