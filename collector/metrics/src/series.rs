//! One series in memory: its labels as symbols, and the samples that no part holds yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use tenantscope_model::{Cadence, Exemplar, Sample, StampedSeries};

use crate::columns::{Columns, TimeRange};
use crate::head::{Content, Head};
use crate::index::{Identity, Shape};

/// A series' number within this process.
pub(crate) type SeriesId = u32;

/// `parts` of a series that the index has forgotten.
const REMOVED: u32 = u32::MAX;
/// `parts` of a series that only blocks in memory hold. In the same place, since millions of series have one.
const IN_BLOCKS_ALONE: u32 = u32::MAX - 1;

/// A series. Its own lock is held for the moment in which samples are added or copied.
#[derive(Debug)]
pub(crate) struct Series {
    id: SeriesId,
    /// Live parts that hold the series, or one of the marks above.
    parts: AtomicU32,
    identity: Identity,
    shape: Arc<Shape>,
    /// A symbol for each of the shape's names.
    values: Box<[u32]>,
    cadence: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What is being flushed.
    frozen: Option<Box<Head>>,
    /// What came since.
    head: Option<Box<Head>>,
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    /// Bytes of memory added; negative where samples of one time gave way to the newest.
    pub(crate) bytes: isize,
    /// Whether it is the series' first write since the last flush began.
    pub(crate) first: bool,
    /// Whether only blocks held the series until now.
    pub(crate) was_in_blocks_alone: bool,
}

/// The series is no longer in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Removed;

impl Series {
    pub(crate) fn new(id: SeriesId, identity: Identity, shape: Arc<Shape>, values: Box<[u32]>) -> Self {
        let (parts, cadence, state) = (AtomicU32::new(0), AtomicU64::new(0), Mutex::default());
        Self { id, parts, identity, shape, values, cadence, state }
    }

    pub(crate) fn id(&self) -> SeriesId {
        self.id
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    pub(crate) fn shape(&self) -> &Arc<Shape> {
        &self.shape
    }

    /// The symbols of the values, in the order of the shape's names.
    pub(crate) fn values(&self) -> &[u32] {
        &self.values
    }

    /// The symbols of name and value of each label, in the order of the names.
    pub(crate) fn labels(&self) -> impl ExactSizeIterator<Item = (u32, u32)> {
        self.shape.names().iter().copied().zip(self.values.iter().copied())
    }

    /// The symbol of the value of a label.
    pub(crate) fn value(&self, name: u32) -> Option<u32> {
        let at = self.shape.names().iter().position(|other| *other == name)?;
        self.values.get(at).copied()
    }

    pub(crate) fn cadence(&self) -> Option<Cadence> {
        let packed = self.cadence.load(Ordering::Relaxed);
        let (cadence_ms, delay_ms) = ((packed >> 32) as i64 - 1, (packed & 0xffff_ffff) as i64);
        (packed != 0).then_some(Cadence { cadence_ms, delay_ms })
    }

    /// How far an instant selector looks back because of the cadence; 0 without one.
    pub(crate) fn lookback_ms(&self) -> i64 {
        self.cadence().map_or(0, |cadence| cadence.lookback_ms(0))
    }

    pub(crate) fn set_cadence(&self, cadence: Cadence) {
        // Capped, both fit 32 bits; one is added so that 0 is left for a series without cadence.
        let capped = Cadence::capped(cadence.cadence_ms, cadence.delay_ms);
        self.cadence.store(((capped.cadence_ms as u64 + 1) << 32) | capped.delay_ms as u64, Ordering::Relaxed);
    }

    /// Adds samples to the head of this generation; an older head is frozen first.
    pub(crate) fn write(&self, generation: u64, new: &StampedSeries) -> Result<Written, Removed> {
        let mut state = self.state.lock();
        let was_in_blocks_alone = match self.parts.load(Ordering::Relaxed) {
            REMOVED => return Err(Removed),
            parts => parts == IN_BLOCKS_ALONE,
        };
        if was_in_blocks_alone {
            self.parts.store(0, Ordering::Relaxed);
        }
        if state.head.as_ref().is_some_and(|head| head.is_before(generation)) {
            state.frozen = state.head.take();
        }
        let first = state.head.is_none();
        let head = state.head.get_or_insert_with(|| Box::new(Head::new(generation)));
        let before = if first { 0 } else { head.bytes() };
        head.write(new);
        let bytes = head.bytes().cast_signed() - before.cast_signed();
        drop(state);
        if let Some(cadence) = new.cadence {
            self.set_cadence(cadence);
        }
        Ok(Written { bytes, first, was_in_blocks_alone })
    }

    /// Freezes what belongs to this generation or an older one, and returns it; the bytes of a chunk are put into
    /// `chunk`.
    pub(crate) fn freeze(&self, generation: u64, chunk: &mut Vec<u8>) -> Content {
        let mut state = self.state.lock();
        if state.head.as_ref().is_some_and(|head| head.is_before(generation + 1)) {
            state.frozen = state.head.take();
        }
        state.frozen.as_ref().map_or(Content::Nothing, |frozen| frozen.content(chunk))
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
            if head.range().overlaps(range) {
                columns.overlay(head.read(range));
            }
        }
        columns
    }

