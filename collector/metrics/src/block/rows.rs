//! From pages to samples: only the columns that the wanted rows use.

use std::ops::Range;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use tenantscope_model::{Histogram, HistogramSample, Sample};

use super::cursor::{ColumnCursor, GroupSource, Open, cursor};
use super::decimal;
use super::directory::{Form, Run};
use super::file::Opened;
use super::histogram_text::from_text;
use super::layout::Column;
use crate::columns::{Columns, TimeRange, tidy_starts};

/// Rows decoded at a time, unless one series alone has more.
const MAX_STRETCH_ROWS: usize = 64 << 10;

/// The rows of one series, in time order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SeriesRows<'a> {
    times: Times<'a>,
    values: Values<'a>,
    /// One for each row, 0 where it is not known; or none at all.
    starts_ms: &'a [i64],
}

#[derive(Debug, Clone, Copy)]
enum Times<'a> {
    Listed(&'a [i64]),
    /// So many, from the first on, with always the same time between them.
    Steps {
        first_ms: i64,
        step_ms: i64,
        count: usize,
    },
}

impl Times<'_> {
    /// Which of the rows are within the range.
    fn within(&self, range: TimeRange) -> Range<usize> {
        let (first, end) = match self {
            Self::Listed(times_ms) => {
                let end = times_ms.partition_point(|t_ms| *t_ms <= range.max_ms);
                (times_ms.partition_point(|t_ms| *t_ms < range.min_ms), end)
            }
            Self::Steps { first_ms, step_ms, count } => {
                // How many are before a time.
                let before = |t_ms: i64| {
                    let steps = i128::from(t_ms) - i128::from(*first_ms) + i128::from(*step_ms) - 1;
                    usize::try_from(steps.div_euclid(i128::from(*step_ms)).clamp(0, *count as i128)).unwrap_or(0)
                };
                let end = if range.max_ms == i64::MAX { *count } else { before(range.max_ms + 1) };
                (before(range.min_ms), end)
            }
        };
        first..end.max(first)
    }

    /// Appends values at the times of these rows.
    fn push(&self, rows: Range<usize>, values: impl ExactSizeIterator<Item = f64>, out: &mut Vec<Sample>) {
        match self {
            Self::Listed(times_ms) => {
                let times_ms = times_ms.get(rows).unwrap_or_default();
                out.extend(times_ms.iter().zip(values).map(|(t_ms, value)| Sample { t_ms: *t_ms, value }));
            }
            Self::Steps { first_ms, step_ms, .. } => {
                let t_ms = |row: usize| first_ms.wrapping_add(step_ms.wrapping_mul(row as i64));
                out.extend(rows.zip(values).map(|(row, value)| Sample { t_ms: t_ms(row), value }));
            }
        }
    }

    fn each(&self, rows: Range<usize>) -> impl Iterator<Item = i64> {
        let (listed, first_ms, step_ms) = match self {
            Self::Listed(times_ms) => (times_ms.get(rows.clone()), 0, 0),
            Self::Steps { first_ms, step_ms, .. } => (None, *first_ms, *step_ms),
        };
        let stepped = if listed.is_some() { 0..0 } else { rows };
        let stepped = stepped.map(move |row| first_ms.wrapping_add(step_ms.wrapping_mul(row as i64)));
        listed.unwrap_or_default().iter().copied().chain(stepped)
    }
}

