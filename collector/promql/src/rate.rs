//! Functions of how a series changes over a range.

use std::sync::Arc;

use tenantscope_model::{Histogram, HistogramSample, ResetHint, Sample};

use crate::ast::Edges;
use crate::column::Cell;
use crate::native;
use crate::note::{Note, Operation};
use crate::over_time::{Context, is_mixed};
use crate::smoothing;
use crate::starts::{is_restart, overlaps};
use crate::window::Window;

/// How a change over a range is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Of a counter, each second.
    Rate,
    /// Of a counter.
    Increase,
    /// Of a gauge.
    Delta,
}

pub(crate) fn rate(context: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    change(context, window, Change::Rate)
}

pub(crate) fn increase(context: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    change(context, window, Change::Increase)
}

pub(crate) fn delta(context: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    change(context, window, Change::Delta)
}

fn change(context: &Context<'_, '_>, window: &Window<'_>, change: Change) -> Cell {
    if is_mixed(context, window) {
        return Cell::Empty;
    }
    if window.edges != Edges::Plain {
        return smoothing::change(context, window, change);
    }
    if window.histograms.is_empty() {
        return extrapolated_floats(context, window, change).map_or(Cell::Empty, Cell::Float);
    }
    extrapolated_histograms(context, window, change).map_or(Cell::Empty, Cell::histogram)
}

/// When a counter's first sample in the range began to count, if that was within the range: it was zero then.
fn start_within(window: &Window<'_>, starts_ms: &[i64], first_ms: i64, change: Change) -> Option<i64> {
    let start_ms = starts_ms.first().copied().filter(|_| change != Change::Delta)?;
    (start_ms != 0 && start_ms > window.start_ms && start_ms < first_ms).then_some(start_ms)
}

fn extrapolated_floats(context: &Context<'_, '_>, window: &Window<'_>, change: Change) -> Option<f64> {
    let starts_ms = window.float_starts_ms;
    let reached = if change == Change::Delta { 0.0 } else { before_restarts(context, window.floats, starts_ms) };
    let start_ms = start_within(window, starts_ms, window.floats.first()?.t_ms, change);
    extrapolated(window, change, reached, start_ms)
}

/// The change over a window of floats, given what a counter had reached before its restarts, and when it was zero, if that
/// is known to be in the window.
pub(crate) fn extrapolated(window: &Window<'_>, change: Change, reached: f64, start_ms: Option<i64>) -> Option<f64> {
    let (difference, extent) = of_floats(window.floats, change, reached, start_ms)?;
    Some(difference * extent.factor(window.start_ms, window.end_ms, change))
}

/// The difference of a window of floats, and by what it is extrapolated.
pub(crate) fn of_floats(
    floats: &[Sample],
    change: Change,
    reached: f64,
    start_ms: Option<i64>,
) -> Option<(f64, Extent)> {
    let (first, last) = (floats.first()?, floats.last()?);
    let mut difference = last.value - first.value + reached;
    if start_ms.is_some() {
        difference += first.value;
    }
    let rises = change != Change::Delta && difference > 0.0 && first.value >= 0.0;
    let span = Span {
        first_ms: first.t_ms,
        last_ms: last.t_ms,
        start_ms,
        intervals: floats.len() - 1,
        from_zero: rises.then(|| first.value / difference),
    };
    Some((difference, span.extent()?))
}

/// The sum of what a counter had reached before each restart.
fn before_restarts(context: &Context<'_, '_>, floats: &[Sample], starts_ms: &[i64]) -> f64 {
    let mut reached = 0.0;
    let mut overlapped = false;
    for (index, pair) in floats.windows(2).enumerate() {
        let [before, after] = pair else { continue };
        let starts = starts_ms.get(index).zip(starts_ms.get(index + 1));
        if !overlapped && starts.is_some_and(|(a, b)| overlaps((*a, before.t_ms), *b)) {
            context.note(Note::StartsOverlap(context.metric));
            overlapped = true;
        }
        let restarted = starts.is_some_and(|(a, b)| is_restart((*a, before.t_ms), (*b, after.t_ms)));
        if after.value < before.value || restarted {
            reached += before.value;
        }
    }
    reached
}

fn extrapolated_histograms(context: &Context<'_, '_>, window: &Window<'_>, change: Change) -> Option<Histogram> {
    let (first, last) = (window.histograms.first()?, window.histograms.last()?);
    let starts_ms = window.histogram_starts_ms;
    let mut difference = None;
    if window.histograms.len() > 1 {
        difference = Some(histogram_difference(context, window.histograms, starts_ms, change != Change::Delta)?);
    }
    let start_ms = start_within(window, starts_ms, first.t_ms, change);
    if start_ms.is_some() {
        difference = Some(match &difference {
            Some(difference) => joined(context, difference, &first.histogram)?,
            None => (*first.histogram).clone(),
        });
    }
    let difference = difference?;
    let rises = change != Change::Delta && difference.count > 0.0 && first.histogram.count >= 0.0;
    let span = Span {
        first_ms: first.t_ms,
        last_ms: last.t_ms,
        start_ms,
        intervals: window.histograms.len() - 1,
        from_zero: rises.then(|| first.histogram.count / difference.count),
    };
    let factor = span.extent()?.factor(window.start_ms, window.end_ms, change);
    Some(native::scaled(&difference, factor))
}

