//! One file of the table: its footer, the directory of its series index, and reading of its rows.

use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use tenantscope_model::{Exemplar, Sample};
use tenantscope_table::{FileReader, LiveFile, Table};

use super::directory::{Entry, Extent, Form, Run, SectionHead, read_directory, read_entries, read_exemplars, unpack};
use super::error::BlockError;
use super::layout::{Column, INDEX_KEY, INDEX_VERSION};
use super::rows::{SeriesRows, WantedRun, read_group};
use crate::columns::TimeRange;
use crate::part::Wanted;
use crate::series::SeriesId;

/// About what a row takes once it is decoded, where a series has histograms or floats of several forms.
const MIXED_ROW_BYTES: u64 = 256;
/// What a byte of a histogram's text becomes, about: a digit and a comma are a number.
const DECODED_BYTES: u64 = 8;

/// A live file. What was read of it is in the cache.
#[derive(Debug)]
pub(crate) struct BlockFile {
    /// Within this process; never given twice.
    pub(super) number: u64,
    pub(super) live: LiveFile,
    pub(super) range: TimeRange,
    pub(super) table: Arc<Table>,
    /// Held while its footer or a section is loaded, so that readers that want the same wait for it.
    pub(super) loading: Mutex<()>,
}

/// A file whose footer and directory are in memory.
#[derive(Debug)]
pub(super) struct Opened {
    path: String,
    reader: FileReader,
    pub(super) meta: ParquetMetaData,
    pub(super) sections: Vec<SectionHead>,
    pub(super) bytes: usize,
}

/// The series of a section, numbered as the index numbers them. They stay in the index as long as it is in memory.
#[derive(Debug)]
pub(crate) struct Section {
    /// By rising series number.
    places: Vec<Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    id: SeriesId,
    /// Its number within the section.
    at: u32,
    run: Run,
}

/// A file with those of its sections that a reader asked for.
#[derive(Debug, Clone)]
pub(crate) struct LoadedFile {
    pub(super) file: Arc<BlockFile>,
    pub(super) opened: Arc<Opened>,
    pub(super) sections: Vec<(u32, Arc<Section>)>,
}

impl BlockFile {
    pub(super) fn new(number: u64, live: LiveFile, table: Arc<Table>) -> Self {
        let bounds = live.ranges.get(Column::TimeMs.name());
        let bound = |value: Option<&serde_json::Value>, unknown: i64| {
            value.and_then(serde_json::Value::as_i64).unwrap_or(unknown)
        };
        let range = TimeRange {
            min_ms: bound(bounds.map(|bounds| &bounds.min), i64::MIN),
            max_ms: bound(bounds.map(|bounds| &bounds.max), i64::MAX),
        };
        Self { number, live, range, table, loading: Mutex::default() }
    }

    /// First and last time of its samples.
    pub(crate) fn range(&self) -> TimeRange {
        self.range
    }

    /// Its name within the table.
    pub(crate) fn path(&self) -> &str {
        &self.live.path
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.live.size_bytes
    }

    pub(crate) fn rows(&self) -> u64 {
        self.live.rows.unwrap_or(0)
    }

    /// The value of a partition column.
    pub(crate) fn partition(&self, column: &str) -> &str {
        self.live.partition.get(column).map_or("", String::as_str)
    }

    pub(super) fn open(&self) -> Result<Opened, BlockError> {
        let reader = self.table.open_file(&self.live)?;
        let path = self.live.path.clone();
        let source = Whole(&reader);
        let meta = ParquetMetaDataReader::new()
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_offset_index_policy(PageIndexPolicy::Required)
            .parse_and_finish(&source)
            .map_err(BlockError::parquet(&path))?;
        let extent = index_place(&meta, &path)?;
        let raw = read_extent(&reader, &extent, &path)?;
        let sections = read_directory(&raw).map_err(|damaged| BlockError::damaged(&path, &damaged))?;
        let bytes = meta.memory_size() + sections.len() * (size_of::<SectionHead>() + 48);
        Ok(Opened { path, reader, meta, sections, bytes })
    }
}

