//! `</` and `>/`: a histogram without the observations above or below a value.

use tenantscope_model::{Histogram, Spans};

use super::bucket::{Bucket, bounds, indexed, spans};
use super::is_custom;

/// Which observations stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Those up to the value: `</`.
    Below,
    /// Those from the value on: `>/`.
    Above,
}

/// How observations are taken to lie in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spread {
    /// Evenly.
    Even,
    /// Evenly on a logarithmic scale.
    Logarithmic,
}

/// What stays of a bucket, and where it lies on average.
#[derive(Debug, Clone, Copy)]
struct Part {
    count: f64,
    middle: f64,
}

const NOTHING: Part = Part { count: 0.0, middle: 0.0 };

/// Count and sum of what stays.
#[derive(Debug, Default)]
struct Total {
    count: f64,
    sum: f64,
    changed: bool,
}

impl Total {
    fn take(&mut self, bucket: Bucket, part: Part) -> f64 {
        self.count += part.count;
        self.sum += part.middle * part.count;
        self.changed |= part.count != bucket.count;
        part.count
    }
}

/// The histogram without what lies beyond a value. A bucket that holds the value is cut there; where nothing is cut,
/// count and sum stay as they are.
pub(crate) fn trimmed(h: &Histogram, value: f64, kept: Kept) -> Histogram {
    let spread = if is_custom(h) { Spread::Even } else { Spread::Logarithmic };
    let mut total = Total::default();
    let mut side = |side: &Spans, bucket_at: &dyn Fn(i32, f64) -> Bucket| -> Vec<(i32, f64)> {
        let one = |(index, count): (i32, f64)| {
            let bucket = bucket_at(index, count);
            if count == 0.0 { (index, 0.0) } else { (index, total.take(bucket, part(bucket, value, kept, spread))) }
        };
        indexed(side).map(one).collect()
    };
    let positive = side(&h.positive, &|index, count| {
        let (lower, upper) = bounds(h, index);
        Bucket { lower, upper, count }
    });
    let negative = side(&h.negative, &|index, count| {
        let (lower, upper) = bounds(h, index);
        Bucket { lower: -upper, upper: -lower, count }
    });
    let mut zero_count = h.zero_count;
    if zero_count > 0.0 {
        let bucket = zero_bucket(h);
        zero_count = total.take(bucket, within_zero(bucket, value, kept));
    }
    if !total.changed {
        return h.clone();
    }
    Histogram {
        zero_count,
        count: total.count,
        sum: total.sum,
        positive: spans(positive),
        negative: spans(negative),
        custom_bounds: h.custom_bounds.clone(),
        ..*h
    }
}

/// The zero bucket; it ends at zero where all other observations lie on one side of it.
fn zero_bucket(h: &Histogram) -> Bucket {
    let populated = |side: &Spans| side.counts.iter().any(|count| *count != 0.0);
    let (has_positive, has_negative) = (populated(&h.positive), populated(&h.negative));
    let lower = if has_positive && !has_negative { 0.0 } else { -h.zero_threshold };
    let upper = if has_negative && !has_positive { 0.0 } else { h.zero_threshold };
    Bucket { lower, upper, count: h.zero_count }
}

fn within_zero(bucket: Bucket, value: f64, kept: Kept) -> Part {
    let whole = Part { count: bucket.count, middle: f64::midpoint(bucket.lower, bucket.upper) };
    let (before, after) = if kept == Kept::Below { (NOTHING, whole) } else { (whole, NOTHING) };
    if value <= bucket.lower {
        return before;
    }
    if value >= bucket.upper {
        return after;
    }
    let (lower, upper) = if kept == Kept::Below { (bucket.lower, value) } else { (value, bucket.upper) };
    let share = (upper - lower) / (bucket.upper - bucket.lower);
    Part { count: bucket.count * share, middle: f64::midpoint(lower, upper) }
}

