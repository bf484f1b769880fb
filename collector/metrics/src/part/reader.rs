//! A part that lives: where each series' block is, and how blocks are read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tenantscope_model::{Cadence, Label, Labels};

use super::block::Block;
use super::layout::{FOOTER_BYTES, Footer, HEADER_BYTES, VERSION, header};
use crate::chunk::Damaged;
use crate::chunk::varint::Bytes;
use crate::columns::TimeRange;
use crate::error::{OpenError, StoreError};
use crate::series::SeriesId;
use crate::store::remove_file;

/// Blocks closer than this are read with one call.
const MAX_GAP_BYTES: u64 = 16 << 10;
/// Bytes read with one call.
const MAX_READ_BYTES: u64 = 1 << 20;

/// Where a series' block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockPlace {
    pub(crate) id: SeriesId,
    pub(crate) offset: u64,
    pub(crate) length: u32,
}

/// A series that a reader wants, and the reader's own number for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) id: SeriesId,
    pub(crate) slot: usize,
}

/// An immutable file of one window. When it has been superseded, the file goes with its last reader.
#[derive(Debug)]
pub(crate) struct Part {
    path: PathBuf,
    number: u64,
    footer: Footer,
    bytes: u64,
    /// By rising series number.
    places: Vec<BlockPlace>,
    superseded: AtomicBool,
}

impl Part {
    pub(super) fn new(path: PathBuf, number: u64, footer: Footer, bytes: u64, mut places: Vec<BlockPlace>) -> Self {
        places.sort_unstable_by_key(|place| place.id);
        Self { path, number, footer, bytes, places, superseded: AtomicBool::new(false) }
    }

    /// Reads the table of a part and numbers its series through `number_of`.
    pub(crate) fn open(
        path: &Path,
        number: u64,
        mut number_of: impl FnMut(Labels, Option<Cadence>) -> SeriesId,
    ) -> Result<Self, OpenError> {
        let damaged = |damaged: Damaged| OpenError::damaged(path, damaged.to_string());
        let file = File::open(path).map_err(OpenError::io(path))?;
        let bytes = file.metadata().map_err(OpenError::io(path))?.len();
        let footer = read_footer(&file, path, bytes)?;
        let compressed = read_at(&file, footer.table_offset, footer.table_bytes).map_err(OpenError::io(path))?;
        if crc32fast::hash(&compressed) != footer.table_crc {
            return Err(OpenError::damaged(path, "checksum of the series table"));
        }
        let raw = zstd::bulk::decompress(&compressed, footer.table_raw_bytes as usize)
            .map_err(|error| OpenError::damaged(path, format!("series table: {error}")))?;
        let mut table = Bytes(&raw);
        let symbols = table.count().map_err(damaged)?;
        let symbols = (0..symbols).map(|_| table.text().map(Arc::from)).collect::<Result<Vec<Arc<str>>, _>>();
        let symbols = symbols.map_err(damaged)?;
        let mut places = Vec::with_capacity(footer.series as usize);
        let mut offset = HEADER_BYTES;
        for _ in 0..footer.series {
            let (labels, length, cadence) = read_series(&mut table, &symbols).map_err(damaged)?;
            places.push(BlockPlace { id: number_of(labels, cadence), offset, length });
            offset += u64::from(length);
        }
        if offset != footer.table_offset || !table.is_empty() {
            return Err(OpenError::damaged(path, "series table and blocks do not fit together"));
        }
        Ok(Self::new(path.to_owned(), number, footer, bytes, places))
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn footer(&self) -> &Footer {
        &self.footer
    }

    /// The file's size.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = SeriesId> {
        self.places.iter().map(|place| place.id)
    }

    pub(crate) fn overlaps(&self, range: TimeRange) -> bool {
        self.footer.range.overlaps(range)
    }

    /// The file goes once no one reads it any more.
    pub(crate) fn supersede(&self) {
        self.superseded.store(true, Ordering::Relaxed);
    }

    /// Those of the wanted series (by rising number) that the part has, in the order in which they lie in the file.
    fn find(&self, wanted: &[Wanted]) -> Vec<(BlockPlace, usize)> {
        let mut rest = &self.places[..];
        let mut found = Vec::new();
        for Wanted { id, slot } in wanted {
            rest = rest.split_at(gallop(rest, *id)).1;
            match rest.first() {
                Some(place) if place.id == *id => found.push((*place, *slot)),
                Some(_) => {}
                None => break,
            }
        }
        found.sort_unstable_by_key(|(place, _)| place.offset);
        found
    }

