//! Writing: reserve, then apply in journal order.

use std::sync::Arc;
use std::time::Duration;

use tenantscope_model::{FamilyMetadata, Position, Refusal, Sink, StampedBatch, StampedSeries};

use crate::columns::TimeRange;
use crate::index::hash_labels;
use crate::memory::Reservation;
use crate::series::{Series, histogram_bytes};
use crate::store::{Applied, MetricStore};
use crate::telemetry;

/// Bytes of a series' head apart from its samples.
const HEAD_BYTES: usize = 200;
/// Bytes that a sample takes at worst.
const SAMPLE_BYTES: usize = 18;
/// Bytes that a new series takes apart from its label texts.
const NEW_SERIES_BYTES: usize = 512;
/// New series that are made under one lock.
const PIECE: usize = 256;
/// When a sender may try again, once memory is full: a flush takes seconds.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A batch with its memory reserved. Dropping it gives the memory back.
#[derive(Debug)]
pub struct PreparedBatch {
    series: Vec<PreparedSeries>,
    metadata: Vec<FamilyMetadata>,
    reservation: Reservation,
}

#[derive(Debug)]
struct PreparedSeries {
    hash: u64,
    /// As it was when the batch was prepared; the index may have forgotten it since.
    known: Option<Arc<Series>>,
    new: StampedSeries,
}

impl MetricStore {
    fn resolve(&self, series: Vec<StampedSeries>) -> (Vec<PreparedSeries>, usize) {
        let range = self.accepted_times();
        let mut prepared: Vec<PreparedSeries> = series
            .into_iter()
            .map(|mut new| {
                drop_outside(&mut new, range);
                new.cadence.into_iter().for_each(|cadence| self.note_cadence(cadence));
                PreparedSeries { hash: hash_labels(&self.hasher, &new.labels), known: None, new }
            })
            .collect();
        let index = self.index.read();
        for series in &mut prepared {
            series.known = index.lookup(series.hash, &series.new.labels).cloned();
        }
        drop(index);
        let bytes = prepared.iter().map(PreparedSeries::bytes).sum();
        (prepared, bytes)
    }

    fn accepted_times(&self) -> TimeRange {
        let now_ms = (self.options.now_ms)();
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        TimeRange {
            min_ms: self.options.retention.map_or(i64::MIN, |kept| now_ms.saturating_sub(ms(kept))),
            max_ms: self.options.future_max.map_or(i64::MAX, |ahead| now_ms.saturating_add(ms(ahead))),
        }
    }

    /// Begins a flush before memory is full, so that writes need not wait for one.
    fn flush_in_time(&self) {
        let for_samples = self.options.memory_max_bytes.saturating_sub(self.memory.index());
        if self.memory.used().saturating_sub(self.memory.index()) > for_samples / 2 {
            self.upkeep.wake();
        }
    }

    fn write(&self, applied: &mut Applied, prepared: &PreparedSeries) {
        let known = prepared.known.as_ref().map(Arc::clone);
        if known.is_some_and(|series| self.write_to(applied, series, &prepared.new)) {
            return;
        }
        let taken = self.index.write().take(prepared.hash, &prepared.new.labels);
        match taken {
            Ok(series) => drop(self.write_to(applied, series, &prepared.new)),
            Err(_) => {
                let lost = prepared.new.samples.len() + prepared.new.histograms.len();
                telemetry::DROPPED.with_label_values(&["series_numbers"]).inc_by(lost as u64);
                tracing::error!("all series numbers are spent: a restart gives new ones");
            }
        }
    }

    fn write_to(&self, applied: &mut Applied, series: Arc<Series>, new: &StampedSeries) -> bool {
        let Ok(written) = series.write(applied.generation, new) else { return false };
        self.memory.add_samples(written.bytes);
        if written.first {
            applied.touched.push(series);
        }
        true
    }

    /// Makes the series that are new, some under each lock, so that readers get their turn.
    fn make_new(&self, series: &mut [PreparedSeries]) {
        let mut new: Vec<&mut PreparedSeries> =
            series.iter_mut().filter(|series| series.known.is_none() && !series.is_empty()).collect();
        let made = new.len();
        for piece in new.chunks_mut(PIECE) {
            let mut index = self.index.write();
            for series in piece {
                series.known = index.take(series.hash, &series.new.labels).ok();
            }
        }
        if made > 0 {
            telemetry::SERIES_CREATED.inc_by(made as u64);
            self.memory.set_index(self.index.read().bytes());
        }
    }

    fn take_metadata(&self, metadata: Vec<FamilyMetadata>) {
        let known = self.families.read();
        let new: Vec<FamilyMetadata> = metadata.into_iter().filter(|family| !known.knows(family)).collect();
        drop(known);
        if !new.is_empty() {
            let mut families = self.families.write();
            new.into_iter().for_each(|family| families.take(family));
        }
    }
}

