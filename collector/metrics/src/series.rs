//! One series in memory: its labels as symbols, and the samples that no part holds yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tenantscope_model::{Cadence, Exemplar, Histogram, HistogramSample, Sample, StampedSeries};

use crate::chunk::floats::FloatChunk;
use crate::chunk::starts::StartRuns;
use crate::columns::{Columns, TimeRange, tidy_starts};

/// A series' number within this process.
pub(crate) type SeriesId = u32;
/// Name and value of each label, in the order of the names.
pub(crate) type LabelSymbols = Box<[(u32, u32)]>;

/// Exemplars that one series keeps between two flushes; the oldest goes first.
pub(crate) const MAX_EXEMPLARS_IN_MEMORY: usize = 32;

/// A series. Its own lock is held for the moment in which samples are added or copied.
#[derive(Debug)]
pub(crate) struct Series {
    id: SeriesId,
    hash: u64,
    labels: LabelSymbols,
    cadence: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The index has forgotten the series; samples must go to a new one.
    removed: bool,
    /// Live parts that hold the series.
    parts: u32,
    /// What is being flushed.
    frozen: Option<Box<Head>>,
    /// What came since.
    head: Option<Box<Head>>,
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    /// Bytes of memory added.
    pub(crate) bytes: usize,
    /// Whether it is the series' first write since the last flush began.
    pub(crate) first: bool,
}

/// The series is no longer in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Removed;

impl Series {
    pub(crate) fn new(id: SeriesId, hash: u64, labels: LabelSymbols) -> Self {
        Self { id, hash, labels, cadence: AtomicU64::new(0), state: Mutex::default() }
    }

    pub(crate) fn id(&self) -> SeriesId {
        self.id
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn labels(&self) -> &[(u32, u32)] {
        &self.labels
    }

    pub(crate) fn cadence(&self) -> Option<Cadence> {
        let packed = self.cadence.load(Ordering::Relaxed);
        let (cadence_ms, delay_ms) = ((packed >> 32) as i64 - 1, (packed & 0xffff_ffff) as i64);
        (packed != 0).then_some(Cadence { cadence_ms, delay_ms })
    }

    pub(crate) fn set_cadence(&self, cadence: Cadence) {
        // Capped, both fit 32 bits; one is added so that 0 is left for a series without cadence.
        let capped = Cadence::capped(cadence.cadence_ms, cadence.delay_ms);
        self.cadence.store(((capped.cadence_ms as u64 + 1) << 32) | capped.delay_ms as u64, Ordering::Relaxed);
    }

    /// Adds samples to the head of this generation; an older head is frozen first.
    pub(crate) fn write(&self, generation: u64, new: &StampedSeries) -> Result<Written, Removed> {
        let mut state = self.state.lock();
        if state.removed {
            return Err(Removed);
        }
        if state.head.as_ref().is_some_and(|head| head.generation < generation) {
            state.frozen = state.head.take();
        }
        let first = state.head.is_none();
        let head = state.head.get_or_insert_with(|| Box::new(Head::new(generation)));
        let before = if first { 0 } else { head.bytes() };
        new.samples.iter().zip(each(&new.starts.samples_ms)).for_each(|(s, start_ms)| head.push(*s, start_ms));
        let histograms = new.histograms.iter().zip(each(&new.starts.histograms_ms));
        histograms.for_each(|(sample, start_ms)| head.push_histogram(sample.clone(), start_ms));
        new.exemplars.iter().for_each(|exemplar| head.push_exemplar(exemplar.clone()));
        let bytes = head.bytes().saturating_sub(before);
        drop(state);
        if let Some(cadence) = new.cadence {
            self.set_cadence(cadence);
        }
        Ok(Written { bytes, first })
    }

    /// Freezes what belongs to this generation or an older one, and returns it.
    pub(crate) fn freeze(&self, generation: u64) -> (Columns, Vec<Exemplar>) {
        let mut state = self.state.lock();
        if state.head.as_ref().is_some_and(|head| head.generation <= generation) {
            state.frozen = state.head.take();
        }
        let Some(frozen) = &state.frozen else { return Default::default() };
        (frozen.read(TimeRange::ALL), frozen.exemplars().to_vec())
    }

    /// Drops what was frozen, now that parts hold it, and says how many bytes that frees.
    pub(crate) fn thaw(&self) -> usize {
        self.state.lock().frozen.take().map_or(0, |frozen| frozen.bytes())
    }

    /// What memory holds within the range.
    pub(crate) fn read(&self, range: TimeRange) -> Columns {
        let state = self.state.lock();
        let mut columns = Columns::default();
        for head in state.layers() {
            if head.range.overlaps(range) {
                columns.overlay(head.read(range));
            }
        }
        columns
    }

    /// Exemplars in memory within the range, in the order in which they came.
    pub(crate) fn exemplars(&self, range: TimeRange) -> Vec<Exemplar> {
        let state = self.state.lock();
        let all = state.layers().flat_map(Head::exemplars);
        all.filter(|exemplar| range.contains(exemplar.t_ms)).cloned().collect()
    }

    /// Whether memory may hold samples within the range.
    pub(crate) fn has_samples(&self, range: TimeRange) -> bool {
        self.state.lock().layers().any(|head| head.range.overlaps(range))
    }

    /// One more live part holds the series.
    pub(crate) fn join_part(&self) {
        self.state.lock().parts += 1;
    }

    /// One part less holds the series; says whether nothing does.
    pub(crate) fn leave_part(&self) -> bool {
        let mut state = self.state.lock();
        state.parts = state.parts.saturating_sub(1);
        state.is_unused()
    }

    /// Whether neither memory nor a part holds the series.
    pub(crate) fn is_unused(&self) -> bool {
        self.state.lock().is_unused()
    }

    /// Marks the series as removed if nothing holds it.
    pub(crate) fn remove_if_unused(&self) -> bool {
        let mut state = self.state.lock();
        state.removed |= state.is_unused();
        state.removed
    }
}

impl State {
    fn is_unused(&self) -> bool {
        self.parts == 0 && self.frozen.is_none() && self.head.is_none()
    }

