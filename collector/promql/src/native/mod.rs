//! Arithmetic of native histograms.
//!
//! Histograms of different resolution meet at the lower one, different zero buckets at the wider one, different custom
//! bounds at the bounds that both have. Exponential and custom buckets don't mix.

mod bucket;
mod flat;
mod reset;
mod sum;
mod trim;

use tenantscope_model::{Histogram, ResetHint, Spans};

use crate::float_text::general;
use flat::{Flat, align};

pub use bucket::{Bucket, buckets};
pub(crate) use reset::{forget_hints, keep_totals};
pub use reset::{is_reset, settle_hints};
pub(crate) use sum::HistogramSum;
pub(crate) use trim::{Kept, trimmed};

/// The schema that says that buckets have bounds of their own.
pub(crate) const CUSTOM_SCHEMA: i32 = -53;

/// Exponential and custom buckets met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incompatible;

/// A sum or difference.
#[derive(Debug, Clone, PartialEq)]
pub struct Combined {
    /// The histogram.
    pub histogram: Histogram,
    /// Whether custom bounds had to be reconciled.
    pub reconciled: bool,
    /// Whether the counting of one began anew while that of the other went on.
    pub collided: bool,
}

/// Whether the buckets have bounds of their own.
pub(crate) fn is_custom(histogram: &Histogram) -> bool {
    histogram.schema == CUSTOM_SCHEMA
}

