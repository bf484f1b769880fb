//! Selectors and subqueries: from the store's samples to columns and windows. Each selector is read once for the
//! whole grid.

use tenantscope_model::{HistogramSample, Labels, Lookback, Sample, SelectRequest, SelectedSeries, is_stale_nan};

use crate::ast::{At, Expr, ExprKind, MatrixSelector, Subquery, VectorSelector};
use crate::column::{Cell, Column, Grid, Sink};
use crate::error::EngineError;
use crate::evaluation::Evaluation;

/// When a selector looks: each time of the grid, moved by `@` and `offset`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frames {
    grid: Grid,
    fixed_ms: Option<i64>,
    offset_ms: i64,
    range_ms: i64,
}

impl Frames {
    /// The time to which the selector looks at an index.
    pub(crate) fn end_ms(&self, index: usize) -> i64 {
        self.fixed_ms.unwrap_or_else(|| self.grid.at(index)) - self.offset_ms
    }

    fn last_ms(&self) -> i64 {
        self.end_ms(self.grid.count.saturating_sub(1))
    }
}

/// A series of a range selector, without staleness markers.
#[derive(Debug)]
pub(crate) struct RangeSeries {
    pub(crate) labels: Labels,
    pub(crate) drop_name: bool,
    pub(crate) floats: Vec<Sample>,
    pub(crate) histograms: Vec<HistogramSample>,
}

/// The samples of one series in one range.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'a> {
    pub(crate) floats: &'a [Sample],
    pub(crate) histograms: &'a [HistogramSample],
    /// Samples are later than this…
    pub(crate) start_ms: i64,
    /// …and not later than this.
    pub(crate) end_ms: i64,
    /// The time of evaluation.
    pub(crate) at_ms: i64,
    /// The index of the time of evaluation.
    pub(crate) step: usize,
}

impl RangeSeries {
    /// Moves a window over the samples; where it holds none, there is no value.
    pub(crate) fn slide(&self, frames: &Frames, mut value: impl FnMut(&Window<'_>) -> Cell) -> Vec<Cell> {
        let mut floats = Bounds::default();
        let mut histograms = Bounds::default();
        let one = |step: usize| {
            let end_ms = frames.end_ms(step);
            let start_ms = end_ms - frames.range_ms;
            let window = Window {
                floats: floats.advance(&self.floats, start_ms, end_ms, |s| s.t_ms),
                histograms: histograms.advance(&self.histograms, start_ms, end_ms, |s| s.t_ms),
                start_ms,
                end_ms,
                at_ms: frames.grid.at(step),
                step,
            };
            if window.floats.is_empty() && window.histograms.is_empty() { Cell::Empty } else { value(&window) }
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
    fn advance<'a, S>(&mut self, samples: &'a [S], after_ms: i64, to_ms: i64, time: impl Fn(&S) -> i64) -> &'a [S] {
        while samples.get(self.high).is_some_and(|s| time(s) <= to_ms) {
            self.high += 1;
        }
        while self.low < self.high && samples.get(self.low).is_some_and(|s| time(s) <= after_ms) {
            self.low += 1;
        }
        samples.get(self.low..self.high).unwrap_or_default()
    }
}

fn is_stale_histogram(sample: &HistogramSample) -> bool {
    is_stale_nan(sample.histogram.sum)
}

impl Evaluation<'_> {
    fn frames(&self, grid: &Grid, at: Option<At>, offset_ms: i64, range_ms: i64) -> Frames {
        let fixed_ms = at.map(|at| match at {
            At::Start => self.query.start_ms,
            At::End => self.end_ms,
            At::Ms(ms) => ms,
        });
        Frames { grid: *grid, fixed_ms, offset_ms, range_ms }
    }

    fn read(
        &self,
        selector: &VectorSelector,
        from_ms: i64,
        to_ms: i64,
        lookback: Lookback,
    ) -> Result<Vec<SelectedSeries>, EngineError> {
        let request = SelectRequest { matchers: &selector.matchers, from_ms, to_ms, lookback, budget: self.budget };
        Ok(self.select.select(self.scope, &request)?)
    }

    /// The columns of an instant selector; with `times`, the samples' own times in seconds instead of their values.
    pub(crate) fn instant_columns(
        &self,
        selector: &VectorSelector,
        grid: &Grid,
        content: Content,
        sink: &mut Sink<'_>,
    ) -> Result<(), EngineError> {
        let frames = self.frames(grid, selector.at, selector.offset_ms, 0);
        let series = self.read(selector, frames.end_ms(0), frames.last_ms(), self.lookback)?;
        for one in series {
            self.budget.check()?;
            let cells = last_samples(&one, &frames, content);
            let drop_name = content == Content::Times;
            let column = Column { labels: one.labels, drop_name, cells };
            if column.has_values() {
                sink(column)?;
            }
        }
        Ok(())
    }

