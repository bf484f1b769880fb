//! Quantiles and fractions: of values, of classic buckets, of native histograms.

use tenantscope_model::Histogram;

use crate::kahan::KahanSum;
use crate::native::{Bucket, buckets, is_custom};
use crate::note::{Forced, Note};

/// A quantile of values.
pub(crate) fn of_values(q: f64, values: &[f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if let Some(outside) = outside(q) {
        return outside;
    }
    let last = values.len() - 1;
    let rank = q * last as f64;
    let lower = (rank.floor().max(0.0) as usize).min(last);
    let weight = rank - rank.floor();
    let mut keys: Vec<i64> = values.iter().map(|value| key(*value)).collect();
    let (_, at_lower, above) = keys.select_nth_unstable(lower);
    let at_lower = *at_lower;
    let at_upper = above.iter().copied().min().unwrap_or(at_lower);
    value_of(at_lower) * (1.0 - weight) + value_of(at_upper) * weight
}

/// What orders as floats do. NaN counts as the smallest value.
fn key(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    match bits {
        _ if value.is_nan() => i64::MIN,
        bits if bits < 0 => bits ^ i64::MAX,
        bits => bits,
    }
}

fn value_of(key: i64) -> f64 {
    match key {
        i64::MIN => f64::NAN,
        key if key < 0 => f64::from_bits((key ^ i64::MAX) as u64),
        key => f64::from_bits(key as u64),
    }
}

fn outside(q: f64) -> Option<f64> {
    match q {
        q if q < 0.0 => Some(f64::NEG_INFINITY),
        q if q > 1.0 => Some(f64::INFINITY),
        _ => None,
    }
}

/// A cumulative bucket of a classic histogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ClassicBucket {
    pub(crate) upper: f64,
    pub(crate) count: f64,
}

/// How far two neighbouring counts may differ by rounding alone.
const SMALL_DELTA: f64 = 1e-12;

fn almost_equal(a: f64, b: f64) -> bool {
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let size = a.abs() + b.abs();
    let distance = (a - b).abs();
    if a == 0.0 || b == 0.0 || size < f64::MIN_POSITIVE {
        return distance < SMALL_DELTA * f64::MIN_POSITIVE;
    }
    distance / size.min(f64::MAX) < SMALL_DELTA
}

/// Sorted, one for each bound; `None` where the last is not `+Inf`.
fn prepared(mut classic: Vec<ClassicBucket>) -> Option<Vec<ClassicBucket>> {
    classic.sort_by(|a, b| a.upper.total_cmp(&b.upper));
    classic.last().filter(|bucket| bucket.upper == f64::INFINITY)?;
    classic.dedup_by(|next, kept| {
        let same = next.upper == kept.upper;
        if same {
            kept.count += next.count;
        }
        same
    });
    Some(classic)
}

/// Makes counts grow; tells what had to be changed beyond rounding, if anything.
fn force_monotonic(classic: &mut [ClassicBucket], at_ms: i64) -> Option<Forced> {
    let mut forced: Option<Forced> = None;
    let mut previous = classic.first().map_or(0.0, |bucket| bucket.count);
    for bucket in classic.iter_mut().skip(1) {
        if bucket.count == previous {
            continue;
        }
        let small = almost_equal(previous, bucket.count);
        if small || bucket.count < previous {
            if !small {
                let difference = previous - bucket.count;
                let one = Forced {
                    times_ms: (at_ms, at_ms),
                    buckets: (bucket.upper, bucket.upper),
                    max_difference: difference,
                    samples: 1,
                };
                // However many buckets were changed, it is one histogram.
                forced = Some(forced.map_or(one, |forced| Forced { samples: 1, ..forced.joined(one) }));
            }
            bucket.count = previous;
        } else {
            previous = bucket.count;
        }
    }
    forced
}

/// A quantile of a classic histogram, and how its counts had to be made to grow.
pub(crate) fn of_classic(q: f64, classic: Vec<ClassicBucket>, at_ms: i64) -> (f64, Option<Forced>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if let Some(outside) = outside(q) {
        return (outside, None);
    }
    let Some(mut classic) = prepared(classic) else { return (f64::NAN, None) };
    let forced = force_monotonic(&mut classic, at_ms);
    (interpolated(q, &classic).unwrap_or(f64::NAN), forced)
}

