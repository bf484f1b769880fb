//! Arithmetic of native histograms.
//!
//! Histograms of different resolution meet at the lower one, different zero buckets at the wider one, different custom
//! bounds at the bounds that both have. Exponential and custom buckets don't mix.

use std::collections::BTreeMap;

use tenantscope_model::{Histogram, Span, Spans};

use crate::kahan::KahanSum;

/// The schema that says that buckets have bounds of their own.
pub(crate) const CUSTOM_SCHEMA: i32 = -53;

/// Exponential and custom buckets met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incompatible;

/// A sum or difference, and whether custom bounds had to be reconciled.
pub type Combined = Result<(Histogram, bool), Incompatible>;

/// Whether the buckets have bounds of their own.
pub(crate) fn is_custom(histogram: &Histogram) -> bool {
    histogram.schema == CUSTOM_SCHEMA
}

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

type Counts = BTreeMap<i32, f64>;

fn counts(spans: &Spans) -> Counts {
    let mut counts = Counts::new();
    let mut values = spans.counts.iter();
    let mut index = 0i32;
    for span in &spans.spans {
        index = index.saturating_add(span.offset);
        for _ in 0..span.length {
            let Some(value) = values.next() else { return counts };
            counts.insert(index, *value);
            index = index.saturating_add(1);
        }
    }
    counts
}

