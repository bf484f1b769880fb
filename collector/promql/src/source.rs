//! Selectors and subqueries: from the store's samples to columns and windows. Each selector is read once for the
//! whole grid.

use std::cell::RefCell;

use tenantscope_model::{
    HeldBytes, HistogramSample, Labels, Lookback, Sample, SelectRequest, SeriesView, Starts, is_stale_nan,
};

use crate::ast::{At, Edges, Expr, ExprKind, MatrixSelector, Position, Subquery, VectorSelector};
use crate::cells::ABSENT;
use crate::column::{Cell, Cells, Column, Grid, Sink};
use crate::error::EngineError;
use crate::evaluation::{Evaluation, Setting};
use crate::step_samples::{Counting, Reader};
use crate::window::{Frames, RangeSeries, is_stale_histogram};
use crate::{native, smoothing};

/// Series of a share between two looks at the budget; the store looks at it, too.
const SERIES_BETWEEN_CHECKS: usize = 16;

/// The farthest time to which `@` leads: a text may give all that there are, but ranges, offsets and lookbacks lie around
/// it, none of which is longer than 292 years.
const FARTHEST_MS: i64 = i64::MAX - (1 << 52);

impl Evaluation<'_> {
    fn frames(&self, grid: &Grid, at: Option<At>, offset_ms: i64, range_ms: i64) -> Frames {
        let fixed_ms = at.map(|at| match at {
            At::Start => self.query.start_ms,
            At::End => self.end_ms,
            At::Ms(ms) => ms,
        });
        // Whatever is looked at around it can be told without overflow, ranges within ranges too.
        let fixed_ms = fixed_ms.map(|ms| ms.clamp(-FARTHEST_MS, FARTHEST_MS));
        Frames { grid: *grid, fixed_ms, offset_ms, range_ms, edges: Edges::Plain, beyond_ms: 0 }
    }

    /// How far an instant selector looks back, before a series' cadence widens it.
    fn lookback_ms(&self) -> i64 {
        match self.lookback {
            Lookback::Widened(ms) | Lookback::Fixed(ms) => ms,
            Lookback::Range => self.limits.lookback_ms,
        }
    }

    fn request<'s>(
        &'s self,
        selector: &'s VectorSelector,
        (from_ms, to_ms): (i64, i64),
        lookback: Lookback,
    ) -> SelectRequest<'s> {
        SelectRequest { matchers: &selector.matchers, from_ms, to_ms, lookback, budget: self.budget }
    }

    /// What an instant selector asks the store for.
    pub(crate) fn instant_request<'s>(&'s self, selector: &'s VectorSelector, grid: &Grid) -> SelectRequest<'s> {
        if selector.edges == Edges::Smoothed {
            return self.request(selector, self.smoothed_frames(selector, grid).reach_ms(), Lookback::Range);
        }
        let frames = self.frames(grid, selector.at, selector.offset_ms, 0);
        self.request(selector, (frames.end_ms(0), frames.last_ms()), self.lookback)
    }

    /// What a range selector asks the store for.
    pub(crate) fn matrix_request<'s>(&'s self, matrix: &'s MatrixSelector, grid: &Grid) -> SelectRequest<'s> {
        let (mut from_ms, to_ms) = self.matrix_frames(matrix, grid).reach_ms();
        if matrix.selector.totals_only {
            from_ms -= self.lookback_ms();
        }
        self.request(&matrix.selector, (from_ms, to_ms), Lookback::Range)
    }

    /// Reads the series of a selector one after the other, or those of this evaluation's share.
    fn each_series(
        &self,
        request: &SelectRequest<'_>,
        visit: &mut dyn FnMut(Labels, &SeriesView<'_>) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        if let Some(share) = self.share {
            let mut scan = share.selection.scan(share.places());
            while let Some(view) = scan.next()? {
                if view.place.is_multiple_of(SERIES_BETWEEN_CHECKS) {
                    self.budget.check()?;
                }
                share.arrive(view.place);
                visit(share.name_of(view.place), &view)?;
            }
            return Ok(());
        }
        let selection = self.found(request)?;
        let places: Vec<usize> = (0..selection.len()).collect();
        let labels = selection.labels(&places)?;
        let mut held = self.budget.hold();
        held.grow(labels.iter().map(Labels::held_bytes).sum())?;
        let mut scan = selection.scan(0..places.len());
        while let Some(view) = scan.next()? {
            self.budget.check()?;
            visit(labels.get(view.place).cloned().unwrap_or_default(), &view)?;
        }
        Ok(())
    }

    /// The columns of an instant selector: values, or what else of the samples is wanted.
    pub(crate) fn instant_columns(
        &self,
        selector: &VectorSelector,
        grid: &Grid,
        content: Content,
        sink: &mut Sink<'_>,
    ) -> Result<(), EngineError> {
        let frames = self.frames(grid, selector.at, selector.offset_ms, 0);
        let drop_name = content != Content::Values;
        self.each_series(&self.instant_request(selector, grid), &mut |labels, view| {
            let cells = if selector.totals_only && !view.histograms.is_empty() {
                let mut histograms = view.histograms.to_vec();
                native::settle_hints(view.samples, &mut histograms);
                native::keep_totals(&mut histograms);
                last_samples(&SeriesView { histograms: &histograms, ..*view }, &frames, content)
            } else {
                last_samples(view, &frames, content)
            };
            self.count_cells(grid, &cells);
            let column = Column { labels, drop_name, cells };
            if column.has_values() { sink(column) } else { Ok(()) }
        })
    }

    fn smoothed_frames(&self, selector: &VectorSelector, grid: &Grid) -> Frames {
        self.frames(grid, selector.at, selector.offset_ms, 0).with_edges(Edges::Smoothed, self.lookback_ms())
    }

    /// The columns of a `smoothed` instant selector.
    pub(crate) fn smoothed_columns(
        &self,
        selector: &VectorSelector,
        position: Position,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EngineError> {
        let frames = self.smoothed_frames(selector, grid);
        let mut series = RangeSeries::default();
        let mut held = self.budget.hold();
        self.each_series(&self.instant_request(selector, grid), &mut |labels, view| {
            series.take(labels, view, selector.totals_only.then_some(i64::MIN));
            held.resize(series.held_bytes())?;
            let metric = series.labels.metric_name();
            let pace = self.pace();
            let cells = series.slide(&frames, &pace, |window| smoothing::at_end(self, metric, position, window));
            pace.ended()?;
            let column = Column { labels: series.labels.clone(), drop_name: false, cells };
            if column.has_values() { sink(column) } else { Ok(()) }
        })
    }

    /// The series of a range selector or subquery.
    pub(crate) fn range_series(
        &self,
        expr: &Expr,
        grid: &Grid,
        take: &mut dyn FnMut(&mut RangeSeries, &Frames) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        match &expr.kind {
            ExprKind::Paren(inner) => self.range_series(inner, grid, take),
            ExprKind::Matrix(matrix) => self.matrix_series(matrix, grid, take),
            ExprKind::Subquery(subquery) => {
                let reader = Reader::Function { offset_ms: subquery.offset_ms, range_ms: subquery.range_ms };
                self.subquery_series(subquery, grid, reader, &mut |series, frames| {
                    self.count_points(grid, series, frames)?;
                    take(series, frames)
                })
            }
            _ => Err(EngineError::execution(format!("{expr} is no range vector"))),
        }
    }

    fn matrix_series(
        &self,
        matrix: &MatrixSelector,
        grid: &Grid,
        take: &mut dyn FnMut(&mut RangeSeries, &Frames) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let frames = self.matrix_frames(matrix, grid);
        let totals_from_ms = matrix.selector.totals_only.then_some(frames.reach_ms().0);
        let mut series = RangeSeries::default();
        let mut held = self.budget.hold();
        self.each_series(&self.matrix_request(matrix, grid), &mut |labels, view| {
            series.take(labels, view, totals_from_ms);
            held.resize(series.held_bytes())?;
            self.count_windows(grid, &series, &frames)?;
            take(&mut series, &frames)
        })
    }

    fn matrix_frames(&self, matrix: &MatrixSelector, grid: &Grid) -> Frames {
        let selector = &matrix.selector;
        let frames = self.frames(grid, selector.at, selector.offset_ms, matrix.range_ms);
        frames.with_edges(selector.edges, self.lookback_ms())
    }

    /// The times at which a subquery evaluates, if there are any, and when it looks at them.
    pub(crate) fn subquery_grid(&self, subquery: &Subquery, grid: &Grid) -> Option<(Grid, Frames)> {
        let frames = self.frames(grid, subquery.at, subquery.offset_ms, subquery.range_ms);
        let step_ms = subquery.step_ms.unwrap_or(self.limits.subquery_step_ms).max(1);
        let after_ms = frames.end_ms(0) - subquery.range_ms;
        let start_ms = (after_ms.div_euclid(step_ms) + 1) * step_ms;
        let end_ms = frames.last_ms();
        if end_ms < start_ms {
            return None;
        }
        let count = usize::try_from((end_ms - start_ms) / step_ms + 1).unwrap_or(usize::MAX);
        Some((Grid { start_ms, step_ms, count }, frames))
    }

    fn subquery_series(
        &self,
        subquery: &Subquery,
        grid: &Grid,
        reader: Reader,
        take: &mut dyn FnMut(&mut RangeSeries, &Frames) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let Some((inner, frames)) = self.subquery_grid(subquery, grid) else { return Ok(()) };
        self.check_cells(1, inner.count)?;
        // A column on its way has as many values as there are times, which may be very many.
        let column_bytes = inner.count.saturating_mul(size_of::<Cell>());
        let mut held = self.budget.hold();
        held.grow(column_bytes)?;
        let counting = Counting::of_subquery(&self.counting, grid, &inner, reader);
        let setting = Setting { counting, ..self.setting };
        let within = Evaluation { setting, share: self.share, notes: RefCell::default() };
        let result = within.columns(&subquery.expr, &inner, &mut |column| {
            let samples = column.cells.count();
            held.resize(column_bytes.saturating_add(samples.saturating_mul(size_of::<Sample>())))?;
            take(&mut samples_of(column, samples, &inner), &frames)
        });
        self.notes.borrow_mut().join(within.notes.into_inner());
        result
    }

    /// The window of a range selector at one time, for an instant query of it.
    pub(crate) fn frames_of_range(
        &self,
        expr: &Expr,
        grid: &Grid,
    ) -> Result<(Vec<RangeSeries>, HeldBytes<'_>), EngineError> {
        let mut all = Vec::new();
        let mut held = self.budget.hold();
        let mut keep = |series: &mut RangeSeries, frames: &Frames| {
            let end_ms = frames.end_ms(0);
            if frames.edges != Edges::Plain {
                series.floats = smoothing::cut_to_range(series, frames.edges, end_ms - frames.range_ms, end_ms)?;
                if !series.floats.is_empty() {
                    held.grow(series.held_bytes())?;
                    all.push(std::mem::take(series));
                }
                return Ok(());
            }
            let inside = |t_ms: i64| t_ms > end_ms - frames.range_ms && t_ms <= end_ms;
            series.floats.retain(|s| inside(s.t_ms));
            series.histograms.retain(|s| inside(s.t_ms));
            if !series.floats.is_empty() || !series.histograms.is_empty() {
                held.grow(series.held_bytes())?;
                all.push(std::mem::take(series));
            }
            Ok(())
        };
        match &expr.unparenthesized().kind {
            ExprKind::Subquery(subquery) => self.subquery_series(subquery, grid, Reader::Answer, &mut keep)?,
            _ => self.range_series(expr, grid, &mut keep)?,
        }
        Ok((all, held))
    }
}

