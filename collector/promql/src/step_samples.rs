//! How many samples each time of a query looks at, and how many of these it reads, for whoever asks for statistics.
//!
//! As in Prometheus, an instant selector looks at one sample of each series, a range at all in its window, and a
//! native histogram counts for as many samples as it has the size of. Of a subquery in a function the points in each
//! window are looked at; what its expression looked at to make them is only read. A sample is read at the first time
//! that looks at it, and what `@` fixes at the first of all.

use tenantscope_model::{Histogram, QueryBudget};

use crate::column::{Cell, Cells, Grid};
use crate::error::EngineError;
use crate::evaluation::Evaluation;
use crate::window::{Frames, RangeSeries, Window};

/// The size of a sample, of a histogram without buckets, and of a bucket, span or bound, in bytes.
const SAMPLE_BYTES: usize = 16;
const HISTOGRAM_BYTES: usize = 168;
const BUCKET_BYTES: usize = 8;

/// A histogram's size in samples.
fn samples_of(histogram: &Histogram) -> usize {
    let sides = [&histogram.positive, &histogram.negative];
    let parts: usize = sides.iter().map(|side| side.spans.len() + side.counts.len()).sum();
    let bytes = HISTOGRAM_BYTES + BUCKET_BYTES * (parts + histogram.custom_bounds.len());
    (bytes + BUCKET_BYTES) / SAMPLE_BYTES
}

/// Whose times an evaluation's are.
#[derive(Clone, Copy)]
pub(crate) struct Counting<'a> {
    /// How many there are.
    steps: usize,
    outer: Option<Outer<'a>>,
}

/// The evaluation that a subquery is for.
#[derive(Clone, Copy)]
struct Outer<'a> {
    counting: &'a Counting<'a>,
    grid: Grid,
    inner: Grid,
    reader: Reader,
}

/// What takes the points of a subquery.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// A function, at each time those of a range.
    Function { offset_ms: i64, range_ms: i64 },
    /// Whoever asked.
    Answer,
}

impl Outer<'_> {
    /// The time of the outer evaluation at which a time of the inner one is first needed, if it is.
    fn step(&self, inner_step: usize) -> Option<usize> {
        let Self { grid, inner, .. } = self;
        let (offset_ms, range_ms) = match self.reader {
            Reader::Function { offset_ms, range_ms } => (offset_ms, range_ms),
            Reader::Answer => (0, 0),
        };
        let last = grid.count.saturating_sub(1);
        if last == 0 {
            return Some(0);
        }
        let needed_ms = inner.at(inner_step).saturating_add(offset_ms);
        let late_ms = needed_ms.saturating_sub(grid.start_ms).max(0);
        let steps = late_ms.saturating_add(grid.step_ms - 1) / grid.step_ms.max(1);
        let step = usize::try_from(steps).unwrap_or(last).min(last);
        let in_window = range_ms <= 0 || needed_ms > grid.at(step).saturating_sub(range_ms);
        in_window.then_some(step)
    }
}

impl<'a> Counting<'a> {
    /// The query's own.
    pub(crate) fn of_query(grid: &Grid) -> Self {
        Self { steps: grid.count, outer: None }
    }

    /// Those at which a subquery evaluates, for an evaluation at the times of `grid`.
    pub(crate) fn of_subquery(counting: &'a Self, grid: &Grid, inner: &Grid, reader: Reader) -> Self {
        Self { steps: inner.count, outer: Some(Outer { counting, grid: *grid, inner: *inner, reader }) }
    }

    /// Counts what the time with an index of a grid looked at. What is evaluated once is looked at by all times.
    fn look(&self, budget: &QueryBudget, grid: &Grid, step: usize, samples: usize) {
        if grid.count != self.steps {
            let once = Grid { count: self.steps, ..*grid };
            return (0..self.steps).for_each(|step| self.look(budget, &once, step, samples));
        }
        match &self.outer {
            None => budget.steps().into_iter().for_each(|steps| steps.add(step, samples)),
            Some(Outer { counting, grid, reader: Reader::Answer, .. }) => {
                counting.look(budget, grid, grid.count.saturating_sub(1), samples);
            }
            // The function looks at the points that come of it.
            Some(_) => {}
        }
    }

    fn read(&self, budget: &QueryBudget, step: usize, samples: usize) {
        match &self.outer {
            None => budget.steps().into_iter().for_each(|steps| steps.add_read(step, samples)),
            Some(outer) => {
                if let Some(step) = outer.step(step) {
                    outer.counting.read(budget, step, samples);
                }
            }
        }
    }
}

impl Evaluation<'_> {
    fn is_counted(&self) -> bool {
        self.budget.steps().is_some()
    }

    /// Counts what an instant selector found of a series.
    pub(crate) fn count_cells(&self, grid: &Grid, cells: &Cells) {
        if !self.is_counted() {
            return;
        }
        for (step, cell) in cells.iter().enumerate() {
            let samples = match cell {
                Cell::Empty => continue,
                Cell::Float(_) => 1,
                Cell::Histogram(histogram) => samples_of(&histogram),
            };
            self.counting.look(self.budget, grid, step, samples);
            self.counting.read(self.budget, step, samples);
        }
    }

    /// Counts what is in a series' windows.
    pub(crate) fn count_windows(&self, grid: &Grid, series: &RangeSeries, frames: &Frames) -> Result<(), EngineError> {
        if !self.is_counted() {
            return Ok(());
        }
        let mut read_until_ms = i64::MIN;
        self.each_window(grid, series, frames, |window| {
            let new_floats = window.floats.iter().filter(|sample| sample.t_ms > read_until_ms).count();
            let new = window.histograms.iter().filter(|sample| sample.t_ms > read_until_ms);
            let new_histograms: usize = new.map(|sample| samples_of(&sample.histogram)).sum();
            self.counting.read(self.budget, window.step, new_floats + new_histograms);
            let last = window.floats.last().map(|sample| sample.t_ms);
            let last_ms = last.max(window.histograms.last().map(|sample| sample.t_ms));
            read_until_ms = last_ms.unwrap_or(read_until_ms).max(read_until_ms);
        })
    }

    /// Counts what a function finds of a subquery's series. Its samples were counted as read when they were found.
    pub(crate) fn count_points(&self, grid: &Grid, series: &RangeSeries, frames: &Frames) -> Result<(), EngineError> {
        if self.is_counted() { self.each_window(grid, series, frames, |_| {}) } else { Ok(()) }
    }

    fn each_window(
        &self,
        grid: &Grid,
        series: &RangeSeries,
        frames: &Frames,
        mut visit: impl FnMut(&Window<'_>),
    ) -> Result<(), EngineError> {
        let pace = self.pace();
        series.slide(frames, &pace, |window: &Window<'_>| {
            let histograms: usize = window.histograms.iter().map(|sample| samples_of(&sample.histogram)).sum();
            self.counting.look(self.budget, grid, window.step, window.floats.len() + histograms);
            visit(window);
            Cell::Empty
        });
        pace.ended()
    }
}