fn interpolated(q: f64, classic: &[ClassicBucket]) -> Option<f64> {
    let (last, finite) = classic.split_last()?;
    let highest = finite.last()?;
    if last.count == 0.0 {
        return None;
    }
    let rank = q * last.count;
    // As a search does: the first bucket that reaches the rank, NaN never reaching it.
    let at = finite.iter().position(|bucket| bucket.count >= rank);
    let Some(at) = at else { return Some(highest.upper) };
    let bucket = finite.get(at)?;
    let below = at.checked_sub(1).and_then(|i| finite.get(i));
    match below {
        None if bucket.upper <= 0.0 => Some(bucket.upper),
        None => Some(bucket.upper * (rank / bucket.count)),
        Some(below) => {
            let share = (rank - below.count) / (bucket.count - below.count);
            Some(below.upper + (bucket.upper - below.upper) * share)
        }
    }
}

/// The two ranks between which a fraction lies, found bucket by bucket from the lowest.
struct Ranks {
    lower: f64,
    upper: f64,
    lower_rank: Option<f64>,
    upper_rank: Option<f64>,
}

impl Ranks {
    fn new(lower: f64, upper: f64) -> Self {
        Self { lower, upper, lower_rank: None, upper_rank: None }
    }

    /// Takes the next bucket; `within` is the rank at a value inside it.
    fn take(&mut self, from: f64, to: f64, rank: f64, within: impl Fn(f64) -> f64) {
        for (value, found) in [(self.lower, &mut self.lower_rank), (self.upper, &mut self.upper_rank)] {
            if found.is_some() {
                continue;
            }
            if from >= value {
                *found = Some(rank);
            } else if to > value {
                *found = Some(within(value));
            }
        }
    }

    fn done(&self) -> bool {
        self.lower_rank.is_some() && self.upper_rank.is_some()
    }

    fn difference(&self, count: f64) -> f64 {
        let capped = |rank: Option<f64>| rank.filter(|rank| *rank <= count).unwrap_or(count);
        capped(self.upper_rank) - capped(self.lower_rank)
    }
}

/// The share of a classic histogram's observations between two values.
pub(crate) fn classic_fraction(lower: f64, upper: f64, classic: Vec<ClassicBucket>) -> f64 {
    let Some(classic) = prepared(classic) else { return f64::NAN };
    let count = classic.last().map_or(0.0, |bucket| bucket.count);
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let first = classic.first().map_or(0.0, |bucket| bucket.upper);
    let mut from = if first <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    let mut rank = 0.0;
    let mut ranks = Ranks::new(lower, upper);
    for bucket in classic {
        ranks.take(from, bucket.upper, rank, |value| {
            if from == f64::NEG_INFINITY {
                return bucket.count;
            }
            rank + (bucket.count - rank) * (value - from) / (bucket.upper - from)
        });
        (from, rank) = (bucket.upper, bucket.count);
    }
    ranks.difference(count) / count
}

/// The zero bucket ends at zero where all other observations lie on one side of it.
fn with_natural_zero(h: &Histogram, mut bucket: Bucket) -> Bucket {
    let (positive, negative) = (h.positive.counts.is_empty(), h.negative.counts.is_empty());
    if negative && !positive {
        bucket.lower = 0.0;
    } else if positive && !negative {
        bucket.upper = 0.0;
    }
    bucket
}