/// What part of the range the samples cover.
struct Span {
    first_ms: i64,
    last_ms: i64,
    /// When the counter was zero, if that is known to be in the range before the first sample.
    start_ms: Option<i64>,
    /// Between samples.
    intervals: usize,
    /// How many times the covered time lies between a counter's zero and its first sample, by its slope.
    from_zero: Option<f64>,
}

/// The same, as windows with these samples share it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    first_ms: i64,
    last_ms: i64,
    /// In seconds, as all below.
    covered: f64,
    /// Samples that are so far from an edge don't reach it, but half a sample's distance towards it.
    threshold: f64,
    half_distance: f64,
    /// How far the change reaches back at most.
    from_zero: f64,
}

impl Span {
    /// `None` where one sample tells nothing of a change.
    fn extent(&self) -> Option<Extent> {
        let sampled = seconds(self.last_ms - self.first_ms);
        let between = if self.intervals > 0 { sampled / self.intervals as f64 } else { 0.0 };
        let (covered, from_zero) = match self.start_ms {
            Some(start_ms) => (seconds(self.last_ms - start_ms), 0.0),
            None if self.intervals == 0 => return None,
            None => (sampled, self.from_zero.map_or(f64::INFINITY, |times| sampled * times)),
        };
        Some(Extent {
            first_ms: self.first_ms,
            last_ms: self.last_ms,
            covered,
            threshold: between * 1.1,
            half_distance: between / 2.0,
            from_zero,
        })
    }
}

impl Extent {
    /// By what the difference is multiplied: to the ends of the range where samples come close to them, else half a
    /// sample's distance beyond the outer samples, and never to before a counter was zero.
    pub(crate) fn factor(&self, start_ms: i64, end_ms: i64, change: Change) -> f64 {
        let reach = |to_edge: f64| if to_edge >= self.threshold { self.half_distance } else { to_edge };
        let to_start = reach(seconds(self.first_ms - start_ms)).min(self.from_zero);
        let to_end = reach(seconds(end_ms - self.last_ms));
        let factor = if self.covered == 0.0 { 1.0 } else { (self.covered + to_start + to_end) / self.covered };
        if change == Change::Rate { factor / seconds(end_ms - start_ms) } else { factor }
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

fn histogram_difference(
    context: &Context<'_, '_>,
    samples: &[HistogramSample],
    starts_ms: &[i64],
    is_counter: bool,
) -> Option<Histogram> {
    let (first, second, last) = (samples.first()?, samples.get(1)?, samples.last()?);
    let restarted = |index: usize, before: &Histogram, after: &Histogram| {
        let time = |index: usize| Some((*starts_ms.get(index)?, samples.get(index)?.t_ms));
        let told = time(index).zip(time(index + 1)).is_some_and(|(a, b)| is_restart(a, b));
        told || native::is_reset(before, after)
    };
    let mut previous = Arc::clone(&first.histogram);
    if is_counter && restarted(0, &previous, &second.histogram) {
        // The first sample's layout must not matter where its counts don't.
        previous = Arc::new(native::emptied(&second.histogram));
    }
    let custom = native::is_custom(&previous);
    let same_kind = |sample: &HistogramSample| native::is_custom(&sample.histogram) == custom;
    let kinds_mix = if is_counter { !samples.iter().skip(1).all(same_kind) } else { !same_kind(last) };
    let is_gauge = |sample: &HistogramSample| sample.histogram.reset_hint == ResetHint::Gauge;
    if is_counter && samples.iter().any(is_gauge) {
        context.note(Note::HistogramNotCounter(context.metric));
    }
    if kinds_mix {
        context.note(Note::MixedExponentialCustom(context.metric));
        return None;
    }
    let mut difference = lessened(context, &last.histogram, &previous)?;
    if is_counter {
        let mut overlapped = false;
        for (index, sample) in samples.iter().skip(1).enumerate() {
            let starts = starts_ms.get(index).zip(starts_ms.get(index + 1));
            let before_ms = samples.get(index).map_or(0, |before| before.t_ms);
            if !overlapped && starts.is_some_and(|(a, b)| overlaps((*a, before_ms), *b)) {
                context.note(Note::StartsOverlap(context.metric));
                overlapped = true;
            }
            if restarted(index, &previous, &sample.histogram) {
                difference = joined(context, &difference, &previous)?;
            }
            previous = Arc::clone(&sample.histogram);
        }
    } else if !(is_gauge(first) && is_gauge(last)) {
        context.note(Note::HistogramNotGauge(context.metric));
    }
    Some(native::as_gauge(native::compacted(&difference)))
}

/// `a + b`, or a note of why there is none.
pub(crate) fn joined(context: &Context<'_, '_>, a: &Histogram, b: &Histogram) -> Option<Histogram> {
    noted(context, native::added(a, b), Operation::Addition)
}

/// `a - b`, or a note of why there is none.
pub(crate) fn lessened(context: &Context<'_, '_>, a: &Histogram, b: &Histogram) -> Option<Histogram> {
    noted(context, native::subtracted(a, b), Operation::Subtraction)
}

fn noted(
    context: &Context<'_, '_>,
    combined: Result<native::Combined, native::Incompatible>,
    operation: Operation,
) -> Option<Histogram> {
    match combined {
        Ok(combined) => {
            if combined.reconciled {
                context.note(Note::BoundsReconciled(operation));
            }
            Some(combined.histogram)
        }
        Err(native::Incompatible) => {
            context.note(Note::MixedExponentialCustom(context.metric));
            None
        }
    }
}
