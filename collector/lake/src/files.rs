//! Rows to files: apart by day, in order, with what queries prune by.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::path::Path;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{SortColumn, concat_batches, filter_record_batch, lexsort_to_indices, take_record_batch};
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use tenantscope_table::{Partition, TableError, WrittenFile};

use crate::form::SORT;
use crate::store::Store;

const DAY_NS: i64 = 86_400_000_000_000;
/// Sorting takes rows in chunks of so many bytes: it needs them twice, and a text column holds at most 2 GiB.
const MAX_CHUNK_BYTES: usize = 256 << 20;
const ROW_GROUP_ROWS: usize = 64 * 1024;

impl Store {
    /// Writes rows as one file for each day, or a few where there are very many.
    pub(crate) fn write_rows(&self, rows: &[RecordBatch], now_ns: i64) -> Result<Vec<WrittenFile>, TableError> {
        let mut written = Vec::new();
        let mut chunk: Vec<RecordBatch> = Vec::new();
        let mut chunk_bytes = 0;
        for batch in rows {
            let bytes = batch.get_array_memory_size();
            if chunk_bytes + bytes > MAX_CHUNK_BYTES && !chunk.is_empty() {
                written.extend(self.write_chunk(&std::mem::take(&mut chunk), now_ns)?);
                chunk_bytes = 0;
            }
            chunk_bytes += bytes;
            chunk.push(batch.clone());
        }
        written.extend(self.write_chunk(&chunk, now_ns)?);
        Ok(written)
    }

    fn write_chunk(&self, rows: &[RecordBatch], now_ns: i64) -> Result<Vec<WrittenFile>, TableError> {
        let rows = concat_batches(&self.form.columns, rows)?;
        let days = self.by_day(&rows, now_ns)?.into_iter();
        days.map(|(day, rows)| self.write_day(&self.partition(day), &rows)).collect()
    }

    /// Writes rows of one partition as one file.
    pub(crate) fn write_day(&self, partition: &Partition, rows: &RecordBatch) -> Result<WrittenFile, TableError> {
        let rows = sorted(rows)?;
        let rows = if self.form.unique_spans { without_repeats(&rows)? } else { rows };
        self.table.write_file(partition, &rows, properties(rows.num_rows())?)
    }

    /// The folder in which the table lies.
    pub(crate) fn folder(&self) -> &Path {
        self.table.folder().unwrap_or_else(|| Path::new(""))
    }

    /// Reads a file of the table whole.
    pub(crate) fn read_file(&self, path: &str) -> Result<Vec<RecordBatch>, TableError> {
        let full = self.folder().join(path);
        let file = File::open(&full).map_err(|source| TableError::Io { path: full, source })?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)?.build()?;
        Ok(reader.collect::<Result<Vec<_>, ArrowError>>()?)
    }

    /// The partition of a day, counted from the epoch.
    pub(crate) fn partition(&self, day: i64) -> Partition {
        Partition::from([
            ("day".to_owned(), day_text(day)),
            ("retention".to_owned(), self.options.retention_class.clone()),
        ])
    }

    /// The oldest day that retention keeps.
    pub(crate) fn oldest_day(&self, now_ns: i64) -> i64 {
        let retention_ns = i64::try_from(self.options.retention.as_nanos()).unwrap_or(i64::MAX);
        now_ns.saturating_sub(retention_ns).div_euclid(DAY_NS)
    }

    /// Rows apart by the day of their time. A time outside the days that are kept goes to the nearest of these, so that a
    /// sender with a wrong clock can't make partitions without end, nor have its records dropped at once.
    fn by_day(&self, rows: &RecordBatch, now_ns: i64) -> Result<BTreeMap<i64, RecordBatch>, TableError> {
        let (oldest, newest) = (self.oldest_day(now_ns) + 1, now_ns.div_euclid(DAY_NS) + 1);
        let mut days: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for (row, time) in times(rows).enumerate() {
            let day = time.div_euclid(DAY_NS).clamp(oldest.min(newest), newest);
            days.entry(day).or_default().push(u32::try_from(row).unwrap_or(u32::MAX));
        }
        if let (1, Some(day)) = (days.len(), days.keys().next()) {
            return Ok(BTreeMap::from([(*day, rows.clone())]));
        }
        let taken = days
            .into_iter()
            .map(|(day, rows_of_day)| Ok((day, take_record_batch(rows, &UInt32Array::from(rows_of_day))?)));
        taken.collect()
    }
}

fn times(rows: &RecordBatch) -> impl Iterator<Item = i64> + '_ {
    let times = rows.column_by_name("time_ns").and_then(|c| c.as_primitive_opt::<Int64Type>());
    times.into_iter().flat_map(|times| times.values().iter().copied())
}

fn sorted(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns: Vec<SortColumn> = SORT
        .iter()
        .filter_map(|name| rows.column_by_name(name))
        .map(|values| SortColumn { values: ArrayRef::clone(values), options: None })
        .collect();
    take_record_batch(rows, &lexsort_to_indices(&columns, None)?)
}

/// Keeps the first of the rows that have the same tenant, trace and span id.
fn without_repeats(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let text = |name: &str| rows.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
    let (Some(tenants), Some(traces), Some(spans)) = (text("tenant"), text("trace_id"), text("span_id")) else {
        return Ok(rows.clone());
    };
    let mut seen = HashSet::with_capacity(rows.num_rows());
    let is_new = |row| seen.insert((tenants.value(row), traces.value(row), spans.value(row)));
    let keep: BooleanArray = (0..rows.num_rows()).map(is_new).map(Some).collect();
    if keep.true_count() == keep.len() {
        return Ok(rows.clone());
    }
    filter_record_batch(rows, &keep)
}

pub(crate) fn properties(rows: usize) -> Result<WriterProperties, TableError> {
    let trace_id = ColumnPath::from("trace_id");
    let distinct = rows.clamp(64, ROW_GROUP_ROWS) as u64;
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_column_bloom_filter_enabled(trace_id.clone(), true)
        .set_column_bloom_filter_max_ndv(trace_id, distinct)
        // Smallest and greatest line of a page prune nothing and cost space.
        .set_column_statistics_enabled(ColumnPath::from("body"), EnabledStatistics::None)
        .set_column_statistics_enabled(ColumnPath::from("attributes"), EnabledStatistics::None)
        .build())
}

/// `2026-11-24`, from days since the epoch (Howard Hinnant's civil_from_days).
pub(crate) fn day_text(days: i64) -> String {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::day_text;

    #[test]
    fn days_have_dates() {
        assert_eq!(day_text(0), "1970-01-01");
        assert_eq!(day_text(11_016), "2000-02-29");
        assert_eq!(day_text(20_781), "2026-11-24");
    }
}
