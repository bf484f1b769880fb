//! Functions of ranges of plain floats, with the work of neighbouring windows shared: what two windows have in common is
//! looked at once, not for each of them.
//!
//! Sums, means and extremes go by two stacks: the older samples of a window lie in one that knows the result of each of
//! its ends, the newer ones are gathered as they come. Nothing is ever subtracted, so nothing of a sample stays once it
//! has left the window.

use std::ops::Range;

use tenantscope_model::Sample;

use crate::ast::Edges;
use crate::cells::ABSENT;
use crate::kahan::{KahanSum, Mean};
use crate::pace::Pace;
use crate::rate::{self, Change};
use crate::window::{Frames, RangeSeries};

/// What is computed of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sliding {
    Sum,
    Mean,
    Least,
    Greatest,
    Count,
    Change(Change),
    /// The difference of the last two samples, each second and as of a counter, or as it is.
    LastRate,
    LastDelta,
}

/// The way of a function, if windows share its work. A single window has nothing to share; of changes this is the shorter
/// way nevertheless.
pub(crate) fn sliding(name: &str, windows: usize) -> Option<Sliding> {
    let sliding = match name {
        "sum_over_time" => Sliding::Sum,
        "avg_over_time" => Sliding::Mean,
        "min_over_time" => Sliding::Least,
        "max_over_time" => Sliding::Greatest,
        "count_over_time" => Sliding::Count,
        "rate" => Sliding::Change(Change::Rate),
        "increase" => Sliding::Change(Change::Increase),
        "delta" => Sliding::Change(Change::Delta),
        "irate" => Sliding::LastRate,
        "idelta" => Sliding::LastDelta,
        _ => return None,
    };
    (windows > 1 || matches!(sliding, Sliding::Change(_))).then_some(sliding)
}

impl Sliding {
    /// The values of all windows; `None` for series that are more than plain floats.
    pub(crate) fn floats(self, series: &RangeSeries, frames: &Frames, pace: &Pace<'_>) -> Option<Vec<f64>> {
        if !series.histograms.is_empty() || !series.starts.samples_ms.is_empty() || frames.edges != Edges::Plain {
            return None;
        }
        let floats = &series.floats[..];
        Some(match self {
            Self::Sum => {
                let mut stacks = Stacks::new(floats, KahanSum::of, |mut older: KahanSum, newer| {
                    older.join(newer);
                    older
                });
                each(floats, frames, pace, |window| {
                    let sum = stacks.over(window.clone())?;
                    if sum.sum.is_finite() {
                        return Some(sum.value());
                    }
                    // What overflows hangs on the order.
                    let mut sum = KahanSum::default();
                    floats.get(window)?.iter().for_each(|sample| sum.add(sample.value));
                    Some(sum.value())
                })
            }
            Self::Mean => means(floats, frames, pace),
            Self::Least => {
                let least = |a: f64, b: f64| if b < a || a.is_nan() { b } else { a };
                let mut stacks = Stacks::new(floats, |value| value, least);
                each(floats, frames, pace, |window| stacks.over(window))
            }
            Self::Greatest => {
                let greatest = |a: f64, b: f64| if b > a || a.is_nan() { b } else { a };
                let mut stacks = Stacks::new(floats, |value| value, greatest);
                each(floats, frames, pace, |window| stacks.over(window))
            }
            Self::Count => each(floats, frames, pace, |window| Some(window.len() as f64)),
            Self::Change(change) => changes(floats, frames, pace, change),
            Self::LastRate | Self::LastDelta => each(floats, frames, pace, |window| self.last_two(floats.get(window)?)),
        })
    }

    fn last_two(self, window: &[Sample]) -> Option<f64> {
        let [.., before, after] = window else { return None };
        let seconds = (after.t_ms - before.t_ms) as f64 / 1000.0;
        let difference = after.value - before.value;
        match self {
            _ if seconds == 0.0 => None,
            Self::LastRate => Some(if after.value < before.value { after.value } else { difference } / seconds),
            _ => Some(difference),
        }
    }
}

/// A value for each window that is not empty; [`ABSENT`] for the others.
fn at_each(
    floats: &[Sample],
    frames: &Frames,
    pace: &Pace<'_>,
    mut value: impl FnMut(Range<usize>, usize) -> Option<f64>,
) -> Vec<f64> {
    let mut window = 0..0;
    let one = |step: usize| {
        let end_ms = frames.end_ms(step);
        let start_ms = end_ms - frames.range_ms;
        while floats.get(window.end).is_some_and(|sample| sample.t_ms <= end_ms) {
            window.end += 1;
        }
        while window.start < window.end && floats.get(window.start).is_some_and(|sample| sample.t_ms <= start_ms) {
            window.start += 1;
        }
        if window.is_empty() || !pace.goes_on(1 + window.len()) {
            return ABSENT;
        }
        value(window.clone(), step).unwrap_or(ABSENT)
    };
    (0..frames.count()).map(one).collect()
}