impl Sink for MetricStore {
    type Prepared = PreparedBatch;

    fn prepare(&self, batch: StampedBatch) -> Result<PreparedBatch, Refusal> {
        let StampedBatch::Metrics { series, metadata } = batch else {
            let message = "the metric store takes metrics only".to_owned();
            return Err(Refusal::Invalid { reason: "signal", message });
        };
        let (series, bytes) = self.resolve(series);
        let refuse = |reason: &'static str| {
            telemetry::REFUSED.with_label_values(&[reason]).inc();
            Refusal::Unavailable { reason, retry_after: RETRY_AFTER }
        };
        let new = series.iter().filter(|series| series.known.is_none()).count();
        if !self.index.read().has_numbers(new) {
            return Err(refuse("store_series_numbers"));
        }
        let Some(reservation) = self.memory.try_reserve(bytes, self.options.memory_max_bytes) else {
            self.upkeep.wake();
            return Err(refuse("store_memory"));
        };
        self.flush_in_time();
        Ok(PreparedBatch { series, metadata, reservation })
    }

    fn apply(&self, prepared: PreparedBatch, position: Position) {
        let PreparedBatch { mut series, metadata, reservation } = prepared;
        let mut applied = self.applied.lock();
        if position <= self.durable_position() {
            tracing::debug!(%position, "a batch that the parts hold was applied again");
            return;
        }
        self.make_new(&mut series);
        let mut samples = 0;
        for series in series.iter().filter(|series| !series.is_empty()) {
            self.write(&mut applied, series);
            samples += series.new.samples.len() + series.new.histograms.len();
        }
        self.take_metadata(metadata);
        applied.position = applied.position.max(position.0);
        drop(applied);
        drop(reservation);
        telemetry::SAMPLES.inc_by(samples as u64);
    }

    fn prepare_replay(&self, batch: StampedBatch) -> PreparedBatch {
        let (series, metadata) = match batch {
            StampedBatch::Metrics { series, metadata } => (series, metadata),
            StampedBatch::Logs(_) | StampedBatch::Spans(_) => Default::default(),
        };
        let (series, bytes) = self.resolve(series);
        let reservation = self.memory.reserve(bytes);
        self.flush_in_time();
        PreparedBatch { series, metadata, reservation }
    }

    fn durable(&self) -> Position {
        self.durable_position()
    }
}

impl PreparedSeries {
    fn is_empty(&self) -> bool {
        self.new.samples.is_empty() && self.new.histograms.is_empty() && self.new.exemplars.is_empty()
    }

    fn bytes(&self) -> usize {
        let labels = |new: &StampedSeries| new.labels.iter().map(|l| l.name.len() + l.value.len() + 64).sum::<usize>();
        let made = if self.known.is_none() { NEW_SERIES_BYTES + labels(&self.new) } else { 0 };
        let histograms: usize = self.new.histograms.iter().map(|sample| histogram_bytes(&sample.histogram)).sum();
        HEAD_BYTES + made + self.new.samples.len() * SAMPLE_BYTES + histograms + self.new.exemplars.len() * 200
    }
}

/// Drops and counts what retention would drop at once, and what a wrong clock has made.
fn drop_outside(new: &mut StampedSeries, range: TimeRange) {
    let before = |t_ms: i64| t_ms < range.min_ms;
    let after = |t_ms: i64| t_ms > range.max_ms;
    let times = || new.samples.iter().map(|s| s.t_ms).chain(new.histograms.iter().map(|s| s.t_ms));
    let (old, future) = (times().filter(|t| before(*t)).count(), times().filter(|t| after(*t)).count());
    new.exemplars.retain(|exemplar| range.contains(exemplar.t_ms));
    if old + future == 0 {
        return;
    }
    let StampedSeries { samples, histograms, starts, .. } = new;
    retain_starts(&mut starts.samples_ms, samples.iter().map(|sample| range.contains(sample.t_ms)));
    retain_starts(&mut starts.histograms_ms, histograms.iter().map(|sample| range.contains(sample.t_ms)));
    samples.retain(|sample| range.contains(sample.t_ms));
    histograms.retain(|sample| range.contains(sample.t_ms));
    telemetry::DROPPED.with_label_values(&["older_than_retention"]).inc_by(old as u64);
    telemetry::DROPPED.with_label_values(&["future"]).inc_by(future as u64);
}

/// Drops the starts of samples that do not stay.
fn retain_starts(starts_ms: &mut Vec<i64>, mut stays: impl Iterator<Item = bool>) {
    starts_ms.retain(|_| stays.next().unwrap_or_default());
}
