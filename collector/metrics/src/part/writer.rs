//! Writes a part, one series after the other.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tenantscope_model::Exemplar;

use super::block;
use super::layout::{Footer, HEADER_BYTES, header};
use super::reader::{BlockPlace, Part};
use super::table::TableWriter;
use crate::columns::{Columns, TimeRange};
use crate::index::LabelTexts;
use crate::series::Series;

/// A level at which tables shrink to a fifth without being felt in a flush.
const TABLE_ZSTD_LEVEL: i32 = 1;

/// A part being written.
#[derive(Debug)]
pub(crate) struct PartWriter {
    path: PathBuf,
    number: u64,
    file: BufWriter<File>,
    window_ms: i64,
    offset: u64,
    range: TimeRange,
    samples: u64,
    lookback_ms: i64,
    places: Vec<BlockPlace>,
    table: TableWriter,
    block: Vec<u8>,
}

impl PartWriter {
    pub(crate) fn create(path: &Path, number: u64, window_ms: i64) -> io::Result<Self> {
        let mut file = BufWriter::with_capacity(1 << 16, File::create(path)?);
        file.write_all(&header())?;
        Ok(Self {
            path: path.to_owned(),
            number,
            file,
            window_ms,
            offset: HEADER_BYTES,
            range: TimeRange::EMPTY,
            samples: 0,
            lookback_ms: 0,
            places: Vec::new(),
            table: TableWriter::default(),
            block: Vec::new(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a series.
    pub(crate) fn add(
        &mut self,
        series: &Series,
        texts: &LabelTexts,
        columns: &Columns,
        exemplars: &[Exemplar],
    ) -> io::Result<()> {
        self.block.clear();
        block::write(&mut self.block, self.window_ms, columns, exemplars);
        self.samples += columns.len() as u64;
        self.range.include_range(columns.time_range());
        exemplars.iter().for_each(|exemplar| self.range.include(exemplar.t_ms));
        self.add_block(series, texts)
    }

    /// Appends a series that has a chunk of floats as it is written, of at most [`block::MAX_FLOATS_IN_CHUNK`].
    pub(crate) fn add_chunk(
        &mut self,
        series: &Series,
        texts: &LabelTexts,
        (count, range): (u32, TimeRange),
        bytes: &[u8],
    ) -> io::Result<()> {
        self.block.clear();
        block::write_chunk(&mut self.block, self.window_ms, count, range, bytes);
        self.samples += u64::from(count);
        self.range.include_range(range);
        self.add_block(series, texts)
    }

    fn add_block(&mut self, series: &Series, texts: &LabelTexts) -> io::Result<()> {
        self.file.write_all(&self.block)?;
        let length = self.block.len() as u32;
        self.table.add(series, texts, length);
        self.lookback_ms = self.lookback_ms.max(series.lookback_ms());
        self.places.push(BlockPlace { id: series.id(), offset: self.offset, length });
        self.offset += u64::from(length);
        Ok(())
    }

    /// Writes table and footer and makes the file durable (its folder is the caller's).
    pub(crate) fn finish(mut self, positions: (u64, u64)) -> io::Result<Part> {
        let raw = self.table.into_bytes();
        let compressed = zstd::bulk::compress(&raw, TABLE_ZSTD_LEVEL)?;
        let footer = Footer {
            table_offset: self.offset,
            table_bytes: compressed.len() as u64,
            table_raw_bytes: raw.len() as u64,
            table_crc: crc32fast::hash(&compressed),
            series: self.places.len() as u32,
            samples: self.samples,
            window_ms: self.window_ms,
            range: self.range,
            min_position: positions.0,
            max_position: positions.1,
        };
        self.file.write_all(&compressed)?;
        self.file.write_all(&footer.to_bytes())?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        Ok(Part::new(self.path, self.number, footer, bytes, self.places).with_lookback_ms(self.lookback_ms))
    }
}