fn index_place(meta: &ParquetMetaData, path: &str) -> Result<Extent, BlockError> {
    let entries = meta.file_metadata().key_value_metadata();
    let place = entries.and_then(|all| all.iter().find(|entry| entry.key == INDEX_KEY)?.value.as_deref());
    let place = place.ok_or_else(|| BlockError::damaged(path, "has no series index"))?;
    let words: Vec<&str> = place.split(' ').collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
    let version = number(0).and_then(|version| u32::try_from(version).ok());
    let version = version.ok_or_else(|| BlockError::damaged(path, "version of the series index"))?;
    if version != INDEX_VERSION {
        return Err(BlockError::Version { path: path.to_owned(), found: version, known: INDEX_VERSION });
    }
    let extent = || {
        let crc = u32::from_str_radix(words.get(4)?, 16).ok()?;
        Some(Extent { offset: number(1)?, length: number(2)?, raw_length: number(3)?, crc })
    };
    extent().ok_or_else(|| BlockError::damaged(path, "place of the series index"))
}

fn read_extent(reader: &FileReader, extent: &Extent, path: &str) -> Result<Vec<u8>, BlockError> {
    if extent.offset.checked_add(extent.length).is_none_or(|end| end > reader.size_bytes()) {
        return Err(BlockError::damaged(path, "series index lies outside of the file"));
    }
    let compressed = reader.read_at(extent.offset, extent.length as usize)?;
    unpack(&compressed, extent).map_err(|damaged| BlockError::damaged(path, &damaged))
}

impl Opened {
    pub(super) fn size_bytes(&self) -> u64 {
        self.reader.size_bytes()
    }

    pub(super) fn read(&self, offset: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.reader.read_at(offset, length).map_err(|error| ParquetError::External(Box::new(error)))
    }

    /// The series of a section.
    pub(super) fn entries(&self, head: &SectionHead) -> Result<Vec<Entry>, BlockError> {
        let raw = read_extent(&self.reader, &head.places, &self.path)?;
        read_entries(&raw, head).map_err(|damaged| BlockError::damaged(&self.path, &damaged))
    }
}

impl Section {
    /// Of runs in the order in which the section has them, each with its series' number.
    pub(super) fn new(runs: impl Iterator<Item = (SeriesId, Run)>) -> Self {
        let mut places: Vec<Place> = (0..).zip(runs).map(|(at, (id, run))| Place { id, at, run }).collect();
        places.sort_unstable_by_key(|place| place.id);
        Self { places }
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = SeriesId> {
        self.places.iter().map(|place| place.id)
    }

    /// How many series it has.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Without its series in the index, which other sections may have, too.
    pub(super) fn bytes(&self) -> usize {
        self.places.len() * size_of::<Place>()
    }
}

impl LoadedFile {
    /// The numbers of the series in the loaded sections that may have samples within the range.
    pub(crate) fn ids(&self, range: TimeRange) -> impl Iterator<Item = SeriesId> {
        let places = self.sections.iter().flat_map(|(_, section)| &section.places);
        places.filter(move |place| place.run.range.overlaps(range)).map(|place| place.id)
    }

    /// The loaded sections' series, whatever their times.
    pub(crate) fn sections(&self) -> impl Iterator<Item = &Arc<Section>> {
        self.sections.iter().map(|(_, section)| section)
    }

    /// How many series the loaded sections have; one that is in several of them counts in each.
    pub(crate) fn series(&self) -> usize {
        self.sections().map(|section| section.len()).sum()
    }

