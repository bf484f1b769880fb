//! Sums and means of histograms that keep what rounding would lose.

use tenantscope_model::{Histogram, ResetHint};

use super::flat::{Flat, align};
use super::{Incompatible, divided, joined_hints};
use crate::kahan::KahanSum;

/// A running sum of histograms.
///
/// As a mean it goes by the sum as long as that does not overflow, and is incremental from then on.
#[derive(Debug, Clone)]
pub(crate) struct HistogramSum {
    sum: Flat,
    lost: Flat,
    count: f64,
    incremental: bool,
    /// Whether a histogram said that its counting began anew, and whether one said that it went on.
    hints_seen: (bool, bool),
}

impl HistogramSum {
    /// A sum of one.
    pub(crate) fn of(first: &Histogram) -> Self {
        let sum = Flat::of(first);
        let lost = sum.emptied();
        let mut of_one = Self { sum, lost, count: 1.0, incremental: false, hints_seen: (false, false) };
        of_one.see(first);
        of_one
    }

    /// The memory that it takes, in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.sum.held_bytes() + self.lost.held_bytes()
    }

    fn see(&mut self, histogram: &Histogram) {
        self.hints_seen.0 |= histogram.reset_hint == ResetHint::CounterReset;
        self.hints_seen.1 |= histogram.reset_hint == ResetHint::NotCounterReset;
    }

    /// Whether some histograms began anew where others went on: their sum is of different times.
    pub(crate) fn collided(&self) -> bool {
        self.hints_seen == (true, true)
    }

    /// Adds to the sum; says whether custom bounds had to be reconciled.
    pub(crate) fn add(&mut self, histogram: &Histogram) -> Result<bool, Incompatible> {
        self.see(histogram);
        self.count += 1.0;
        self.accumulate(Flat::of(histogram))
    }

    /// Adds to the mean; says whether custom bounds had to be reconciled.
    pub(crate) fn add_to_mean(&mut self, histogram: &Histogram) -> Result<bool, Incompatible> {
        self.see(histogram);
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

    /// Takes in another running sum or mean; says whether custom bounds had to be reconciled.
    pub(crate) fn join(&mut self, other: &Self) -> Result<bool, Incompatible> {
        let mut other = other.clone();
        let total = self.count + other.count;
        if self.incremental || other.incremental {
            for mean in [&mut *self, &mut other] {
                let divisor = if mean.incremental { 1.0 } else { mean.count };
                mean.scale(mean.count / divisor / total);
                mean.incremental = true;
            }
        }
        self.count = total;
        self.hints_seen.0 |= other.hints_seen.0;
        self.hints_seen.1 |= other.hints_seen.1;
        let reconciled = self.accumulate(other.sum)?;
        other.lost.hint = self.sum.hint;
        self.accumulate(other.lost)?;
        Ok(reconciled)
    }

    fn scale(&mut self, factor: f64) {
        for flat in [&mut self.sum, &mut self.lost] {
            flat.each(|value| *value *= factor);
        }
    }

    fn accumulate(&mut self, mut other: Flat) -> Result<bool, Incompatible> {
        let mut lost_layout = other.emptied();
        align(&mut self.lost, &mut lost_layout)?;
        let reconciled = align(&mut self.sum, &mut other)?;
        let (hint, _) = joined_hints(self.sum.hint, other.hint);
        self.sum.hint = hint;
        let (sum, lost) = (&mut self.sum, &mut self.lost);
        // What was lost in buckets that went into a wider zero bucket went with them.
        lost.widen_zero(sum.zero_threshold);
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
