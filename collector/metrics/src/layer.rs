//! What blocks or memory have of some series, decoded: one list of floats for all that have nothing else.

use std::ops::Range;
use std::sync::Arc;

use tenantscope_model::Sample;

use crate::block::SeriesRows;
use crate::columns::{Columns, TimeRange};
use crate::series::Series;

/// What blocks or memory have of the series of a batch.
#[derive(Default)]
pub(crate) struct Layer {
    series: Vec<Decoded>,
    /// Of all series that have nothing but floats.
    floats: Vec<Sample>,
    /// On the heap, of all other series.
    columns_bytes: usize,
}

/// The same of one series.
enum Decoded {
    /// Some of the layer's floats.
    Floats(Range<usize>),
    Columns(Columns),
}

impl Layer {
    /// So many series without samples.
    pub(crate) fn of(series: usize) -> Self {
        Self { series: (0..series).map(|_| Decoded::Floats(0..0)).collect(), ..Self::default() }
    }

    /// What memory has of some series.
    pub(crate) fn of_memory(series: &[Arc<Series>], ranges: &[TimeRange]) -> Self {
        let mut layer = Self { series: Vec::with_capacity(series.len()), ..Self::default() };
        for (series, range) in series.iter().zip(ranges) {
            let from = layer.floats.len();
            layer.series.push(if series.read_floats(*range, &mut layer.floats) {
                Decoded::Floats(from..layer.floats.len())
            } else {
                let columns = series.read(*range);
                layer.columns_bytes += columns.bytes();
                Decoded::Columns(columns)
            });
        }
        layer
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
                self.columns_bytes += columns.bytes();
                *decoded = Decoded::Columns(columns);
            }
            Decoded::Columns(columns) => {
                self.columns_bytes -= columns.bytes();
                columns.lay_over(&mut rows.columns(range));
                self.columns_bytes += columns.bytes();
            }
        }
    }

    /// Bytes that each series takes, whatever there is of it.
    pub(crate) const BYTES_OF_SERIES: usize = size_of::<Decoded>();

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

    /// Bytes on the heap before anything was laid over something.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.series.as_slice()) + self.floats.capacity() * size_of::<Sample>() + self.columns_bytes
    }
}
