//! What blocks or memory have of some series, decoded: one list of floats for all that have nothing else.

use std::ops::Range;

use tenantscope_model::Sample;

use crate::block::SeriesRows;
use crate::columns::{Columns, TimeRange};

/// What blocks or memory have of the series of a batch.
#[derive(Default)]
pub(crate) struct Layer {
    pub(crate) series: Vec<Decoded>,
    /// Of all series that have nothing but floats.
    pub(crate) floats: Vec<Sample>,
}

/// The same of one series.
pub(crate) enum Decoded {
    /// Some of the layer's floats.
    Floats(Range<usize>),
    Columns(Columns),
}

impl Layer {
    /// So many series without samples.
    pub(crate) fn of(series: usize) -> Self {
        Self { series: (0..series).map(|_| Decoded::Floats(0..0)).collect(), floats: Vec::new() }
    }

    /// Lays rows over what there is of a series.
    pub(crate) fn take_rows(&mut self, slot: usize, rows: &SeriesRows<'_>, range: TimeRange) {
        let Some(decoded) = self.series.get_mut(slot) else { return };
        let from = self.floats.len();
        match decoded {
            Decoded::Floats(known) if *known == (0..0) && rows.floats_into(range, &mut self.floats) => {
                *known = from..self.floats.len();
            }
            Decoded::Floats(known) => {
                let samples = self.floats.get(known.clone()).unwrap_or_default().to_vec();
                let mut columns = Columns { samples, ..Columns::default() };
                columns.lay_over(&mut rows.columns(range));
                *decoded = Decoded::Columns(columns);
            }
            Decoded::Columns(columns) => columns.lay_over(&mut rows.columns(range)),
        }
    }

    /// Lays what there is of a series over what is older, `room` being used on the way.
    pub(crate) fn lay_over(&mut self, slot: usize, older: &mut Columns, room: &mut Columns) {
        match self.series.get_mut(slot) {
            Some(Decoded::Floats(range)) => {
                let floats = self.floats.get(range.clone()).unwrap_or_default();
                if older.is_empty() {
                    older.samples.extend_from_slice(floats);
                } else if !floats.is_empty() {
                    room.clear();
                    room.samples.extend_from_slice(floats);
                    older.lay_over(room);
                }
            }
            Some(Decoded::Columns(columns)) => older.lay_over(columns),
            None => {}
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        let bytes = |one: &Decoded| match one {
            Decoded::Floats(_) => 0,
            Decoded::Columns(columns) => columns.bytes(),
        };
        self.floats.capacity() * size_of::<Sample>() + self.series.iter().map(bytes).sum::<usize>()
    }
}
