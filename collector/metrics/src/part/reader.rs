//! A part that lives: where each series' block is, and how blocks are read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashMap;

use super::block::Block;
use super::layout::{FOOTER_BYTES, Footer, HEADER_BYTES, VERSION, header};
use super::table::SeriesTable;
use crate::chunk::Damaged;
use crate::columns::{Columns, TimeRange};
use crate::error::{OpenError, StoreError};
use crate::index::JoinError;
use crate::series::SeriesId;
use crate::store::remove_file;

/// Blocks closer than this are read with one call.
const MAX_GAP_BYTES: u64 = 16 << 10;
/// Bytes read with one call.
const MAX_READ_BYTES: u64 = 1 << 20;
/// What a byte of a block becomes, about, once it is decoded: a bucket's count, with its place and bound.
const DECODED_BYTES: u64 = 24;

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

/// Where a series' block lies among bytes that were copied from a part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fetched {
    pub(crate) slot: usize,
    at: usize,
    length: u32,
    /// Where it lies in the file.
    offset: u64,
}

/// An immutable file of one window. When it has been superseded, the file goes with its last reader.
#[derive(Debug)]
pub(crate) struct Part {
    path: PathBuf,
    number: u64,
    footer: Footer,
    bytes: u64,
    places: Places,
    lookback_ms: i64,
    superseded: AtomicBool,
}

impl Part {
    pub(super) fn new(path: PathBuf, number: u64, footer: Footer, bytes: u64, places: Vec<BlockPlace>) -> Self {
        let places = Places::new(places);
        Self { path, number, footer, bytes, places, lookback_ms: 0, superseded: AtomicBool::new(false) }
    }

    /// Reads the table of a part. `join` numbers its series, in their order, and says how long their blocks are.
    pub(crate) fn open(
        path: &Path,
        number: u64,
        join: impl FnOnce(SeriesTable<'_>, &Footer) -> Result<Vec<(SeriesId, u32)>, JoinError>,
    ) -> Result<Self, OpenError> {
        let file = File::open(path).map_err(OpenError::io(path))?;
        let bytes = file.metadata().map_err(OpenError::io(path))?.len();
        let footer = read_footer(&file, path, bytes)?;
        let compressed = read_at(&file, footer.table_offset, footer.table_bytes).map_err(OpenError::io(path))?;
        if crc32fast::hash(&compressed) != footer.table_crc {
            return Err(OpenError::damaged(path, "checksum of the series table"));
        }
        let raw = zstd::bulk::decompress(&compressed, footer.table_raw_bytes as usize)
            .map_err(|error| OpenError::damaged(path, format!("series table: {error}")))?;
        drop(compressed);
        let table = SeriesTable::read(&raw, footer.series).map_err(JoinError::from);
        let joined = table.and_then(|table| join(table, &footer));
        let joined = joined.map_err(|error| OpenError::damaged(path, error.to_string()))?;
        let mut places = Vec::with_capacity(joined.len());
        let mut offset = HEADER_BYTES;
        for (id, length) in joined {
            places.push(BlockPlace { id, offset, length });
            offset += u64::from(length);
        }
        if offset != footer.table_offset {
            return Err(OpenError::damaged(path, "series table and blocks do not fit together"));
        }
        Ok(Self::new(path.to_owned(), number, footer, bytes, places))
    }

    /// With the look-back of its series.
    pub(crate) fn with_lookback_ms(mut self, lookback_ms: i64) -> Self {
        self.lookback_ms = lookback_ms;
        self
    }

    /// How far an instant selector looks back for its series, at most, because of their cadences.
    pub(crate) fn lookback_ms(&self) -> i64 {
        self.lookback_ms
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
        self.places.ids.iter().copied()
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
        let mut from = 0;
        let mut found = Vec::new();
        for Wanted { id, slot } in wanted {
            from += gallop(self.places.ids.get(from..).unwrap_or_default(), *id);
            match self.places.ids.get(from) {
                Some(other) if other == id => found.extend(self.places.get(from).map(|place| (place, *slot))),
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
        mut visit: impl FnMut(usize, Block<'_>) -> Result<(), Damaged>,
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
                let visited = block.and_then(|block| visit(*slot, block));
                visited.map_err(|damaged| self.error_at(place.offset, damaged))?;
            }
        }
        Ok(())
    }

    /// Where the blocks of the wanted series (by rising number) lie in the file, each with the reader's own number.
    pub(crate) fn offsets(&self, wanted: &[Wanted]) -> Vec<(u64, usize)> {
        self.find(wanted).into_iter().map(|(place, slot)| (place.offset, slot)).collect()
    }

    /// About how many bytes the blocks of the wanted series (by rising number) take once they are decoded.
    pub(crate) fn decoded_bytes(&self, wanted: &[Wanted], mut visit: impl FnMut(usize, u64)) {
        self.find(wanted).iter().for_each(|(place, slot)| visit(*slot, u64::from(place.length) * DECODED_BYTES));
    }

    /// Copies the blocks of the wanted series (by rising number) to the end of `bytes`, neighbours at once, and adds to
    /// `fetched` where each lies.
    pub(crate) fn fetch(
        &self,
        wanted: &[Wanted],
        bytes: &mut Vec<u8>,
        fetched: &mut Vec<Fetched>,
    ) -> Result<(), StoreError> {
        let found = self.find(wanted);
        if found.is_empty() {
            return Ok(());
        }
        let file = File::open(&self.path).map_err(StoreError::io(&self.path))?;
        fetched.reserve(found.len());
        let mut rest = &found[..];
        while let Some((first, _)) = rest.first() {
            let (run, after) = rest.split_at(run_length(rest));
            rest = after;
            let end = run.last().map_or(first.offset, |(place, _)| place.offset + u64::from(place.length));
            let begin = bytes.len();
            bytes.resize(begin + (end - first.offset) as usize, 0);
            let room = bytes.get_mut(begin..).unwrap_or_default();
            file.read_exact_at(room, first.offset).map_err(StoreError::io(&self.path))?;
            fetched.extend(run.iter().map(|(place, slot)| Fetched {
                slot: *slot,
                at: begin + (place.offset - first.offset) as usize,
                length: place.length,
                offset: place.offset,
            }));
        }
        Ok(())
    }

    /// Decodes what [`Part::fetch`] copied, and appends what is within the range to columns that end before it.
    pub(crate) fn decode(
        &self,
        bytes: &[u8],
        fetched: &Fetched,
        range: TimeRange,
        out: &mut Columns,
    ) -> Result<(), StoreError> {
        let bytes = bytes.get(fetched.at..fetched.at + fetched.length as usize).unwrap_or_default();
        let block = Block::checked(bytes, self.footer.window_ms);
        let read = block.and_then(|block| block.read_into(range, out));
        read.map_err(|damaged| self.error_at(fetched.offset, damaged))
    }

    fn error_at(&self, offset: u64, damaged: Damaged) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), offset, what: damaged.to_string() }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if *self.superseded.get_mut() {
            remove_file(&self.path);
        }
    }
}

