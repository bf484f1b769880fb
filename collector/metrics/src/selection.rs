//! The series that a selector found, and how their samples are read: some thousand series at a time, first as the
//! compressed bytes that memory and parts have of them, then decoded one series after the other.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;
use tenantscope_model::{
    HeldBytes, LabelSet, Labels, Lookback, Scope, SelectError, SelectRequest, SelectedSeries, Selection,
    SeriesGrouping, SeriesGroups, SeriesScan, SeriesView,
};

use crate::block::{LoadedBlocks, LoadedFile, SectionsWanted, What};
use crate::columns::{Columns, TimeRange};
use crate::index::{self, Index};
use crate::layer::Layer;
use crate::part::{Fetched, Part, Wanted};
use crate::series::Series;
use crate::store::MetricStore;

/// Series whose bytes are held at once by one scan.
const BATCH: usize = 8192;
/// Fewer where samples of blocks are held, which are not compressed: about so many bytes of them at once, or this part of
/// the memory that the query may hold.
const BATCH_BYTES: f64 = (64 << 20) as f64;
const BATCH_PART: f64 = 8.0;
/// Series looked at under one lock.
const PIECE: usize = 1024;
/// Samples between two charges.
const CHARGE: usize = 16 << 10;

/// What a selector found.
pub(crate) struct Found<'a> {
    store: &'a MetricStore,
    request: SelectRequest<'a>,
    series: Vec<Arc<Series>>,
    /// Once the series are sorted by them.
    labels: Vec<Labels>,
    blocks: LoadedBlocks,
    /// Series whose bytes are held at once by one scan.
    batch: usize,
    /// The series' symbols stand for the same strings as long as this is held.
    _pin: Arc<()>,
}

impl MetricStore {
    /// Looks for series.
    pub(crate) fn look_for<'a>(&'a self, scope: &Scope, request: &SelectRequest<'a>) -> Result<Found<'a>, SelectError> {
        let (budget, matchers) = (request.budget, request.matchers);
        let range = self.widest_range(request);
        let pin = self.index.read().pin();
        // Blocks before the index: their series are in it as long as they are held.
        let find = || {
            let series = index::find(&self.index, scope, matchers, budget)?;
            budget.check_series(series.len()).map(|()| series)
        };
        let blocks = self.load_blocks(&[What { scope, matchers, range }], budget, |_, files| {
            // As long as no more are loaded than may be found, the search waits until all are.
            let loaded: usize = files.iter().map(LoadedFile::series).sum();
            if budget.check_series(loaded).is_err() {
                find()?;
            }
            Ok(SectionsWanted::AtLeast(1))
        })?;
        let series = find()?;
        let batch = batch_of(&blocks.files, range, budget.bounds().max_bytes);
        let mut found = Found { store: self, request: *request, series, labels: Vec::new(), blocks, batch, _pin: pin };
        found.arrange(range);
        Ok(found)
    }

    /// All times that may be wanted of a series.
    pub(crate) fn widest_range(&self, request: &SelectRequest<'_>) -> TimeRange {
        let lookback_ms = match request.lookback {
            Lookback::Range => 0,
            Lookback::Fixed(lookback_ms) => lookback_ms,
            Lookback::Widened(lookback_ms) => {
                let range = TimeRange { min_ms: request.from_ms, max_ms: request.to_ms };
                self.widest_lookback_ms(range, lookback_ms)
            }
        };
        range_with(request, lookback_ms)
    }
}

