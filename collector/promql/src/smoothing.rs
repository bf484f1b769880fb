//! Values at the edges of `anchored` and `smoothed` selectors, and changes between such edges.
//!
//! An anchored range begins with the last sample before it; a smoothed one begins and ends with values on the lines
//! between the samples around its edges.

use std::sync::Arc;

use tenantscope_model::{Histogram, HistogramSample, ResetHint, Sample};

use crate::ast::{Edges, Position};
use crate::column::Cell;
use crate::error::EngineError;
use crate::evaluation::Evaluation;
use crate::native;
use crate::note::Note;
use crate::over_time::{Context, is_mixed};
use crate::rate::{Change, joined, lessened};
use crate::window::{RangeSeries, Window};

/// The value of a series at the end of a window that looks to both sides of it, on the line between its neighbours.
pub(crate) fn at_end(evaluation: &Evaluation<'_>, metric: &str, position: Position, window: &Window<'_>) -> Cell {
    let context = Context::new(evaluation, metric, position);
    if is_mixed(&context, window) {
        return Cell::Empty;
    }
    let at_ms = window.end_ms;
    if window.histograms.is_empty() {
        return match around(window.floats, at_ms, |sample| sample.t_ms) {
            (_, Some(exact)) if exact.t_ms == at_ms => Cell::Float(exact.value),
            (Some(before), Some(after)) => Cell::Float(on_line(*before, *after, at_ms, false)),
            (Some(before), None) => Cell::Float(before.value),
            (None, _) => Cell::Empty,
        };
    }
    match around(window.histograms, at_ms, |sample| sample.t_ms) {
        (_, Some(exact)) if exact.t_ms == at_ms => Cell::Histogram(Arc::clone(&exact.histogram)),
        (Some(before), Some(after)) => {
            if native::is_custom(&before.histogram) != native::is_custom(&after.histogram) {
                context.note(Note::MixedExponentialCustom(metric));
                return Cell::Empty;
            }
            let is_gauge = |sample: &HistogramSample| sample.histogram.reset_hint == ResetHint::Gauge;
            let is_counter = !(is_gauge(before) && is_gauge(after));
            histogram_on_line(&context, before, after, at_ms, is_counter).map_or(Cell::Empty, Cell::histogram)
        }
        // What is said of the last histogram is not true of one that repeats it.
        (Some(before), None) => {
            Cell::histogram(Histogram { reset_hint: ResetHint::Unknown, ..(*before.histogram).clone() })
        }
        (None, _) => Cell::Empty,
    }
}

/// The last sample before a time, and the first that is not before it.
fn around<S>(samples: &[S], at_ms: i64, t_ms: impl Fn(&S) -> i64) -> (Option<&S>, Option<&S>) {
    let at = samples.partition_point(|sample| t_ms(sample) < at_ms);
    (at.checked_sub(1).and_then(|before| samples.get(before)), samples.get(at))
}

/// The value on the line between two samples; a counter that restarted rises from zero.
fn on_line(before: Sample, after: Sample, at_ms: i64, is_counter: bool) -> f64 {
    let from = if is_counter && after.value < before.value { 0.0 } else { before.value };
    from + (after.value - from) * (at_ms - before.t_ms) as f64 / (after.t_ms - before.t_ms) as f64
}

/// The same of histograms; nothing, with a note, where they don't go together.
fn histogram_on_line(
    context: &Context<'_, '_>,
    before: &HistogramSample,
    after: &HistogramSample,
    at_ms: i64,
    is_counter: bool,
) -> Option<Histogram> {
    let (from, to) = (&before.histogram, &after.histogram);
    if at_ms == before.t_ms {
        return Some((**from).clone());
    }
    if at_ms == after.t_ms {
        return Some((**to).clone());
    }
    let share = (at_ms - before.t_ms) as f64 / (after.t_ms - before.t_ms) as f64;
    if is_counter && native::is_reset(from, to) {
        return Some(native::scaled(to, share));
    }
    let difference = lessened(context, to, from)?;
    joined(context, &native::scaled(&difference, share), from)
}

/// Which samples a change is between: the first, the last, and whether that is something.
fn span<S>(samples: &[S], window: &Window<'_>, t_ms: impl Fn(&S) -> i64) -> Option<(usize, usize)> {
    let smoothed = window.edges == Edges::Smoothed;
    let mut last = samples.len().checked_sub(1)?;
    let all_but_last = samples.get(..last)?;
    let first = all_but_last.partition_point(|s| t_ms(s) <= window.start_ms).saturating_sub(1);
    if smoothed {
        last = all_but_last.partition_point(|s| t_ms(s) < window.end_ms);
    }
    let nothing_within = t_ms(samples.get(last)?) <= window.start_ms;
    let all_after = smoothed && t_ms(samples.get(first)?) > window.end_ms;
    if nothing_within || all_after { None } else { Some((first, last)) }
}

/// The change of a series between the edges of an anchored or smoothed range.
pub(crate) fn change(context: &Context<'_, '_>, window: &Window<'_>, change: Change) -> Cell {
    if window.histograms.is_empty() {
        return float_change(window, change).map_or(Cell::Empty, Cell::Float);
    }
    histogram_change(context, window, change).map_or(Cell::Empty, Cell::histogram)
}

/// Left and right value of a range.
fn float_edges(samples: &[Sample], window: &Window<'_>, is_counter: bool) -> Option<(usize, usize, f64, f64)> {
    let smoothed = window.edges == Edges::Smoothed;
    let (first, last) = span(samples, window, |sample| sample.t_ms)?;
    let at = |index: usize| samples.get(index).copied();
    let mut left = at(first)?.value;
    if smoothed && at(first)?.t_ms < window.start_ms {
        left = on_line(at(first)?, at(first + 1)?, window.start_ms, is_counter);
    }
    let mut right = at(last)?.value;
    if smoothed && last > 0 && at(last)?.t_ms > window.end_ms {
        right = on_line(at(last - 1)?, at(last)?, window.end_ms, is_counter);
    }
    Some((first, last, left, right))
}

