use std::borrow::Cow;
use std::cell::RefCell;

use tenantscope_model::{HistogramSample, Lookback, QueryBudget, Sample, Scope, Select};

use crate::ast::{Expr, ExprKind, ValueType};
use crate::column::{Cell, Column, Grid, merge_same_labels, without_name};
use crate::duration::DurationTimes;
use crate::error::EngineError;
use crate::evaluation::{Evaluation, Setting};
use crate::held::{Collected, Scalars};
use crate::notes::Notes;
use crate::step_samples::Counting;
use crate::totals;
use crate::value::{Answer, Element, PointValue, Series, Value};

/// What holds for all queries of an engine.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How far an instant selector looks back, in milliseconds (5 minutes).
    pub lookback_ms: i64,
    /// The most times of one range query (11,000).
    pub max_steps: usize,
    /// The most values that one part of an expression may hold at once (50,000,000).
    pub max_cells: u64,
    /// The resolution of a subquery that gives none, in milliseconds (1 minute).
    pub subquery_step_ms: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { lookback_ms: 300_000, max_steps: 11_000, max_cells: 50_000_000, subquery_step_ms: 60_000 }
    }
}

/// What one query sets.
#[derive(Debug, Clone, Copy)]
pub struct QueryOptions<'a> {
    /// The query's limits; charged by the store, checked by the engine.
    pub budget: &'a QueryBudget,
    /// A lookback that the reader gave, for every series alike.
    pub lookback_ms: Option<i64>,
    /// The query's text, by which notes tell line and column; where it is empty they tell neither.
    pub text: &'a str,
}

/// The times of a range query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The first, in milliseconds.
    pub start_ms: i64,
    /// The last, if a step reaches it.
    pub end_ms: i64,
    /// The distance between two.
    pub step_ms: i64,
}

/// Evaluates expressions over anything that is [`Select`].
#[derive(Debug, Clone, Default)]
pub struct Engine {
    limits: Limits,
}

impl Engine {
    /// An engine with these limits.
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }

    /// The engine's limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Evaluates at one time.
    pub fn instant(
        &self,
        select: &dyn Select,
        scope: &Scope,
        expr: &Expr,
        at_ms: i64,
        options: QueryOptions<'_>,
    ) -> Result<Answer, EngineError> {
        let expr = &*prepared(expr, DurationTimes::default())?;
        let evaluation = self.evaluation(select, scope, Grid::instant(at_ms), at_ms, options);
        let grid = evaluation.query;
        let value = match expr.value_type() {
            ValueType::Scalar => {
                let value = evaluation.scalars(expr, &grid)?.first().copied().unwrap_or(f64::NAN);
                Value::Scalar(Sample { t_ms: at_ms, value })
            }
            ValueType::String => match &expr.unparenthesized().kind {
                ExprKind::Text(text) => Value::String { t_ms: at_ms, text: text.clone() },
                ExprKind::Bytes(bytes) => Value::String { t_ms: at_ms, text: String::from_utf8_lossy(bytes).into() },
                _ => return Err(EngineError::execution("string literal expected")),
            },
            ValueType::Vector => {
                let Collected { columns, held: _held } = evaluation.collect(expr, &grid)?.with(finished)?;
                Value::Vector(elements(columns, at_ms))
            }
            ValueType::Matrix => raw_series(&evaluation, expr, &grid)?,
        };
        Ok(answer(value, evaluation.notes, options.text))
    }

    /// Evaluates at many times. Each selector is read once.
    pub fn range(
        &self,
        select: &dyn Select,
        scope: &Scope,
        expr: &Expr,
        times: Times,
        options: QueryOptions<'_>,
    ) -> Result<Answer, EngineError> {
        let grid = self.grid(times)?;
        let range_ms = times.end_ms - times.start_ms;
        let expr = &*prepared(expr, DurationTimes { step_ms: times.step_ms, range_ms })?;
        let mut evaluation = self.evaluation(select, scope, grid, times.end_ms, options);
        evaluation.setting.is_range = true;
        let Collected { columns, mut held } = match expr.value_type() {
            ValueType::Scalar => {
                let Scalars { values, held } = evaluation.scalars(expr, &grid)?;
                Collected { columns: vec![Evaluation::scalar_column(values)], held }
            }
            ValueType::Vector => evaluation.collect(expr, &grid)?.with(finished)?,
            other => {
                return Err(EngineError::Request(format!(
                    "invalid expression type \"{other}\" for range query, must be Scalar or instant Vector"
                )));
            }
        };
        let mut series: Vec<Series> = Vec::with_capacity(columns.len());
        for column in columns {
            let column_bytes = column.held_bytes();
            let one = series_of(column, &grid);
            held.shrink(column_bytes);
            held.grow(one.held_bytes())?;
            series.push(one);
        }
        drop(held);
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(answer(Value::Matrix(series), evaluation.notes, options.text))
    }

    fn grid(&self, times: Times) -> Result<Grid, EngineError> {
        if times.step_ms <= 0 {
            return Err(EngineError::Request(
                "zero or negative query resolution step widths are not accepted. Try a positive integer".to_owned(),
            ));
        }
        if times.end_ms < times.start_ms {
            return Err(EngineError::Request("end timestamp must not be before start time".to_owned()));
        }
        let steps = times.end_ms.saturating_sub(times.start_ms) / times.step_ms;
        let count = usize::try_from(steps).unwrap_or(usize::MAX).saturating_add(1);
        if count > self.limits.max_steps {
            return Err(EngineError::Request(format!(
                "exceeded maximum resolution of {} points per timeseries. Try decreasing the query resolution (?step=XX)",
                self.limits.max_steps
            )));
        }
        Ok(Grid { start_ms: times.start_ms, step_ms: times.step_ms, count })
    }

    fn evaluation<'a>(
        &'a self,
        select: &'a dyn Select,
        scope: &'a Scope,
        query: Grid,
        end_ms: i64,
        options: QueryOptions<'a>,
    ) -> Evaluation<'a> {
        let lookback = options.lookback_ms.map_or(Lookback::Widened(self.limits.lookback_ms), Lookback::Fixed);
        let (budget, limits) = (options.budget, &self.limits);
        let counting = Counting::of_query(&query);
        let setting = Setting { select, scope, budget, limits, lookback, query, end_ms, is_range: false, counting };
        Evaluation { setting, share: None, notes: RefCell::default() }
    }
}