    /// Older first.
    fn layers(&self) -> impl Iterator<Item = &Head> {
        [&self.frozen, &self.head].into_iter().flatten().map(|head| &**head)
    }
}

/// The samples of one generation.
#[derive(Debug)]
struct Head {
    generation: u64,
    range: TimeRange,
    /// Floats that came in order.
    floats: FloatChunk,
    rest: Option<Box<Rest>>,
}

/// What most series do not have.
#[derive(Debug, Default)]
struct Rest {
    /// What is at or before the last of `floats`, and all that came since the first histogram, as it came. So at one
    /// time these are newer than `floats`, and the last of them is the newest.
    late: Vec<Late>,
    /// `late.len()` from which repeated times are taken out.
    tidy_at: usize,
    has_histograms: bool,
    /// Of all `floats`; empty where none is known.
    starts: StartRuns,
    exemplars: Vec<Exemplar>,
    histogram_bytes: usize,
}

#[derive(Debug, Clone)]
struct Late {
    t_ms: i64,
    /// 0 where it is not known.
    start_ms: i64,
    value: LateValue,
}

#[derive(Debug, Clone)]
enum LateValue {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl Head {
    fn new(generation: u64) -> Self {
        Self { generation, range: TimeRange::EMPTY, floats: FloatChunk::default(), rest: None }
    }

    fn push(&mut self, sample: Sample, start_ms: i64) {
        self.range.include(sample.t_ms);
        let in_order = self.floats.last_ms().is_none_or(|last_ms| sample.t_ms > last_ms);
        let mixed = self.rest.as_ref().is_some_and(|rest| rest.has_histograms);
        if in_order && !mixed {
            self.push_start(start_ms);
            self.floats.push(sample);
        } else {
            self.push_late(Late { t_ms: sample.t_ms, start_ms, value: LateValue::Float(sample.value) });
        }
    }

    /// Of the float that is about to be pushed.
    fn push_start(&mut self, start_ms: i64) {
        if start_ms == 0 && self.rest.as_ref().is_none_or(|rest| rest.starts.is_empty()) {
            return;
        }
        let starts = &mut self.rest.get_or_insert_default().starts;
        if starts.is_empty() {
            starts.push_run(self.floats.count(), 0);
        }
        starts.push(start_ms);
    }