    /// About how many bytes the decoded rows of one of the loaded sections' series take within the range.
    pub(crate) fn bytes_of_series(&self, range: TimeRange) -> f64 {
        let runs = self.sections.iter().flat_map(|(_, section)| &section.places).map(|place| place.run);
        let all_bytes: u64 = runs.map(|run| decoded_bytes(&run, MIXED_ROW_BYTES)).sum();
        let file = self.file.range();
        let span_ms = |from_ms: i64, to_ms: i64| (to_ms as f64 - from_ms as f64).max(0.0) + 1.0;
        let asked_ms = span_ms(file.min_ms.max(range.min_ms), file.max_ms.min(range.max_ms));
        all_bytes as f64 / self.series().max(1) as f64 * asked_ms / span_ms(file.min_ms, file.max_ms)
    }

    /// About how many bytes the rows of the wanted series (by rising number) take once they are decoded.
    pub(crate) fn decoded_bytes(&self, wanted: &[Wanted], mut visit: impl FnMut(usize, u64)) {
        let mixed_row_bytes = self.mixed_row_bytes();
        let runs = self.find(wanted, &|_| TimeRange::ALL);
        runs.iter().for_each(|found| visit(found.slot, decoded_bytes(&found.run, mixed_row_bytes)));
    }

    /// The same of a row that may be a histogram, as large as those of the file are.
    fn mixed_row_bytes(&self) -> u64 {
        let groups = self.opened.meta.row_groups().iter();
        let texts = groups.filter_map(|group| group.columns().get(Column::Histogram as usize));
        let text_bytes: u64 = texts.map(|column| column.uncompressed_size().unsigned_abs()).sum();
        let places = self.sections.iter().flat_map(|(_, section)| &section.places);
        let mixed = places.filter(|place| place.run.form == Form::Mixed);
        let rows: u64 = mixed.map(|place| u64::from(place.run.rows)).sum();
        MIXED_ROW_BYTES + text_bytes * DECODED_BYTES / rows.max(1)
    }

    /// Which file it is.
    pub(crate) fn file(&self) -> &Arc<BlockFile> {
        &self.file
    }

    /// Where the wanted series (by rising number) lie in the file: their places rise with it.
    pub(crate) fn offsets(&self, wanted: &[Wanted]) -> Vec<(u64, usize)> {
        let mut offsets = Vec::new();
        for (_, section) in &self.sections {
            join(&section.places, wanted, |place, slot| {
                offsets.push((u64::from(place.run.group) << 32 | u64::from(place.run.first_row), slot));
            });
        }
        offsets
    }

    /// The wanted series' (by rising number) runs that overlap their ranges, in the order in which they lie in the file.
    fn find(&self, wanted: &[Wanted], range_of: &impl Fn(usize) -> TimeRange) -> Vec<WantedRun> {
        let mut found = Vec::new();
        for (_, section) in &self.sections {
            join(&section.places, wanted, |place, slot| {
                if place.run.rows > 0 && place.run.range.overlaps(range_of(slot)) {
                    found.push(WantedRun { run: place.run, slot });
                }
            });
        }
        found.sort_unstable_by_key(|wanted| (wanted.run.group, wanted.run.first_row));
        found
    }

