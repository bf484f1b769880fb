//! Writes a part, one series after the other in the order of their labels.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use hashbrown::HashMap;
use tenantscope_model::Exemplar;

use super::block;
use super::layout::{Footer, HEADER_BYTES, header};
use super::reader::{BlockPlace, Part};
use crate::chunk::varint::{put, put_text};
use crate::columns::{Columns, TimeRange};
use crate::index::LabelRank;
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
    places: Vec<BlockPlace>,
    table: Table,
    block: Vec<u8>,
}

/// The series table as it grows.
#[derive(Debug, Default)]
struct Table {
    symbols: HashMap<u32, u32>,
    texts: Vec<u8>,
    series: Vec<u8>,
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
            places: Vec::new(),
            table: Table::default(),
            block: Vec::new(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a series, which must come after the one before in the order of labels.
    pub(crate) fn add(
        &mut self,
        series: &Series,
        rank: &LabelRank,
        columns: &Columns,
        exemplars: &[Exemplar],
    ) -> io::Result<()> {
        self.block.clear();
        block::write(&mut self.block, self.window_ms, columns, exemplars);
        self.file.write_all(&self.block)?;
        let length = self.block.len() as u32;
        self.table.add(series, rank, length);
        self.places.push(BlockPlace { id: series.id(), offset: self.offset, length });
        self.offset += u64::from(length);
        self.samples += columns.len() as u64;
        self.range.include_range(columns.time_range());
        exemplars.iter().for_each(|exemplar| self.range.include(exemplar.t_ms));
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
        Ok(Part::new(self.path, self.number, footer, bytes, self.places))
    }
}

impl Table {
    fn add(&mut self, series: &Series, rank: &LabelRank, block_length: u32) {
        put(&mut self.series, series.labels().len() as u64);
        for (name, value) in series.labels() {
            let name = self.symbol(*name, rank);
            let value = self.symbol(*value, rank);
            put(&mut self.series, u64::from(name));
            put(&mut self.series, u64::from(value));
        }
        put(&mut self.series, u64::from(block_length));
        let cadence = series.cadence();
        put(&mut self.series, cadence.map_or(0, |cadence| cadence.cadence_ms as u64 + 1));
        put(&mut self.series, cadence.map_or(0, |cadence| cadence.delay_ms as u64));
    }

    fn symbol(&mut self, symbol: u32, rank: &LabelRank) -> u32 {
        if let Some(known) = self.symbols.get(&symbol) {
            return *known;
        }
        let next = self.symbols.len() as u32;
        put_text(&mut self.texts, rank.text(symbol));
        self.symbols.insert(symbol, next);
        next
    }

    fn into_bytes(mut self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.texts.len() + self.series.len() + 10);
        put(&mut out, self.symbols.len() as u64);
        out.append(&mut self.texts);
        out.append(&mut self.series);
        out
    }
}
