//! From memory to parts: everything up to one journal position, one part for each window.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use tenantscope_model::{Exemplar, Position, TenantId};

use crate::chunk::floats;
use crate::columns::{Columns, TimeRange};
use crate::error::StoreError;
use crate::families_file;
use crate::head::Content;
use crate::index::{LabelTexts, order_values};
use crate::part::{MAX_FLOATS_IN_CHUNK, Part, PartWriter, WINDOW_MS, window_of};
use crate::removal::Tombstone;
use crate::series::{Series, SeriesId};
use crate::store::{Change, MetricStore, remove_file};
use crate::telemetry;

/// Windows written side by side; more take further passes over memory, so that files stay few whatever the times are.
const MAX_OPEN_WINDOWS: usize = 64;
/// Exemplars of one series in one part; the newest stay.
pub(crate) const MAX_EXEMPLARS_IN_PART: usize = 128;

/// What a flush has taken out of the writer's hands. It stays until a commit succeeds.
#[derive(Debug)]
pub(crate) struct Frozen {
    generation: u64,
    position: u64,
    /// In the order of the part, once it is written.
    series: Vec<Arc<Series>>,
}

impl MetricStore {
    /// Writes everything that was applied so far into parts and makes it durable. Returns at once if there is nothing.
    ///
    /// After an error nothing is lost and readers see what they saw: call it again.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.flush_frozen_or_new(&mut self.flushing.lock())
    }

    /// Flushes, and removes a tenant at the position that the flush reaches: both are in force at once, so that everything
    /// of the tenant in memory becomes parts up to there, and nothing later does. Returns how many families went.
    pub(crate) fn flush_with_tombstone(
        &self,
        tenant: &TenantId,
        up_to: Position,
    ) -> Result<(Tombstone, u64), StoreError> {
        let mut flushing = self.flushing.lock();
        if flushing.is_some() {
            // One that failed before ends first: writers went on since it began.
            self.flush_frozen_or_new(&mut flushing)?;
        }
        *flushing = self.freeze();
        let reached = flushing.as_ref().map_or(self.durable_position().0, |frozen| frozen.position);
        let tombstone = Tombstone::new(tenant, up_to, reached);
        // No other flush writes the families meanwhile.
        let families = self.families.write().remove_tenant(tenant);
        self.dirty.remove_tenant(tenant.as_str());
        let tombstones = vec![tombstone.clone()];
        match flushing.as_mut() {
            Some(frozen) => {
                self.flush_frozen(frozen, tombstones)?;
                self.thaw(frozen);
                *flushing = None;
            }
            None => self.commit(&Change { families: self.write_families()?, tombstones, ..Change::default() })?,
        }
        Ok((tombstone, families))
    }

    fn flush_frozen_or_new(&self, flushing: &mut Option<Frozen>) -> Result<(), StoreError> {
        if flushing.is_none() {
            *flushing = self.freeze();
        }
        let Some(frozen) = flushing.as_mut() else { return Ok(()) };
        let started = Instant::now();
        let flushed = self.flush_frozen(frozen, Vec::new());
        flushed.inspect_err(|_| telemetry::FAILURES.with_label_values(&["flush"]).inc())?;
        self.thaw(frozen);
        *flushing = None;
        order_values(&self.index);
        telemetry::FLUSH_SECONDS.observe(started.elapsed().as_secs_f64());
        self.show_sizes();
        Ok(())
    }

    /// Begins a new generation. From now on the writer leaves alone what was written before.
    fn freeze(&self) -> Option<Frozen> {
        let mut applied = self.applied.lock();
        let position = applied.whole_until();
        if position == self.durable_position().0 && applied.touched.is_empty() {
            return None;
        }
        let generation = applied.generation;
        applied.generation += 1;
        applied.frozen_lookback_ms = std::mem::take(&mut applied.lookback_ms);
        Some(Frozen { generation, position, series: std::mem::take(&mut applied.touched) })
    }

    #[tracing::instrument(name = "flush", skip_all, fields(store = "metrics", series = frozen.series.len()))]
    fn flush_frozen(&self, frozen: &mut Frozen, tombstones: Vec<Tombstone>) -> Result<(), StoreError> {
        let texts = self.index.read().texts();
        texts.sort(&mut frozen.series);
        let mut add = Vec::new();
        let written = self.write_windows(frozen, &texts, &mut add).and_then(|()| self.write_families());
        let families = match written {
            Ok(families) => families,
            Err(error) => {
                add.iter().for_each(|part: &Arc<Part>| remove_file(part.path()));
                return Err(error);
            }
        };
        let parts = add.len();
        self.commit(&Change { add, families, position: Some(frozen.position), tombstones, ..Change::default() })?;
        tracing::debug!(position = frozen.position, series = frozen.series.len(), parts, "flushed");
        Ok(())
    }

    fn write_windows(&self, frozen: &Frozen, texts: &LabelTexts, out: &mut Vec<Arc<Part>>) -> Result<(), StoreError> {
        let mut done: BTreeSet<i64> = BTreeSet::new();
        loop {
            let mut pass = Pass { store: self, texts, done: &done, writers: BTreeMap::new(), left_out: false };
            let mut chunk = Vec::new();
            let written = frozen.series.iter().try_for_each(|series| {
                let content = series.freeze(frozen.generation, &mut chunk);
                pass.add_content(series, content, &chunk)
            });
            let Pass { writers, left_out, .. } = pass;
            if let Err(error) = written {
                writers.values().for_each(|writer| remove_file(writer.path()));
                return Err(error);
            }
            done.extend(writers.keys());
            let positions = (frozen.position.min(self.durable_position().0 + 1), frozen.position);
            let mut writers = writers.into_values();
            while let Some(writer) = writers.next() {
                let part = finish(writer, positions);
                out.push(part.inspect_err(|_| writers.by_ref().for_each(|writer| remove_file(writer.path())))?);
            }
            if !left_out {
                return Ok(());
            }
        }
    }

    /// Writes the metadata file if something changed: its number and version. One flush at a time does.
    fn write_families(&self) -> Result<Option<(u64, u64)>, StoreError> {
        let (version, bytes) = {
            let families = self.families.read();
            if families.version() == self.families_version() {
                return Ok(None);
            }
            (families.version(), families.to_bytes())
        };
        let number = self.next_number();
        let path = self.families_path(number);
        families_file::write(&path, &bytes).map_err(StoreError::io(&path)).inspect_err(|_| remove_file(&path))?;
        Ok(Some((number, version)))
    }

    /// Frees the memory of what the parts now hold.
    fn thaw(&self, frozen: &Frozen) {
        let freed = frozen.series.iter().map(|series| series.thaw()).sum();
        self.memory.free_samples(freed);
        self.forget_frozen_lookback();
        let unused: Vec<SeriesId> =
            frozen.series.iter().filter(|series| series.is_unused()).map(|series| series.id()).collect();
        self.forget(&unused);
    }
}

