//! What an aggregation gathers of one group at one time.

use tenantscope_model::{Histogram, Labels};

use crate::ast::{AggregateOp, Position};
use crate::column::Cell;
use crate::evaluation::Evaluation;
use crate::kahan::{KahanSum, Mean};
use crate::native::{HistogramSum, Incompatible};
use crate::note::{Note, Operation};
use crate::pace::HISTOGRAM_WORK;
use crate::quantile;

/// What a group has gathered at one time.
#[derive(Debug, Clone, Default)]
pub(crate) enum Accumulator {
    #[default]
    Empty,
    Sum(KahanSum),
    Mean(Mean),
    Value(f64),
    Count(f64),
    Variance {
        count: f64,
        mean: f64,
        squares: f64,
    },
    Values(Vec<f64>),
    Histograms(Box<HistogramSum>),
    /// Nothing comes of it: floats met histograms, or layouts that don't mix met.
    Spoiled,
}

impl Accumulator {
    /// The memory that it takes, in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        let more = match self {
            Self::Values(values) => values.capacity() * size_of::<f64>(),
            Self::Histograms(sum) => sum.held_bytes(),
            _ => 0,
        };
        size_of::<Self>() + more
    }

    /// How much work its result is, as of so many floats.
    pub(crate) fn work(&self) -> usize {
        match self {
            Self::Values(values) => values.len(),
            Self::Histograms(_) => HISTOGRAM_WORK,
            _ => 1,
        }
    }
}

/// An aggregation that gathers, and where notes about it point.
#[derive(Clone, Copy)]
pub(crate) struct Gathering<'a, 'e> {
    pub(crate) evaluation: &'a Evaluation<'e>,
    pub(crate) op: AggregateOp,
    pub(crate) position: Position,
}

impl Gathering<'_, '_> {
    fn note(&self, note: Note<'_>) {
        self.evaluation.note(note, self.position);
    }

    /// Takes a value in.
    pub(crate) fn gather(&self, accumulator: &mut Accumulator, cell: &Cell, labels: &Labels) {
        match cell {
            Cell::Empty => {}
            Cell::Float(value) => {
                if !gather_float(self.op, accumulator, *value) {
                    self.note(Note::MixedInAggregation);
                }
            }
            Cell::Histogram(histogram) => match self.op {
                AggregateOp::Sum | AggregateOp::Avg => self.gather_histogram(accumulator, histogram, labels),
                AggregateOp::Count | AggregateOp::Group => {
                    gather_float(self.op, accumulator, 0.0);
                }
                _ => self.note(Note::HistogramIgnoredInAggregation(self.op.name())),
            },
        }
    }

    fn gather_histogram(&self, accumulator: &mut Accumulator, histogram: &Histogram, labels: &Labels) {
        *accumulator = match std::mem::take(accumulator) {
            Accumulator::Empty => Accumulator::Histograms(Box::new(HistogramSum::of(histogram))),
            Accumulator::Histograms(mut sum) => {
                let is_mean = self.op == AggregateOp::Avg;
                let added = if is_mean { sum.add_to_mean(histogram) } else { sum.add(histogram) };
                self.summed(sum, added, labels)
            }
            Accumulator::Spoiled => Accumulator::Spoiled,
            _ => {
                self.note(Note::MixedInAggregation);
                Accumulator::Spoiled
            }
        };
    }

    fn summed(&self, sum: Box<HistogramSum>, added: Result<bool, Incompatible>, labels: &Labels) -> Accumulator {
        match added {
            Ok(reconciled) => {
                if reconciled {
                    self.note(Note::BoundsReconciled(Operation::Aggregation));
                }
                Accumulator::Histograms(sum)
            }
            Err(Incompatible) => {
                self.note(Note::MixedExponentialCustom(labels.metric_name()));
                Accumulator::Spoiled
            }
        }
    }