    /// Reads the blocks of the wanted series (by rising number), neighbours at once.
    pub(crate) fn read<E: From<StoreError>>(
        &self,
        wanted: &[Wanted],
        mut visit: impl FnMut(usize, Block<'_>) -> Result<(), Problem<E>>,
    ) -> Result<(), E> {
        let found = self.find(wanted);
        if found.is_empty() {
            return Ok(());
        }
        let file = File::open(&self.path).map_err(StoreError::io(&self.path))?;
        let mut rest = &found[..];
        let mut buffer = Vec::new();
        while let Some((first, _)) = rest.first() {
            let (run, after) = rest.split_at(run_length(rest));
            rest = after;
            let end = run.last().map_or(first.offset, |(place, _)| place.offset + u64::from(place.length));
            buffer.resize((end - first.offset) as usize, 0);
            file.read_exact_at(&mut buffer, first.offset).map_err(StoreError::io(&self.path))?;
            for (place, slot) in run {
                let at = (place.offset - first.offset) as usize;
                let bytes = buffer.get(at..at + place.length as usize).unwrap_or_default();
                let block = Block::checked(bytes, self.footer.window_ms);
                let visited = block.map_err(Problem::Damaged).and_then(|block| visit(*slot, block));
                visited.map_err(|problem| self.error_at(place.offset, problem))?;
            }
        }
        Ok(())
    }

    fn error_at<E: From<StoreError>>(&self, offset: u64, problem: Problem<E>) -> E {
        match problem {
            Problem::Damaged(damaged) => {
                StoreError::Damaged { path: self.path.clone(), offset, what: damaged.to_string() }.into()
            }
            Problem::Other(error) => error,
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if *self.superseded.get_mut() {
            remove_file(&self.path);
        }
    }
}

/// Why a visit ended.
#[derive(Debug)]
pub(crate) enum Problem<E> {
    /// The block is not what was written.
    Damaged(Damaged),
    /// The visitor's own reason.
    Other(E),
}

impl<E> From<Damaged> for Problem<E> {
    fn from(damaged: Damaged) -> Self {
        Self::Damaged(damaged)
    }
}

/// How many places have a smaller number, found in steps that double, since what is wanted usually lies close.
fn gallop(places: &[BlockPlace], id: SeriesId) -> usize {
    let mut bound = 1;
    while places.get(bound).is_some_and(|place| place.id < id) {
        bound *= 2;
    }
    let low = bound / 2;
    let high = places.len().min(bound + 1);
    low + places.get(low..high).unwrap_or_default().partition_point(|place| place.id < id)
}

/// How many of the next blocks are read with one call.
fn run_length(found: &[(BlockPlace, usize)]) -> usize {
    let Some((first, _)) = found.first() else { return 0 };
    let mut end = first.offset + u64::from(first.length);
    let mut length = 1;
    for (place, _) in found.iter().skip(1) {
        let next_end = place.offset + u64::from(place.length);
        if place.offset - end > MAX_GAP_BYTES || next_end - first.offset > MAX_READ_BYTES {
            break;
        }
        end = next_end;
        length += 1;
    }
    length
}

fn read_footer(file: &File, path: &Path, bytes: u64) -> Result<Footer, OpenError> {
    let Some(footer_offset) = bytes.checked_sub(FOOTER_BYTES as u64).filter(|offset| *offset >= HEADER_BYTES) else {
        return Err(OpenError::damaged(path, "shorter than a header and a footer"));
    };
    let found_header = read_at(file, 0, HEADER_BYTES).map_err(OpenError::io(path))?;
    if found_header.get(..8) != header().get(..8) {
        return Err(OpenError::damaged(path, "not a part (magic number)"));
    }
    let footer = read_at(file, footer_offset, FOOTER_BYTES as u64).map_err(OpenError::io(path))?;
    let (footer, version) =
        Footer::from_bytes(&footer).map_err(|damaged| OpenError::damaged(path, damaged.to_string()))?;
    if version != VERSION {
        return Err(OpenError::Version { path: path.to_owned(), found: version, known: VERSION });
    }
    if footer.table_offset.checked_add(footer.table_bytes) != Some(footer_offset) {
        return Err(OpenError::damaged(path, "length of the series table"));
    }
    Ok(footer)
}

fn read_at(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn read_series(table: &mut Bytes<'_>, symbols: &[Arc<str>]) -> Result<(Labels, u32, Option<Cadence>), Damaged> {
    let symbol = |table: &mut Bytes<'_>| {
        let number = table.small()? as usize;
        symbols.get(number).cloned().ok_or(Damaged("symbol that is not in the series table"))
    };
    let count = table.count()?;
    let labels = (0..count)
        .map(|_| Ok(Label { name: symbol(table)?, value: symbol(table)? }))
        .collect::<Result<Vec<_>, Damaged>>()?;
    let labels = Labels::try_new(labels).map_err(|_| Damaged("series with the same label twice"))?;
    let length = table.small()?;
    let (cadence_ms, delay_ms) = (table.number()?, table.number()?);
    let cadence = cadence_ms.checked_sub(1).map(|cadence_ms| Cadence::capped(cadence_ms as i64, delay_ms as i64));
    Ok((labels, length, cadence))
}
