//! Functions of how a series changes over a range.

use std::sync::Arc;

use tenantscope_model::{Histogram, HistogramSample, Sample};

use crate::column::Cell;
use crate::kahan::KahanSum;
use crate::native;
use crate::notes::Note;
use crate::over_time::{Context, is_mixed, only_floats};
use crate::source::Window;

/// How an extrapolated change is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Of a counter, each second.
    Rate,
    /// Of a counter.
    Increase,
    /// Of a gauge.
    Delta,
}

pub(crate) fn rate(context: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    extrapolated(context, window, Change::Rate)
}

pub(crate) fn increase(context: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    extrapolated(context, window, Change::Increase)
}

pub(crate) fn delta(context: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    extrapolated(context, window, Change::Delta)
}

fn extrapolated(context: &Context<'_, '_>, window: &Window<'_>, change: Change) -> Cell {
    if is_mixed(context, window) {
        return Cell::Empty;
    }
    let is_counter = change != Change::Delta;
    if let (Some(first), Some(last)) = (window.floats.first(), window.floats.last()) {
        if window.floats.len() < 2 {
            return Cell::Empty;
        }
        let difference = float_difference(window.floats, *first, *last, is_counter);
        let from_zero = (is_counter && difference > 0.0 && first.value >= 0.0).then(|| first.value / difference);
        let span = Span { first_ms: first.t_ms, last_ms: last.t_ms, samples: window.floats.len(), from_zero };
        return Cell::Float(difference * span.factor(window, change));
    }
    let (Some(first), Some(last)) = (window.histograms.first(), window.histograms.last()) else { return Cell::Empty };
    if window.histograms.len() < 2 {
        return Cell::Empty;
    }
    let Some(difference) = histogram_difference(context, window.histograms, is_counter) else { return Cell::Empty };
    let has_zero = is_counter && difference.count > 0.0 && first.histogram.count >= 0.0;
    let from_zero = has_zero.then(|| first.histogram.count / difference.count);
    let span = Span { first_ms: first.t_ms, last_ms: last.t_ms, samples: window.histograms.len(), from_zero };
    let scaled = native::scaled(&difference, span.factor(window, change));
    Cell::histogram(native::compacted(&scaled))
}

fn float_difference(floats: &[Sample], first: Sample, last: Sample, is_counter: bool) -> f64 {
    let mut difference = last.value - first.value;
    if is_counter {
        let mut previous = first.value;
        for sample in floats {
            if sample.value < previous {
                difference += previous;
            }
            previous = sample.value;
        }
    }
    difference
}

/// What part of the range the samples cover.
struct Span {
    first_ms: i64,
    last_ms: i64,
    samples: usize,
    /// How many times the covered time lies between a counter's zero and its first sample, by its slope.
    from_zero: Option<f64>,
}

impl Span {
    /// By what the difference is multiplied: to the ends of the range where samples come close to them, else half a
    /// sample's distance beyond the outer samples, and never to before a counter was zero.
    fn factor(&self, window: &Window<'_>, change: Change) -> f64 {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let covered = seconds(self.last_ms - self.first_ms);
        let between = covered / (self.samples - 1) as f64;
        let threshold = between * 1.1;
        let mut to_start = seconds(self.first_ms - window.start_ms);
        let mut to_end = seconds(window.end_ms - self.last_ms);
        if to_start >= threshold {
            to_start = between / 2.0;
        }
        if let Some(from_zero) = self.from_zero {
            to_start = to_start.min(covered * from_zero);
        }
        if to_end >= threshold {
            to_end = between / 2.0;
        }
        let factor = if covered == 0.0 { 1.0 } else { (covered + to_start + to_end) / covered };
        let range = seconds(window.end_ms - window.start_ms);
        if change == Change::Rate { factor / range } else { factor }
    }
}

fn histogram_difference(context: &Context<'_, '_>, samples: &[HistogramSample], is_counter: bool) -> Option<Histogram> {
    let (first, second, last) = (samples.first()?, samples.get(1)?, samples.last()?);
    let mut previous = Arc::clone(&first.histogram);
    if is_counter && native::is_reset(&previous, &second.histogram) {
        // The first sample's layout must not matter where its counts don't.
        previous = Arc::new(native::emptied(&second.histogram));
    }
    let custom = native::is_custom(&previous);
    let same_kind = |sample: &HistogramSample| native::is_custom(&sample.histogram) == custom;
    let rest = samples.get(1..)?;
    let kinds_mix = if is_counter { !rest.iter().all(same_kind) } else { !same_kind(last) };
    if kinds_mix {
        context.note(Note::MixedExponentialCustom(context.metric));
        return None;
    }
    let mut difference = noted(context, native::subtracted(&last.histogram, &previous), "subtraction")?;
    if is_counter {
        for sample in rest {
            if native::is_reset(&previous, &sample.histogram) {
                difference = noted(context, native::added(&difference, &previous), "addition")?;
            }
            previous = Arc::clone(&sample.histogram);
        }
    }
    Some(difference)
}

fn noted(context: &Context<'_, '_>, combined: native::Combined, what: &'static str) -> Option<Histogram> {
    match combined {
        Ok((histogram, reconciled)) => {
            if reconciled {
                context.note(Note::BoundsReconciled(what));
            }
            Some(histogram)
        }
        Err(native::Incompatible) => {
            context.note(Note::MixedExponentialCustom(context.metric));
            None
        }
    }
}

/// A sample of either kind.
#[derive(Debug, Clone, Copy)]
enum Either<'a> {
    Float(Sample),
    Histogram(&'a HistogramSample),
}

