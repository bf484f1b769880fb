//! One evaluation: an expression over a grid of times becomes columns, handed on one at a time so that an aggregation
//! never holds all series of what it aggregates.

use std::cell::RefCell;
use std::ops::Deref;

use tenantscope_model::{Lookback, QueryBudget, Scope, Select};

use crate::ast::{BinaryOp, Call, Edges, Expr, ExprKind, Position, ValueType};
use crate::binary::float_operation;
use crate::column::{Cell, Column, Grid, Sink};
use crate::engine::Limits;
use crate::error::EngineError;
use crate::native;
use crate::note::Note;
use crate::notes::Notes;
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

    /// Evaluates an instant vector.
    pub(crate) fn columns(&self, expr: &Expr, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        self.budget.check()?;
        if grid.count > 1 && expr.is_step_invariant() {
            let once = Grid::instant(grid.start_ms);
            return self.vector(expr, &once, &mut |column| sink(repeated(column, grid.count)));
        }
        self.vector(expr, grid, sink)
    }

    fn vector(&self, expr: &Expr, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        match &expr.kind {
            ExprKind::Vector(selector) if selector.edges == Edges::Smoothed => {
                self.smoothed_columns(selector, expr.position, grid, sink)
            }
            ExprKind::Vector(selector) => self.instant_columns(selector, grid, Content::Values, sink),
            ExprKind::Paren(inner) | ExprKind::Plus(inner) => self.columns(inner, grid, sink),
            ExprKind::Negate(inner) => self.columns(inner, grid, &mut |column| sink(negated(column))),
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
    pub(crate) fn collect(&self, expr: &Expr, grid: &Grid) -> Result<Vec<Column>, EngineError> {
        if let Some(request) = self.row_request(expr, grid) {
            return self.collect_rows(&*self.found(&request)?, request.matchers, expr, grid);
        }
        let mut columns = Vec::new();
        self.columns(expr, grid, &mut |column| {
            columns.push(column);
            self.check_cells(columns.len(), grid.count)
        })?;
        Ok(columns)
    }

    /// Evaluates a scalar.
    pub(crate) fn scalars(&self, expr: &Expr, grid: &Grid) -> Result<Vec<f64>, EngineError> {
        match &expr.kind {
            ExprKind::Number { value, .. } => Ok(vec![*value; grid.count]),
            ExprKind::Paren(inner) | ExprKind::Plus(inner) => self.scalars(inner, grid),
            ExprKind::Negate(inner) => Ok(self.scalars(inner, grid)?.into_iter().map(|v| -v).collect()),
            ExprKind::Binary(binary) => {
                let left = self.scalars(&binary.left, grid)?;
                let right = self.scalars(&binary.right, grid)?;
                Ok(left.into_iter().zip(right).map(|(l, r)| scalar_operation(binary.op, l, r)).collect())
            }
            ExprKind::Call(call) => self.scalar_call(call, grid),
            _ => Err(EngineError::execution(format!("{expr} is no scalar"))),
        }
    }

    fn scalar_call(&self, call: &Call, grid: &Grid) -> Result<Vec<f64>, EngineError> {
        let everywhere = |value: f64| Ok(vec![value; grid.count]);
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let query = &self.query;
        match call.function.name {
            "pi" => everywhere(std::f64::consts::PI),
            "time" => Ok((0..grid.count).map(|step| seconds(grid.at(step))).collect()),
            "start" => everywhere(seconds(query.start_ms)),
            "end" => everywhere(seconds(self.end_ms)),
            "range" => everywhere(seconds(self.end_ms - query.start_ms)),
            "step" => everywhere(if self.is_range { seconds(query.step_ms) } else { 0.0 }),
            "scalar" => self.only_element(self.argument(call, 0)?, grid),
            name @ ("min_of" | "max_of") => {
                let left = self.scalars(self.argument(call, 0)?, grid)?;
                let right = self.scalars(self.argument(call, 1)?, grid)?;
                let choose = if name == "min_of" { f64::min } else { f64::max };
                let one = |(l, r): (f64, f64)| if l.is_nan() || r.is_nan() { f64::NAN } else { choose(l, r) };
                Ok(left.into_iter().zip(right).map(one).collect())
            }
            name => Err(EngineError::execution(format!("{name} is no scalar function"))),
        }
    }

    fn only_element(&self, argument: &Expr, grid: &Grid) -> Result<Vec<f64>, EngineError> {
        let mut found: Vec<(usize, f64)> = vec![(0, f64::NAN); grid.count];
        self.columns(argument, grid, &mut |column| {
            for (step, slot) in found.iter_mut().enumerate() {
                if let Some(value) = column.cells.float(step) {
                    *slot = (slot.0 + 1, value);
                }
            }
            Ok(())
        })?;
        Ok(found.into_iter().map(|(count, value)| if count == 1 { value } else { f64::NAN }).collect())
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
        let cells = values.into_iter().map(Cell::Float).collect();
        Column { labels: tenantscope_model::Labels::default(), drop_name: false, cells }
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

fn negated(mut column: Column) -> Column {
    column.drop_name = true;
    column.cells = column.cells.map(|_, cell| match cell {
        Cell::Empty => Cell::Empty,
        Cell::Float(value) => Cell::Float(-value),
        Cell::Histogram(histogram) => Cell::histogram(native::scaled(&histogram, -1.0)),
    });
    column
}
