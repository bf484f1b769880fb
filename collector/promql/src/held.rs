//! What an evaluation holds, with the memory that it takes from the query's budget.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use tenantscope_model::{HeldBytes, Histogram, HistogramSample, Sample};

use crate::column::{Cell, Cells, Column, Sink};
use crate::error::EngineError;
use crate::value::{Element, PointValue, Series, Value};
use crate::window::RangeSeries;

/// The bytes of histograms in a row, of which neighbours are often the same.
fn histograms_bytes<'h>(histograms: impl Iterator<Item = &'h Arc<Histogram>>) -> usize {
    let mut before: Option<&Arc<Histogram>> = None;
    let one = |histogram: &'h Arc<Histogram>| {
        let is_same = before.is_some_and(|before| Arc::ptr_eq(before, histogram));
        before = Some(histogram);
        if is_same { 0 } else { histogram.held_bytes() }
    };
    histograms.map(one).sum()
}

impl Cells {
    pub(crate) fn held_bytes(&self) -> usize {
        match self {
            Self::Floats(values) => values.capacity() * size_of::<f64>(),
            Self::Mixed(cells) => {
                let histograms = cells.iter().filter_map(|cell| match cell {
                    Cell::Histogram(histogram) => Some(histogram),
                    Cell::Empty | Cell::Float(_) => None,
                });
                cells.capacity() * size_of::<Cell>() + histograms_bytes(histograms)
            }
        }
    }
}

impl Column {
    pub(crate) fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.labels.held_bytes() + self.cells.held_bytes()
    }
}

impl RangeSeries {
    pub(crate) fn held_bytes(&self) -> usize {
        let starts = self.starts.samples_ms.capacity() + self.starts.histograms_ms.capacity();
        let samples = self.floats.capacity() * size_of::<Sample>();
        samples + self.histograms.capacity() * size_of::<HistogramSample>() + starts * size_of::<i64>()
    }
}

impl Series {
    /// The memory that it takes, in bytes.
    pub fn held_bytes(&self) -> usize {
        let floats = self.floats.capacity() * size_of::<Sample>();
        let histograms = self.histograms.capacity() * size_of::<HistogramSample>();
        let of_histograms = histograms_bytes(self.histograms.iter().map(|sample| &sample.histogram));
        size_of::<Self>() + self.labels.held_bytes() + floats + histograms + of_histograms
    }
}

impl Value {
    /// The memory that it takes, in bytes.
    pub fn held_bytes(&self) -> usize {
        let element = |element: &Element| {
            let histogram = match &element.value {
                PointValue::Float(_) => 0,
                PointValue::Histogram(histogram) => histogram.held_bytes(),
            };
            size_of::<Element>() + element.labels.held_bytes() + histogram
        };
        match self {
            Self::Scalar(_) | Self::String { .. } => 0,
            Self::Vector(elements) => elements.iter().map(element).sum(),
            Self::Matrix(all) => all.iter().map(Series::held_bytes).sum(),
        }
    }
}

/// Columns that are held until all are there.
pub(crate) struct Collected<'a> {
    pub(crate) columns: Vec<Column>,
    pub(crate) held: HeldBytes<'a>,
}

impl<'a> Collected<'a> {
    pub(crate) fn new(held: HeldBytes<'a>) -> Self {
        Self { columns: Vec::new(), held }
    }

    pub(crate) fn push(&mut self, column: Column) -> Result<(), EngineError> {
        self.held.grow(column.held_bytes())?;
        self.columns.push(column);
        Ok(())
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.columns.append(&mut other.columns);
        self.held.join(other.held);
    }

    /// The columns changed, and the memory still held.
    pub(crate) fn with(
        self,
        change: impl FnOnce(Vec<Column>) -> Result<Vec<Column>, EngineError>,
    ) -> Result<Self, EngineError> {
        Ok(Self { columns: change(self.columns)?, held: self.held })
    }

    /// Hands the columns on, and with each its memory.
    pub(crate) fn hand_on(self, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        let Self { columns, mut held } = self;
        for column in columns {
            held.shrink(column.held_bytes());
            if column.has_values() {
                sink(column)?;
            }
        }
        Ok(())
    }
}

/// A scalar at each time of a grid.
pub(crate) struct Scalars<'a> {
    pub(crate) values: Vec<f64>,
    pub(crate) held: HeldBytes<'a>,
}

impl Deref for Scalars<'_> {
    type Target = [f64];
    fn deref(&self) -> &[f64] {
        &self.values
    }
}

impl DerefMut for Scalars<'_> {
    fn deref_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }
}