/// One pass over the frozen series.
struct Pass<'a> {
    store: &'a MetricStore,
    texts: &'a LabelTexts,
    done: &'a BTreeSet<i64>,
    writers: BTreeMap<i64, PartWriter>,
    left_out: bool,
}

impl Pass<'_> {
    /// A chunk that lies in one window goes as it is.
    fn add_content(&mut self, series: &Series, content: Content, chunk: &[u8]) -> Result<(), StoreError> {
        let (columns, exemplars) = match content {
            Content::Nothing => return Ok(()),
            Content::Decoded(columns, exemplars) => (columns, exemplars),
            Content::Chunk { count, range } => {
                let window_ms = window_of(range.min_ms);
                if window_ms == window_of(range.max_ms) && count as usize <= MAX_FLOATS_IN_CHUNK {
                    let texts = self.texts;
                    let Some(writer) = self.writer(window_ms)? else { return Ok(()) };
                    let added = writer.add_chunk(series, texts, (count, range), chunk);
                    return added.map_err(|error| StoreError::io(writer.path())(error));
                }
                let mut columns = Columns::default();
                // Only a chunk of our own making is read here, so it is never damaged.
                let _ = floats::read(chunk, count, TimeRange::ALL, &mut columns.samples);
                (columns, Vec::new())
            }
        };
        self.add(series, columns, exemplars)
    }

    fn add(&mut self, series: &Series, mut columns: Columns, exemplars: Vec<Exemplar>) -> Result<(), StoreError> {
        let mut exemplars = sorted(exemplars);
        loop {
            let mut times = columns.time_range();
            exemplars.iter().for_each(|exemplar| times.include(exemplar.t_ms));
            if times.is_empty() {
                return Ok(());
            }
            let window_ms = window_of(times.min_ms);
            // The last window of all times has no end to split at.
            let (later_columns, later_exemplars) = match window_range(window_ms).max_ms.checked_add(1) {
                Some(end_ms) => {
                    let later = exemplars.partition_point(|exemplar| exemplar.t_ms < end_ms);
                    (columns.split_off(end_ms), exemplars.split_off(later))
                }
                None => Default::default(),
            };
            let texts = self.texts;
            if let Some(writer) = self.writer(window_ms)? {
                let path = writer.path().to_owned();
                writer.add(series, texts, &columns, &exemplars).map_err(StoreError::io(&path))?;
            }
            (columns, exemplars) = (later_columns, later_exemplars);
        }
    }

    /// The window's writer; `None` if the window is done or has to wait for the next pass.
    fn writer(&mut self, window_ms: i64) -> Result<Option<&mut PartWriter>, StoreError> {
        if self.done.contains(&window_ms) {
            return Ok(None);
        }
        if !self.writers.contains_key(&window_ms) {
            if self.writers.len() >= MAX_OPEN_WINDOWS {
                self.left_out = true;
                return Ok(None);
            }
            self.writers.insert(window_ms, create(self.store, window_ms)?);
        }
        Ok(self.writers.get_mut(&window_ms))
    }
}

/// A new part under a number of its own.
pub(crate) fn create(store: &MetricStore, window_ms: i64) -> Result<PartWriter, StoreError> {
    let number = store.next_number();
    let path = store.part_path(number);
    PartWriter::create(&path, number, window_ms).map_err(StoreError::io(&path))
}

/// Finishes a part, or removes what there is of it.
pub(crate) fn finish(writer: PartWriter, positions: (u64, u64)) -> Result<Arc<Part>, StoreError> {
    let path = writer.path().to_owned();
    let part = writer.finish(positions).map_err(StoreError::io(&path)).inspect_err(|_| remove_file(&path))?;
    Ok(Arc::new(part))
}

/// By time, each once, the newest where there are too many.
pub(crate) fn sorted(mut exemplars: Vec<Exemplar>) -> Vec<Exemplar> {
    exemplars.sort_by_key(|exemplar| exemplar.t_ms);
    exemplars.dedup();
    let surplus = exemplars.len().saturating_sub(MAX_EXEMPLARS_IN_PART);
    exemplars.split_off(surplus)
}

/// All times of a window. The first one of all times begins late and the last one ends early.
pub(crate) fn window_range(window_ms: i64) -> TimeRange {
    let next_ms = window_ms.div_euclid(WINDOW_MS).checked_add(1).and_then(|next| next.checked_mul(WINDOW_MS));
    TimeRange { min_ms: window_ms, max_ms: next_ms.map_or(i64::MAX, |next_ms| next_ms - 1) }
}
