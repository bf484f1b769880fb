//! One evaluation: an expression over a grid of times becomes columns, handed on one at a time so that an aggregation
//! never holds all series of what it aggregates.

use std::cell::RefCell;
use std::ops::Deref;

use tenantscope_model::{Lookback, QueryBudget, Scope, Select};

use crate::ast::{BinaryOp, Call, Edges, Expr, ExprKind, Position, ValueType};
use crate::binary::float_operation;
use crate::column::{Cell, Cells, Column, Grid, Sink};
use crate::engine::Limits;
use crate::error::EngineError;
use crate::held::{Collected, Scalars};
use crate::native;
use crate::note::Note;
use crate::notes::Notes;
use crate::pace::{HISTOGRAM_WORK, Pace, WORK_BETWEEN_CHECKS};
use crate::quoting::QuotedBytes;
use crate::shares::Share;
use crate::source::Content;
use crate::step_samples::Counting;

/// What an evaluation needs to know.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    pub(crate) select: &'a dyn Select,
    pub(crate) scope: &'a Scope,
    pub(crate) budget: &'a QueryBudget,
    pub(crate) limits: &'a Limits,
    pub(crate) lookback: Lookback,
    /// The query's own times, to which `@ start()` and `@ end()` refer.
    pub(crate) query: Grid,
    /// The end that the query gave, which its last time may not reach.
    pub(crate) end_ms: i64,
    pub(crate) is_range: bool,
    /// Where the samples that are looked at are counted.
    pub(crate) counting: Counting<'a>,
}

/// An evaluation on one thread.
pub(crate) struct Evaluation<'a> {
    pub(crate) setting: Setting<'a>,
    /// Those of a selector's series that are evaluated here, if it is not all of them.
    pub(crate) share: Option<&'a Share<'a>>,
    pub(crate) notes: RefCell<Notes>,
}

/// What an evaluation needs to know is at hand as if it were the evaluation's own.
impl<'a> Deref for Evaluation<'a> {
    type Target = Setting<'a>;
    fn deref(&self) -> &Setting<'a> {
        &self.setting
    }
}

