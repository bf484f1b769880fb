//! Durations that are computed when the query's times are known: `[2 * step()]`, `offset (1h / 2)`.

use std::borrow::Cow;

use crate::ast::{Expr, ExprKind, Position, VectorSelector};
use crate::engine::Times;
use crate::error::EngineError;

/// The largest duration, in seconds: Prometheus counts nanoseconds in 64 bits.
pub(crate) const MAX_SECONDS: f64 = 9_223_372_036.854_776;

/// A duration that is not written as a plain number or duration.
#[derive(Debug, Clone, PartialEq)]
pub struct DurationExpr {
    /// What it is.
    pub kind: DurationKind,
    /// Whether it stands in parentheses.
    pub is_wrapped: bool,
    /// Where it stands.
    pub position: Position,
}

/// The kinds of duration expressions.
#[derive(Debug, Clone, PartialEq)]
pub enum DurationKind {
    /// `90`, `1m30s`.
    Number {
        /// Its value, in seconds.
        seconds: f64,
        /// Whether it was written with units.
        as_duration: bool,
    },
    /// `step()`: the resolution of the query; nothing for an instant query.
    Step,
    /// `range()`: from the query's start to its end.
    Range,
    /// `-duration`.
    Negate(Box<DurationExpr>),
    /// `left op right`, `min_of(left, right)`, `max_of(left, right)`.
    Binary {
        /// The operator.
        op: DurationOp,
        /// The left side.
        left: Box<DurationExpr>,
        /// The right side.
        right: Box<DurationExpr>,
    },
}

/// The operators between durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum DurationOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    MinOf,
    MaxOf,
}

impl DurationOp {
    /// Its symbol or name in PromQL.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::MinOf => "min_of",
            Self::MaxOf => "max_of",
        }
    }
}

/// The times of a query on which `step()` and `range()` depend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DurationTimes {
    /// The resolution, in milliseconds; 0 for an instant query.
    pub step_ms: i64,
    /// From start to end, in milliseconds; 0 for an instant query.
    pub range_ms: i64,
}

impl DurationExpr {
    /// Its value in milliseconds, which may not be below or at zero.
    fn positive_ms(&self, times: DurationTimes) -> Result<i64, EngineError> {
        let seconds = self.seconds(times)?;
        if seconds <= 0.0 {
            return Err(self.refused("duration must be greater than 0"));
        }
        self.whole_ms(seconds)
    }

    /// Its value in milliseconds.
    fn any_ms(&self, times: DurationTimes) -> Result<i64, EngineError> {
        self.whole_ms(self.seconds(times)?)
    }

    fn whole_ms(&self, seconds: f64) -> Result<i64, EngineError> {
        if !(-MAX_SECONDS..=MAX_SECONDS).contains(&seconds) {
            return Err(self.refused("duration is out of range"));
        }
        Ok((seconds * 1000.0) as i64)
    }

    fn seconds(&self, times: DurationTimes) -> Result<f64, EngineError> {
        let seconds = self.computed(times)?;
        if seconds.is_finite() { Ok(seconds) } else { Err(self.refused("duration is NaN or infinite")) }
    }

    fn computed(&self, times: DurationTimes) -> Result<f64, EngineError> {
        Ok(match &self.kind {
            DurationKind::Number { seconds, .. } => *seconds,
            DurationKind::Step => times.step_ms as f64 / 1000.0,
            DurationKind::Range => times.range_ms as f64 / 1000.0,
            DurationKind::Negate(inner) => -inner.computed(times)?,
            DurationKind::Binary { op, left, right } => {
                let (left, right) = (left.computed(times)?, right.computed(times)?);
                match op {
                    DurationOp::Add => left + right,
                    DurationOp::Sub => left - right,
                    DurationOp::Mul => left * right,
                    DurationOp::Div if right == 0.0 => return Err(self.refused("division by zero")),
                    DurationOp::Div => left / right,
                    DurationOp::Mod if right == 0.0 => return Err(self.refused("modulo by zero")),
                    DurationOp::Mod => left % right,
                    DurationOp::Pow => left.powf(right),
                    DurationOp::MinOf => least(left, right),
                    DurationOp::MaxOf => -least(-left, -right),
                }
            }
        })
    }