impl Found<'_> {
    /// Puts many series into the order in which the largest block or part has them, so that batches are neighbours in it.
    fn arrange(&mut self, range: TimeRange) {
        if self.series.len() <= self.batch {
            return;
        }
        let overlapping = self.blocks.view.parts.iter().filter(|part| part.overlaps(range));
        let largest_part = overlapping.max_by_key(|part| part.bytes());
        // Rows of blocks are decoded by the page, so their order counts for more than the parts'.
        let largest_file = self.blocks.files.iter().max_by_key(|file| file.file().rows());
        let known = match (largest_file, largest_part) {
            (Some(file), _) => file.offsets(&wanted(&self.series)),
            (None, Some(part)) => part.offsets(&wanted(&self.series)),
            (None, None) => return,
        };
        let mut offsets = vec![u64::MAX; self.series.len()];
        for (offset, place) in known {
            if let Some(slot) = offsets.get_mut(place) {
                *slot = offset;
            }
        }
        let mut order: Vec<(u64, Arc<Series>)> = offsets.into_iter().zip(self.series.drain(..)).collect();
        order.sort_by_key(|(offset, _)| *offset);
        self.series = order.into_iter().map(|(_, series)| series).collect();
    }

    /// Everything that was found, read at once, for readers that hold it anyway.
    pub(crate) fn read_all(mut self) -> Result<Vec<SelectedSeries>, SelectError> {
        self.sort()?;
        let mut selected = Vec::new();
        let mut scan = self.scan(0..self.series.len());
        while let Some(view) = scan.next()? {
            selected.push(SelectedSeries {
                labels: self.labels.get(view.place).cloned().unwrap_or_default(),
                lookback_ms: view.lookback_ms,
                samples: view.samples.to_vec(),
                histograms: view.histograms.to_vec(),
                starts: view.starts.clone(),
            });
        }
        Ok(selected)
    }

    /// Makes something of series under the index's lock, some at a time.
    fn with_index<T>(&self, places: &[usize], make: impl Fn(&Index, &Series) -> T) -> Result<Vec<T>, SelectError> {
        let mut made = Vec::with_capacity(places.len());
        for piece in places.chunks(PIECE) {
            let index = self.store.index.read();
            made.extend(piece.iter().filter_map(|place| self.series.get(*place)).map(|series| make(&index, series)));
            drop(index);
            self.request.budget.check()?;
        }
        Ok(made)
    }
}

impl Selection for Found<'_> {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn sort(&mut self) -> Result<(), SelectError> {
        let places: Vec<usize> = (0..self.series.len()).collect();
        let labels = self.with_index(&places, Index::labels_of)?;
        let mut order: Vec<(Labels, Arc<Series>)> = labels.into_iter().zip(self.series.drain(..)).collect();
        order.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        (self.labels, self.series) = order.into_iter().unzip();
        Ok(())
    }

    fn labels(&self, places: &[usize]) -> Result<Vec<Labels>, SelectError> {
        if self.labels.is_empty() {
            return self.with_index(places, Index::labels_of);
        }
        Ok(places.iter().filter_map(|place| self.labels.get(*place).cloned()).collect())
    }

    fn groups(&self, by: LabelSet<'_>) -> Result<SeriesGroups, SelectError> {
        let mut grouping = SeriesGrouping::default();
        if by == LabelSet::Only(&[]) {
            self.series.iter().for_each(|_| {
                let number = grouping.number_of_all();
                grouping.push(number);
            });
            return Ok(grouping.finish());
        }
        let mut keys = GroupKeys::default();
        for piece in self.series.chunks(PIECE) {
            // Series lie here and there in memory: looks at many that do not wait for each other bring them near at once.
            std::hint::black_box(
                piece.iter().filter_map(|series| series.values().last()).fold(0, |all, one| all ^ one),
            );
            for series in piece {
                let known = keys.look_up(series, |name| by.contains(self.store.index.read().text(name)));
                let number = match known {
                    Some(number) => number,
                    None => {
                        let number = grouping.number(self.store.index.read().labels(keys.labels(series)));
                        keys.insert(number);
                        number
                    }
                };
                grouping.push(number);
            }
            self.request.budget.check()?;
        }
        Ok(grouping.finish())
    }

    fn scan(&self, places: Range<usize>) -> Box<dyn SeriesScan + '_> {
        let end = places.end.min(self.series.len());
        Box::new(Scan {
            found: self,
            batch: Batch::default(),
            at: places.start,
            batch_end: places.start,
            end,
            current: Columns::default(),
            layer: Columns::default(),
            uncharged: 0,
        })
    }
}

/// The groups that are known, by the symbols of the labels that count.
#[derive(Default)]
struct GroupKeys {
    /// For each shape, which of its labels count.
    shapes: HashMap<*const index::Shape, (u32, Vec<usize>)>,
    numbers: HashMap<Box<[u32]>, u32>,
    /// The shape and values of the series that was looked up last.
    key: Vec<u32>,
    counting: Vec<usize>,
    last_shape: Option<*const index::Shape>,
}