impl Evaluation<'_> {
    /// Keeps a warning or info about what stands at a place of the query.
    pub(crate) fn note(&self, note: Note<'_>, position: Position) {
        self.notes.borrow_mut().add(note, position);
    }

    /// Refuses what would hold more values at once than a query may.
    pub(crate) fn check_cells(&self, columns: usize, steps: usize) -> Result<(), EngineError> {
        let cells = (columns as u64).saturating_mul(steps as u64);
        if cells > self.limits.max_cells {
            return Err(EngineError::TooManySamples { limit: self.limits.max_cells });
        }
        Ok(self.budget.check()?)
    }

    /// The pace of a loop.
    pub(crate) fn pace(&self) -> Pace<'_> {
        Pace::new(self.budget)
    }

    /// Evaluates an instant vector.
    pub(crate) fn columns(&self, expr: &Expr, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        self.budget.check()?;
        if grid.count > 1 && expr.is_step_invariant() {
            let once = Grid::instant(grid.start_ms);
            return self.vector(expr, &once, &mut |column| sink(repeated(column, grid.count)));
        }
        if grid.count < WORK_BETWEEN_CHECKS {
            return self.vector(expr, grid, sink);
        }
        // Each operation on a long column takes its time.
        self.vector(expr, grid, &mut |column| {
            self.budget.check()?;
            sink(column)
        })
    }

    fn vector(&self, expr: &Expr, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        match &expr.kind {
            ExprKind::Vector(selector) if selector.edges == Edges::Smoothed => {
                self.smoothed_columns(selector, expr.position, grid, sink)
            }
            ExprKind::Vector(selector) => self.instant_columns(selector, grid, Content::Values, sink),
            ExprKind::Paren(inner) | ExprKind::Plus(inner) => self.columns(inner, grid, sink),
            ExprKind::Negate(inner) => self.columns(inner, grid, &mut |column| {
                let pace = self.pace();
                let column = negated(column, &pace);
                pace.ended()?;
                sink(column)
            }),
            ExprKind::Call(call) => self.call(call, expr.position, grid, sink),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, expr.position, grid, sink),
            ExprKind::Binary(binary) => self.binary(binary, grid, sink),
            ExprKind::Number { .. }
            | ExprKind::Text(_)
            | ExprKind::Bytes(_)
            | ExprKind::Matrix(_)
            | ExprKind::Subquery(_) => Err(EngineError::execution(format!("{expr} is no instant vector"))),
        }
    }

    /// Evaluates an instant vector and holds all of it.
    pub(crate) fn collect(&self, expr: &Expr, grid: &Grid) -> Result<Collected<'_>, EngineError> {
        if let Some(request) = self.row_request(expr, grid) {
            return self.collect_rows(&*self.found(&request)?, request.matchers, expr, grid);
        }
        let mut collected = Collected::new(self.budget.hold());
        self.columns(expr, grid, &mut |column| {
            collected.push(column)?;
            self.check_cells(collected.columns.len(), grid.count)
        })?;
        Ok(collected)
    }

    /// A scalar of each time.
    pub(crate) fn scalars_by(&self, grid: &Grid, value: impl FnMut(usize) -> f64) -> Result<Scalars<'_>, EngineError> {
        let mut held = self.budget.hold();
        held.grow(grid.count.saturating_mul(size_of::<f64>()))?;
        Ok(Scalars { values: (0..grid.count).map(value).collect(), held })
    }

    /// Evaluates a scalar.
    pub(crate) fn scalars(&self, expr: &Expr, grid: &Grid) -> Result<Scalars<'_>, EngineError> {
        self.budget.check()?;
        match &expr.kind {
            ExprKind::Number { value, .. } => self.scalars_by(grid, |_| *value),
            ExprKind::Paren(inner) | ExprKind::Plus(inner) => self.scalars(inner, grid),
            ExprKind::Negate(inner) => {
                let mut negated = self.scalars(inner, grid)?;
                negated.iter_mut().for_each(|value| *value = -*value);
                Ok(negated)
            }
            ExprKind::Binary(binary) => {
                let (left, right) = (self.scalars(&binary.left, grid)?, self.scalars(&binary.right, grid)?);
                Ok(joined(left, &right, |l, r| scalar_operation(binary.op, l, r)))
            }
            ExprKind::Call(call) => self.scalar_call(call, grid),
            _ => Err(EngineError::execution(format!("{expr} is no scalar"))),
        }
    }

    fn scalar_call(&self, call: &Call, grid: &Grid) -> Result<Scalars<'_>, EngineError> {
        let everywhere = |value: f64| self.scalars_by(grid, |_| value);
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let query = &self.query;
        match call.function.name {
            "pi" => everywhere(std::f64::consts::PI),
            "time" => self.scalars_by(grid, |step| seconds(grid.at(step))),
            "start" => everywhere(seconds(query.start_ms)),
            "end" => everywhere(seconds(self.end_ms)),
            "range" => everywhere(seconds(self.end_ms.saturating_sub(query.start_ms))),
            "step" => everywhere(if self.is_range { seconds(query.step_ms) } else { 0.0 }),
            "scalar" => self.only_element(self.argument(call, 0)?, grid),
            name @ ("min_of" | "max_of") => {
                let left = self.scalars(self.argument(call, 0)?, grid)?;
                let right = self.scalars(self.argument(call, 1)?, grid)?;
                let choose = if name == "min_of" { f64::min } else { f64::max };
                Ok(joined(left, &right, |l, r| if l.is_nan() || r.is_nan() { f64::NAN } else { choose(l, r) }))
            }
            name => Err(EngineError::execution(format!("{name} is no scalar function"))),
        }
    }

    fn only_element(&self, argument: &Expr, grid: &Grid) -> Result<Scalars<'_>, EngineError> {
        let mut held = self.budget.hold();
        held.grow(grid.count.saturating_mul(size_of::<u32>()))?;
        let mut counts = vec![0_u32; grid.count];
        let mut only = self.scalars_by(grid, |_| f64::NAN)?;
        self.columns(argument, grid, &mut |column| {
            for (step, (count, slot)) in counts.iter_mut().zip(only.iter_mut()).enumerate() {
                if let Some(value) = column.cells.float(step) {
                    *count = count.saturating_add(1);
                    *slot = if *count == 1 { value } else { f64::NAN };
                }
            }
            Ok(())
        })?;
        Ok(only)
    }

    /// Evaluates a string argument.
    pub(crate) fn text<'e>(&self, expr: Option<&'e Expr>) -> Result<&'e str, EngineError> {
        match expr.map(|e| &e.unparenthesized().kind) {
            Some(ExprKind::Text(text)) => Ok(text),
            // Strings end in labels, whose names and values are UTF-8.
            Some(ExprKind::Bytes(bytes)) => {
                Err(EngineError::execution(format!("invalid label name {}", QuotedBytes(bytes))))
            }
            _ => Err(EngineError::execution("string argument expected")),
        }
    }

    /// A column without labels that holds a scalar.
    pub(crate) fn scalar_column(values: Vec<f64>) -> Column {
        Column { labels: tenantscope_model::Labels::default(), drop_name: false, cells: Cells::Floats(values) }
    }

    /// Whether an expression is a scalar.
    pub(crate) fn is_scalar(expr: &Expr) -> bool {
        expr.value_type() == ValueType::Scalar
    }
}

fn scalar_operation(op: BinaryOp, left: f64, right: f64) -> f64 {
    let (value, keep) = float_operation(op, left, right);
    match (op.is_comparison(), keep) {
        (false, _) => value,
        (true, true) => 1.0,
        (true, false) => 0.0,
    }
}

fn repeated(column: Column, count: usize) -> Column {
    let cell = column.cells.get(0);
    Column { cells: std::iter::repeat_n(cell, count).collect(), ..column }
}

fn joined<'a>(mut left: Scalars<'a>, right: &[f64], operation: impl Fn(f64, f64) -> f64) -> Scalars<'a> {
    left.iter_mut().zip(right).for_each(|(left, right)| *left = operation(*left, *right));
    left
}

fn negated(mut column: Column, pace: &Pace<'_>) -> Column {
    column.drop_name = true;
    column.cells = match column.cells {
        floats @ Cells::Floats(_) => floats.map_floats(|_, value| -value),
        mixed @ Cells::Mixed(_) => mixed.map(|_, cell| match cell {
            Cell::Float(value) => Cell::Float(-value),
            Cell::Histogram(histogram) if pace.goes_on(HISTOGRAM_WORK) => {
                pace.keeps(Cell::histogram(native::scaled(&histogram, -1.0)))
            }
            Cell::Empty | Cell::Histogram(_) => Cell::Empty,
        }),
    };
    column
}