/// The same where only the samples count: neighbouring windows often hold the same.
fn each(
    floats: &[Sample],
    frames: &Frames,
    pace: &Pace<'_>,
    mut value: impl FnMut(Range<usize>) -> Option<f64>,
) -> Vec<f64> {
    let (mut known_window, mut known) = (0..0, None);
    at_each(floats, frames, pace, |window, _| {
        if window != known_window {
            known = value(window.clone());
            known_window = window;
        }
        known
    })
}

/// What has been gathered of the samples of a window that moves forward.
struct Stacks<'a, T, One, Join> {
    floats: &'a [Sample],
    one: One,
    join: Join,
    /// For each sample from `first` up to `middle`, what is gathered of it and all that follow up to there; the last first.
    older: Vec<T>,
    middle: usize,
    /// Of the samples from `middle` up to `end`.
    newer: Option<T>,
    end: usize,
}

impl<'a, T: Copy, One: Fn(f64) -> T, Join: Fn(T, T) -> T> Stacks<'a, T, One, Join> {
    fn new(floats: &'a [Sample], one: One, join: Join) -> Self {
        Self { floats, one, join, older: Vec::new(), middle: 0, newer: None, end: 0 }
    }

    /// What is gathered of a window that begins and ends no earlier than the one before.
    fn over(&mut self, window: Range<usize>) -> Option<T> {
        if window.start >= self.middle {
            self.turn(window.clone());
        }
        while self.end < window.end {
            let next = (self.one)(self.floats.get(self.end)?.value);
            self.newer = Some(self.newer.map_or(next, |newer| (self.join)(newer, next)));
            self.end += 1;
        }
        let older = (self.middle.checked_sub(window.start + 1)).and_then(|at| self.older.get(at)).copied();
        match (older, self.newer) {
            (Some(older), Some(newer)) => Some((self.join)(older, newer)),
            (one, other) => one.or(other),
        }
    }

    /// Makes all of the window older, from its last sample to its first.
    fn turn(&mut self, window: Range<usize>) {
        self.older.clear();
        let mut gathered: Option<T> = None;
        for sample in self.floats.get(window.clone()).unwrap_or_default().iter().rev() {
            let one = (self.one)(sample.value);
            let next = gathered.map_or(one, |gathered| (self.join)(one, gathered));
            self.older.push(next);
            gathered = Some(next);
        }
        self.newer = None;
        (self.middle, self.end) = (window.end, window.end);
    }
}

fn means(floats: &[Sample], frames: &Frames, pace: &Pace<'_>) -> Vec<f64> {
    let mut stacks = Stacks::new(floats, KahanSum::of, |mut older: KahanSum, newer| {
        older.join(newer);
        older
    });
    each(floats, frames, pace, |window| {
        let sum = stacks.over(window.clone())?;
        if sum.sum.is_finite() {
            return Some(Mean::of_sum(sum, window.len() as f64).value());
        }
        // A sum that overflows needs another way.
        let (first, rest) = floats.get(window)?.split_first()?;
        let mut mean = Mean::of(first.value);
        rest.iter().for_each(|sample| mean.add(sample.value));
        Some(mean.value())
    })
}