/// The expression with its durations computed, and with its selectors knowing how much of histograms is looked at.
fn prepared(expr: &Expr, times: DurationTimes) -> Result<Cow<'_, Expr>, EngineError> {
    let mut expr = expr.with_durations(times)?;
    if totals::any_wanted(&expr) {
        totals::mark(expr.to_mut());
    }
    Ok(expr)
}

fn answer(value: Value, notes: RefCell<Notes>, text: &str) -> Answer {
    let (warnings, infos) = notes.into_inner().into_parts(text);
    Answer { value, warnings, infos }
}

/// Takes the metric names away where operations changed what the series mean.
fn finished(mut columns: Vec<Column>) -> Result<Vec<Column>, EngineError> {
    for column in columns.iter_mut().filter(|column| column.drop_name) {
        column.labels = without_name(&column.labels);
        column.drop_name = false;
    }
    columns.retain(Column::has_values);
    merge_same_labels(columns)
}

fn elements(columns: Vec<Column>, t_ms: i64) -> Vec<Element> {
    let element = |column: Column| {
        let value = match column.cells.get(0) {
            Cell::Empty => return None,
            Cell::Float(value) => PointValue::Float(value),
            Cell::Histogram(histogram) => PointValue::Histogram(histogram),
        };
        Some(Element { labels: column.labels, t_ms, value })
    };
    columns.into_iter().filter_map(element).collect()
}

fn series_of(column: Column, grid: &Grid) -> Series {
    let floats = if column.cells.has_floats() { column.cells.count() } else { 0 };
    let mut series = Series { labels: column.labels, floats: Vec::with_capacity(floats), histograms: Vec::new() };
    for (step, cell) in column.cells.iter().enumerate() {
        let t_ms = grid.at(step);
        match cell {
            Cell::Empty => {}
            Cell::Float(value) => series.floats.push(Sample { t_ms, value }),
            Cell::Histogram(histogram) => series.histograms.push(HistogramSample { t_ms, histogram }),
        }
    }
    series
}

fn raw_series(evaluation: &Evaluation<'_>, expr: &Expr, grid: &Grid) -> Result<Value, EngineError> {
    let mut series: Vec<Series> = Vec::new();
    let (all, _held) = evaluation.frames_of_range(expr, grid)?;
    for one in all {
        let labels = if one.drop_name { without_name(&one.labels) } else { one.labels };
        series.push(Series { labels, floats: one.floats, histograms: one.histograms });
    }
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(Value::Matrix(series))
}
