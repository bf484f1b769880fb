//! Writes a block file: series after series, by metric, tenant and labels, in row groups, and the series index at the end.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, new_null_array};
use parquet::column::writer::{ColumnWriter, ColumnWriterImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use tenantscope_model::{Cadence, Exemplar, METRIC_NAME, Sample};

use super::decimal;
use super::directory::{Extent, Form, MAX_SERIES_IN_SECTION, Run, SectionBuilder, SectionHead, pack, write_directory};
use super::histogram_text::to_text;
use super::layout::{Column, FILE_COLUMNS, INDEX_KEY, INDEX_VERSION, MAX_ROWS_IN_GROUP, properties, schema};
use crate::columns::{Columns, TimeRange};
use crate::index::TENANT;

/// Rows handed to the encoders at a time.
const PIECE: usize = 1024;

/// Bytes of histograms past which a row group is closed: they wait in memory until it is.
const MAX_HISTOGRAM_BYTES: usize = 64 << 20;

/// One series as it is written. Labels are in the order of their names.
#[derive(Debug)]
pub(crate) struct SeriesToWrite<'a> {
    pub(crate) labels: &'a [(&'a str, &'a str)],
    pub(crate) cadence: Option<Cadence>,
    pub(crate) columns: &'a Columns,
    pub(crate) exemplars: &'a [Exemplar],
}

/// A file being written.
pub(crate) struct BlockWriter {
    file: SerializedFileWriter<File>,
    rows: Rows,
    group: u32,
    section: SectionBuilder,
    head: Option<SectionHead>,
    heads: Vec<SectionHead>,
    /// Of sections, ahead of where they lie in the file.
    index: Vec<u8>,
    row_count: u64,
    range: TimeRange,
}

/// What a finished file holds.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) rows: u64,
    /// First and last time, as rows for the table's statistics.
    pub(crate) bounds: RecordBatch,
}

/// The rows of a row group before they are encoded.
#[derive(Default)]
struct Rows {
    /// Metric, tenant and labels, and how many rows have them.
    series: Vec<(Option<ByteArray>, Option<ByteArray>, ByteArray, usize)>,
    times_ms: Vec<i64>,
    mantissas: Vec<i64>,
    scales: Sparse<i32>,
    floats: Sparse<f64>,
    histograms: Sparse<ByteArray>,
    histogram_bytes: usize,
    starts_ms: Sparse<i64>,
}

/// A column with values in some rows only.
#[derive(Default)]
struct Sparse<T> {
    values: Vec<T>,
    levels: Vec<i16>,
}

impl<T> Sparse<T> {
    fn push(&mut self, value: Option<T>) {
        self.levels.push(i16::from(value.is_some()));
        self.values.extend(value);
    }
}

impl BlockWriter {
    pub(crate) fn create(file: File) -> Result<Self, ParquetError> {
        Ok(Self {
            file: SerializedFileWriter::new(file, schema()?, properties()?)?,
            rows: Rows::default(),
            group: 0,
            section: SectionBuilder::default(),
            head: None,
            heads: Vec::new(),
            index: Vec::new(),
            row_count: 0,
            range: TimeRange::EMPTY,
        })
    }

    /// Rows so far.
    pub(crate) fn row_count(&self) -> u64 {
        self.row_count
    }

    /// Adds a series, which comes after all others of its time slice in the order of metric, tenant and labels.
    pub(crate) fn add(&mut self, series: &SeriesToWrite<'_>) -> Result<(), ParquetError> {
        let count = series.columns.len();
        if self.rows.times_ms.len() + count > MAX_ROWS_IN_GROUP || self.rows.histogram_bytes > MAX_HISTOGRAM_BYTES {
            self.end_group()?;
        }
        let mut range = series.columns.time_range();
        self.range.include_range(range);
        let step_ms = if series.exemplars.is_empty() { step_of(series.columns) } else { 0 };
        series.exemplars.iter().for_each(|exemplar| range.include(exemplar.t_ms));
        let first_row = self.rows.times_ms.len() as u32;
        let form = self.rows.push(series);
        let starts = &series.columns.starts;
        let has_starts = !(starts.samples_ms.is_empty() && starts.histograms_ms.is_empty());
        let run = Run { group: self.group, first_row, rows: count as u32, range, form, has_starts, step_ms };
        self.row_count += count as u64;
        self.add_to_section(series, &run)
    }

