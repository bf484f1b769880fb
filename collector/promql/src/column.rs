//! What evaluation works on: series whose values lie in a grid of times.

use std::collections::HashMap;

use tenantscope_model::{Labels, METRIC_NAME};

pub(crate) use crate::cells::{Cell, Cells};
use crate::error::EngineError;

/// The times of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) start_ms: i64,
    pub(crate) step_ms: i64,
    pub(crate) count: usize,
}

impl Grid {
    /// One time.
    pub(crate) fn instant(at_ms: i64) -> Self {
        Self { start_ms: at_ms, step_ms: 1, count: 1 }
    }

    /// The time at an index.
    pub(crate) fn at(&self, index: usize) -> i64 {
        self.start_ms.saturating_add(self.step_ms.saturating_mul(index as i64))
    }
}

/// A series over the grid.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) labels: Labels,
    /// Whether the metric name goes at the end. It is kept until then, so that series which differ by name alone do
    /// not collide on the way.
    pub(crate) drop_name: bool,
    pub(crate) cells: Cells,
}

impl Column {
    /// Whether there is a value at any time.
    pub(crate) fn has_values(&self) -> bool {
        self.cells.has_any()
    }
}

/// Where columns go, one at a time.
pub(crate) type Sink<'s> = dyn FnMut(Column) -> Result<(), EngineError> + 's;

/// Metric name, type and unit.
pub(crate) const RESERVED: [&str; 3] = [METRIC_NAME, "__type__", "__unit__"];

/// The labels without metric name, type and unit.
pub(crate) fn without_name(labels: &Labels) -> Labels {
    let is_reserved = |name: &str| RESERVED.contains(&name);
    if labels.iter().any(|label| is_reserved(&label.name)) {
        labels.filter(|label| !is_reserved(&label.name))
    } else {
        labels.clone()
    }
}

pub(crate) const SAME_LABELSET: &str = "vector cannot contain metrics with the same labelset";

/// Makes one column of those with the same labels; two values at one time are an error.
pub(crate) fn merge_same_labels(columns: Vec<Column>) -> Result<Vec<Column>, EngineError> {
    let mut index: HashMap<Labels, usize> = HashMap::with_capacity(columns.len());
    let mut merged: Vec<Column> = Vec::with_capacity(columns.len());
    for column in columns {
        let Some(existing) = index.get(&column.labels).and_then(|&at| merged.get_mut(at)) else {
            index.insert(column.labels.clone(), merged.len());
            merged.push(column);
            continue;
        };
        existing.drop_name |= column.drop_name;
        for step in (0..column.cells.len()).filter(|step| column.cells.has(*step)) {
            if existing.cells.has(step) {
                return Err(EngineError::execution(SAME_LABELSET));
            }
            existing.cells.set(step, column.cells.get(step));
        }
    }
    Ok(merged)
}