    /// Takes in what another share of the same group has gathered.
    pub(crate) fn join(&self, into: &mut Accumulator, other: Accumulator) {
        use Accumulator as A;
        *into = match (std::mem::take(into), other) {
            (A::Empty, one) | (one, A::Empty) => one,
            (A::Spoiled, _) | (_, A::Spoiled) => A::Spoiled,
            (A::Sum(mut a), A::Sum(b)) => {
                a.join(b);
                A::Sum(a)
            }
            (A::Mean(mut a), A::Mean(b)) => {
                a.join(b);
                A::Mean(a)
            }
            (A::Value(a), A::Value(b)) => A::Value(better(self.op, a, b)),
            (A::Count(a), A::Count(b)) => A::Count(a + b),
            (
                A::Variance { count, mean, squares },
                A::Variance { count: other_count, mean: other_mean, squares: other_squares },
            ) => {
                let total = count + other_count;
                let delta = other_mean - mean;
                let between = delta * delta * count * other_count / total;
                let mean = mean + delta * other_count / total;
                A::Variance { count: total, mean, squares: squares + other_squares + between }
            }
            (A::Values(mut a), A::Values(mut b)) => {
                a.append(&mut b);
                A::Values(a)
            }
            (A::Histograms(mut a), A::Histograms(b)) => {
                let joined = a.join(&b);
                self.summed(a, joined, &Labels::default())
            }
            _ => {
                self.note(Note::MixedInAggregation);
                A::Spoiled
            }
        };
    }

    /// What comes of it, with the aggregation's parameter at this time.
    pub(crate) fn result(&self, accumulator: Accumulator, parameter: Option<f64>) -> Cell {
        match accumulator {
            Accumulator::Empty | Accumulator::Spoiled => Cell::Empty,
            Accumulator::Sum(sum) => Cell::Float(sum.value()),
            Accumulator::Mean(mean) => Cell::Float(mean.value()),
            Accumulator::Value(value) | Accumulator::Count(value) => Cell::Float(value),
            Accumulator::Variance { count, squares, .. } => {
                let variance = squares / count;
                Cell::Float(if self.op == AggregateOp::Stddev { variance.sqrt() } else { variance })
            }
            Accumulator::Values(values) => Cell::Float(quantile::of_values(parameter.unwrap_or(f64::NAN), &values)),
            Accumulator::Histograms(sum) => {
                if sum.collided() {
                    self.note(Note::ResetsCollided(Operation::Aggregation));
                }
                Cell::histogram(if self.op == AggregateOp::Avg { sum.mean() } else { sum.sum() })
            }
        }
    }
}

/// Of two values the one that a minimum or maximum keeps.
fn better(op: AggregateOp, old: f64, value: f64) -> f64 {
    match op {
        AggregateOp::Max if old < value || old.is_nan() => value,
        AggregateOp::Min if old > value || old.is_nan() => value,
        _ => old,
    }
}

/// Adds a float; false where floats and histograms met.
fn gather_float(op: AggregateOp, accumulator: &mut Accumulator, value: f64) -> bool {
    use Accumulator as A;
    *accumulator = match (std::mem::take(accumulator), op) {
        (A::Empty, AggregateOp::Sum) => A::Sum(KahanSum::of(value)),
        (A::Empty, AggregateOp::Avg) => A::Mean(Mean::of(value)),
        (A::Empty, AggregateOp::Min | AggregateOp::Max) => A::Value(value),
        (A::Empty, AggregateOp::Group) => A::Value(1.0),
        (A::Empty, AggregateOp::Count) => A::Count(1.0),
        (A::Empty, AggregateOp::Stddev | AggregateOp::Stdvar) => {
            A::Variance { count: 1.0, mean: value, squares: if value.is_finite() { 0.0 } else { f64::NAN } }
        }
        (A::Empty, AggregateOp::Quantile) => A::Values(vec![value]),
        (A::Sum(mut sum), _) => {
            sum.add(value);
            A::Sum(sum)
        }
        (A::Mean(mut mean), _) => {
            mean.add(value);
            A::Mean(mean)
        }
        (A::Value(old), _) => A::Value(better(op, old, value)),
        (A::Count(count), _) => A::Count(count + 1.0),
        (A::Variance { count, mean, squares }, _) => {
            let count = count + 1.0;
            let delta = value - mean;
            let mean = mean + delta / count;
            A::Variance { count, mean, squares: squares + delta * (value - mean) }
        }
        (A::Values(mut values), _) => {
            values.push(value);
            A::Values(values)
        }
        (A::Histograms(_), _) => {
            *accumulator = A::Spoiled;
            return false;
        }
        (A::Spoiled | A::Empty, _) => A::Spoiled,
    };
    true
}