    fn add_to_section(&mut self, series: &SeriesToWrite<'_>, run: &Run) -> Result<(), ParquetError> {
        let metric = label(series.labels, METRIC_NAME);
        let tenant = label(series.labels, TENANT);
        let fits = |head: &SectionHead| *head.metric == *metric && *head.tenants.1 <= *tenant;
        let is_full = self.section.series as usize >= MAX_SERIES_IN_SECTION;
        if is_full || !self.head.as_ref().is_none_or(fits) {
            self.end_section()?;
        }
        let head = self.head.get_or_insert_with(|| SectionHead {
            metric: metric.into(),
            tenants: (tenant.into(), tenant.into()),
            series: 0,
            range: TimeRange::EMPTY,
            places: Extent::default(),
            exemplars: Extent::default(),
        });
        if *head.tenants.1 != *tenant {
            head.tenants.1 = tenant.into();
        }
        head.range.include_range(run.range);
        head.series += 1;
        self.section.add(series.labels, series.cadence, run, series.exemplars);
        Ok(())
    }

    /// What follows begins again at the first series, at later times.
    pub(crate) fn end_slice(&mut self) -> Result<(), ParquetError> {
        self.end_group()?;
        self.end_section()
    }

    fn end_section(&mut self) -> Result<(), ParquetError> {
        let Some(mut head) = self.head.take() else { return Ok(()) };
        let (places, exemplars) = self.section.take();
        head.places = self.add_to_index(&places)?;
        if let Some(exemplars) = exemplars {
            head.exemplars = self.add_to_index(&exemplars)?;
        }
        self.heads.push(head);
        Ok(())
    }

    /// Offsets are within the index until it is written.
    fn add_to_index(&mut self, raw: &[u8]) -> Result<Extent, ParquetError> {
        let (mut compressed, extent) = pack(raw, self.index.len() as u64)?;
        self.index.append(&mut compressed);
        Ok(extent)
    }

    fn end_group(&mut self) -> Result<(), ParquetError> {
        if self.rows.times_ms.is_empty() {
            return Ok(());
        }
        let mut group = self.file.next_row_group()?;
        self.rows.write(&mut group)?;
        group.close()?;
        self.rows = Rows::default();
        self.group += 1;
        Ok(())
    }

    /// Writes what is left, the index and the footer. Making the file durable is the caller's.
    pub(crate) fn finish(mut self) -> Result<Written, ParquetError> {
        self.end_slice()?;
        let base = self.file.bytes_written() as u64;
        for head in &mut self.heads {
            head.places.offset += base;
            head.exemplars.offset += base;
        }
        let (directory, extent) = pack(&write_directory(&self.heads), base + self.index.len() as u64)?;
        self.file.write_all(&self.index)?;
        self.file.write_all(&directory)?;
        let Extent { offset, length, raw_length, crc } = extent;
        let place = format!("{INDEX_VERSION} {offset} {length} {raw_length} {crc:08x}");
        self.file.append_key_value_metadata(KeyValue::new(INDEX_KEY.to_owned(), place));
        self.file.finish()?;
        let bounds = bounds(self.range).map_err(|error| ParquetError::ArrowError(error.to_string()))?;
        Ok(Written { rows: self.row_count, bounds })
    }
}

fn label<'a>(labels: &[(&'a str, &'a str)], name: &str) -> &'a str {
    labels.iter().find(|(other, _)| *other == name).map_or("", |(_, value)| value)
}

fn bounds(range: TimeRange) -> Result<RecordBatch, arrow::error::ArrowError> {
    let columns = FILE_COLUMNS.fields().iter().map(|field| -> ArrayRef {
        if field.name() == Column::TimeMs.name() {
            return Arc::new(Int64Array::from(vec![range.min_ms, range.max_ms]));
        }
        new_null_array(field.data_type(), 2)
    });
    RecordBatch::try_new(Arc::clone(&FILE_COLUMNS), columns.collect())
}