    /// The same, if memory holds nothing but floats that came in order: they are appended. False, and nothing appended, if
    /// not.
    pub(crate) fn read_floats(&self, range: TimeRange, out: &mut Vec<Sample>) -> bool {
        let from = out.len();
        let state = self.state.lock();
        for head in state.layers().filter(|head| head.range().overlaps(range)) {
            let before = out.len();
            let follows = |out: &[Sample]| out.len() == before || before == from || in_order_at(out, before);
            if !head.read_floats(range, out) || !follows(out) {
                out.truncate(from);
                return false;
            }
        }
        true
    }

    /// Exemplars in memory within the range, in the order in which they came.
    pub(crate) fn exemplars(&self, range: TimeRange) -> Vec<Exemplar> {
        let state = self.state.lock();
        let all = state.layers().flat_map(Head::exemplars);
        all.filter(|exemplar| range.contains(exemplar.t_ms)).cloned().collect()
    }

    /// Whether memory may hold samples within the range.
    pub(crate) fn has_samples(&self, range: TimeRange) -> bool {
        self.state.lock().layers().any(|head| head.range().overlaps(range))
    }

    /// One more live part holds the series, which is in the index.
    pub(crate) fn join_part(&self) {
        let more = |parts: u32| match parts {
            REMOVED => None,
            IN_BLOCKS_ALONE => Some(1),
            parts => Some(parts + 1),
        };
        let _ = self.parts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// One part less holds the series; says whether nothing does.
    pub(crate) fn leave_part(&self) -> bool {
        let state = self.state.lock();
        let fewer = |parts: u32| match parts {
            0 | IN_BLOCKS_ALONE | REMOVED => None,
            parts => Some(parts - 1),
        };
        let _ = self.parts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
        self.is_unused_in(&state)
    }

    /// Whether neither memory nor a part holds the series.
    pub(crate) fn is_unused(&self) -> bool {
        self.is_unused_in(&self.state.lock())
    }

    /// Marks the series as removed if neither memory nor a part holds it. The index's lock is held, so that no part joins
    /// meanwhile.
    pub(crate) fn remove_if_unused(&self) -> bool {
        self.mark_if_unused(REMOVED)
    }

    /// Marks the series as one that only blocks hold, if neither memory nor a part does.
    pub(crate) fn leave_to_blocks_if_unused(&self) -> bool {
        self.mark_if_unused(IN_BLOCKS_ALONE)
    }

    /// Whether neither memory nor a part has held the series since it was left to blocks.
    pub(crate) fn is_in_blocks_alone(&self) -> bool {
        self.parts.load(Ordering::Relaxed) == IN_BLOCKS_ALONE
    }

    fn mark_if_unused(&self, mark: u32) -> bool {
        let state = self.state.lock();
        let unused = self.is_unused_in(&state);
        if unused {
            self.parts.store(mark, Ordering::Relaxed);
        }
        unused
    }

    fn is_unused_in(&self, state: &State) -> bool {
        let in_no_part = matches!(self.parts.load(Ordering::Relaxed), 0 | IN_BLOCKS_ALONE | REMOVED);
        in_no_part && state.frozen.is_none() && state.head.is_none()
    }
}

/// Whether the sample at a place is later than the one before it.
fn in_order_at(samples: &[Sample], at: usize) -> bool {
    let pair = at.checked_sub(1).and_then(|before| samples.get(before)).zip(samples.get(at));
    pair.is_none_or(|(before, after)| before.t_ms < after.t_ms)
}

impl State {
    /// Older first.
    fn layers(&self) -> impl Iterator<Item = &Head> {
        [&self.frozen, &self.head].into_iter().flatten().map(|head| &**head)
    }
}