    /// Reads the rows of the wanted series (by rising number) where they overlap the range that `range_of` gives for their
    /// slots. A series' rows come in time order, possibly in several visits.
    pub(crate) fn read<E: From<BlockError>>(
        &self,
        wanted: &[Wanted],
        range_of: impl Fn(usize) -> TimeRange,
        mut visit: impl FnMut(usize, &SeriesRows<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let found = self.find(wanted, &range_of);
        for runs in found.chunk_by(|a, b| a.run.group == b.run.group) {
            let Some(first) = runs.first() else { continue };
            read_group(&self.opened, first.run.group as usize, runs, |slot, rows| {
                visit(slot, rows).map_err(Ended::Visitor)
            })
            .map_err(|ended| match ended {
                Ended::Visitor(error) => error,
                Ended::Parquet(error) => BlockError::parquet(self.file.path())(error).into(),
            })?;
        }
        Ok(())
    }

    /// Exemplars of the wanted series (by rising number) within the range.
    pub(crate) fn exemplars(
        &self,
        wanted: &[Wanted],
        range: TimeRange,
        mut visit: impl FnMut(usize, Vec<Exemplar>),
    ) -> Result<(), BlockError> {
        for (at, section) in &self.sections {
            let head = self.opened.sections.get(*at as usize).filter(|head| head.exemplars.length > 0);
            let Some(head) = head.filter(|head| head.range.overlaps(range)) else { continue };
            let mut slots: Vec<(u32, usize)> = Vec::new();
            join(&section.places, wanted, |place, slot| slots.push((place.at, slot)));
            if slots.is_empty() {
                continue;
            }
            slots.sort_unstable();
            let raw = read_extent(&self.opened.reader, &head.exemplars, self.file.path())?;
            let all = read_exemplars(&raw, range).map_err(|damaged| BlockError::damaged(self.file.path(), &damaged))?;
            for (series, exemplars) in all {
                if let Ok(found) = slots.binary_search_by_key(&series, |(at, _)| *at) {
                    let slot = slots.get(found).map(|(_, slot)| *slot);
                    slot.into_iter().for_each(|slot| visit(slot, exemplars.clone()));
                }
            }
        }
        Ok(())
    }
}

fn decoded_bytes(run: &Run, mixed_row_bytes: u64) -> u64 {
    let row_bytes = if run.form == Form::Mixed { mixed_row_bytes } else { size_of::<Sample>() as u64 };
    u64::from(run.rows) * row_bytes
}

/// Calls for each place whose series is wanted; both are by rising number.
fn join(places: &[Place], wanted: &[Wanted], mut visit: impl FnMut(&Place, usize)) {
    let (Some(first), Some(last)) = (places.first(), places.last()) else { return };
    let from = wanted.partition_point(|wanted| wanted.id < first.id);
    let end = wanted.partition_point(|wanted| wanted.id <= last.id);
    let Some(wanted) = wanted.get(from..end).filter(|wanted| !wanted.is_empty()) else { return };
    if wanted.len() * 16 < places.len() {
        let mut rest = places;
        for Wanted { id, slot } in wanted {
            rest = rest.split_at(rest.partition_point(|place| place.id < *id)).1;
            rest.iter().take_while(|place| place.id == *id).for_each(|place| visit(place, *slot));
        }
        return;
    }
    if places.len() * 16 < wanted.len() {
        let mut rest = wanted;
        for place in places {
            rest = rest.split_at(rest.partition_point(|wanted| wanted.id < place.id)).1;
            rest.first()
                .filter(|wanted| wanted.id == place.id)
                .into_iter()
                .for_each(|wanted| visit(place, wanted.slot));
        }
        return;
    }
    let mut wanted = wanted.iter().peekable();
    for place in places {
        while wanted.next_if(|wanted| wanted.id < place.id).is_some() {}
        wanted.peek().filter(|wanted| wanted.id == place.id).into_iter().for_each(|wanted| visit(place, wanted.slot));
    }
}

/// Why reading of a row group ended.
enum Ended<E> {
    Parquet(ParquetError),
    Visitor(E),
}

impl<E> From<ParquetError> for Ended<E> {
    fn from(error: ParquetError) -> Self {
        Self::Parquet(error)
    }
}

/// For reading the footer.
struct Whole<'a>(&'a FileReader);

impl Length for Whole<'_> {
    fn len(&self) -> u64 {
        self.0.size_bytes()
    }
}

impl ChunkReader for Whole<'_> {
    type T = Cursor<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        const AHEAD: u64 = 64 << 10;
        let length = AHEAD.min(self.0.size_bytes().saturating_sub(start));
        self.get_bytes(start, length as usize).map(Cursor::new)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.0.read_at(start, length).map_err(|error| ParquetError::External(Box::new(error)))
    }
}