fn part(bucket: Bucket, value: f64, kept: Kept, spread: Spread) -> Part {
    let (is_whole, is_cut) = match kept {
        Kept::Below => (bucket.upper <= value, bucket.lower < value),
        Kept::Above => (bucket.lower >= value, bucket.upper > value),
    };
    if is_whole {
        return Part { count: bucket.count, middle: middle(bucket.lower, bucket.upper, spread) };
    }
    if !is_cut {
        return NOTHING;
    }
    if bucket.lower == f64::NEG_INFINITY {
        return of_lowest(bucket, value, kept);
    }
    if bucket.upper == f64::INFINITY {
        return of_highest(bucket, value, kept);
    }
    let below = bucket.count * bucket.share_below(value, spread == Spread::Even);
    match kept {
        Kept::Below => Part { count: below, middle: middle(bucket.lower, value, spread) },
        Kept::Above => Part { count: bucket.count - below, middle: middle(value, bucket.upper, spread) },
    }
}

/// Of the bucket without a lower bound: taken to begin at zero where it ends above, else its spread is not known, so
/// that none of it stays above a value and all of it below.
fn of_lowest(bucket: Bucket, value: f64, kept: Kept) -> Part {
    let begins_at_zero = bucket.upper > 0.0 && bucket.upper.is_finite();
    match kept {
        Kept::Below if begins_at_zero && value > 0.0 => {
            Part { count: bucket.count * value / bucket.upper, middle: value / 2.0 }
        }
        Kept::Below if bucket.upper <= 0.0 => Part { count: bucket.count, middle: value },
        Kept::Above if begins_at_zero && value >= 0.0 => {
            Part { count: bucket.count * (1.0 - value / bucket.upper), middle: f64::midpoint(value, bucket.upper) }
        }
        _ => NOTHING,
    }
}

/// Of the bucket without an upper bound, whose spread is not known: none of it stays below a value, all of it above.
fn of_highest(bucket: Bucket, value: f64, kept: Kept) -> Part {
    if kept == Kept::Above && value >= bucket.lower { Part { count: bucket.count, middle: value } } else { NOTHING }
}

/// The middle of an interval in which observations lie; of an endless one its finite end, or half of that where it
/// begins below zero.
fn middle(lower: f64, upper: f64, spread: Spread) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        (false, false) if spread == Spread::Even => f64::midpoint(lower, upper),
        (false, false) => (lower * upper).abs().sqrt().copysign(if upper > 0.0 { 1.0 } else { -1.0 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tenantscope_model::Span;

    fn histogram() -> impl Strategy<Value = Histogram> {
        let side = (-4..4i32, prop::collection::vec(0..50u32, 1..6)).prop_map(|(offset, counts)| Spans {
            spans: vec![Span { offset, length: counts.len() as u32 }],
            counts: counts.into_iter().map(f64::from).collect(),
        });
        (-2..4i32, 0..20u32, side.clone(), side).prop_map(|(schema, zero_count, positive, negative)| {
            let zero_count = f64::from(zero_count);
            let count = zero_count + positive.counts.iter().sum::<f64>() + negative.counts.iter().sum::<f64>();
            Histogram { schema, zero_threshold: 0.001, zero_count, count, positive, negative, ..Histogram::default() }
        })
    }

    proptest! {
        #[test]
        fn what_is_cut_off_is_what_the_other_side_keeps(h in histogram(), value in -20.0..20.0f64) {
            let (below, above) = (trimmed(&h, value, Kept::Below), trimmed(&h, value, Kept::Above));
            prop_assert!((below.count + above.count - h.count).abs() < 1e-9 * h.count.max(1.0));
            prop_assert!(below.count >= 0.0 && above.count >= 0.0);
        }

        #[test]
        fn more_stays_below_a_higher_value(h in histogram(), low in -20.0..20.0f64, more in 0.0..20.0f64) {
            let below = |value| trimmed(&h, value, Kept::Below).count;
            prop_assert!(below(low) <= below(low + more) + 1e-9 * h.count.max(1.0));
        }
    }
}