fn spans(counts: &Counts) -> Spans {
    let mut spans = Spans::default();
    let mut end = 0i32;
    for (&index, &count) in counts.iter().filter(|(_, count)| **count != 0.0) {
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
fn bound(index: i32, schema: i32) -> f64 {
    let exponent = f64::from(index) / 2f64.powi(schema);
    // The last finite bucket ends at the largest float, as in Prometheus.
    if exponent == 1024.0 { f64::MAX } else { exponent.exp2() }
}

/// A histogram with its buckets by index.
#[derive(Debug, Clone)]
struct Flat {
    schema: i32,
    zero_threshold: f64,
    zero_count: f64,
    count: f64,
    sum: f64,
    positive: Counts,
    negative: Counts,
    bounds: Vec<f64>,
}

impl Flat {
    fn of(h: &Histogram) -> Self {
        Self {
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            zero_count: h.zero_count,
            count: h.count,
            sum: h.sum,
            positive: counts(&h.positive),
            negative: counts(&h.negative),
            bounds: h.custom_bounds.clone(),
        }
    }

    fn into_histogram(self) -> Histogram {
        Histogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count,
            count: self.count,
            sum: self.sum,
            positive: spans(&self.positive),
            negative: spans(&self.negative),
            custom_bounds: self.bounds,
            reset_hint: Default::default(),
        }
    }

    fn each(&mut self, mut change: impl FnMut(&mut f64)) {
        let fields = [&mut self.zero_count, &mut self.count, &mut self.sum];
        fields.into_iter().chain(self.positive.values_mut()).chain(self.negative.values_mut()).for_each(&mut change);
    }

    fn overflows(&self) -> bool {
        let fields = [self.zero_count, self.count, self.sum];
        let counts = self.positive.values().chain(self.negative.values()).copied();
        fields.into_iter().chain(counts).any(f64::is_infinite)
    }

    fn reduce_to(&mut self, schema: i32) {
        let shift = self.schema - schema;
        if shift <= 0 {
            return;
        }
        let reduce = |counts: &Counts| {
            let mut reduced = Counts::new();
            for (&index, &count) in counts {
                *reduced.entry(((index - 1) >> shift.min(31)) + 1).or_default() += count;
            }
            reduced
        };
        self.positive = reduce(&self.positive);
        self.negative = reduce(&self.negative);
        self.schema = schema;
    }

    /// Widens the zero bucket to a threshold, or to the end of the populated bucket in which the threshold lies.
    fn widen_zero(&mut self, threshold: f64) {
        if threshold <= self.zero_threshold {
            return;
        }
        let mut reached = threshold;
        for counts in [&mut self.positive, &mut self.negative] {
            let inside: Vec<i32> =
                counts.keys().copied().take_while(|&index| bound(index - 1, self.schema) < reached).collect();
            for index in inside {
                let count = counts.remove(&index).unwrap_or_default();
                self.zero_count += count;
                if count != 0.0 {
                    reached = reached.max(bound(index, self.schema));
                }
            }
        }
        self.zero_threshold = reached;
    }

    fn move_to_bounds(&mut self, bounds: &[f64]) {
        let mut moved = Counts::new();
        for (&index, &count) in &self.positive {
            let upper = usize::try_from(index).ok().and_then(|i| self.bounds.get(i)).copied().unwrap_or(f64::INFINITY);
            let target = bounds.partition_point(|b| *b < upper);
            *moved.entry(i32::try_from(target).unwrap_or(i32::MAX)).or_default() += count;
        }
        self.positive = moved;
        self.bounds = bounds.to_vec();
    }
}

/// Brings two histograms to the same layout; says whether custom bounds were reconciled.
fn align(a: &mut Flat, b: &mut Flat) -> Result<bool, Incompatible> {
    if (a.schema == CUSTOM_SCHEMA) != (b.schema == CUSTOM_SCHEMA) {
        return Err(Incompatible);
    }
    if a.schema == CUSTOM_SCHEMA {
        if a.bounds == b.bounds {
            return Ok(false);
        }
        let common: Vec<f64> = a.bounds.iter().copied().filter(|bound| b.bounds.contains(bound)).collect();
        a.move_to_bounds(&common);
        b.move_to_bounds(&common);
        return Ok(true);
    }
    // Zero buckets first: their bounds are finer at the finer resolution.
    while a.zero_threshold != b.zero_threshold {
        let wider = a.zero_threshold.max(b.zero_threshold);
        a.widen_zero(wider);
        b.widen_zero(wider);
    }
    let schema = a.schema.min(b.schema);
    a.reduce_to(schema);
    b.reduce_to(schema);
    Ok(false)
}

fn combined(a: &Histogram, b: &Histogram, sign: f64) -> Combined {
    let (mut a, mut b) = (Flat::of(a), Flat::of(b));
    let reconciled = align(&mut a, &mut b)?;
    a.zero_count += sign * b.zero_count;
    a.count += sign * b.count;
    a.sum += sign * b.sum;
    for (into, from) in [(&mut a.positive, &b.positive), (&mut a.negative, &b.negative)] {
        for (&index, &count) in from {
            *into.entry(index).or_default() += sign * count;
        }
    }
    Ok((a.into_histogram(), reconciled))
}

/// `a + b`.
pub fn added(a: &Histogram, b: &Histogram) -> Combined {
    combined(a, b, 1.0)
}

/// `a - b`.
pub(crate) fn subtracted(a: &Histogram, b: &Histogram) -> Combined {
    combined(a, b, -1.0)
}

/// A running sum of histograms that keeps what rounding would lose.
///
/// As a mean it goes by the sum as long as that does not overflow, and is incremental from then on.
#[derive(Debug, Clone)]
pub(crate) struct HistogramSum {
    sum: Flat,
    lost: Flat,
    count: f64,
    incremental: bool,
}

impl HistogramSum {
    /// A sum of one.
    pub(crate) fn of(first: &Histogram) -> Self {
        Self { sum: Flat::of(first), lost: Flat::of(&emptied(first)), count: 1.0, incremental: false }
    }

    /// Adds to the sum; says whether custom bounds had to be reconciled.
    pub(crate) fn add(&mut self, histogram: &Histogram) -> Result<bool, Incompatible> {
        self.count += 1.0;
        self.accumulate(Flat::of(histogram))
    }

    /// Adds to the mean; says whether custom bounds had to be reconciled.
    pub(crate) fn add_to_mean(&mut self, histogram: &Histogram) -> Result<bool, Incompatible> {
        self.count += 1.0;
        if !self.incremental {
            let mut next = self.clone();
            let reconciled = next.accumulate(Flat::of(histogram))?;
            if !next.sum.overflows() {
                *self = next;
                return Ok(reconciled);
            }
            self.incremental = true;
            self.scale(1.0 / (self.count - 1.0));
        }
        self.scale((self.count - 1.0) / self.count);
        self.accumulate(Flat::of(&divided(histogram, self.count)))
    }

    fn scale(&mut self, factor: f64) {
        for flat in [&mut self.sum, &mut self.lost] {
            flat.each(|value| *value *= factor);
        }
    }

    fn accumulate(&mut self, mut other: Flat) -> Result<bool, Incompatible> {
        let mut same = self.lost.clone();
        let reconciled = align(&mut self.sum, &mut other)?;
        align(&mut same, &mut other.clone())?;
        self.lost = same;
        let (sum, lost) = (&mut self.sum, &mut self.lost);
        increase(&mut sum.zero_count, &mut lost.zero_count, other.zero_count);
        increase(&mut sum.count, &mut lost.count, other.count);
        increase(&mut sum.sum, &mut lost.sum, other.sum);
        for (sum, lost, other) in [
            (&mut sum.positive, &mut lost.positive, &other.positive),
            (&mut sum.negative, &mut lost.negative, &other.negative),
        ] {
            for (&index, &count) in other {
                increase(sum.entry(index).or_default(), lost.entry(index).or_default(), count);
            }
        }
        Ok(reconciled)
    }

    /// The sum, or the incremental mean.
    pub(crate) fn sum(&self) -> Histogram {
        let mut total = self.sum.clone();
        total.zero_count += self.lost.zero_count;
        total.count += self.lost.count;
        total.sum += self.lost.sum;
        for (into, from) in [(&mut total.positive, &self.lost.positive), (&mut total.negative, &self.lost.negative)] {
            for (&index, &count) in from {
                *into.entry(index).or_default() += count;
            }
        }
        total.into_histogram()
    }

    /// The mean.
    pub(crate) fn mean(&self) -> Histogram {
        if self.incremental {
            return self.sum();
        }
        let mut scaled = self.clone();
        for flat in [&mut scaled.sum, &mut scaled.lost] {
            flat.each(|value| *value /= self.count);
        }
        scaled.sum()
    }
}

fn increase(sum: &mut f64, lost: &mut f64, value: f64) {
    let mut kahan = KahanSum { sum: *sum, lost: *lost };
    kahan.add(value);
    (*sum, *lost) = (kahan.sum, kahan.lost);
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

/// `h * factor`.
pub(crate) fn scaled(h: &Histogram, factor: f64) -> Histogram {
    mapped(h, |v| v * factor)
}

/// `h / divisor`; a division by zero leaves no buckets.
pub(crate) fn divided(h: &Histogram, divisor: f64) -> Histogram {
    let mut divided = mapped(h, |v| v / divisor);
    if divisor == 0.0 {
        divided.positive = Spans::default();
        divided.negative = Spans::default();
    }
    divided
}

/// A histogram with nothing in it, in the layout of another.
pub(crate) fn emptied(h: &Histogram) -> Histogram {
    Histogram { schema: h.schema, custom_bounds: h.custom_bounds.clone(), ..Histogram::default() }
}

/// Without empty buckets.
pub(crate) fn compacted(h: &Histogram) -> Histogram {
    Flat::of(h).into_histogram()
}

/// Whether a counter began anew between two histograms.
pub(crate) fn is_reset(previous: &Histogram, current: &Histogram) -> bool {
    if current.count < previous.count || is_custom(current) != is_custom(previous) {
        return true;
    }
    let finer = !is_custom(current) && current.schema > previous.schema;
    if finer || current.zero_threshold < previous.zero_threshold {
        return true;
    }
    let (mut old, mut new) = (Flat::of(previous), Flat::of(current));
    old.widen_zero(new.zero_threshold);
    if !is_custom(current) && old.zero_threshold != new.zero_threshold {
        return true;
    }
    if align(&mut old, &mut new).is_err() || new.zero_count < old.zero_count {
        return true;
    }
    let shrank = |old: &Counts, new: &Counts| {
        old.iter().any(|(index, count)| new.get(index).copied().unwrap_or_default() < *count)
    };
    shrank(&old.positive, &new.positive) || shrank(&old.negative, &new.negative)
}

/// Whether two histograms say the same, however their spans are cut.
pub(crate) fn equal(a: &Histogram, b: &Histogram) -> bool {
    let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || a == b;
    let sides = |h: &Histogram| (spans(&counts(&h.positive)), spans(&counts(&h.negative)));
    a.schema == b.schema
        && same(a.count, b.count)
        && same(a.sum, b.sum)
        && a.zero_threshold == b.zero_threshold
        && same(a.zero_count, b.zero_count)
        && a.custom_bounds == b.custom_bounds
        && sides(a) == sides(b)
}

/// All buckets that are listed, from the lowest.
pub fn buckets(h: &Histogram) -> Vec<Bucket> {
    if is_custom(h) {
        let one = |(index, count): (i32, f64)| {
            let at = |i: i32| usize::try_from(i).ok().and_then(|i| h.custom_bounds.get(i)).copied();
            Bucket {
                lower: at(index - 1).unwrap_or(f64::NEG_INFINITY),
                upper: at(index).unwrap_or(f64::INFINITY),
                count,
            }
        };
        return counts(&h.positive).into_iter().map(one).collect();
    }
    let positive = counts(&h.positive).into_iter().map(|(index, count)| Bucket {
        lower: bound(index - 1, h.schema).max(h.zero_threshold.min(bound(index, h.schema))),
        upper: bound(index, h.schema),
        count,
    });
    let negative = counts(&h.negative).into_iter().rev().map(|(index, count)| Bucket {
        lower: -bound(index, h.schema),
        upper: -bound(index - 1, h.schema).max(h.zero_threshold.min(bound(index, h.schema))),
        count,
    });
    let zero = (h.zero_count > 0.0).then_some(Bucket {
        lower: -h.zero_threshold,
        upper: h.zero_threshold,
        count: h.zero_count,
    });
    negative.chain(zero).chain(positive).collect()
}

/// As Prometheus's `String`: for `count_values` and messages.
pub(crate) fn text(h: &Histogram) -> String {
    use crate::print::number_text;
    let mut text = format!("{{count:{}, sum:{}", number_text(h.count), number_text(h.sum));
    for bucket in buckets(h) {
        let (open, close) = if is_custom(h) || bucket.lower > 0.0 {
            ('(', ']')
        } else if bucket.upper < 0.0 {
            ('[', ')')
        } else {
            ('[', ']')
        };
        let (lower, upper) = (number_text(bucket.lower), number_text(bucket.upper));
        text.push_str(&format!(", {open}{lower},{upper}{close}:{}", number_text(bucket.count)));
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(schema: i32, first: i32, values: &[f64]) -> Histogram {
        let count = values.iter().sum();
        let positive =
            Spans { spans: vec![Span { offset: first, length: values.len() as u32 }], counts: values.to_vec() };
        Histogram { schema, count, sum: count, positive, ..Histogram::default() }
    }

    #[test]
    fn different_resolutions_meet_at_the_lower() {
        let (sum, _) = added(&histogram(1, 1, &[1.0, 2.0, 3.0]), &histogram(0, 1, &[10.0, 20.0])).unwrap();
        assert_eq!(sum.schema, 0);
        assert_eq!(sum.positive.counts, vec![13.0, 23.0]);
        assert_eq!(sum.count, 36.0);
    }

    #[test]
    fn what_was_added_can_be_taken_away() {
        let (a, b) = (histogram(0, 0, &[1.0, 2.0]), histogram(0, 3, &[4.0]));
        let (sum, _) = added(&a, &b).unwrap();
        let (back, _) = subtracted(&sum, &b).unwrap();
        assert!(equal(&back, &a));
        assert!(is_reset(&sum, &a) && !is_reset(&a, &sum));
    }

    #[test]
    fn exponential_and_custom_do_not_mix() {
        let custom = Histogram { schema: CUSTOM_SCHEMA, custom_bounds: vec![1.0], ..Histogram::default() };
        assert_eq!(added(&custom, &histogram(0, 0, &[1.0])), Err(Incompatible));
    }
}