#[derive(Debug, Clone, Copy)]
enum Values<'a> {
    Decimals(&'a [i64], u8),
    Floats(&'a [f64]),
    Mixed(&'a [Cell]),
}

#[derive(Debug, Clone)]
enum Cell {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl SeriesRows<'_> {
    /// Appends what is within the range, if the rows are nothing but floats without starts; says whether they are.
    pub(crate) fn floats_into(&self, range: TimeRange, out: &mut Vec<Sample>) -> bool {
        let is_plain = self.starts_ms.is_empty() && !matches!(self.values, Values::Mixed(_));
        if is_plain {
            self.push_floats(self.times.within(range), out);
        }
        is_plain
    }

    /// Everything within the range.
    pub(crate) fn columns(&self, range: TimeRange) -> Columns {
        let rows = self.times.within(range);
        let mut columns = Columns::default();
        let starts_ms = self.starts_ms.get(rows.clone()).unwrap_or_default();
        if let Values::Mixed(cells) = self.values {
            let cells = cells.get(rows.clone()).unwrap_or_default();
            for (at, (t_ms, cell)) in self.times.each(rows).zip(cells).enumerate() {
                push_cell(&mut columns, t_ms, cell, starts_ms.get(at).copied().unwrap_or_default());
            }
        } else {
            columns.samples.reserve_exact(rows.len());
            self.push_floats(rows, &mut columns.samples);
            columns.starts.samples_ms.extend_from_slice(starts_ms);
        }
        tidy_starts(&mut columns.starts.samples_ms);
        tidy_starts(&mut columns.starts.histograms_ms);
        columns
    }

    /// The rows' floats, where there is nothing else.
    fn push_floats(&self, rows: Range<usize>, out: &mut Vec<Sample>) {
        match self.values {
            Values::Decimals(mantissas, scale) => {
                let (power, mantissas) = (decimal::power(scale), mantissas.get(rows.clone()).unwrap_or_default());
                if scale == 0 {
                    self.times.push(rows, mantissas.iter().map(|mantissa| *mantissa as f64), out);
                } else {
                    self.times.push(rows, mantissas.iter().map(|mantissa| decimal::value(*mantissa, power)), out);
                }
            }
            Values::Floats(values) => {
                self.times.push(rows.clone(), values.get(rows).unwrap_or_default().iter().copied(), out);
            }
            Values::Mixed(_) => {}
        }
    }
}

fn push_cell(columns: &mut Columns, t_ms: i64, cell: &Cell, start_ms: i64) {
    match cell {
        Cell::Float(value) => {
            columns.samples.push(Sample { t_ms, value: *value });
            columns.starts.samples_ms.push(start_ms);
        }
        Cell::Histogram(histogram) => {
            columns.histograms.push(HistogramSample { t_ms, histogram: Arc::clone(histogram) });
            columns.starts.histograms_ms.push(start_ms);
        }
    }
}

/// A run that is wanted, and the reader's own number for its series.
#[derive(Debug, Clone, Copy)]
pub(super) struct WantedRun {
    pub(super) run: Run,
    pub(super) slot: usize,
}

/// What runs need of columns; runs that need the same are decoded together. Times are left out: neighbours differ in them
/// often, and passing over some costs as much as decoding them.
fn kind(run: &Run) -> (u8, bool) {
    let form = match run.form {
        Form::Decimals(_) => 0,
        Form::Floats => 1,
        Form::Mixed => 2,
    };
    (form, run.has_starts)
}

fn has_times(run: &Run) -> bool {
    run.step_ms == 0
}

/// Reads runs of one row group, given in the order of their rows.
pub(super) fn read_group<E: From<ParquetError>>(
    opened: &Arc<Opened>,
    group: usize,
    wanted: &[WantedRun],
    mut visit: impl FnMut(usize, &SeriesRows<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let first = wanted.first().map_or(0, |wanted| wanted.run.first_row as usize);
    let end = wanted.last().map_or(0, |wanted| end_of(&wanted.run));
    let needed = wanted.iter().map(|wanted| wanted.run.rows as usize).sum();
    let source = GroupSource { opened, group, rows: first..end, needed };
    let mut cursors = Cursors::default();
    let mut buffers = Buffers::default();
    let mut rest = wanted;
    while let Some(first) = rest.first() {
        let (stretch, after) = rest.split_at(stretch_length(rest));
        rest = after;
        let from = first.run.first_row as usize;
        let end = stretch.last().map_or(from, |last| end_of(&last.run));
        let has_times = stretch.iter().any(|wanted| has_times(&wanted.run));
        buffers.fill(&source, &mut cursors, from, end - from, kind(&first.run), has_times)?;
        for WantedRun { run, slot } in stretch {
            let at = run.first_row as usize - from;
            let rows = at..at + run.rows as usize;
            visit(*slot, &buffers.rows(rows, run))?;
        }
    }
    Ok(())
}

fn end_of(run: &Run) -> usize {
    run.first_row as usize + run.rows as usize
}

/// How many of the next runs follow each other without a gap and need the same columns but for times.
fn stretch_length(wanted: &[WantedRun]) -> usize {
    let Some(first) = wanted.first() else { return 0 };
    let (start, kind_of_first) = (first.run.first_row as usize, kind(&first.run));
    let mut end = end_of(&first.run);
    let mut length = 1;
    for WantedRun { run, .. } in wanted.iter().skip(1) {
        if run.first_row as usize != end || kind(run) != kind_of_first || end_of(run) - start > MAX_STRETCH_ROWS {
            break;
        }
        end = end_of(run);
        length += 1;
    }
    length
}

/// Decoded rows of one stretch.
#[derive(Default)]
struct Buffers {
    times_ms: Vec<i64>,
    mantissas: Vec<i64>,
    floats: Vec<f64>,
    cells: Vec<Cell>,
    starts_ms: Vec<i64>,
    levels: Vec<i16>,
}

#[derive(Default)]
struct Cursors {
    times_ms: Option<ColumnCursor<Int64Type>>,
    mantissas: Option<ColumnCursor<Int64Type>>,
    scales: Option<ColumnCursor<Int32Type>>,
    floats: Option<ColumnCursor<DoubleType>>,
    histograms: Option<ColumnCursor<ByteArrayType>>,
    starts_ms: Option<ColumnCursor<Int64Type>>,
}

impl Buffers {
    fn fill(
        &mut self,
        source: &GroupSource<'_>,
        cursors: &mut Cursors,
        first: usize,
        rows: usize,
        (form, has_starts): (u8, bool),
        has_times: bool,
    ) -> Result<(), ParquetError> {
        self.times_ms.clear();
        if has_times {
            cursor(&mut cursors.times_ms, source, Column::TimeMs)?.read(first, rows, None, &mut self.times_ms)?;
        }
        match form {
            0 => {
                self.mantissas.clear();
                cursor(&mut cursors.mantissas, source, Column::Mantissa)?.read(
                    first,
                    rows,
                    None,
                    &mut self.mantissas,
                )?;
            }
            1 => {
                self.floats.clear();
                self.levels.clear();
                let levels = Some(&mut self.levels);
                cursor(&mut cursors.floats, source, Column::FloatValue)?.read(first, rows, levels, &mut self.floats)?;
                if self.floats.len() != rows {
                    return Err(ParquetError::General("rows without the value that they should have".to_owned()));
                }
            }
            _ => self.fill_cells(source, cursors, first, rows)?,
        }
        self.starts_ms.clear();
        if has_starts {
            let mut known = Vec::new();
            self.levels.clear();
            let levels = Some(&mut self.levels);
            cursor(&mut cursors.starts_ms, source, Column::StartMs)?.read(first, rows, levels, &mut known)?;
            self.starts_ms.extend(spread(&self.levels, known).map(Option::unwrap_or_default));
        }
        Ok(())
    }

    fn fill_cells(
        &mut self,
        source: &GroupSource<'_>,
        cursors: &mut Cursors,
        first: usize,
        rows: usize,
    ) -> Result<(), ParquetError> {
        self.mantissas.clear();
        cursor(&mut cursors.mantissas, source, Column::Mantissa)?.read(first, rows, None, &mut self.mantissas)?;
        let scales = sparse(&mut cursors.scales, source, Column::Scale, first, rows)?;
        let floats = sparse(&mut cursors.floats, source, Column::FloatValue, first, rows)?;
        let histograms = sparse(&mut cursors.histograms, source, Column::Histogram, first, rows)?;
        self.cells.clear();
        let mut columns = scales.into_iter().zip(floats).zip(histograms);
        for mantissa in &self.mantissas {
            let Some(((scale, float), histogram)) = columns.next() else { break };
            self.cells.push(cell(*mantissa, scale, float, histogram)?);
        }
        Ok(())
    }

    fn rows(&self, rows: Range<usize>, run: &Run) -> SeriesRows<'_> {
        let values = match run.form {
            Form::Decimals(scale) => Values::Decimals(self.mantissas.get(rows.clone()).unwrap_or_default(), scale),
            Form::Floats => Values::Floats(self.floats.get(rows.clone()).unwrap_or_default()),
            Form::Mixed => Values::Mixed(self.cells.get(rows.clone()).unwrap_or_default()),
        };
        let times = match run.step_ms {
            0 => Times::Listed(self.times_ms.get(rows.clone()).unwrap_or_default()),
            step_ms => {
                Times::Steps { first_ms: run.range.min_ms, step_ms: i64::from(step_ms), count: run.rows as usize }
            }
        };
        SeriesRows { times, values, starts_ms: self.starts_ms.get(rows).unwrap_or_default() }
    }
}

fn cell(
    mantissa: i64,
    scale: Option<i32>,
    float: Option<f64>,
    histogram: Option<ByteArray>,
) -> Result<Cell, ParquetError> {
    if let Some(text) = histogram {
        let histogram = from_text(text.data()).map_err(|damaged| ParquetError::General(damaged.to_string()))?;
        return Ok(Cell::Histogram(Arc::new(histogram)));
    }
    let decimal = |scale: i32| Some(decimal::value(mantissa, decimal::power(u8::try_from(scale).ok()?)));
    let value = float.or_else(|| decimal(scale?));
    value.map(Cell::Float).ok_or_else(|| ParquetError::General("row without a value".to_owned()))
}

/// The values of rows of which some have none.
fn spread<T>(levels: &[i16], values: Vec<T>) -> impl Iterator<Item = Option<T>> {
    let mut values = values.into_iter();
    levels.iter().map(move |level| if *level > 0 { values.next() } else { None })
}

fn sparse<T: DataType>(
    slot: &mut Option<ColumnCursor<T>>,
    source: &GroupSource<'_>,
    column: Column,
    first: usize,
    rows: usize,
) -> Result<Vec<Option<T::T>>, ParquetError>
where
    ColumnCursor<T>: Open<T>,
{
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    cursor(slot, source, column)?.read(first, rows, Some(&mut levels), &mut values)?;
    Ok(spread(&levels, values).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn steps_are_found_as_if_they_were_listed(
            first_ms in -50_i64..50,
            step_ms in 1_i64..9,
            count in 0_usize..12,
            bounds in (prop_oneof![Just(i64::MIN), -90_i64..90], prop_oneof![Just(i64::MAX), -90_i64..90]),
        ) {
            let listed: Vec<i64> = (0..count as i64).map(|row| first_ms + row * step_ms).collect();
            let range = TimeRange { min_ms: bounds.0, max_ms: bounds.1 };
            let steps = Times::Steps { first_ms, step_ms, count };
            let rows = Times::Listed(&listed).within(range);
            prop_assert_eq!(steps.within(range).len(), rows.len());
            if !rows.is_empty() {
                prop_assert_eq!(steps.within(range), rows.clone());
                prop_assert_eq!(steps.each(rows.clone()).collect::<Vec<_>>(), &listed[rows]);
            }
        }
    }
}