impl Either<'_> {
    fn t_ms(&self) -> i64 {
        match self {
            Self::Float(sample) => sample.t_ms,
            Self::Histogram(sample) => sample.t_ms,
        }
    }
}

/// All samples of a window in time order.
fn merged<'a>(window: &Window<'a>) -> Vec<Either<'a>> {
    let floats = window.floats.iter().copied().map(Either::Float);
    let mut merged: Vec<Either<'a>> = floats.chain(window.histograms.iter().map(Either::Histogram)).collect();
    if !window.histograms.is_empty() {
        merged.sort_by_key(Either::t_ms);
    }
    merged
}

pub(crate) fn irate(context: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    last_change(context, window, true)
}

pub(crate) fn idelta(context: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    last_change(context, window, false)
}

fn last_change(context: &Context<'_, '_>, window: &Window<'_>, is_rate: bool) -> Cell {
    let tail = |len: usize| len.saturating_sub(2)..len;
    let short = Window {
        floats: window.floats.get(tail(window.floats.len())).unwrap_or_default(),
        histograms: window.histograms.get(tail(window.histograms.len())).unwrap_or_default(),
        ..*window
    };
    let samples = merged(&short);
    let [.., before, after] = samples.as_slice() else { return Cell::Empty };
    let interval = (after.t_ms() - before.t_ms()) as f64 / 1000.0;
    if interval == 0.0 {
        return Cell::Empty;
    }
    match (before, after) {
        (Either::Float(before), Either::Float(after)) => {
            let restarted = is_rate && after.value < before.value;
            let change = if restarted { after.value } else { after.value - before.value };
            Cell::Float(if is_rate { change / interval } else { change })
        }
        (Either::Histogram(before), Either::Histogram(after)) => {
            let change = if is_rate && native::is_reset(&before.histogram, &after.histogram) {
                (*after.histogram).clone()
            } else {
                let combined = native::subtracted(&after.histogram, &before.histogram);
                let Some(change) = noted(context, combined, "subtraction") else { return Cell::Empty };
                change
            };
            let change = if is_rate { native::divided(&change, interval) } else { change };
            Cell::histogram(native::compacted(&change))
        }
        _ => {
            context.note(Note::MixedFloatsHistograms(context.metric));
            Cell::Empty
        }
    }
}

fn count_pairs(window: &Window<'_>, counts: impl Fn(&Either<'_>, &Either<'_>) -> bool) -> Cell {
    let samples = merged(window);
    let pairs = samples.iter().zip(samples.iter().skip(1));
    Cell::Float(pairs.filter(|(before, after)| counts(before, after)).count() as f64)
}

pub(crate) fn resets(_: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    count_pairs(window, |before, after| match (before, after) {
        (Either::Float(before), Either::Float(after)) => after.value < before.value,
        (Either::Histogram(before), Either::Histogram(after)) => native::is_reset(&before.histogram, &after.histogram),
        _ => true,
    })
}

pub(crate) fn changes(_: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    count_pairs(window, |before, after| match (before, after) {
        (Either::Float(before), Either::Float(after)) => {
            before.value != after.value && !(before.value.is_nan() && after.value.is_nan())
        }
        (Either::Histogram(before), Either::Histogram(after)) => !native::equal(&before.histogram, &after.histogram),
        _ => true,
    })
}

/// Slope each second, and value at a time, of the line that fits best.
fn regression(floats: &[Sample], at_ms: i64) -> (f64, f64) {
    let first = floats.first().map_or(f64::NAN, |sample| sample.value);
    if floats.iter().all(|sample| sample.value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let [mut x, mut y, mut xy, mut xx] = [KahanSum::default(); 4];
    for sample in floats {
        let dx = (sample.t_ms - at_ms) as f64 / 1000.0;
        x.add(dx);
        y.add(sample.value);
        xy.add(dx * sample.value);
        xx.add(dx * dx);
    }
    let count = floats.len() as f64;
    let [x, y, xy, xx] = [x, y, xy, xx].map(|sum| sum.sum + sum.lost);
    let slope = (xy - x * y / count) / (xx - x * x / count);
    (slope, y / count - slope * x / count)
}

/// At least two floats; notes histograms beside them.
fn two_floats<'w>(context: &Context<'_, '_>, window: &Window<'w>) -> Option<&'w [Sample]> {
    only_floats(context, window).filter(|floats| floats.len() >= 2)
}

pub(crate) fn deriv(context: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    let Some(floats) = two_floats(context, window) else { return Cell::Empty };
    // Relative to a time nearby: large times would cost precision.
    let near_ms = floats.first().map_or(0, |sample| sample.t_ms);
    Cell::Float(regression(floats, near_ms).0)
}

pub(crate) fn predict_linear(context: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    let Some(floats) = two_floats(context, window) else { return Cell::Empty };
    let (slope, now) = regression(floats, window.at_ms);
    let [ahead, _] = context.scalars;
    Cell::Float(slope * ahead + now)
}

pub(crate) fn double_exponential_smoothing(context: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    let Some(floats) = two_floats(context, window) else { return Cell::Empty };
    let [smoothing, trend_factor] = context.scalars;
    let [first, second, ..] = floats else { return Cell::Empty };
    let mut before = 0.0;
    let mut smoothed = first.value;
    let mut trend = second.value - first.value;
    for (index, sample) in floats.iter().skip(1).enumerate() {
        if index > 0 {
            trend = trend_factor * (smoothed - before) + (1.0 - trend_factor) * trend;
        }
        let next = smoothing * sample.value + (1.0 - smoothing) * (smoothed + trend);
        (before, smoothed) = (smoothed, next);
    }
    Cell::Float(smoothed)
}
