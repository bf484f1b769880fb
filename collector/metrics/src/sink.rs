//! Writing: reserve, then apply in journal order.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use tenantscope_model::{
    Exemplar, FamilyMetadata, Labels, Position, Refusal, Sink, StampedBatch, StampedSeries, TenantId,
};

use crate::columns::TimeRange;
use crate::head::histogram_bytes;
use crate::index::{Identity, hash_labels};
use crate::memory::Reservation;
use crate::removal::{is_removed, tenant_of};
use crate::series::{Removed, Series};
use crate::store::{Applied, MetricStore};
use crate::telemetry;

/// Bytes of a series' head apart from its samples.
const HEAD_BYTES: usize = 120;
/// Bytes that a sample takes at worst.
const SAMPLE_BYTES: usize = 18;
/// Bytes that a new series takes apart from its label texts.
const NEW_SERIES_BYTES: usize = 320;
/// New series that are made under one lock.
const PIECE: usize = 256;
/// Of the names and values of an exemplar's labels together (OpenMetrics 1.0, "Exemplars").
const MAX_EXEMPLAR_CHARACTERS: usize = 128;
/// When a sender may try again, once memory is full: a flush takes seconds.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Why samples are dropped: retention would drop them at once, or a wrong clock has made them.
const OLD: &str = "older_than_retention";
const FUTURE: &str = "future";

/// A batch with its memory reserved. Dropping it gives the memory back.
#[derive(Debug)]
pub struct PreparedBatch {
    series: Vec<PreparedSeries>,
    metadata: Vec<FamilyMetadata>,
    reservation: Reservation,
}

#[derive(Debug)]
struct PreparedSeries {
    /// As it was when the batch was prepared; the index may have forgotten it since.
    known: Option<Arc<Series>>,
    /// Made where the sender's own text did not tell which series it is.
    identity: Option<Identity>,
    new: StampedSeries,
}

impl MetricStore {
    fn resolve(&self, series: Vec<StampedSeries>) -> (Vec<PreparedSeries>, usize) {
        let range = self.accepted_times();
        let mut prepared: Vec<PreparedSeries> = Vec::with_capacity(series.len());
        for mut new in series {
            // Most of it left before the batch was prepared.
            let accepted = self.accepted_times_of(&new, range);
            drop_outside(&mut new, accepted);
            prepared.push(PreparedSeries { known: None, identity: None, new });
        }
        {
            let index = self.index.read();
            for series in &mut prepared {
                series.known = series.new.labels.fingerprint().and_then(|print| index.known(print)).cloned();
            }
        }
        let mut unknown: Vec<&mut PreparedSeries> = prepared.iter_mut().filter(|one| one.known.is_none()).collect();
        if !unknown.is_empty() {
            unknown.iter_mut().for_each(|one| one.identity = Some(self.identity_of(&one.new.labels)));
            let index = self.index.read();
            for series in unknown {
                series.known = series.identity.and_then(|identity| index.lookup(identity)).cloned();
            }
        }
        let bytes = prepared.iter().map(PreparedSeries::bytes).sum();
        (prepared, bytes)
    }

    fn identity_of(&self, labels: &Labels) -> Identity {
        hash_labels(&self.hasher, labels)
    }

    /// What the tenant's class of retention leaves of them.
    fn accepted_times_of(&self, new: &StampedSeries, range: TimeRange) -> TimeRange {
        if self.options.classes.classes.is_empty() {
            return range;
        }
        let now_ms = (self.options.now_ms)();
        let all_keep_ms = self.options.youngest_of_all_ms(now_ms);
        let mut times = new.samples.iter().map(|s| s.t_ms).chain(new.histograms.iter().map(|s| s.t_ms));
        if times.all(|t_ms| t_ms >= all_keep_ms) {
            return range;
        }
        let min_ms = self.options.oldest_of_tenant_ms(tenant_of(&new.labels), now_ms);
        TimeRange { min_ms: min_ms.max(range.min_ms), ..range }
    }