/// The labels apart from name and tenant, as a JSON object.
fn labels_text(labels: &[(&str, &str)]) -> String {
    let mut text = String::from("{");
    for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME && *name != TENANT) {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&serde_json::Value::from(*name).to_string());
        text.push(':');
        text.push_str(&serde_json::Value::from(*value).to_string());
    }
    text.push('}');
    text
}

impl Rows {
    fn push(&mut self, series: &SeriesToWrite<'_>) -> Form {
        let columns = series.columns;
        if columns.is_empty() {
            return Form::Floats;
        }
        let text = |text: &str| (!text.is_empty()).then(|| ByteArray::from(text));
        let metric = text(label(series.labels, METRIC_NAME));
        let tenant = text(label(series.labels, TENANT));
        let labels = ByteArray::from(labels_text(series.labels).into_bytes());
        self.series.push((metric, tenant, labels, columns.len()));
        let scale = decimal::scale_of(&columns.samples);
        if columns.histograms.is_empty() { self.push_floats(columns, scale) } else { self.push_mixed(columns, scale) }
    }

    fn push_floats(&mut self, columns: &Columns, scale: Option<u8>) -> Form {
        let mut last = 0;
        let mut without = 0;
        for (at, sample) in columns.samples.iter().enumerate() {
            let mantissa = scale.and_then(|scale| decimal::mantissa(sample.value, scale));
            without += usize::from(mantissa.is_none());
            last = mantissa.unwrap_or(last);
            self.push_row(sample.t_ms, last, scale.filter(|_| mantissa.is_some()), sample.value);
            self.starts_ms.push(start(&columns.starts.samples_ms, at));
        }
        match scale {
            Some(scale) if without == 0 => Form::Decimals(scale),
            _ if without == columns.samples.len() => Form::Floats,
            _ => Form::Mixed,
        }
    }

    fn push_row(&mut self, t_ms: i64, mantissa: i64, scale: Option<u8>, value: f64) {
        self.times_ms.push(t_ms);
        self.mantissas.push(mantissa);
        self.scales.push(scale.map(i32::from));
        self.floats.push(scale.is_none().then_some(value));
        self.histograms.push(None);
    }

    fn push_mixed(&mut self, columns: &Columns, scale: Option<u8>) -> Form {
        let mut samples = columns.samples.iter().enumerate().peekable();
        let mut push_samples_before = |rows: &mut Self, t_ms: i64| {
            while let Some((at, sample)) = samples.next_if(|(_, sample)| sample.t_ms < t_ms) {
                let mantissa = scale.and_then(|scale| decimal::mantissa(sample.value, scale));
                rows.push_row(sample.t_ms, mantissa.unwrap_or(0), scale.filter(|_| mantissa.is_some()), sample.value);
                rows.starts_ms.push(start(&columns.starts.samples_ms, at));
            }
        };
        for (at, sample) in columns.histograms.iter().enumerate() {
            push_samples_before(self, sample.t_ms);
            self.times_ms.push(sample.t_ms);
            self.mantissas.push(0);
            self.scales.push(None);
            self.floats.push(None);
            let text = to_text(&sample.histogram).into_bytes();
            self.histogram_bytes += text.len();
            self.histograms.push(Some(ByteArray::from(text)));
            self.starts_ms.push(start(&columns.starts.histograms_ms, at));
        }
        push_samples_before(self, i64::MAX);
        // A sample at the last of all times comes after everything.
        for (at, sample) in columns.samples.iter().enumerate().filter(|(_, sample)| sample.t_ms == i64::MAX) {
            self.push_row(sample.t_ms, 0, None, sample.value);
            self.starts_ms.push(start(&columns.starts.samples_ms, at));
        }
        Form::Mixed
    }

