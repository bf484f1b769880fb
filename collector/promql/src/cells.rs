//! The values of a series at the times of a grid: plain floats as long as there is no histogram among them.

use std::sync::Arc;

use tenantscope_model::{Histogram, STALE_NAN_BITS};

/// Stands for no value among floats: the staleness marker, which selectors leave out and no operation makes.
pub(crate) const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

/// Whether there is a value.
pub(crate) fn is_present(value: f64) -> bool {
    value.to_bits() != STALE_NAN_BITS
}

/// The value of a series at one time of the grid.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Cell {
    #[default]
    Empty,
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl Cell {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    pub(crate) fn histogram(histogram: Histogram) -> Self {
        Self::Histogram(Arc::new(histogram))
    }

    fn of_float(value: f64) -> Self {
        if is_present(value) { Self::Float(value) } else { Self::Empty }
    }
}

/// The values at all times.
#[derive(Debug, Clone)]
pub(crate) enum Cells {
    /// With [`ABSENT`] where there is none.
    Floats(Vec<f64>),
    Mixed(Vec<Cell>),
}

impl Cells {
    /// No value at so many times.
    pub(crate) fn absent(count: usize) -> Self {
        Self::Floats(vec![ABSENT; count])
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Floats(values) => values.len(),
            Self::Mixed(cells) => cells.len(),
        }
    }

    /// The value at an index.
    pub(crate) fn get(&self, step: usize) -> Cell {
        match self {
            Self::Floats(values) => values.get(step).map_or(Cell::Empty, |value| Cell::of_float(*value)),
            Self::Mixed(cells) => cells.get(step).cloned().unwrap_or_default(),
        }
    }

    /// The float at an index.
    pub(crate) fn float(&self, step: usize) -> Option<f64> {
        match self {
            Self::Floats(values) => values.get(step).copied().filter(|value| is_present(*value)),
            Self::Mixed(cells) => match cells.get(step)? {
                Cell::Float(value) => Some(*value),
                Cell::Empty | Cell::Histogram(_) => None,
            },
        }
    }

    /// Whether there is a value at an index.
    pub(crate) fn has(&self, step: usize) -> bool {
        match self {
            Self::Floats(values) => values.get(step).is_some_and(|value| is_present(*value)),
            Self::Mixed(cells) => cells.get(step).is_some_and(|cell| !cell.is_empty()),
        }
    }

    /// How many values there are.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Floats(values) => values.iter().filter(|value| is_present(**value)).count(),
            Self::Mixed(cells) => cells.iter().filter(|cell| !cell.is_empty()).count(),
        }
    }

    /// Whether there is a value at any time.
    pub(crate) fn has_any(&self) -> bool {
        match self {
            Self::Floats(values) => values.iter().any(|value| is_present(*value)),
            Self::Mixed(cells) => cells.iter().any(|cell| !cell.is_empty()),
        }
    }

    pub(crate) fn has_floats(&self) -> bool {
        match self {
            Self::Floats(values) => values.iter().any(|value| is_present(*value)),
            Self::Mixed(cells) => cells.iter().any(|cell| matches!(cell, Cell::Float(_))),
        }
    }

    pub(crate) fn has_histograms(&self) -> bool {
        matches!(self, Self::Mixed(cells) if cells.iter().any(|cell| matches!(cell, Cell::Histogram(_))))
    }

    pub(crate) fn set(&mut self, step: usize, cell: Cell) {
        match (&mut *self, cell) {
            (Self::Floats(values), Cell::Empty) => replace(values, step, ABSENT),
            (Self::Floats(values), Cell::Float(value)) => replace(values, step, value),
            (Self::Mixed(cells), cell) => replace(cells, step, cell),
            (Self::Floats(_), cell) => {
                let mut cells: Vec<Cell> = self.iter().collect();
                replace(&mut cells, step, cell);
                *self = Self::Mixed(cells);
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Cell> {
        (0..self.len()).map(|step| self.get(step))
    }

    /// Each float changed, by its index; each histogram left out.
    pub(crate) fn map_floats(self, change: impl Fn(usize, f64) -> f64) -> Self {
        let changed = |(step, value): (usize, f64)| if is_present(value) { change(step, value) } else { ABSENT };
        match self {
            Self::Floats(mut values) => {
                values.iter_mut().enumerate().for_each(|(step, value)| *value = changed((step, *value)));
                Self::Floats(values)
            }
            Self::Mixed(cells) => {
                let float = |cell| if let Cell::Float(value) = cell { value } else { ABSENT };
                Self::Floats(cells.into_iter().map(float).enumerate().map(changed).collect())
            }
        }
    }

    /// Each value changed, by its index.
    pub(crate) fn map(self, mut change: impl FnMut(usize, Cell) -> Cell) -> Self {
        self.iter().enumerate().map(|(step, cell)| if cell.is_empty() { cell } else { change(step, cell) }).collect()
    }
}

fn replace<T>(values: &mut [T], step: usize, value: T) {
    if let Some(slot) = values.get_mut(step) {
        *slot = value;
    }
}

impl FromIterator<Cell> for Cells {
    fn from_iter<I: IntoIterator<Item = Cell>>(cells: I) -> Self {
        let mut cells = cells.into_iter();
        let mut floats = Vec::with_capacity(cells.size_hint().0);
        for cell in cells.by_ref() {
            match cell {
                Cell::Empty => floats.push(ABSENT),
                Cell::Float(value) => floats.push(value),
                Cell::Histogram(_) => {
                    let mut mixed: Vec<Cell> = floats.into_iter().map(Cell::of_float).collect();
                    mixed.push(cell);
                    mixed.extend(cells);
                    return Self::Mixed(mixed);
                }
            }
        }
        Self::Floats(floats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_become_cells_once_a_histogram_is_among_them() {
        let given = [Cell::Empty, Cell::Float(f64::INFINITY), Cell::histogram(Histogram::default()), Cell::Float(1.0)];
        let mut cells: Cells = given[..2].iter().cloned().collect();
        assert!(matches!(cells, Cells::Floats(_)) && cells.has(1) && !cells.has(0) && !cells.has_histograms());
        cells.set(0, given[2].clone());
        assert_eq!(cells.iter().collect::<Vec<_>>(), [given[2].clone(), given[1].clone()]);
        let mixed: Cells = given.iter().cloned().collect();
        assert_eq!(mixed.iter().collect::<Vec<_>>(), given);
        assert_eq!((mixed.float(3), mixed.float(2), mixed.has(2)), (Some(1.0), None, true));
        assert_eq!(mixed.map_floats(|_, value| -value).iter().nth(3), Some(Cell::Float(-1.0)));
    }

    #[test]
    fn an_ordinary_nan_is_a_value() {
        let cells: Cells = [Cell::Float(f64::NAN)].into_iter().collect();
        assert!(cells.has(0) && cells.has_any() && cells.float(0).is_some_and(f64::is_nan));
    }
}
