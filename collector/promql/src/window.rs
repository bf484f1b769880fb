//! What range selectors and subqueries hand on: the samples of a series, and a window that moves over them.

use std::ops::Range;

use tenantscope_model::{HistogramSample, Labels, Sample, SeriesView, Starts, is_stale_nan};

use crate::ast::Edges;
use crate::column::{Cell, Cells, Grid};
use crate::native;
use crate::pace::{HISTOGRAM_WORK, Pace};

/// When a selector looks: each time of the grid, moved by `@` and `offset`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frames {
    pub(crate) grid: Grid,
    pub(crate) fixed_ms: Option<i64>,
    pub(crate) offset_ms: i64,
    pub(crate) range_ms: i64,
    pub(crate) edges: Edges,
    /// How far beyond the range's edges samples are looked at.
    pub(crate) beyond_ms: i64,
}

impl Frames {
    /// Frames that look beyond the edges of the range as the edges demand.
    pub(crate) fn with_edges(self, edges: Edges, lookback_ms: i64) -> Self {
        Self { edges, beyond_ms: lookback_ms, ..self }
    }

    fn before_ms(&self) -> i64 {
        if self.edges == Edges::Plain { 0 } else { self.beyond_ms }
    }

    fn after_ms(&self) -> i64 {
        if self.edges == Edges::Smoothed { self.beyond_ms } else { 0 }
    }

    /// The first time at which samples are looked at, and the last.
    pub(crate) fn reach_ms(&self) -> (i64, i64) {
        (self.end_ms(0) - self.range_ms - self.before_ms() + 1, self.last_ms() + self.after_ms())
    }

    /// The time to which the selector looks at an index.
    pub(crate) fn end_ms(&self, index: usize) -> i64 {
        self.fixed_ms.unwrap_or_else(|| self.grid.at(index)).saturating_sub(self.offset_ms)
    }

    pub(crate) fn last_ms(&self) -> i64 {
        self.end_ms(self.grid.count.saturating_sub(1))
    }

    /// How many times there are.
    pub(crate) fn count(&self) -> usize {
        self.grid.count
    }

    #[cfg(test)]
    pub(crate) fn over(grid: Grid, range_ms: i64) -> Self {
        Self { grid, fixed_ms: None, offset_ms: 0, range_ms, edges: Edges::Plain, beyond_ms: 0 }
    }
}

/// A series of a range selector, without staleness markers.
#[derive(Debug, Default)]
pub(crate) struct RangeSeries {
    pub(crate) labels: Labels,
    pub(crate) drop_name: bool,
    pub(crate) floats: Vec<Sample>,
    pub(crate) histograms: Vec<HistogramSample>,
    /// When the counting of the samples began; empty where it is not known, and after a subquery.
    pub(crate) starts: Starts,
}

/// The samples of one series in one range.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'a> {
    pub(crate) floats: &'a [Sample],
    pub(crate) histograms: &'a [HistogramSample],
    /// When the counting of the floats began, 0 where it is not known; may be empty.
    pub(crate) float_starts_ms: &'a [i64],
    /// The same of the histograms.
    pub(crate) histogram_starts_ms: &'a [i64],
    /// The range's edges. Samples are later than its start and not later than its end, except for what anchored and
    /// smoothed ranges look at beyond.
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) edges: Edges,
    /// The time of evaluation.
    pub(crate) at_ms: i64,
    /// The index of the time of evaluation.
    pub(crate) step: usize,
}

impl<'a> Window<'a> {
    /// A window over floats alone.
    pub(crate) fn over(floats: &'a [Sample], edges: Edges, start_ms: i64, end_ms: i64) -> Self {
        let (histograms, none): (&[HistogramSample], &[i64]) = (&[], &[]);
        Self {
            floats,
            histograms,
            float_starts_ms: none,
            histogram_starts_ms: none,
            start_ms,
            end_ms,
            edges,
            at_ms: end_ms,
            step: 0,
        }
    }

    /// The length of the range.
    pub(crate) fn range_seconds(&self) -> f64 {
        (self.end_ms - self.start_ms) as f64 / 1000.0
    }
}