impl GroupKeys {
    fn look_up(&mut self, series: &Series, counts: impl Fn(u32) -> bool) -> Option<u32> {
        let shape = Arc::as_ptr(series.shape());
        if self.last_shape != Some(shape) {
            let next = self.shapes.len() as u32;
            let (number, counting) = self.shapes.entry(shape).or_insert_with(|| {
                let names = series.shape().names().iter().enumerate();
                (next, names.filter(|(_, name)| counts(**name)).map(|(at, _)| at).collect())
            });
            self.key.clear();
            self.key.push(*number);
            self.counting.clone_from(counting);
            self.last_shape = Some(shape);
        }
        self.key.truncate(1);
        let values = series.values();
        self.key.extend(self.counting.iter().filter_map(|at| values.get(*at)));
        self.numbers.get(&self.key[..]).copied()
    }

    /// The labels that count of the series that was looked up last.
    fn labels(&self, series: &Series) -> impl Iterator<Item = (u32, u32)> {
        let (names, values) = (series.shape().names(), series.values());
        self.counting.iter().filter_map(|at| Some((*names.get(*at)?, *values.get(*at)?)))
    }

    /// What was looked up last is in this group.
    fn insert(&mut self, number: u32) {
        self.numbers.insert(self.key.as_slice().into(), number);
    }
}

/// One run through some of the series.
struct Scan<'f, 'a> {
    found: &'f Found<'a>,
    batch: Batch<'a>,
    /// The next series, the end of the batch that is held, and the end.
    at: usize,
    batch_end: usize,
    end: usize,
    /// The samples that the view shows, and of what lies over them.
    current: Columns,
    layer: Columns,
    uncharged: usize,
}

/// What is held of some series.
#[derive(Default)]
struct Batch<'a> {
    first: usize,
    /// Of each file, older than all else.
    blocks: Vec<Layer>,
    parts: Vec<PartBytes>,
    /// Newer than all else.
    memory: Layer,
    _held: Option<HeldBytes<'a>>,
}

/// What a part has of a batch.
struct PartBytes {
    part: Arc<Part>,
    bytes: Vec<u8>,
    /// By rising place within the batch.
    fetched: Vec<Fetched>,
    /// The next that may be asked for.
    at: usize,
}

impl SeriesScan for Scan<'_, '_> {
    fn next(&mut self) -> Result<Option<SeriesView<'_>>, SelectError> {
        loop {
            if self.at >= self.end {
                self.charge()?;
                return Ok(None);
            }
            if self.at >= self.batch_end {
                self.charge()?;
                self.batch_end = self.end.min(self.at + self.found.batch);
                // What was held goes before more is taken.
                self.batch = Batch::default();
                self.batch = self.found.read_batch(self.at..self.batch_end)?;
            }
            self.at += 1;
            self.decode(self.at - 1)?;
            if !self.current.is_empty() {
                break;
            }
        }
        self.uncharged += self.current.len();
        if self.uncharged >= CHARGE {
            self.charge()?;
        }
        let place = self.at - 1;
        let lookback_ms = self.found.series.get(place).map_or(0, |series| range_of(series, &self.found.request).1);
        let Columns { samples, histograms, starts } = &self.current;
        Ok(Some(SeriesView { place, lookback_ms, samples, histograms, starts }))
    }
}

impl Scan<'_, '_> {
    fn charge(&mut self) -> Result<(), SelectError> {
        self.found.request.budget.charge(std::mem::take(&mut self.uncharged))
    }

    /// Puts all layers of a series over each other, from older to newer.
    fn decode(&mut self, place: usize) -> Result<(), SelectError> {
        let Some(series) = self.found.series.get(place) else { return Ok(()) };
        let (range, _) = range_of(series, &self.found.request);
        let slot = place - self.batch.first;
        self.current.clear();
        for file in &mut self.batch.blocks {
            file.lay_over(slot, &mut self.current, &mut self.layer);
        }
        for part in &mut self.batch.parts {
            while let Some(fetched) = part.fetched.get(part.at).filter(|fetched| fetched.slot == slot) {
                self.layer.clear();
                part.part.decode(&part.bytes, fetched, range, &mut self.layer)?;
                self.current.lay_over(&mut self.layer);
                part.at += 1;
            }
        }
        self.batch.memory.lay_over(slot, &mut self.current, &mut self.layer);
        Ok(())
    }
}

