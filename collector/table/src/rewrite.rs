//! A file written anew, without some of its rows.

use std::fs::{self, File};

use arrow::array::{AsArray, BooleanArray, RecordBatch, RecordBatchReader};
use arrow::compute::{filter_record_batch, not};
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::ArrowWriter;
use parquet::file::properties::WriterProperties;

use crate::{Draft, LiveFile, Table, TableError, WrittenFile};

/// What is left of a file.
#[derive(Debug)]
pub struct Rest {
    /// How many rows were left out.
    pub left_out: u64,
    /// The file that takes its place; `None` where no row is left.
    pub file: Option<WrittenFile>,
}

impl Table {
    /// Writes a file anew without the rows whose text column has a value, in the same order, with properties for so many
    /// rows; `None` where it has no such row. The new file belongs to the table once it is committed in place of the old
    /// one. Holds the file as it is on disk in memory, and some rows of it at a time.
    pub fn without_rows(
        &self,
        file: &LiveFile,
        column: &str,
        value: &str,
        properties: impl FnOnce(u64) -> Result<WriterProperties, TableError>,
    ) -> Result<Option<Rest>, TableError> {
        if !file.may_have_text(column, value) {
            return Ok(None);
        }
        let length = usize::try_from(file.size_bytes).unwrap_or(usize::MAX);
        let content = self.open_file(file)?.read_at(0, length)?;
        let (rows, left_out) = count(&content, column, value)?;
        if left_out == 0 {
            return Ok(None);
        }
        let left = rows - left_out;
        if left == 0 {
            return Ok(Some(Rest { left_out, file: None }));
        }
        let draft = self.draft(&file.partition)?;
        let path = draft.local_path().to_owned();
        let written = self.write_rest(content, draft, properties(left)?, |rows| {
            filter_record_batch(rows, &not(&has_text(rows, column, value)?)?)
        });
        if written.is_err() {
            // It would be deleted later as one that no version names; the room that it takes is wanted now.
            let _ = fs::remove_file(&path);
        }
        Ok(Some(Rest { left_out, file: Some(written?) }))
    }

    fn write_rest(
        &self,
        content: Bytes,
        draft: Draft,
        properties: WriterProperties,
        keep: impl Fn(&RecordBatch) -> Result<RecordBatch, ArrowError>,
    ) -> Result<WrittenFile, TableError> {
        let output = File::create_new(draft.local_path()).map_err(TableError::io(draft.local_path()))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(content)?.build()?;
        let mut stats = self.stats_of(draft.partition())?;
        let mut writer = ArrowWriter::try_new(output, reader.schema(), Some(properties))?;
        let mut left = 0;
        for rows in reader {
            let kept = keep(&rows?)?;
            if kept.num_rows() > 0 {
                stats.merge(&kept)?;
                writer.write(&kept)?;
                left += kept.num_rows() as u64;
            }
        }
        writer.into_inner()?;
        self.seal_with(draft, stats, left)
    }
}

/// How many rows a file has, and in how many a text column has a value. Decodes that column alone.
fn count(content: &Bytes, column: &str, value: &str) -> Result<(u64, u64), TableError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(content.clone())?;
    let only = ProjectionMask::columns(builder.parquet_schema(), [column]);
    let (mut rows, mut found) = (0, 0);
    for batch in builder.with_projection(only).build()? {
        let has = has_text(&batch?, column, value)?;
        rows += has.len() as u64;
        found += has.true_count() as u64;
    }
    Ok((rows, found))
}

fn has_text(rows: &RecordBatch, column: &str, value: &str) -> Result<BooleanArray, ArrowError> {
    let texts = rows.column_by_name(column).and_then(|texts| texts.as_string_opt::<i32>());
    let texts = texts.ok_or_else(|| ArrowError::SchemaError(format!("no column {column} of text")))?;
    Ok(texts.iter().map(|text| Some(text == Some(value))).collect())
}