impl RangeSeries {
    /// Moves a window over the samples; where it holds none, there is no value.
    pub(crate) fn slide(&self, frames: &Frames, pace: &Pace<'_>, mut value: impl FnMut(&Window<'_>) -> Cell) -> Cells {
        let mut floats = Bounds::default();
        let mut histograms = Bounds::default();
        let one = |step: usize| {
            let end_ms = frames.end_ms(step);
            let start_ms = end_ms - frames.range_ms;
            let (after_ms, to_ms) = (start_ms - frames.before_ms(), end_ms + frames.after_ms());
            let in_floats = floats.advance(&self.floats, after_ms, to_ms, |s| s.t_ms);
            let in_histograms = histograms.advance(&self.histograms, after_ms, to_ms, |s| s.t_ms);
            if !pace.goes_on(1 + in_floats.len() + in_histograms.len() * HISTOGRAM_WORK) {
                return Cell::Empty;
            }
            let window = Window {
                floats: self.floats.get(in_floats.clone()).unwrap_or_default(),
                histograms: self.histograms.get(in_histograms.clone()).unwrap_or_default(),
                float_starts_ms: self.starts.samples_ms.get(in_floats).unwrap_or_default(),
                histogram_starts_ms: self.starts.histograms_ms.get(in_histograms).unwrap_or_default(),
                start_ms,
                end_ms,
                edges: frames.edges,
                at_ms: frames.grid.at(step),
                step,
            };
            if window.floats.is_empty() && window.histograms.is_empty() {
                Cell::Empty
            } else {
                pace.keeps(value(&window))
            }
        };
        (0..frames.grid.count).map(one).collect()
    }
}

#[derive(Debug, Default)]
struct Bounds {
    low: usize,
    high: usize,
}

impl Bounds {
    fn advance<S>(&mut self, samples: &[S], after_ms: i64, to_ms: i64, time: impl Fn(&S) -> i64) -> Range<usize> {
        while samples.get(self.high).is_some_and(|s| time(s) <= to_ms) {
            self.high += 1;
        }
        while self.low < self.high && samples.get(self.low).is_some_and(|s| time(s) <= after_ms) {
            self.low += 1;
        }
        self.low..self.high
    }
}

impl RangeSeries {
    /// Becomes a selected series as ranges see it: without staleness markers, and with hints that can be relied upon.
    /// Where only totals are looked at, they are known from a time on; what is before it tells of the first of them.
    pub(crate) fn take(&mut self, labels: Labels, view: &SeriesView<'_>, totals_from_ms: Option<i64>) {
        self.labels = labels;
        self.drop_name = false;
        let Starts { samples_ms, histograms_ms } = view.starts;
        let is_stale = |sample: &Sample| is_stale_nan(sample.value);
        copy_fresh(view.samples, samples_ms, is_stale, &mut self.floats, &mut self.starts.samples_ms);
        self.histograms.clear();
        self.starts.histograms_ms.clear();
        if view.histograms.is_empty() {
            return;
        }
        let mut settled = view.histograms.to_vec();
        native::settle_hints(view.samples, &mut settled);
        let mut view_starts_ms: &[i64] = histograms_ms;
        if let Some(from_ms) = totals_from_ms {
            let before = settled.partition_point(|sample| sample.t_ms < from_ms);
            settled.drain(..before);
            view_starts_ms = view_starts_ms.get(before..).unwrap_or_default();
            native::keep_totals(&mut settled);
        }
        let starts_ms = &mut self.starts.histograms_ms;
        copy_fresh(&settled, view_starts_ms, is_stale_histogram, &mut self.histograms, starts_ms);
    }
}

/// Copies samples that are no staleness markers, and their starts if there are any.
fn copy_fresh<S: Clone>(
    samples: &[S],
    starts_ms: &[i64],
    is_stale: impl Fn(&S) -> bool,
    fresh: &mut Vec<S>,
    fresh_ms: &mut Vec<i64>,
) {
    fresh.clear();
    fresh_ms.clear();
    if !samples.iter().any(&is_stale) {
        fresh.extend_from_slice(samples);
        fresh_ms.extend_from_slice(starts_ms);
        return;
    }
    fresh.extend(samples.iter().filter(|sample| !is_stale(sample)).cloned());
    let with_starts = starts_ms.iter().zip(samples).filter(|(_, sample)| !is_stale(sample));
    fresh_ms.extend(with_starts.map(|(start_ms, _)| *start_ms));
}

pub(crate) fn is_stale_histogram(sample: &HistogramSample) -> bool {
    is_stale_nan(sample.histogram.sum)
}
