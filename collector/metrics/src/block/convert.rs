//! A closed window's parts become blocks: the id first, then the files, then the parts go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantscope_table::{Change as TableChange, Table, WrittenFile};

use super::error::BlockError;
use super::file::{BlockFile, LoadedFile};
use super::rewrite::Inputs;
use crate::columns::TimeRange;
use crate::error::StoreError;
use crate::flush::window_range;
use crate::manifest::Conversion;
use crate::part::{Part, WINDOW_MS};
use crate::series::SeriesId;
use crate::store::{Change, MetricStore};
use crate::telemetry;
use crate::upkeep::{Work, guarded};

/// Windows before the year 1 or after 9999 stay parts: their days have no name that every reader of tables knows.
const NAMED_DAYS_MS: TimeRange = TimeRange { min_ms: -62_135_596_800_000, max_ms: 253_402_300_799_999 };

impl MetricStore {
    /// Turns the parts of one window into blocks, if a window is due, and says whether it did. Writers and readers go on
    /// meanwhile. A conversion that a crash or an error interrupted is ended first.
    pub fn convert(&self) -> Result<bool, StoreError> {
        let _one_at_a_time = self.blocks.working.lock();
        self.leave_unneeded();
        let Some(window_ms) = self.due_window() else {
            // Nothing has to be said to the table, which may be away.
            return if self.pending_conversion().is_some() { self.end_pending().map(|()| false) } else { Ok(false) };
        };
        let started = Instant::now();
        {
            // A merge that is under way ends first, and no other one begins with these parts.
            let _no_merge = self.merging.lock();
            *self.blocks.converting.lock() = Some(window_ms);
        }
        let converted = self.end_pending().and_then(|()| guarded(|| self.convert_window(window_ms)));
        *self.blocks.converting.lock() = None;
        converted.inspect_err(|error| {
            telemetry::FAILURES.with_label_values(&["convert"]).inc();
            if error.is_damage() {
                self.upkeep.hold(Work::Convert(window_ms));
            }
        })?;
        telemetry::CONVERT_SECONDS.observe(started.elapsed().as_secs_f64());
        self.show_sizes();
        Ok(true)
    }

    /// The oldest window that is closed, and whose parts have not changed for a while.
    fn due_window(&self) -> Option<i64> {
        let options = &self.blocks.options;
        if !options.enabled {
            return None;
        }
        let after_ms = i64::try_from(options.after.as_millis()).unwrap_or(i64::MAX);
        let closed_ms = (self.options.now_ms)().saturating_sub(after_ms);
        let view = self.view();
        let mut settling = self.blocks.settling.lock();
        let windows = view.parts.chunk_by(|a, b| a.footer().window_ms == b.footer().window_ms);
        let mut due = None;
        let mut seen = hashbrown::HashMap::new();
        for window in windows {
            let (Some(first), Some(newest)) = (window.first(), window.iter().map(|part| part.number()).max()) else {
                continue;
            };
            let range = window_range(first.footer().window_ms);
            if range.max_ms >= closed_ms || range.min_ms < NAMED_DAYS_MS.min_ms || range.max_ms > NAMED_DAYS_MS.max_ms {
                continue;
            }
            let since = match settling.get(&range.min_ms) {
                Some((number, since)) if *number == newest => *since,
                _ => Instant::now(),
            };
            seen.insert(range.min_ms, (newest, since));
            let is_late = view.blocks.iter().any(|file| file.range().overlaps(range));
            let wait: Duration = if is_late { options.late_settle } else { options.settle };
            let is_held = || self.upkeep.is_held(&Work::Convert(range.min_ms));
            if due.is_none() && since.elapsed() >= wait && !is_held() {
                due = Some(range.min_ms);
            }
        }
        *settling = seen;
        due
    }

    fn convert_window(&self, window_ms: i64) -> Result<(), StoreError> {
        let table = self.block_table()?;
        let view = self.view();
        let parts: Vec<Arc<Part>> =
            view.parts.iter().filter(|part| part.footer().window_ms == window_ms).cloned().collect();
        if parts.is_empty() {
            // An interrupted conversion that was just ended had them.
            return Ok(());
        }
        // After the parts were chosen: those that came since the tombstone are not among them otherwise.
        self.list_files_to_remove_from()?;
        let touched = self.touched_files(&self.view().blocks, &parts)?;
        let conversion =
            Conversion { id: self.last_conversion() + 1, parts: parts.iter().map(|part| part.number()).collect() };
        let id = conversion.id;
        self.commit(&Change { begin_conversion: Some(conversion), ..Change::default() })?;

        let inputs = Inputs { files: &touched, parts: &parts };
        let add = self.rewrite(&table, window_ms, &inputs)?;
        let (files, bytes) = (add.len(), size_of_all(&add));
        let change = TableChange {
            add,
            remove: touched.iter().map(|file| file.file().path().to_owned()).collect(),
            transaction: Some((self.blocks.application.clone(), as_version(id))),
            changes_rows: true,
        };
        table.commit(&change).map_err(BlockError::from)?;
        tracing::info!(window_ms, parts = parts.len(), rewritten = touched.len(), files, bytes, "converted to blocks");
        self.finish_conversion(&table, parts)
    }