impl<'a> Found<'a> {
    fn read_batch(&self, places: Range<usize>) -> Result<Batch<'a>, SelectError> {
        let budget = self.request.budget;
        budget.check()?;
        let series = self.series.get(places.clone()).unwrap_or_default();
        let ranges: Vec<TimeRange> = series.iter().map(|series| range_of(series, &self.request).0).collect();
        let mut held = budget.hold();
        // Memory before parts: samples leave memory only after their parts came in.
        let memory = Layer::of_memory(series, &ranges);
        held.grow(memory.bytes())?;
        let wanted = wanted(series);
        let widest = ranges.iter().fold(TimeRange::EMPTY, |mut all, range| {
            all.include_range(*range);
            all
        });
        let mut parts = Vec::new();
        for part in self.blocks.view.parts_until_now().iter().filter(|part| part.overlaps(widest)) {
            budget.check()?;
            let read = PartBytes::of(part, &wanted)?;
            held.grow(read.bytes.capacity())?;
            parts.push(read);
        }
        let blocks = self.read_blocks(&wanted, &ranges, &mut held)?;
        Ok(Batch { first: places.start, blocks, parts, memory, _held: Some(held) })
    }

    /// What is decoded is taken from the query's memory as it comes.
    fn read_blocks(
        &self,
        wanted: &[Wanted],
        ranges: &[TimeRange],
        held: &mut HeldBytes<'_>,
    ) -> Result<Vec<Layer>, SelectError> {
        let budget = self.request.budget;
        let mut layers = Vec::with_capacity(self.blocks.files.len());
        let range_of = |slot: usize| ranges.get(slot).copied().unwrap_or(TimeRange::EMPTY);
        let mut runs = 0_usize;
        for file in &self.blocks.files {
            let mut read = Layer::of(ranges.len());
            let before = held.bytes();
            file.read::<SelectError>(wanted, range_of, |slot, rows| {
                if runs.is_multiple_of(PIECE) {
                    budget.check()?;
                }
                runs += 1;
                read.take_rows(slot, rows, range_of(slot));
                held.resize(before + read.bytes())
            })?;
            layers.push(read);
        }
        Ok(layers)
    }
}

impl PartBytes {
    fn of(part: &Arc<Part>, wanted: &[Wanted]) -> Result<Self, SelectError> {
        let mut held = Self { part: Arc::clone(part), bytes: Vec::new(), fetched: Vec::new(), at: 0 };
        part.fetch(wanted, &mut held.bytes, &mut held.fetched)?;
        held.fetched.sort_unstable_by_key(|fetched| fetched.slot);
        Ok(held)
    }
}

/// How many series' bytes a scan holds at once, given the files that it reads and the memory of its query.
fn batch_of(files: &[LoadedFile], range: TimeRange, max_bytes: u64) -> usize {
    let bytes_of_series = |file: &LoadedFile| Layer::BYTES_OF_SERIES as f64 + file.bytes_of_series(range);
    let bytes: f64 = files.iter().map(bytes_of_series).sum();
    let most_bytes = BATCH_BYTES.min(max_bytes as f64 / BATCH_PART);
    if bytes * BATCH as f64 <= most_bytes { BATCH } else { ((most_bytes / bytes) as usize).max(1) }
}

/// The series as their readers want them: by rising number, each with its place.
pub(crate) fn wanted(series: &[Arc<Series>]) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> =
        series.iter().enumerate().map(|(slot, series)| Wanted { id: series.id(), slot }).collect();
    if !wanted.is_sorted_by_key(|wanted| wanted.id) {
        wanted.sort_unstable_by_key(|wanted| wanted.id);
    }
    wanted
}

/// The times that are wanted of a series, and the lookback that holds for it.
fn range_of(series: &Series, request: &SelectRequest<'_>) -> (TimeRange, i64) {
    let lookback_ms = match request.lookback {
        Lookback::Range => 0,
        Lookback::Fixed(lookback_ms) => lookback_ms,
        Lookback::Widened(lookback_ms) => {
            series.cadence().map_or(lookback_ms, |cadence| cadence.lookback_ms(lookback_ms))
        }
    };
    (range_with(request, lookback_ms), lookback_ms)
}

fn range_with(request: &SelectRequest<'_>, lookback_ms: i64) -> TimeRange {
    let min_ms = match request.lookback {
        Lookback::Range => request.from_ms,
        // Open on the left.
        Lookback::Widened(_) | Lookback::Fixed(_) => request.from_ms.saturating_sub(lookback_ms).saturating_add(1),
    };
    TimeRange { min_ms, max_ms: request.to_ms }
}
