//! Reading rows of a row group's columns: only the pages in which wanted rows lie.

use std::io::Cursor;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;

use super::file::Opened;
use super::layout::Column;

/// Pages of one column are fetched at once up to so many bytes.
const MAX_WINDOW_BYTES: u64 = 8 << 20;

/// The cursor of a column, made where it is not there yet.
pub(super) fn cursor<'a, T: DataType>(
    slot: &'a mut Option<ColumnCursor<T>>,
    source: &GroupSource<'_>,
    column: Column,
) -> Result<&'a mut ColumnCursor<T>, ParquetError>
where
    ColumnCursor<T>: Open<T>,
{
    if slot.is_none() {
        *slot = Some(ColumnCursor { reader: ColumnCursor::<T>::open(source.column(column)?)?, at: 0 });
    }
    slot.as_mut().ok_or_else(|| ParquetError::General("column reader".to_owned()))
}

/// Reads rows of a column, each further on than the last.
pub(super) struct ColumnCursor<T: DataType> {
    reader: ColumnReaderImpl<T>,
    at: usize,
}

impl<T: DataType> ColumnCursor<T> {
    pub(super) fn read(
        &mut self,
        first: usize,
        rows: usize,
        levels: Option<&mut Vec<i16>>,
        values: &mut Vec<T::T>,
    ) -> Result<(), ParquetError> {
        let skipped = self.reader.skip_records(first - self.at)?;
        let (read, _, _) = self.reader.read_records(rows, levels, None, values)?;
        if skipped != first - self.at || read != rows {
            return Err(ParquetError::EOF("fewer rows than the series index says".to_owned()));
        }
        self.at = first + rows;
        Ok(())
    }
}

/// A typed reader out of one that is not.
pub(super) trait Open<T: DataType> {
    fn open(reader: ColumnReader) -> Result<ColumnReaderImpl<T>, ParquetError>;
}

macro_rules! open {
    ($kind:ident, $variant:ident) => {
        impl Open<$kind> for ColumnCursor<$kind> {
            fn open(reader: ColumnReader) -> Result<ColumnReaderImpl<$kind>, ParquetError> {
                match reader {
                    ColumnReader::$variant(reader) => Ok(reader),
                    _ => Err(ParquetError::General("column of another type".to_owned())),
                }
            }
        }
    };
}

open!(Int64Type, Int64ColumnReader);
open!(Int32Type, Int32ColumnReader);
open!(DoubleType, DoubleColumnReader);
open!(ByteArrayType, ByteArrayColumnReader);

/// A row group, and which of its rows are wanted.
pub(super) struct GroupSource<'a> {
    pub(super) opened: &'a Arc<Opened>,
    pub(super) group: usize,
    pub(super) rows: Range<usize>,
    /// How many of them.
    pub(super) needed: usize,
}

impl GroupSource<'_> {
    fn column(&self, column: Column) -> Result<ColumnReader, ParquetError> {
        let missing = || ParquetError::General("row group or column that the file does not have".to_owned());
        let meta = &self.opened.meta;
        let group = meta.row_groups().get(self.group).ok_or_else(missing)?;
        let at = column as usize;
        let chunk = group.columns().get(at).ok_or_else(missing)?;
        let offsets = meta.offset_index().and_then(|all| all.get(self.group)).and_then(|columns| columns.get(at));
        let pages = offsets.ok_or_else(missing)?.page_locations().clone();

        let first = pages.partition_point(|page| page.first_row_index as usize <= self.rows.start).saturating_sub(1);
        let end = pages.partition_point(|page| (page.first_row_index as usize) < self.rows.end);
        let touched = pages.get(first..end).unwrap_or_default();
        let window = match (touched.first(), touched.last()) {
            (Some(first), Some(last)) => {
                let end = last.offset as u64 + last.compressed_page_size as u64;
                first.offset as u64..end
            }
            _ => 0..0,
        };
        // Few rows here and there are read page by page.
        let is_dense = touched.len() <= 4 || self.needed * 2 >= self.rows.len();
        let fetch = is_dense && window.end - window.start <= MAX_WINDOW_BYTES;
        let bytes =
            if fetch { self.opened.read(window.start, (window.end - window.start) as usize)? } else { Bytes::new() };
        let piece = Arc::new(Piece { opened: Arc::clone(self.opened), start: window.start, bytes });
        let reader = SerializedPageReader::new(piece, chunk, group.num_rows() as usize, Some(pages))?;
        Ok(get_column_reader(chunk.column_descr_ptr(), Box::new(reader)))
    }
}

/// A file of which a piece is in memory.
struct Piece {
    opened: Arc<Opened>,
    start: u64,
    bytes: Bytes,
}

impl Length for Piece {
    fn len(&self) -> u64 {
        self.opened.size_bytes()
    }
}

impl ChunkReader for Piece {
    type T = Cursor<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        const AHEAD: u64 = 64 << 10;
        let length = AHEAD.min(self.opened.size_bytes().saturating_sub(start));
        self.get_bytes(start, length as usize).map(Cursor::new)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let at = start.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        match at.filter(|at| at.checked_add(length).is_some_and(|end| end <= self.bytes.len())) {
            Some(at) => Ok(self.bytes.slice(at..at + length)),
            None => self.opened.read(start, length),
        }
    }
}