    fn refused(&self, message: &str) -> EngineError {
        EngineError::Request(format!("{}:{}: {message}", self.position.start, self.position.end))
    }
}

/// The lesser number; NaN if either is NaN, as in Go.
fn least(left: f64, right: f64) -> f64 {
    if left.is_nan() || right.is_nan() { f64::NAN } else { left.min(right) }
}

impl Expr {
    /// The expression with each duration expression's value in `range_ms`, `step_ms` and `offset_ms`; the engine does
    /// this before anything else.
    pub fn with_durations(&self, times: DurationTimes) -> Result<Cow<'_, Self>, EngineError> {
        if !self.has_duration_exprs() {
            return Ok(Cow::Borrowed(self));
        }
        let mut expr = self.clone();
        expr.set_durations(times)?;
        Ok(Cow::Owned(expr))
    }

    /// How far back before a time of evaluation the expression reaches with its range selectors and subqueries, one
    /// within the other, in milliseconds. `offset` and `@` only move what is read, and the lookback is the server's.
    pub fn reach_ms(&self, times: Option<Times>) -> Result<i64, EngineError> {
        let times = times.map(|times| DurationTimes {
            step_ms: times.step_ms,
            range_ms: times.end_ms.saturating_sub(times.start_ms),
        });
        Ok(self.with_durations(times.unwrap_or_default())?.longest_ranges_ms())
    }

    fn longest_ranges_ms(&self) -> i64 {
        let own_ms = match &self.kind {
            ExprKind::Matrix(matrix) => matrix.range_ms,
            ExprKind::Subquery(subquery) => subquery.range_ms,
            _ => 0,
        };
        let inner_ms = self.children().into_iter().map(Self::longest_ranges_ms).max().unwrap_or(0);
        own_ms.saturating_add(inner_ms)
    }

    fn has_duration_exprs(&self) -> bool {
        let own = match &self.kind {
            ExprKind::Vector(selector) => selector.offset_expr.is_some(),
            ExprKind::Matrix(matrix) => matrix.range_expr.is_some() || matrix.selector.offset_expr.is_some(),
            ExprKind::Subquery(subquery) => {
                subquery.range_expr.is_some() || subquery.step_expr.is_some() || subquery.offset_expr.is_some()
            }
            _ => false,
        };
        own || self.children().into_iter().any(Self::has_duration_exprs)
    }

    fn set_durations(&mut self, times: DurationTimes) -> Result<(), EngineError> {
        match &mut self.kind {
            ExprKind::Vector(selector) => set_offset(selector, times)?,
            ExprKind::Matrix(matrix) => {
                if let Some(range) = &matrix.range_expr {
                    matrix.range_ms = range.positive_ms(times)?;
                }
                set_offset(&mut matrix.selector, times)?;
            }
            ExprKind::Subquery(subquery) => {
                if let Some(offset) = &subquery.offset_expr {
                    subquery.offset_ms = offset.any_ms(times)?;
                }
                if let Some(step) = &subquery.step_expr {
                    subquery.step_ms = Some(step.positive_ms(times)?);
                }
                if let Some(range) = &subquery.range_expr {
                    subquery.range_ms = range.positive_ms(times)?;
                }
            }
            _ => {}
        }
        self.children_mut().into_iter().try_for_each(|child| child.set_durations(times))
    }
}

fn set_offset(selector: &mut VectorSelector, times: DurationTimes) -> Result<(), EngineError> {
    if let Some(offset) = &selector.offset_expr {
        selector.offset_ms = offset.any_ms(times)?;
    }
    Ok(())
}
