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
    fn a_mean_survives_an_overflowing_sum() {
        let mut mean = Mean::of(f64::MAX);
        mean.add(f64::MAX);
        assert_eq!(mean.value(), f64::MAX);
    }
}