/// The samples strictly between the edges.
fn within<'w>(samples: &'w [Sample], window: &Window<'_>, first: usize, last: usize) -> &'w [Sample] {
    let begins_before = samples.get(first).is_some_and(|sample| sample.t_ms <= window.start_ms);
    let ends_after = samples.get(last).is_some_and(|sample| sample.t_ms >= window.end_ms);
    let (from, to) = (first + usize::from(begins_before), last + 1 - usize::from(ends_after));
    samples.get(from..to.max(from)).unwrap_or_default()
}

fn float_change(window: &Window<'_>, change: Change) -> Option<f64> {
    let is_counter = change != Change::Delta;
    let (first, last, left, right) = float_edges(window.floats, window, is_counter)?;
    let mut difference = right - left;
    if is_counter {
        let mut before = left;
        let inner = within(window.floats, window, first, last).iter().map(|sample| sample.value);
        for value in inner.chain([right]) {
            if value < before {
                difference += before;
            }
            before = value;
        }
    }
    Some(if change == Change::Rate { difference / window.range_seconds() } else { difference })
}

fn histogram_change(context: &Context<'_, '_>, window: &Window<'_>, change: Change) -> Option<Histogram> {
    let samples = window.histograms;
    let smoothed = window.edges == Edges::Smoothed;
    let is_counter = change != Change::Delta;
    let (first, last) = span(samples, window, |sample| sample.t_ms)?;
    check_kinds(context, samples.get(first..=last)?, is_counter)?;
    let at = |index: usize| samples.get(index);
    let left = match (at(first)?, at(first + 1)) {
        (before, Some(after)) if smoothed && before.t_ms < window.start_ms => {
            histogram_on_line(context, before, after, window.start_ms, is_counter)?
        }
        (exact, _) => (*exact.histogram).clone(),
    };
    let right = match (last.checked_sub(1).and_then(at), at(last)?) {
        (Some(before), after) if smoothed && after.t_ms > window.end_ms => {
            histogram_on_line(context, before, after, window.end_ms, is_counter)?
        }
        (_, exact) => (*exact.histogram).clone(),
    };
    let is_gauge = |h: &Histogram| h.reset_hint == ResetHint::Gauge;
    let both_gauges = is_gauge(&left) && is_gauge(&right);
    if !is_counter && !both_gauges {
        context.note(Note::HistogramNotGauge(context.metric));
    }
    let mut difference = lessened(context, &right, &left)?;
    if is_counter {
        for lost in lost_in_resets(samples, window, first, last, &left, &right) {
            difference = joined(context, &difference, lost)?;
        }
    }
    if change == Change::Rate {
        difference = native::divided(&difference, window.range_seconds());
    }
    Some(native::as_gauge(native::compacted(&difference)))
}

/// Notes gauges where counters are expected; nothing where exponential and custom buckets are mixed.
fn check_kinds(context: &Context<'_, '_>, samples: &[HistogramSample], is_counter: bool) -> Option<()> {
    let custom = native::is_custom(&samples.first()?.histogram);
    for sample in samples {
        if native::is_custom(&sample.histogram) != custom {
            context.note(Note::MixedExponentialCustom(context.metric));
            return None;
        }
        if is_counter && sample.histogram.reset_hint == ResetHint::Gauge {
            context.note(Note::HistogramNotCounter(context.metric));
        }
    }
    Some(())
}

/// What counted before each restart between the edges.
fn lost_in_resets<'w>(
    samples: &'w [HistogramSample],
    window: &Window<'_>,
    first: usize,
    last: usize,
    left: &'w Histogram,
    right: &Histogram,
) -> Vec<&'w Histogram> {
    let at = |index: usize| samples.get(index).map(|sample| &*sample.histogram);
    let mut from = first + 1;
    let mut before = left;
    // The value at a smoothed left edge may already have restarted; the sample after it did not restart again.
    let left_restarted = window.edges == Edges::Smoothed
        && samples.get(first).is_some_and(|sample| sample.t_ms < window.start_ms)
        && at(first).zip(at(first + 1)).is_some_and(|(a, b)| native::is_reset(a, b));
    if left_restarted && let Some(after) = at(first + 1) {
        before = after;
        from += 1;
    }
    let mut lost = Vec::new();
    // The last sample is the right edge, or lies behind it.
    if from > last {
        return lost;
    }
    for index in from..last {
        let Some(histogram) = at(index) else { continue };
        if native::is_reset(before, histogram) {
            lost.push(before);
        }
        before = histogram;
    }
    if native::is_reset(before, right) {
        lost.push(before);
    }
    lost
}

/// The samples of a range with values at its edges, as an instant query shows them.
pub(crate) fn cut_to_range(
    series: &RangeSeries,
    edges: Edges,
    start_ms: i64,
    end_ms: i64,
) -> Result<Vec<Sample>, EngineError> {
    let name = if edges == Edges::Anchored { "anchored" } else { "smoothed" };
    if !series.histograms.is_empty() {
        return Err(EngineError::execution(format!("{name} modifier is not supported with histograms")));
    }
    let window = Window::over(&series.floats, edges, start_ms, end_ms);
    let Some((first, last, left, right)) = float_edges(&series.floats, &window, false) else { return Ok(Vec::new()) };
    let mut cut = vec![Sample { t_ms: start_ms, value: left }];
    cut.extend_from_slice(within(&series.floats, &window, first, last));
    cut.push(Sample { t_ms: end_ms, value: right });
    Ok(cut)
}