/// Where the blocks are, in as few bytes as it takes: every live part has some for each of its series.
#[derive(Debug)]
struct Places {
    /// Rising.
    ids: Box<[SeriesId]>,
    /// For each, 40 bits of the offset and 24 of the length.
    packed: Box<[u64]>,
    /// By offset, the lengths that do not fit.
    long: HashMap<u64, u32>,
}

const LENGTH_BITS: u32 = 24;
/// Stands for a length that is in `long`.
const LONG: u64 = (1 << LENGTH_BITS) - 1;

impl Places {
    fn new(mut places: Vec<BlockPlace>) -> Self {
        places.sort_unstable_by_key(|place| place.id);
        let ids = places.iter().map(|place| place.id).collect();
        let packed =
            places.iter().map(|place| place.offset << LENGTH_BITS | LONG.min(u64::from(place.length))).collect();
        let long = places.iter().filter(|place| u64::from(place.length) >= LONG);
        Self { ids, packed, long: long.map(|place| (place.offset, place.length)).collect() }
    }

    fn get(&self, at: usize) -> Option<BlockPlace> {
        let (id, packed) = (*self.ids.get(at)?, *self.packed.get(at)?);
        let offset = packed >> LENGTH_BITS;
        let length = match packed & LONG {
            LONG => *self.long.get(&offset)?,
            short => short as u32,
        };
        Some(BlockPlace { id, offset, length })
    }
}

/// How many numbers are smaller, found in steps that double, since what is wanted usually lies close.
fn gallop(ids: &[SeriesId], id: SeriesId) -> usize {
    let mut bound = 1;
    while ids.get(bound).is_some_and(|other| *other < id) {
        bound *= 2;
    }
    let low = bound / 2;
    let high = ids.len().min(bound + 1);
    low + ids.get(low..high).unwrap_or_default().partition_point(|other| *other < id)
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