/// What an instant selector yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// The samples' values.
    Values,
    /// The samples' times in seconds.
    Times,
    /// Of floats, the samples' times in seconds; histograms as they are.
    FloatTimes,
    /// The times, in seconds, at which the counting of the samples began; 0 where that is not known.
    StartTimes,
}

/// The last float before each time, where a series has nothing else.
fn last_floats(samples: &[Sample], lookback_ms: i64, frames: &Frames) -> Cells {
    let mut seen = 0usize;
    let one = |step: usize| {
        let end_ms = frames.end_ms(step);
        while samples.get(seen).is_some_and(|sample| sample.t_ms <= end_ms) {
            seen += 1;
        }
        match seen.checked_sub(1).and_then(|at| samples.get(at)) {
            // A staleness marker is no value among floats, either.
            Some(last) if last.t_ms > end_ms - lookback_ms => last.value,
            _ => ABSENT,
        }
    };
    Cells::Floats((0..frames.grid.count).map(one).collect())
}

fn last_samples(series: &SeriesView<'_>, frames: &Frames, content: Content) -> Cells {
    if series.histograms.is_empty() && content == Content::Values {
        return last_floats(series.samples, series.lookback_ms, frames);
    }
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
        let start_ms =
            |starts_ms: &[i64], seen: usize| seen.checked_sub(1).and_then(|at| starts_ms.get(at)).copied().unwrap_or(0);
        let starts = series.starts;
        let (t_ms, start_ms, cell) = match (histogram, float) {
            (Some(h), _) if !is_stale_histogram(h) => {
                (h.t_ms, start_ms(&starts.histograms_ms, histograms), Cell::Histogram(h.histogram.clone()))
            }
            (None, Some(f)) if !is_stale_nan(f.value) => {
                (f.t_ms, start_ms(&starts.samples_ms, floats), Cell::Float(f.value))
            }
            _ => return Cell::Empty,
        };
        match content {
            _ if t_ms <= end_ms - series.lookback_ms => Cell::Empty,
            Content::Values => cell,
            Content::FloatTimes if matches!(cell, Cell::Histogram(_)) => cell,
            Content::Times | Content::FloatTimes => Cell::Float(t_ms as f64 / 1000.0),
            Content::StartTimes => Cell::Float(start_ms as f64 / 1000.0),
        }
    };
    (0..frames.grid.count).map(one).collect()
}

fn samples_of(column: Column, samples: usize, grid: &Grid) -> RangeSeries {
    let only_floats = matches!(column.cells, Cells::Floats(_));
    let (mut floats, mut histograms) = (Vec::with_capacity(if only_floats { samples } else { 0 }), Vec::new());
    for (step, cell) in column.cells.iter().enumerate() {
        let t_ms = grid.at(step);
        match cell {
            Cell::Empty => {}
            Cell::Float(value) => floats.push(Sample { t_ms, value }),
            Cell::Histogram(histogram) => histograms.push(HistogramSample { t_ms, histogram }),
        }
    }
    native::forget_hints(&mut histograms);
    RangeSeries { labels: column.labels, drop_name: column.drop_name, floats, histograms, starts: Starts::default() }
}