    /// The series of a range selector or subquery.
    pub(crate) fn range_series(
        &self,
        expr: &Expr,
        grid: &Grid,
        take: &mut dyn FnMut(RangeSeries, &Frames) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        match &expr.kind {
            ExprKind::Paren(inner) => self.range_series(inner, grid, take),
            ExprKind::Matrix(matrix) => self.matrix_series(matrix, grid, take),
            ExprKind::Subquery(subquery) => self.subquery_series(subquery, grid, take),
            _ => Err(EngineError::execution(format!("{expr} is no range vector"))),
        }
    }

    fn matrix_series(
        &self,
        matrix: &MatrixSelector,
        grid: &Grid,
        take: &mut dyn FnMut(RangeSeries, &Frames) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let selector = &matrix.selector;
        let frames = self.frames(grid, selector.at, selector.offset_ms, matrix.range_ms);
        let from_ms = frames.end_ms(0) - matrix.range_ms + 1;
        for mut one in self.read(selector, from_ms, frames.last_ms(), Lookback::Range)? {
            self.budget.check()?;
            one.samples.retain(|sample| !is_stale_nan(sample.value));
            one.histograms.retain(|sample| !is_stale_histogram(sample));
            let series =
                RangeSeries { labels: one.labels, drop_name: false, floats: one.samples, histograms: one.histograms };
            take(series, &frames)?;
        }
        Ok(())
    }

    fn subquery_series(
        &self,
        subquery: &Subquery,
        grid: &Grid,
        take: &mut dyn FnMut(RangeSeries, &Frames) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let frames = self.frames(grid, subquery.at, subquery.offset_ms, subquery.range_ms);
        let step_ms = subquery.step_ms.unwrap_or(self.limits.subquery_step_ms).max(1);
        let after_ms = frames.end_ms(0) - subquery.range_ms;
        let start_ms = (after_ms.div_euclid(step_ms) + 1) * step_ms;
        let end_ms = frames.last_ms();
        if end_ms < start_ms {
            return Ok(());
        }
        let count = usize::try_from((end_ms - start_ms) / step_ms + 1).unwrap_or(usize::MAX);
        self.check_cells(1, count)?;
        let inner = Grid { start_ms, step_ms, count };
        self.columns(&subquery.expr, &inner, &mut |column| take(samples_of(column, &inner), &frames))
    }

    /// The window of a range selector at one time, for an instant query of it.
    pub(crate) fn frames_of_range(&self, expr: &Expr, grid: &Grid) -> Result<Vec<RangeSeries>, EngineError> {
        let mut all = Vec::new();
        self.range_series(expr, grid, &mut |mut series, frames| {
            let end_ms = frames.end_ms(0);
            let inside = |t_ms: i64| t_ms > end_ms - frames.range_ms && t_ms <= end_ms;
            series.floats.retain(|s| inside(s.t_ms));
            series.histograms.retain(|s| inside(s.t_ms));
            if !series.floats.is_empty() || !series.histograms.is_empty() {
                all.push(series);
            }
            Ok(())
        })?;
        Ok(all)
    }
}

/// What an instant selector yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// The samples' values.
    Values,
    /// The samples' times in seconds.
    Times,
}

fn last_samples(series: &SelectedSeries, frames: &Frames, content: Content) -> Vec<Cell> {
    let (mut floats, mut histograms) = (0usize, 0usize);
    let one = |step: usize| {
        let end_ms = frames.end_ms(step);
        while series.samples.get(floats).is_some_and(|s| s.t_ms <= end_ms) {
            floats += 1;
        }
        while series.histograms.get(histograms).is_some_and(|s| s.t_ms <= end_ms) {
            histograms += 1;
        }
        let float = floats.checked_sub(1).and_then(|at| series.samples.get(at));
        let histogram = histograms.checked_sub(1).and_then(|at| series.histograms.get(at));
        let histogram = histogram.filter(|h| float.is_none_or(|f| h.t_ms > f.t_ms));
        let (t_ms, cell) = match (histogram, float) {
            (Some(h), _) if !is_stale_histogram(h) => (h.t_ms, Cell::Histogram(h.histogram.clone())),
            (None, Some(f)) if !is_stale_nan(f.value) => (f.t_ms, Cell::Float(f.value)),
            _ => return Cell::Empty,
        };
        match content {
            _ if t_ms <= end_ms - series.lookback_ms => Cell::Empty,
            Content::Values => cell,
            Content::Times => Cell::Float(t_ms as f64 / 1000.0),
        }
    };
    (0..frames.grid.count).map(one).collect()
}

fn samples_of(column: Column, grid: &Grid) -> RangeSeries {
    let (mut floats, mut histograms) = (Vec::new(), Vec::new());
    for (step, cell) in column.cells.into_iter().enumerate() {
        let t_ms = grid.at(step);
        match cell {
            Cell::Empty => {}
            Cell::Float(value) => floats.push(Sample { t_ms, value }),
            Cell::Histogram(histogram) => histograms.push(HistogramSample { t_ms, histogram }),
        }
    }
    RangeSeries { labels: column.labels, drop_name: column.drop_name, floats, histograms }
}