/// A quantile of a native histogram.
pub(crate) fn of_native<'m>(q: f64, h: &Histogram, metric: &'m str, note: &mut dyn FnMut(Note<'m>)) -> f64 {
    if let Some(outside) = outside(q) {
        return outside;
    }
    if h.count == 0.0 || q.is_nan() {
        return f64::NAN;
    }
    let all = buckets(h);
    let has_nan = h.sum.is_nan();
    let forward = has_nan || q < 0.5;
    let target = if forward { q * h.count } else { (1.0 - q) * h.count };
    let ordered: Vec<Bucket> = if forward { all } else { all.into_iter().rev().collect() };
    let mut seen = 0.0;
    let mut found = Bucket { lower: 0.0, upper: 0.0, count: 0.0 };
    let mut rest = ordered.iter();
    for bucket in rest.by_ref() {
        if bucket.count == 0.0 {
            continue;
        }
        found = *bucket;
        seen += bucket.count;
        if seen >= target {
            break;
        }
    }
    if is_custom(h) {
        if found.lower == f64::NEG_INFINITY {
            if found.upper <= 0.0 {
                return found.upper;
            }
            found.lower = 0.0;
        } else if found.upper == f64::INFINITY {
            return found.lower;
        }
    } else if found.lower < 0.0 && found.upper > 0.0 {
        found = with_natural_zero(h, found);
    }
    let count = seen.min(h.count);
    if count < target {
        if has_nan {
            note(Note::QuantileNanResult(metric));
            return f64::NAN;
        }
        return found.upper;
    }
    let within = if forward { target - (count - found.count) } else { count - target };
    if has_nan && count + rest.map(|b| b.count).sum::<f64>() < h.count {
        note(Note::QuantileNanSkew(metric));
    }
    within_bucket(h, found, within / found.count)
}

fn within_bucket(h: &Histogram, bucket: Bucket, fraction: f64) -> f64 {
    if is_custom(h) || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        return bucket.lower + (bucket.upper - bucket.lower) * fraction;
    }
    let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    if bucket.lower > 0.0 {
        (lower + (upper - lower) * fraction).exp2()
    } else {
        -(upper + (lower - upper) * (1.0 - fraction)).exp2()
    }
}

/// The share of a native histogram's observations between two values.
pub(crate) fn native_fraction<'m>(
    lower: f64,
    upper: f64,
    h: &Histogram,
    metric: &'m str,
    note: &mut dyn FnMut(Note<'m>),
) -> f64 {
    if h.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let all = buckets(h);
    let mut ranks = Ranks::new(lower, upper);
    let mut rank = 0.0;
    for bucket in &all {
        let is_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        let bucket = if is_zero { with_natural_zero(h, *bucket) } else { *bucket };
        let linear = is_custom(h) || is_zero;
        ranks.take(bucket.lower, bucket.upper, rank, |value| {
            if bucket.lower == f64::NEG_INFINITY {
                return bucket.count;
            }
            rank + bucket.count * bucket.share_below(value, linear)
        });
        if ranks.done() {
            break;
        }
        rank += bucket.count;
    }
    let mut count = h.count;
    if h.sum.is_nan() {
        count = all.iter().map(|bucket| bucket.count).sum();
        if count < h.count {
            note(Note::FractionNan(metric));
        }
    }
    ranks.difference(count) / h.count
}

/// The variance of a native histogram's observations, each taken at the middle of its bucket.
pub(crate) fn native_variance(h: &Histogram) -> f64 {
    let mean = h.sum / h.count;
    let mut sum = KahanSum::default();
    for bucket in buckets(h).into_iter().filter(|bucket| bucket.count != 0.0) {
        let middle = if is_custom(h) {
            f64::midpoint(bucket.upper, bucket.lower)
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
        };
        let delta = middle - mean;
        sum.add(bucket.count * delta * delta);
    }
    (sum.sum + sum.lost) / h.count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_classic_quantile_is_interpolated_in_its_bucket() {
        let classic = [(0.1, 50.0), (0.2, 70.0), (1.0, 110.0), (f64::INFINITY, 120.0)];
        let classic: Vec<_> = classic.iter().map(|&(upper, count)| ClassicBucket { upper, count }).collect();
        let (median, forced) = of_classic(0.5, classic.clone(), 0);
        assert!((median - 0.15).abs() < 1e-12 && forced.is_none());
        assert_eq!(of_classic(1.0, classic.clone(), 0).0, 1.0);
        assert_eq!(of_classic(2.0, classic.clone(), 0).0, f64::INFINITY);
        assert!(of_classic(0.5, classic[..3].to_vec(), 0).0.is_nan());
    }

    #[test]
    fn a_median_lies_between_two_values() {
        assert_eq!(of_values(0.5, &[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert!(of_values(0.5, &[]).is_nan());
    }
}