    fn push_histogram(&mut self, sample: HistogramSample, start_ms: i64) {
        self.range.include(sample.t_ms);
        let rest = self.rest.get_or_insert_default();
        rest.has_histograms = true;
        rest.histogram_bytes += histogram_bytes(&sample.histogram);
        self.push_late(Late { t_ms: sample.t_ms, start_ms, value: LateValue::Histogram(sample.histogram) });
    }

    fn push_late(&mut self, late: Late) {
        let rest = self.rest.get_or_insert_default();
        rest.late.push(late);
        if rest.late.len() > rest.tidy_at.max(256) {
            tidy(&mut rest.late);
            rest.tidy_at = rest.late.len() * 2;
            rest.histogram_bytes = rest.late.iter().map(Late::histogram_bytes).sum();
        }
    }

    fn push_exemplar(&mut self, exemplar: Exemplar) {
        let exemplars = &mut self.rest.get_or_insert_default().exemplars;
        if exemplars.last() == Some(&exemplar) {
            return;
        }
        if exemplars.len() >= MAX_EXEMPLARS_IN_MEMORY {
            exemplars.remove(0);
        }
        exemplars.push(exemplar);
    }

    fn exemplars(&self) -> &[Exemplar] {
        self.rest.as_ref().map_or(&[], |rest| &rest.exemplars)
    }

    fn read(&self, range: TimeRange) -> Columns {
        let mut columns = Columns::default();
        // Only a chunk of our own making is read here, so it is never damaged.
        let before = self.floats.read(range, &mut columns.samples).unwrap_or_default();
        let Some(rest) = &self.rest else { return columns };
        columns.starts.samples_ms = rest.starts.read(before, columns.samples.len());
        tidy_starts(&mut columns.starts.samples_ms);
        let mut late: Vec<Late> = rest.late.iter().filter(|late| range.contains(late.t_ms)).cloned().collect();
        tidy(&mut late);
        let mut newer = Columns::default();
        for Late { t_ms, start_ms, value } in late {
            match value {
                LateValue::Float(value) => {
                    newer.samples.push(Sample { t_ms, value });
                    newer.starts.samples_ms.push(start_ms);
                }
                LateValue::Histogram(histogram) => {
                    newer.histograms.push(HistogramSample { t_ms, histogram });
                    newer.starts.histograms_ms.push(start_ms);
                }
            }
        }
        tidy_starts(&mut newer.starts.samples_ms);
        tidy_starts(&mut newer.starts.histograms_ms);
        columns.overlay(newer);
        columns
    }

    fn bytes(&self) -> usize {
        let rest = self.rest.as_ref().map_or(0, |rest| {
            let exemplars = rest.exemplars.len() * (size_of::<Exemplar>() + 160);
            let late = rest.late.capacity() * size_of::<Late>();
            size_of::<Rest>() + late + rest.starts.capacity() + exemplars + rest.histogram_bytes
        });
        size_of::<Self>() + self.floats.capacity() + rest
    }
}

impl Late {
    fn histogram_bytes(&self) -> usize {
        match &self.value {
            LateValue::Float(_) => 0,
            LateValue::Histogram(histogram) => histogram_bytes(histogram),
        }
    }
}

/// The starts, then that of all for which none is given.
fn each(starts_ms: &[i64]) -> impl Iterator<Item = i64> {
    starts_ms.iter().copied().chain(std::iter::repeat(0))
}

/// About how many bytes a histogram takes.
pub(crate) fn histogram_bytes(histogram: &Histogram) -> usize {
    let side = |side: &tenantscope_model::Spans| side.spans.len() * 8 + side.counts.len() * 8;
    size_of::<Histogram>()
        + 16
        + side(&histogram.positive)
        + side(&histogram.negative)
        + histogram.custom_bounds.len() * 8
}

/// Sorts by time and keeps the last of each time.
fn tidy(late: &mut Vec<Late>) {
    // The sort is stable: of one time the newest stays last, and moves to the front of its run.
    late.sort_by_key(|late| late.t_ms);
    late.dedup_by(|next, kept| {
        let same = next.t_ms == kept.t_ms;
        if same {
            std::mem::swap(next, kept);
        }
        same
    });
}