/// What is said of a sum, by what is said of its parts; and whether these contradict each other.
fn joined_hints(a: ResetHint, b: ResetHint) -> (ResetHint, bool) {
    match (a, b) {
        _ if a == b => (a, false),
        (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => (ResetHint::Gauge, false),
        (ResetHint::Unknown, _) | (_, ResetHint::Unknown) => (ResetHint::Unknown, false),
        _ => (ResetHint::Unknown, true),
    }
}

fn combined(a: &Histogram, b: &Histogram, sign: f64) -> Result<Combined, Incompatible> {
    let (mut a, mut b) = (Flat::of(a), Flat::of(b));
    let reconciled = align(&mut a, &mut b)?;
    let (hint, collided) = joined_hints(a.hint, b.hint);
    a.hint = hint;
    a.zero_count += sign * b.zero_count;
    a.count += sign * b.count;
    a.sum += sign * b.sum;
    for (into, from) in [(&mut a.positive, &b.positive), (&mut a.negative, &b.negative)] {
        for (&index, &count) in from {
            *into.entry(index).or_default() += sign * count;
        }
    }
    Ok(Combined { histogram: a.into_histogram(), reconciled, collided })
}

/// `a + b`.
pub fn added(a: &Histogram, b: &Histogram) -> Result<Combined, Incompatible> {
    combined(a, b, 1.0)
}

/// `a - b`. The hint is that of a sum; a difference that is handed on is a gauge.
pub fn subtracted(a: &Histogram, b: &Histogram) -> Result<Combined, Incompatible> {
    combined(a, b, -1.0)
}

/// Every count, and the sum, changed in the same way.
fn mapped(h: &Histogram, change: impl Fn(f64) -> f64) -> Histogram {
    let side =
        |side: &Spans| Spans { spans: side.spans.clone(), counts: side.counts.iter().map(|c| change(*c)).collect() };
    Histogram {
        zero_count: change(h.zero_count),
        count: change(h.count),
        sum: change(h.sum),
        positive: side(&h.positive),
        negative: side(&h.negative),
        custom_bounds: h.custom_bounds.clone(),
        ..*h
    }
}

/// The same histogram as a gauge.
pub(crate) fn as_gauge(h: Histogram) -> Histogram {
    Histogram { reset_hint: ResetHint::Gauge, ..h }
}

/// `h * factor`; what becomes negative is a gauge.
pub(crate) fn scaled(h: &Histogram, factor: f64) -> Histogram {
    let scaled = mapped(h, |v| v * factor);
    if factor < 0.0 { as_gauge(scaled) } else { scaled }
}

/// `h / divisor`; a division by zero leaves no buckets, what becomes negative is a gauge.
pub(crate) fn divided(h: &Histogram, divisor: f64) -> Histogram {
    let mut divided = mapped(h, |v| v / divisor);
    if divisor == 0.0 {
        divided.positive = Spans::default();
        divided.negative = Spans::default();
    }
    if divisor < 0.0 { as_gauge(divided) } else { divided }
}

/// A histogram with nothing in it, in the layout of another.
pub(crate) fn emptied(h: &Histogram) -> Histogram {
    Histogram { schema: h.schema, custom_bounds: h.custom_bounds.clone(), ..Histogram::default() }
}

/// Without empty buckets.
pub(crate) fn compacted(h: &Histogram) -> Histogram {
    Flat::of(h).into_histogram()
}

/// Whether two histograms say the same, however their spans are cut.
pub(crate) fn equal(a: &Histogram, b: &Histogram) -> bool {
    let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || a == b;
    let side = |side: &Spans| bucket::spans(bucket::indexed(side));
    a.schema == b.schema
        && same(a.count, b.count)
        && same(a.sum, b.sum)
        && a.zero_threshold == b.zero_threshold
        && same(a.zero_count, b.zero_count)
        && a.custom_bounds == b.custom_bounds
        && side(&a.positive) == side(&b.positive)
        && side(&a.negative) == side(&b.negative)
}

/// As Prometheus's `String`: for `count_values` and messages.
pub(crate) fn text(h: &Histogram) -> String {
    let mut text = format!("{{count:{}, sum:{}", general(h.count), general(h.sum));
    for bucket in buckets(h).into_iter().filter(|bucket| bucket.count != 0.0) {
        let open = if bucket.includes_lower(h) { '[' } else { '(' };
        let close = if bucket.includes_upper(h) { ']' } else { ')' };
        let (lower, upper) = (general(bucket.lower), general(bucket.upper));
        text.push_str(&format!(", {open}{lower},{upper}{close}:{}", general(bucket.count)));
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenantscope_model::Span;

    fn histogram(schema: i32, first: i32, values: &[f64]) -> Histogram {
        let count = values.iter().sum();
        let positive =
            Spans { spans: vec![Span { offset: first, length: values.len() as u32 }], counts: values.to_vec() };
        Histogram { schema, count, sum: count, positive, ..Histogram::default() }
    }

    #[test]
    fn different_resolutions_meet_at_the_lower() {
        let sum = added(&histogram(1, 1, &[1.0, 2.0, 3.0]), &histogram(0, 1, &[10.0, 20.0])).unwrap().histogram;
        assert_eq!(sum.schema, 0);
        assert_eq!(sum.positive.counts, vec![13.0, 23.0]);
        assert_eq!(sum.count, 36.0);
    }

    #[test]
    fn what_was_added_can_be_taken_away() {
        let (a, b) = (histogram(0, 0, &[1.0, 2.0]), histogram(0, 3, &[4.0]));
        let sum = added(&a, &b).unwrap().histogram;
        let back = subtracted(&sum, &b).unwrap().histogram;
        assert!(equal(&back, &a));
        assert!(is_reset(&sum, &a) && !is_reset(&a, &sum));
    }

    #[test]
    fn exponential_and_custom_do_not_mix() {
        let custom = Histogram { schema: CUSTOM_SCHEMA, custom_bounds: vec![1.0], ..Histogram::default() };
        assert_eq!(added(&custom, &histogram(0, 0, &[1.0])), Err(Incompatible));
    }

    #[test]
    fn hints_of_a_sum_follow_its_parts() {
        let hinted = |hint| Histogram { reset_hint: hint, ..histogram(0, 0, &[1.0]) };
        let sum = |a, b| {
            let sum = added(&hinted(a), &hinted(b)).unwrap();
            (sum.histogram.reset_hint, sum.collided)
        };
        use ResetHint::{CounterReset, Gauge, NotCounterReset, Unknown};
        assert_eq!(sum(Gauge, CounterReset), (Gauge, false));
        assert_eq!(sum(NotCounterReset, NotCounterReset), (NotCounterReset, false));
        assert_eq!(sum(NotCounterReset, Unknown), (Unknown, false));
        assert_eq!(sum(NotCounterReset, CounterReset), (Unknown, true));
    }

    #[test]
    fn trimming_cuts_the_bucket_that_holds_the_value() {
        let custom = Histogram {
            schema: CUSTOM_SCHEMA,
            custom_bounds: vec![10.0, 20.0],
            count: 12.0,
            sum: 100.0,
            positive: Spans { spans: vec![Span { offset: 0, length: 3 }], counts: vec![4.0, 4.0, 4.0] },
            ..Histogram::default()
        };
        let below = trimmed(&custom, 15.0, Kept::Below);
        assert_eq!((below.count, below.positive.counts), (6.0, vec![4.0, 2.0]));
        let above = trimmed(&custom, 15.0, Kept::Above);
        assert_eq!((above.count, above.positive.counts), (6.0, vec![2.0, 4.0]));
        assert!(equal(&trimmed(&custom, f64::INFINITY, Kept::Below), &custom));
    }
}