    fn write(&self, group: &mut SerializedRowGroupWriter<'_, File>) -> Result<(), ParquetError> {
        for column in Column::ALL {
            let mut writer = group.next_column()?.ok_or_else(|| ParquetError::General("too few columns".to_owned()))?;
            match (writer.untyped(), column) {
                (ColumnWriter::ByteArrayColumnWriter(writer), Column::Metric) => {
                    self.write_series(writer, |s| s.0.as_ref())?;
                }
                (ColumnWriter::ByteArrayColumnWriter(writer), Column::Tenant) => {
                    self.write_series(writer, |s| s.1.as_ref())?;
                }
                (ColumnWriter::ByteArrayColumnWriter(writer), Column::Labels) => self.write_labels(writer)?,
                (ColumnWriter::ByteArrayColumnWriter(writer), Column::Histogram) => {
                    write_sparse(writer, &self.histograms)?;
                }
                (ColumnWriter::Int64ColumnWriter(writer), Column::TimeMs) => write_all(writer, &self.times_ms)?,
                (ColumnWriter::Int64ColumnWriter(writer), Column::Mantissa) => write_all(writer, &self.mantissas)?,
                (ColumnWriter::Int64ColumnWriter(writer), Column::StartMs) => write_sparse(writer, &self.starts_ms)?,
                (ColumnWriter::Int32ColumnWriter(writer), Column::Scale) => write_sparse(writer, &self.scales)?,
                (ColumnWriter::DoubleColumnWriter(writer), Column::FloatValue) => write_sparse(writer, &self.floats)?,
                _ => return Err(ParquetError::General(format!("column {} has another type", column.name()))),
            }
            writer.close()?;
        }
        Ok(())
    }

    fn write_labels<'a>(
        &self,
        writer: &mut ColumnWriterImpl<'a, parquet::data_type::ByteArrayType>,
    ) -> Result<(), ParquetError> {
        for (_, _, labels, count) in &self.series {
            repeat(*count, |piece| writer.write_batch(&vec![labels.clone(); piece], None, None))?;
        }
        Ok(())
    }

    fn write_series<'a>(
        &self,
        writer: &mut ColumnWriterImpl<'a, parquet::data_type::ByteArrayType>,
        text: impl Fn(&(Option<ByteArray>, Option<ByteArray>, ByteArray, usize)) -> Option<&ByteArray>,
    ) -> Result<(), ParquetError> {
        for series in &self.series {
            match text(series) {
                Some(text) => {
                    repeat(series.3, |piece| {
                        writer.write_batch(&vec![text.clone(); piece], Some(&vec![1; piece]), None)
                    })?;
                }
                None => repeat(series.3, |piece| writer.write_batch(&[], Some(&vec![0; piece]), None))?,
            }
        }
        Ok(())
    }
}

/// The time between two samples, where it is always the same; a single one takes any.
fn step_of(columns: &Columns) -> u32 {
    let samples = &columns.samples;
    if !columns.histograms.is_empty() {
        return 0;
    }
    let step = |pair: &[Sample]| match pair {
        [a, b] => b.t_ms.wrapping_sub(a.t_ms),
        _ => 0,
    };
    let first = samples.get(..2).map_or(1, step);
    let is_regular = samples.windows(2).all(|pair| step(pair) == first);
    u32::try_from(first).ok().filter(|_| is_regular).unwrap_or(0)
}

fn start(starts_ms: &[i64], at: usize) -> Option<i64> {
    starts_ms.get(at).copied().filter(|start_ms| *start_ms != 0)
}

fn repeat(count: usize, mut write: impl FnMut(usize) -> Result<usize, ParquetError>) -> Result<(), ParquetError> {
    let mut left = count;
    while left > 0 {
        let piece = left.min(PIECE);
        write(piece)?;
        left -= piece;
    }
    Ok(())
}

fn write_all<T: DataType>(writer: &mut ColumnWriterImpl<'_, T>, values: &[T::T]) -> Result<(), ParquetError> {
    writer.write_batch(values, None, None).map(|_| ())
}

fn write_sparse<T: DataType>(writer: &mut ColumnWriterImpl<'_, T>, column: &Sparse<T::T>) -> Result<(), ParquetError> {
    writer.write_batch(&column.values, Some(&column.levels), None).map(|_| ())
}
