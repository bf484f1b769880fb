//! Sums that keep what rounding would lose (Kahan and Babuška, improved by Neumaier), as Prometheus computes them.

/// A running sum.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct KahanSum {
    pub(crate) sum: f64,
    pub(crate) lost: f64,
}

impl KahanSum {
    /// A sum that starts at a value.
    pub(crate) fn of(sum: f64) -> Self {
        Self { sum, lost: 0.0 }
    }

    /// Adds a value.
    pub(crate) fn add(&mut self, value: f64) {
        let total = self.sum + value;
        self.lost = if total.is_infinite() {
            0.0
        } else if self.sum.abs() >= value.abs() {
            self.lost + ((self.sum - total) + value)
        } else {
            self.lost + ((value - total) + self.sum)
        };
        self.sum = total;
    }

    /// Adds another running sum.
    pub(crate) fn join(&mut self, other: Self) {
        self.add(other.sum);
        if !self.sum.is_infinite() {
            self.lost += other.lost;
        }
    }

    fn scaled(self, factor: f64) -> Self {
        Self { sum: self.sum * factor, lost: self.lost * factor }
    }

    /// The sum.
    pub(crate) fn value(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.lost }
    }
}

/// A running mean: by the sum as long as it does not overflow, incremental from then on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mean {
    running: KahanSum,
    count: f64,
    incremental: bool,
}

impl Mean {
    /// A mean of one value.
    pub(crate) fn of(value: f64) -> Self {
        Self { running: KahanSum::of(value), count: 1.0, incremental: false }
    }

    /// A mean of so many values with this sum, which does not overflow.
    pub(crate) fn of_sum(running: KahanSum, count: f64) -> Self {
        Self { running, count, incremental: false }
    }

    /// Takes in the values of another mean.
    pub(crate) fn join(&mut self, other: Self) {
        let total = self.count + other.count;
        if !self.incremental && !other.incremental {
            let mut next = self.running;
            next.join(other.running);
            if !next.sum.is_infinite() {
                (self.running, self.count) = (next, total);
                return;
            }
        }
        let share = |mean: Self| {
            let divisor = if mean.incremental { 1.0 } else { mean.count };
            mean.running.scaled(1.0 / divisor).scaled(mean.count / total)
        };
        let mut running = share(*self);
        running.join(share(other));
        *self = Self { running, count: total, incremental: true };
    }

    /// Adds a value.
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.incremental {
            let mut next = self.running;
            next.add(value);
            if !next.sum.is_infinite() {
                self.running = next;
                return;
            }
            self.incremental = true;
            self.running.sum /= self.count - 1.0;
            self.running.lost /= self.count - 1.0;
        }
        let share = (self.count - 1.0) / self.count;
        self.running = KahanSum { sum: share * self.running.sum, lost: share * self.running.lost };
        self.running.add(value / self.count);
    }

    /// The mean.
    pub(crate) fn value(self) -> f64 {
        if self.incremental {
            self.running.sum + self.running.lost
        } else {
            self.running.sum / self.count + self.running.lost / self.count
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_values_survive_large_ones() {
        let mut sum = KahanSum::of(1e100);
        for value in [1.0, -1e100, 1.0] {
            sum.add(value);
        }
        assert_eq!(sum.value(), 2.0);
    }

    #[test]
    fn sums_and_means_of_parts_are_those_of_the_whole() {
        let values = [1e100, 3.5, -1e100, 0.25, f64::MAX, f64::MAX, -7.0];
        for at in 1..values.len() {
            let (left, right) = values.split_at(at);
            let sum = |values: &[f64]| {
                let mut sum = KahanSum::default();
                values.iter().filter(|value| value.abs() < 1e200).for_each(|value| sum.add(*value));
                sum
            };
            let mut joined = sum(left);
            joined.join(sum(right));
            assert_eq!(joined.value(), sum(&values).value());
            let mean = |values: &[f64]| {
                let mut mean = Mean::of(values[0]);
                values[1..].iter().for_each(|value| mean.add(*value));
                mean
            };
            let mut joined = mean(left);
            joined.join(mean(right));
            let wanted = mean(&values).value();
            assert!((joined.value() / wanted - 1.0).abs() < 1e-12, "{} is not {wanted}", joined.value());
        }
    }

    #[test]
    fn a_mean_survives_an_overflowing_sum() {
        let mut mean = Mean::of(f64::MAX);
        mean.add(f64::MAX);
        assert_eq!(mean.value(), f64::MAX);
    }
}