fn changes(floats: &[Sample], frames: &Frames, pace: &Pace<'_>, change: Change) -> Vec<f64> {
    // Where a counter restarted, and what it had reached: rarely anywhere.
    let restarts: Vec<(usize, f64)> = match change {
        Change::Delta => Vec::new(),
        Change::Rate | Change::Increase => {
            let pairs = floats.iter().zip(floats.iter().skip(1)).enumerate();
            pairs.filter(|(_, (a, b))| b.value < a.value).map(|(at, (a, _))| (at + 1, a.value)).collect()
        }
    };
    let mut first = 0;
    // Neighbouring windows often hold the same samples.
    let (mut known_window, mut known) = (0..0, None);
    at_each(floats, frames, pace, |window, step| {
        if window != known_window {
            while restarts.get(first).is_some_and(|(at, _)| *at <= window.start) {
                first += 1;
            }
            let inside = restarts.iter().skip(first).take_while(|(at, _)| *at < window.end);
            let reached = inside.fold(0.0, |reached, (_, value)| reached + value);
            known_window = window.clone();
            known = rate::of_floats(floats.get(window)?, change, reached, None);
        }
        let (difference, extent) = known?;
        let end_ms = frames.end_ms(step);
        Some(difference * extent.factor(end_ms - frames.range_ms, end_ms, change))
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;
    use tenantscope_model::QueryBudget;

    use super::*;
    use crate::column::{Cell, Cells, Grid};
    use crate::window::Window;

    fn naive(sliding: Sliding, window: &[Sample], start_ms: i64, end_ms: i64) -> Option<f64> {
        let values = window.iter().map(|sample| sample.value);
        match sliding {
            Sliding::Sum => {
                let mut sum = KahanSum::default();
                values.for_each(|value| sum.add(value));
                Some(sum.value())
            }
            Sliding::Mean => {
                let mut mean = Mean::of(window.first()?.value);
                values.skip(1).for_each(|value| mean.add(value));
                Some(mean.value())
            }
            Sliding::Least => values.reduce(|a, b| if b < a || a.is_nan() { b } else { a }),
            Sliding::Greatest => values.reduce(|a, b| if b > a || a.is_nan() { b } else { a }),
            Sliding::Count => Some(window.len() as f64),
            Sliding::Change(change) => {
                let pairs = window.windows(2).filter(|pair| pair[1].value < pair[0].value);
                let reached = if change == Change::Delta { 0.0 } else { pairs.map(|pair| pair[0].value).sum() };
                rate::extrapolated(&Window::over(window, Edges::Plain, start_ms, end_ms), change, reached, None)
            }
            Sliding::LastRate | Sliding::LastDelta => sliding.last_two(window),
        }
    }

    /// Equal but for what another order of adding makes of rounding.
    fn close(a: f64, b: f64, scale: f64) -> bool {
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-12 * scale
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            12 => -1000.0..1000.0,
            4 => (0_u32..50).prop_map(f64::from),
            1 => Just(f64::NAN),
            1 => prop_oneof![Just(f64::INFINITY), Just(f64::MAX), Just(-f64::MAX), Just(1e100)],
        ]
    }

    #[test]
    fn a_sum_that_overflows_says_what_each_window_says_alone() {
        let values = [f64::MAX, f64::MAX, -f64::MAX, -f64::MAX, -f64::MAX, f64::MAX];
        let floats: Vec<Sample> = (1..).zip(values).map(|(t_ms, value)| Sample { t_ms, value }).collect();
        let frames = Frames::over(Grid { start_ms: 4, step_ms: 1, count: 3 }, 4);
        let series = RangeSeries { floats: floats.clone(), ..RangeSeries::default() };
        let budget = QueryBudget::new(Instant::now() + Duration::from_secs(600), 1);
        for way in [Sliding::Sum, Sliding::Mean] {
            let alone = |first: usize| naive(way, &floats[first..first + 4], 0, 0).unwrap();
            assert_eq!(way.floats(&series, &frames, &Pace::new(&budget)).unwrap(), [alone(0), alone(1), alone(2)]);
        }
    }

    proptest! {
        #[test]
        fn windows_that_share_their_work_say_what_each_says_alone(
            samples in prop::collection::vec((1_i64..40, value()), 0..120),
            range_ms in 1_i64..300,
            step_ms in 1_i64..100,
            start_ms in -50_i64..200,
            name in prop::sample::select(vec![
                "sum_over_time", "avg_over_time", "min_over_time", "max_over_time", "count_over_time", "rate", "increase",
                "delta", "irate", "idelta",
            ]),
        ) {
            let mut t_ms = 0;
            let floats: Vec<Sample> = samples
                .into_iter()
                .map(|(gap_ms, value)| {
                    t_ms += gap_ms;
                    Sample { t_ms, value }
                })
                .collect();
            let frames = Frames::over(Grid { start_ms, step_ms, count: 40 }, range_ms);
            let series = RangeSeries { floats: floats.clone(), ..RangeSeries::default() };
            let budget = QueryBudget::new(Instant::now() + Duration::from_secs(600), 1);
            let way = sliding(name, 40).unwrap();
            let cells = Cells::Floats(way.floats(&series, &frames, &Pace::new(&budget)).unwrap());
            for (step, cell) in cells.iter().enumerate() {
                let (end_ms, range_ms) = (frames.end_ms(step), frames.range_ms);
                let inside = |sample: &&Sample| sample.t_ms > end_ms - range_ms && sample.t_ms <= end_ms;
                let window: Vec<Sample> = floats.iter().filter(inside).copied().collect();
                let wanted = if window.is_empty() { None } else { naive(way, &window, end_ms - range_ms, end_ms) };
                let scale: f64 = window.iter().map(|sample| sample.value.abs()).sum();
                match (cell, wanted) {
                    (Cell::Empty, None) => {}
                    (Cell::Float(got), Some(wanted)) => prop_assert!(close(got, wanted, scale), "{got} is not {wanted}"),
                    (got, wanted) => prop_assert!(false, "{got:?} is not {wanted:?}"),
                }
            }
        }
    }
}