    fn accepted_times(&self) -> TimeRange {
        let now_ms = (self.options.now_ms)();
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        TimeRange {
            min_ms: self.options.oldest_of_all_ms(now_ms),
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

    /// Writes one series and returns the bytes of memory that it took.
    fn write(&self, applied: &mut Applied, prepared: &mut PreparedSeries) -> isize {
        let known = prepared.known.take().ok_or(Removed);
        if let Ok(bytes) = known.and_then(|series| write_to(applied, series, &prepared.new)) {
            return bytes;
        }
        let identity = prepared.identity.unwrap_or_else(|| self.identity_of(&prepared.new.labels));
        loop {
            let taken = self.index.write().take(identity, &prepared.new.labels);
            let Ok(series) = taken else {
                let lost = prepared.new.samples.len() + prepared.new.histograms.len();
                telemetry::DROPPED.with_label_values(&["series_numbers"]).inc_by(lost as u64);
                tracing::error!("all series numbers are spent: a restart gives new ones");
                return 0;
            };
            // A reader of blocks may have brought the same series in, and let it go with them, in between.
            if let Ok(bytes) = write_to(applied, series, &prepared.new) {
                return bytes;
            }
        }
    }

    /// Makes the series that are new, and remembers how senders write those whose text told nothing, some under each
    /// lock, so that readers get their turn.
    fn make_new(&self, series: &mut [PreparedSeries]) {
        let mut new: Vec<&mut PreparedSeries> =
            series.iter_mut().filter(|series| series.identity.is_some() && !series.is_empty()).collect();
        if new.is_empty() {
            return;
        }
        let mut made = 0;
        for piece in new.chunks_mut(PIECE) {
            let mut index = self.index.write();
            for series in piece {
                if let (None, Some(identity)) = (&series.known, series.identity) {
                    series.known = index.take(identity, &series.new.labels).ok();
                    made += 1;
                }
                if let (Some(known), Some(print)) = (&series.known, series.new.labels.fingerprint()) {
                    index.remember(print, known.id());
                }
            }
        }
        telemetry::SERIES_CREATED.inc_by(made);
        self.memory.set_index(self.index.read().bytes());
    }

    /// The index counts what is written to again with what writers have.
    fn take_from_blocks(&self, applied: &mut Applied) {
        if !applied.from_blocks.is_empty() {
            let mut index = self.index.write();
            index.take_from_blocks(&std::mem::take(&mut applied.from_blocks));
            self.memory.set_index(index.bytes());
        }
    }

    fn apply_batch(&self, prepared: PreparedBatch, position: Position) {
        let PreparedBatch { mut series, mut metadata, reservation } = prepared;
        let mut applied = self.applied.lock();
        if position <= self.durable_position() {
            tracing::debug!(%position, "a batch that the parts hold was applied again");
            return;
        }
        let stones = self.tombstones();
        if !stones.is_empty() {
            series.retain(|one| !is_removed(&stones, tenant_of(&one.new.labels), position));
            metadata.retain(|family| !is_removed(&stones, family.tenant.as_ref().map(TenantId::as_str), position));
        }
        series.iter().for_each(|one| self.note_dirty(&one.new, one.known.as_deref(), position));
        self.make_new(&mut series);
        let (mut samples, mut bytes) = (0, 0_isize);
        for series in series.iter_mut().filter(|series| !series.is_empty()) {
            self.note_lookback(&mut applied, series);
            bytes += self.write(&mut applied, series);
            samples += series.new.samples.len() + series.new.histograms.len();
        }
        self.memory.change_samples(bytes);
        self.take_from_blocks(&mut applied);
        self.take_metadata(metadata);
        applied.position = applied.position.max(position.0);
        drop(applied);
        drop(reservation);
        telemetry::SAMPLES.inc_by(samples as u64);
    }

    /// Before a series' samples can be found: readers look back far enough for its cadence.
    fn note_lookback(&self, applied: &mut Applied, series: &PreparedSeries) {
        let known = series.known.as_ref().map_or(0, |known| known.lookback_ms());
        let lookback_ms = series.new.cadence.map_or(known, |cadence| cadence.lookback_ms(0));
        if lookback_ms > applied.lookback_ms {
            applied.lookback_ms = lookback_ms;
            self.lookbacks.raise_live(lookback_ms);
        }
    }

    /// A batch was not applied whole: no flush passes it, so that it comes again from the journal at the next start, and
    /// nothing more is taken until then.
    pub(crate) fn stop_before(&self, position: Position) {
        tracing::error!(%position, "a batch could not be applied; writes are refused until a restart");
        self.applied.lock().failed_at.get_or_insert(position.0);
        self.upkeep.refuse_writes();
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

    fn leave_out(&self, batch: &mut StampedBatch) -> Vec<(&'static str, usize)> {
        let StampedBatch::Metrics { series, .. } = batch else { return Vec::new() };
        let range = self.accepted_times();
        let (mut old, mut future) = (0, 0);
        series.retain_mut(|new| {
            let accepted = self.accepted_times_of(new, range);
            let dropped = drop_outside(new, accepted);
            old += dropped.old;
            future += dropped.future;
            !(dropped.is_some() && is_empty(new))
        });
        [(OLD, old), (FUTURE, future)].into_iter().filter(|(_, samples)| *samples > 0).collect()
    }

    fn prepare(&self, batch: StampedBatch) -> Result<PreparedBatch, Refusal> {
        let StampedBatch::Metrics { series, metadata } = batch else {
            let message = "the metric store takes metrics only".to_owned();
            return Err(Refusal::Invalid { reason: "signal", message });
        };
        if self.upkeep.has_failed_to_apply() {
            telemetry::REFUSED.with_label_values(&["store_failed"]).inc();
            return Err(Refusal::Unavailable { reason: "store_failed", retry_after: RETRY_AFTER });
        }
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
        let applied = catch_unwind(AssertUnwindSafe(|| self.apply_batch(prepared, position)));
        if let Err(panic) = applied {
            self.stop_before(position);
            resume_unwind(panic);
        }
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

    fn flush_soon(&self) {
        self.upkeep.wake();
    }
}

fn write_to(applied: &mut Applied, series: Arc<Series>, new: &StampedSeries) -> Result<isize, Removed> {
    let written = series.write(applied.generation, new)?;
    if written.was_in_blocks_alone {
        applied.from_blocks.push(series.id());
    }
    if written.first {
        applied.touched.push(series);
    }
    Ok(written.bytes)
}

impl PreparedSeries {
    fn is_empty(&self) -> bool {
        is_empty(&self.new)
    }

    fn bytes(&self) -> usize {
        let labels = |new: &StampedSeries| new.labels.iter().map(|l| l.name.len() + l.value.len() + 64).sum::<usize>();
        let made = if self.known.is_none() { NEW_SERIES_BYTES + labels(&self.new) } else { 0 };
        let histograms: usize = self.new.histograms.iter().map(|sample| histogram_bytes(&sample.histogram)).sum();
        HEAD_BYTES + made + self.new.samples.len() * SAMPLE_BYTES + histograms + self.new.exemplars.len() * 200
    }
}

fn is_empty(new: &StampedSeries) -> bool {
    new.samples.is_empty() && new.histograms.is_empty() && new.exemplars.is_empty()
}

/// How many samples of a series were dropped.
#[derive(Default)]
struct Dropped {
    old: usize,
    future: usize,
}

impl Dropped {
    fn is_some(&self) -> bool {
        self.old + self.future > 0
    }
}

/// Whether an exemplar's labels are within the length that OpenMetrics gives them, as Prometheus asks too: an exemplar
/// names a trace and is no place for a text, which nothing would bound.
fn is_short(exemplar: &Exemplar) -> bool {
    let characters = |text: &str| text.chars().count();
    exemplar.labels.iter().map(|l| characters(&l.name) + characters(&l.value)).sum::<usize>() <= MAX_EXEMPLAR_CHARACTERS
}

/// Drops and counts what retention would drop at once, and what a wrong clock has made.
fn drop_outside(new: &mut StampedSeries, range: TimeRange) -> Dropped {
    let before = |t_ms: i64| t_ms < range.min_ms;
    let after = |t_ms: i64| t_ms > range.max_ms;
    let times = || new.samples.iter().map(|s| s.t_ms).chain(new.histograms.iter().map(|s| s.t_ms));
    let (old, future) = (times().filter(|t| before(*t)).count(), times().filter(|t| after(*t)).count());
    new.exemplars.retain(|exemplar| range.contains(exemplar.t_ms) && is_short(exemplar));
    if old + future == 0 {
        return Dropped::default();
    }
    let StampedSeries { samples, histograms, starts, .. } = new;
    retain_starts(&mut starts.samples_ms, samples.iter().map(|sample| range.contains(sample.t_ms)));
    retain_starts(&mut starts.histograms_ms, histograms.iter().map(|sample| range.contains(sample.t_ms)));
    samples.retain(|sample| range.contains(sample.t_ms));
    histograms.retain(|sample| range.contains(sample.t_ms));
    telemetry::DROPPED.with_label_values(&[OLD]).inc_by(old as u64);
    telemetry::DROPPED.with_label_values(&[FUTURE]).inc_by(future as u64);
    Dropped { old, future }
}

/// Drops the starts of samples that do not stay.
fn retain_starts(starts_ms: &mut Vec<i64>, mut stays: impl Iterator<Item = bool>) {
    starts_ms.retain(|_| stays.next().unwrap_or_default());
}
