//! Functions of neighbouring samples of either kind: the last two, or each pair.

use tenantscope_model::{Histogram, HistogramSample, ResetHint, Sample};

use crate::ast::Edges;
use crate::column::Cell;
use crate::native;
use crate::note::Note;
use crate::over_time::Context;
use crate::rate::lessened;
use crate::starts::is_restart;
use crate::window::Window;

#[derive(Debug, Clone, Copy)]
enum Content<'a> {
    Float(f64),
    Histogram(&'a Histogram),
}

/// A sample of either kind.
#[derive(Debug, Clone, Copy)]
struct Either<'a> {
    t_ms: i64,
    /// When its counting began; 0 where that is not known.
    start_ms: i64,
    content: Content<'a>,
}

impl Either<'_> {
    fn times(&self) -> (i64, i64) {
        (self.start_ms, self.t_ms)
    }
}

fn floats<'a>(window: &Window<'a>) -> impl Iterator<Item = Either<'a>> {
    let one = |(at, sample): (usize, &Sample)| (at, sample.t_ms, Content::Float(sample.value));
    let starts_ms = window.float_starts_ms;
    window.floats.iter().enumerate().map(one).map(move |(at, t_ms, content)| Either {
        t_ms,
        start_ms: starts_ms.get(at).copied().unwrap_or(0),
        content,
    })
}

fn histograms<'a>(window: &Window<'a>) -> impl Iterator<Item = Either<'a>> {
    let one = |(at, sample): (usize, &'a HistogramSample)| (at, sample.t_ms, Content::Histogram(&sample.histogram));
    let starts_ms = window.histogram_starts_ms;
    window.histograms.iter().enumerate().map(one).map(move |(at, t_ms, content)| Either {
        t_ms,
        start_ms: starts_ms.get(at).copied().unwrap_or(0),
        content,
    })
}

/// All samples of a window in time order; of an anchored one, none before its anchor.
fn merged<'a>(window: &Window<'a>) -> Vec<Either<'a>> {
    let mut merged: Vec<Either<'a>> = floats(window).chain(histograms(window)).collect();
    if !window.histograms.is_empty() {
        merged.sort_by_key(|sample| sample.t_ms);
    }
    if window.edges == Edges::Anchored {
        let after_start = merged.partition_point(|sample| sample.t_ms <= window.start_ms);
        if after_start == merged.len() {
            return Vec::new();
        }
        merged.drain(..after_start.saturating_sub(1));
    }
    merged
}

/// The same window with no more than the last samples of each kind.
fn tail<'a>(window: &Window<'a>, length: usize) -> Window<'a> {
    fn of<T>(all: &[T], length: usize) -> &[T] {
        all.get(all.len().saturating_sub(length)..).unwrap_or_default()
    }
    Window {
        floats: of(window.floats, length),
        histograms: of(window.histograms, length),
        float_starts_ms: of(window.float_starts_ms, length),
        histogram_starts_ms: of(window.histogram_starts_ms, length),
        ..*window
    }
}

pub(crate) fn irate(context: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    last_change(context, window, true)
}

pub(crate) fn idelta(context: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    last_change(context, window, false)
}

fn last_change(context: &Context<'_, '_>, window: &Window<'_>, is_rate: bool) -> Cell {
    let samples = merged(&tail(window, 2));
    let [.., before, after] = samples.as_slice() else { return Cell::Empty };
    let interval = (after.t_ms - before.t_ms) as f64 / 1000.0;
    if interval == 0.0 {
        return Cell::Empty;
    }
    let restarted = is_rate && is_restart(before.times(), after.times());
    match (before.content, after.content) {
        (Content::Float(from), Content::Float(to)) => {
            let change = if restarted || (is_rate && to < from) { to } else { to - from };
            Cell::Float(if is_rate { change / interval } else { change })
        }
        (Content::Histogram(from), Content::Histogram(to)) => {
            let gauges = [from, to].iter().filter(|h| h.reset_hint == ResetHint::Gauge).count();
            match (is_rate, gauges) {
                (true, 0) | (false, 2) => {}
                (true, _) => context.note(Note::HistogramNotCounter(context.metric)),
                (false, _) => context.note(Note::HistogramNotGauge(context.metric)),
            }
            let change = if restarted || (is_rate && native::is_reset(from, to)) {
                to.clone()
            } else {
                let Some(change) = lessened(context, to, from) else { return Cell::Empty };
                change
            };
            let change = if is_rate { native::divided(&change, interval) } else { change };
            Cell::histogram(native::as_gauge(native::compacted(&change)))
        }
        _ => {
            context.note(Note::MixedFloatsHistograms(context.metric));
            Cell::Empty
        }
    }
}

fn count_pairs(window: &Window<'_>, counts: impl Fn(&Either<'_>, &Either<'_>) -> bool) -> Cell {
    if window.histograms.is_empty() && window.edges != Edges::Anchored {
        return count_in(floats(window), counts);
    }
    count_in(merged(window).into_iter(), counts)
}

fn count_in<'a>(
    mut samples: impl Iterator<Item = Either<'a>>,
    counts: impl Fn(&Either<'_>, &Either<'_>) -> bool,
) -> Cell {
    let Some(mut before) = samples.next() else { return Cell::Empty };
    let mut count = 0_u64;
    for after in samples {
        count += u64::from(counts(&before, &after));
        before = after;
    }
    Cell::Float(count as f64)
}

pub(crate) fn resets(_: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    count_pairs(window, |before, after| match (before.content, after.content) {
        (Content::Float(from), Content::Float(to)) => to < from || is_restart(before.times(), after.times()),
        (Content::Histogram(from), Content::Histogram(to)) => {
            is_restart(before.times(), after.times()) || native::is_reset(from, to)
        }
        _ => true,
    })
}

pub(crate) fn changes(_: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    count_pairs(window, |before, after| match (before.content, after.content) {
        (Content::Float(from), Content::Float(to)) => from != to && !(from.is_nan() && to.is_nan()),
        (Content::Histogram(from), Content::Histogram(to)) => !native::equal(from, to),
        _ => true,
    })
}
