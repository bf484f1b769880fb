//! Function calls: which evaluation a function has.

use crate::ast::{Call, Expr, ExprKind, Position};
use crate::column::{Cell, Cells, Column, Grid, Sink};
use crate::error::EngineError;
use crate::evaluation::Evaluation;
use crate::held::Scalars;
use crate::source::Content;
use crate::{absent, dates, math, over_time};

impl Evaluation<'_> {
    pub(crate) fn call(
        &self,
        call: &Call,
        position: Position,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EngineError> {
        let name = call.function.name;
        if let Some(kernel) = over_time::kernel(name) {
            return self.over_time(call, kernel, grid, sink);
        }
        if let Some(function) = math::function(name) {
            let argument = self.argument(call, 0)?;
            return self.columns(argument, grid, &mut |column| sink(mapped_floats(column, |_, v| function(v))));
        }
        if let Some(part) = dates::part(name) {
            return self.date(call, part, grid, sink);
        }
        match name {
            "vector" => {
                let Scalars { values, held: _held } = self.scalars(self.argument(call, 0)?, grid)?;
                sink(Self::scalar_column(values))
            }
            "timestamp" => self.timestamp(call, grid, sink),
            "start_timestamp" => self.start_timestamp(call, grid, sink),
            "clamp" | "clamp_min" | "clamp_max" => self.clamp(call, grid, sink),
            "round" => self.round(call, grid, sink),
            "absent" | "absent_over_time" => self.absent(call, grid, sink),
            "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => self.sort(call, position, grid, sink),
            "label_replace" => self.label_replace(call, grid, sink),
            "label_join" => self.label_join(call, grid, sink),
            "info" => self.info(call, grid, sink),
            _ if name.starts_with("histogram_") => self.histogram_function(call, grid, sink),
            _ => Err(EngineError::execution(format!("function {name} is not implemented"))),
        }
    }

    /// The argument at an index; the type checks made sure that it is there.
    pub(crate) fn argument<'c>(&self, call: &'c Call, index: usize) -> Result<&'c Expr, EngineError> {
        let missing = || EngineError::execution(format!("argument {index} of {} is missing", call.function.name));
        call.arguments.get(index).ok_or_else(missing)
    }

    fn timestamp(&self, call: &Call, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        let argument = self.argument(call, 0)?;
        if let ExprKind::Vector(selector) = &argument.unparenthesized().kind {
            return self.instant_columns(selector, grid, Content::Times, sink);
        }
        self.columns(argument, grid, &mut |mut column| {
            column.drop_name = true;
            column.cells = column.cells.map(|step, _| Cell::Float(grid.at(step) as f64 / 1000.0));
            sink(column)
        })
    }

    /// Only a selector's samples have a start; what is computed of them has none.
    fn start_timestamp(&self, call: &Call, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        let argument = self.argument(call, 0)?;
        match &argument.unparenthesized().kind {
            ExprKind::Vector(selector) => self.instant_columns(selector, grid, Content::StartTimes, sink),
            _ => self.columns(argument, grid, &mut |_| Ok(())),
        }
    }

    fn clamp(&self, call: &Call, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        let first = self.scalars(self.argument(call, 1)?, grid)?;
        let (low, high) = match call.function.name {
            "clamp_min" => (first, self.scalars_by(grid, |_| f64::INFINITY)?),
            "clamp_max" => (self.scalars_by(grid, |_| f64::NEG_INFINITY)?, first),
            _ => (first, self.scalars(self.argument(call, 2)?, grid)?),
        };
        self.columns(self.argument(call, 0)?, grid, &mut |column| {
            let mut column = mapped_floats(column, |step, value| {
                let (low, high) = (low.get(step).copied(), high.get(step).copied());
                clamped(value, low.unwrap_or(f64::NAN), high.unwrap_or(f64::NAN))
            });
            for (step, _) in low.iter().zip(&*high).enumerate().filter(|(_, (low, high))| low > high) {
                column.cells.set(step, Cell::Empty);
            }
            sink(column)
        })
    }

    fn round(&self, call: &Call, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        let nearest = match call.arguments.get(1) {
            Some(argument) => self.scalars(argument, grid)?,
            None => self.scalars_by(grid, |_| 1.0)?,
        };
        self.columns(self.argument(call, 0)?, grid, &mut |column| {
            sink(mapped_floats(column, |step, value| {
                // By the inverse: fractions such as 0.1 round more exactly so.
                let inverse = 1.0 / nearest.get(step).copied().unwrap_or(1.0);
                (value * inverse + 0.5).floor() / inverse
            }))
        })
    }

    fn date(&self, call: &Call, part: dates::Part, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        match call.arguments.first() {
            Some(argument) => {
                self.columns(argument, grid, &mut |column| sink(mapped_floats(column, |_, seconds| part(seconds))))
            }
            None => {
                let seconds = |step| grid.at(step).div_euclid(1000) as f64;
                let Scalars { values, held: _held } = self.scalars_by(grid, |step| part(seconds(step)))?;
                sink(Self::scalar_column(values))
            }
        }
    }

    fn absent(&self, call: &Call, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        let argument = self.argument(call, 0)?;
        let mut held = self.budget.hold();
        held.grow(grid.count.saturating_mul(size_of::<bool>() + size_of::<f64>()))?;
        let mut present = vec![false; grid.count];
        let mut mark = |cells: &Cells| {
            for (step, slot) in present.iter_mut().enumerate() {
                *slot |= cells.has(step);
            }
        };
        if call.function.name == "absent" {
            self.columns(argument, grid, &mut |column| {
                mark(&column.cells);
                Ok(())
            })?;
        } else {
            over_time::check_edges(call.function.name, argument)?;
            self.range_series(argument, grid, &mut |series, frames| {
                let pace = self.pace();
                mark(&series.slide(frames, &pace, |_| Cell::Float(1.0)));
                pace.ended()
            })?;
        }
        let cell = |present: bool| if present { Cell::Empty } else { Cell::Float(1.0) };
        let cells = present.into_iter().map(cell).collect();
        let column = Column { labels: absent::labels(argument), drop_name: false, cells };
        if column.has_values() { sink(column) } else { Ok(()) }
    }
}

/// Each float changed, each histogram left out, the name to be dropped.
pub(crate) fn mapped_floats(mut column: Column, change: impl Fn(usize, f64) -> f64) -> Column {
    column.drop_name = true;
    column.cells = column.cells.map_floats(change);
    column
}

/// As Go's `max(low, min(high, value))`, for which any NaN makes NaN.
fn clamped(value: f64, low: f64, high: f64) -> f64 {
    if value.is_nan() || low.is_nan() || high.is_nan() { f64::NAN } else { value.min(high).max(low) }
}