    /// Ends a conversion that was begun before: if the table has it, its parts go, else it is forgotten.
    pub(super) fn end_pending(&self) -> Result<(), StoreError> {
        let Some(Conversion { id, parts }) = self.pending_conversion() else { return Ok(()) };
        let table = self.block_table()?;
        // The commit may have happened although it failed, and what is converted next is laid over what lives now.
        table.reload().map_err(BlockError::from)?;
        self.show_table(&table);
        let is_done = table.app_version(&self.blocks.application).map_err(BlockError::from)?;
        if is_done.is_some_and(|done| done >= as_version(id)) {
            tracing::info!(id, "the table has a conversion that was interrupted");
            let view = self.view();
            let gone = view.parts.iter().filter(|part| parts.contains(&part.number())).cloned().collect();
            return self.finish_conversion(&table, gone);
        }
        tracing::info!(id, "a conversion was interrupted before the table had it");
        self.commit(&Change { end_conversion: true, ..Change::default() })
    }

    /// The parts go, and readers see the table's files, at once.
    fn finish_conversion(&self, table: &Arc<Table>, parts: Vec<Arc<Part>>) -> Result<(), StoreError> {
        let before = self.view().blocks.clone();
        let blocks = self.blocks.files(table, &before);
        let until_ms = parts.iter().map(|part| part.footer().window_ms.saturating_add(WINDOW_MS)).max();
        self.commit(&Change {
            remove: parts,
            blocks: Some(Arc::new(blocks)),
            end_conversion: true,
            blocks_until_ms: until_ms,
            ..Change::default()
        })?;
        self.forget_dead(&before);
        Ok(())
    }

    /// The files that have a row of a series of the parts, or could have one: these are written anew.
    fn touched_files(&self, blocks: &[Arc<BlockFile>], parts: &[Arc<Part>]) -> Result<Vec<LoadedFile>, StoreError> {
        let Some(window_ms) = parts.first().map(|part| part.footer().window_ms) else { return Ok(Vec::new()) };
        let range = window_range(window_ms);
        let overlapping: Vec<&Arc<BlockFile>> = blocks.iter().filter(|file| file.range().overlaps(range)).collect();
        if overlapping.is_empty() {
            return Ok(Vec::new());
        }
        let mut ids: Vec<SeriesId> = parts.iter().flat_map(|part| part.ids()).collect();
        ids.sort_unstable();
        ids.dedup();
        let metrics = self.index.read().metrics_of(&ids);
        let mut touched = Vec::new();
        for file in overlapping {
            let some = self.load_sections(file, |head| metrics.contains(&head.metric))?;
            let has_one = some.ids(TimeRange::ALL).any(|id| ids.binary_search(&id).is_ok());
            if has_one {
                touched.push(self.load_whole(file)?);
            }
        }
        Ok(touched)
    }

    /// Files that were live before and are not now leave memory.
    pub(super) fn forget_dead(&self, before: &[Arc<BlockFile>]) {
        let live: hashbrown::HashSet<u64> = self.view().blocks.iter().map(|file| file.number).collect();
        let known: hashbrown::HashSet<u64> = before.iter().map(|file| file.number).collect();
        self.forget_files(|number| known.contains(&number) && !live.contains(&number));
    }

    /// The table; its files are known to readers from now on.
    pub(crate) fn block_table(&self) -> Result<Arc<Table>, StoreError> {
        Ok(self.blocks.table(|files| self.show_blocks(Arc::new(files)))?)
    }

    /// The same for a reader, who does not wait for long while somebody else opens the table.
    pub(crate) fn block_table_for_reader(&self) -> Result<Arc<Table>, StoreError> {
        Ok(self.blocks.table_for_reader(|files| self.show_blocks(Arc::new(files)))?)
    }
}

fn as_version(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

fn size_of_all(files: &[WrittenFile]) -> u64 {
    files.iter().map(|file| file.as_live().size_bytes).sum()
}
