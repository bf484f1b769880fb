//! The samples of one series between two flushes.

use std::sync::Arc;

use tenantscope_model::{Exemplar, Histogram, HistogramSample, Sample, StampedSeries};

use crate::chunk::floats::FloatChunk;
use crate::chunk::starts::StartRuns;
use crate::columns::{Columns, TimeRange, tidy_starts};

/// Exemplars that one series keeps between two flushes; the oldest goes first.
pub(crate) const MAX_EXEMPLARS_IN_MEMORY: usize = 32;

/// The samples of one generation. Every active series has one.
#[derive(Debug)]
pub(crate) struct Head {
    /// Floats that came in order.
    floats: FloatChunk,
    rest: Option<Box<Rest>>,
    /// The lowest bits of the number of the flush that takes it.
    generation: u32,
}

/// What a head holds, for a flush.
#[derive(Debug)]
pub(crate) enum Content {
    Nothing,
    /// A chunk of floats as it is written, and nothing else.
    Chunk {
        count: u32,
        range: TimeRange,
    },
    Decoded(Columns, Vec<Exemplar>),
}

/// What most series do not have.
#[derive(Debug)]
struct Rest {
    /// Times in `late`.
    range: TimeRange,
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

impl Default for Rest {
    fn default() -> Self {
        let (late, starts, exemplars) = Default::default();
        let (tidy_at, histogram_bytes) = (0, 0);
        Self { range: TimeRange::EMPTY, late, tidy_at, has_histograms: false, starts, exemplars, histogram_bytes }
    }
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
    pub(crate) fn new(generation: u64) -> Self {
        Self { floats: FloatChunk::default(), rest: None, generation: generation as u32 }
    }

    /// Whether it belongs to a flush before this one. No two generations that are alive are far apart.
    pub(crate) fn is_before(&self, generation: u64) -> bool {
        (self.generation.wrapping_sub(generation as u32) as i32) < 0
    }

    /// Adds the samples of a batch.
    pub(crate) fn write(&mut self, new: &StampedSeries) {
        new.samples.iter().zip(each(&new.starts.samples_ms)).for_each(|(s, start_ms)| self.push(*s, start_ms));
        let histograms = new.histograms.iter().zip(each(&new.starts.histograms_ms));
        histograms.for_each(|(sample, start_ms)| self.push_histogram(sample.clone(), start_ms));
        new.exemplars.iter().for_each(|exemplar| self.push_exemplar(exemplar.clone()));
    }

    fn push(&mut self, sample: Sample, start_ms: i64) {
        let in_order = self.floats.last_ms().is_none_or(|last_ms| sample.t_ms > last_ms);
        let mixed = self.rest.as_ref().is_some_and(|rest| rest.has_histograms);
        if in_order && !mixed && !self.floats.is_full() {
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
        let rest = self.rest.get_or_insert_default();
        rest.has_histograms = true;
        rest.histogram_bytes += histogram_bytes(&sample.histogram);
        self.push_late(Late { t_ms: sample.t_ms, start_ms, value: LateValue::Histogram(sample.histogram) });
    }

    fn push_late(&mut self, late: Late) {
        let rest = self.rest.get_or_insert_default();
        rest.range.include(late.t_ms);
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

    pub(crate) fn range(&self) -> TimeRange {
        let mut range = self.floats.range();
        self.rest.iter().for_each(|rest| range.include_range(rest.range));
        range
    }

    pub(crate) fn content(&self, chunk: &mut Vec<u8>) -> Content {
        match &self.rest {
            None => {
                chunk.clear();
                self.floats.write_to(chunk);
                Content::Chunk { count: self.floats.count(), range: self.floats.range() }
            }
            Some(rest) => Content::Decoded(self.read(TimeRange::ALL), rest.exemplars.clone()),
        }
    }

    pub(crate) fn exemplars(&self) -> &[Exemplar] {
        self.rest.as_ref().map_or(&[], |rest| &rest.exemplars)
    }

    pub(crate) fn read(&self, range: TimeRange) -> Columns {
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

    /// Appends the floats within the range, if there is nothing else in memory; says whether that is so.
    pub(crate) fn read_floats(&self, range: TimeRange, out: &mut Vec<Sample>) -> bool {
        // Only a chunk of our own making is read here, so it is never damaged.
        self.rest.is_none() && self.floats.read(range, out).is_ok()
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
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
