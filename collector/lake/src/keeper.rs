//! The thread that flushes, and keeps the table small.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::compute::concat_batches;
use tenantscope_model::Position;
use tenantscope_table::{Change, Expired, LiveFile, Partition, TableError};

use crate::files::day_text;
use crate::store::{Store, now_ns};
use crate::telemetry;

/// A merge holds its rows in memory, where they are many times larger than in their files.
const MAX_MERGED_ROWS: u64 = 256 * 1024;
/// Versions of the table can be read for so long after a checkpoint has covered them.
const LOG_KEPT: Duration = Duration::from_secs(86_400);
/// After a flush that failed the next one waits so long.
const RETRY_AFTER: Duration = Duration::from_secs(2);

impl Store {
    /// Runs until the lake closes; flushes a last time then.
    pub(crate) fn keep(&self) {
        let mut maintained = Instant::now();
        while self.wait_for_work() {
            let flushed = self.flush();
            if let Err(error) = &flushed {
                tracing::error!(signal = self.form.signal, %error, "flush failed, rows stay in the buffer");
                self.pause(RETRY_AFTER);
            }
            if maintained.elapsed() >= self.options.maintenance_interval {
                self.maintain();
                maintained = Instant::now();
            }
        }
        if let Err(error) = self.flush() {
            tracing::error!(signal = self.form.signal, %error, "last flush failed, the journal still has the rows");
        }
    }

    /// Waits until a flush is due; false when the lake closes.
    fn wait_for_work(&self) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.closing {
                return false;
            }
            let waited = state.active_since.map(|since| since.elapsed());
            let is_old = waited.is_some_and(|waited| waited >= self.options.flush_interval);
            let is_wanted = state.flush_asked || state.flush_failed;
            if state.active_bytes >= self.options.flush_bytes || is_old || is_wanted {
                return true;
            }
            let left = self.options.flush_interval.saturating_sub(waited.unwrap_or_default());
            let timed_out = self.wake.wait_for(&mut state, left.max(Duration::from_millis(1))).timed_out();
            if timed_out && state.active_since.is_none() {
                return true;
            }
        }
    }

    fn pause(&self, duration: Duration) {
        let mut state = self.state.lock();
        if !state.closing {
            self.wake.wait_for(&mut state, duration);
        }
    }

    /// Writes everything up to one position and commits it; queries see files instead of buffer from then on.
    pub(crate) fn flush(&self) -> Result<Position, TableError> {
        let _maintaining = self.maintaining.lock();
        let reached = self.flush_all()?;
        if let Err(error) = self.drop_passed_tombstones() {
            tracing::warn!(signal = self.form.signal, %error, "tombstones that are passed could not be dropped");
        }
        Ok(reached)
    }

    /// As [`Store::flush`], for who holds the lock of those who change files.
    pub(crate) fn flush_all(&self) -> Result<Position, TableError> {
        loop {
            let (rows, position, is_repeated) = {
                let mut state = self.state.lock();
                if state.applied == state.durable {
                    return Ok(state.durable);
                }
                let is_repeated = state.flushing_until.is_some();
                if !is_repeated {
                    state.begin_flush();
                }
                (state.flushing.clone(), state.flushing_until.unwrap_or(state.applied), is_repeated)
            };
            self.flush_rows(&rows, position)?;
            if !is_repeated {
                return Ok(position);
            }
        }
    }

    fn flush_rows(&self, rows: &[arrow::array::RecordBatch], position: Position) -> Result<(), TableError> {
        let committed = self.commit_rows(rows, position);
        self.count("flush", committed.is_ok());
        let mut state = self.state.lock();
        state.flush_failed = committed.is_err();
        committed?;

        state.flushing.clear();
        state.flushing_until = None;
        let bytes = std::mem::take(&mut state.flushing_bytes);
        state.files = self.table.files();
        state.durable = position;
        drop(state);
        self.release(bytes);
        self.room.notify_all();
        self.show_files();
        tracing::debug!(signal = self.form.signal, %position, bytes, "flushed");
        Ok(())
    }

    #[tracing::instrument(name = "flush", skip_all, fields(store = self.form.signal, batches = rows.len()))]
    fn commit_rows(&self, rows: &[arrow::array::RecordBatch], position: Position) -> Result<(), TableError> {
        let version = i64::try_from(position.0).unwrap_or(i64::MAX);
        let add = if rows.is_empty() { Vec::new() } else { self.write_rows(rows, now_ns())? };
        let transaction = Some((self.journal.clone(), version));
        let change = Change { add, transaction, changes_rows: true, ..Change::default() };
        match self.table.commit(&change) {
            Ok(_) => Ok(()),
            Err(error @ (TableError::Conflict(_) | TableError::Doubtful(_))) => {
                self.table.reload()?;
                // The commit may have happened all the same; then nothing must be written again.
                match self.table.app_version(&self.journal)? {
                    Some(at) if at >= version => Ok(()),
                    _ => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Retention, compaction and expiry; a failure is told, and tried again next time.
    pub(crate) fn maintain(&self) {
        // A removal that is at work has written files that no version names yet, which would be taken for dead.
        let Some(_no_removal) = self.removing.try_lock() else { return };
        let _maintaining = self.maintaining.lock();
        let steps: [(&'static str, Result<bool, TableError>); 2] =
            [("retention", self.drop_old_days()), ("compact", self.compact())];
        for (kind, outcome) in steps {
            match outcome {
                Ok(false) => {}
                Ok(true) => self.count(kind, true),
                Err(error) => {
                    self.count(kind, false);
                    tracing::error!(signal = self.form.signal, kind, %error, "maintenance failed");
                }
            }
        }
        self.state.lock().files = self.table.files();
        self.show_files();
        match self.table.expire(self.options.removed_grace) {
            Ok(Expired { files: 0, .. }) => {}
            Ok(Expired { files, bytes }) => {
                tracing::debug!(signal = self.form.signal, files, bytes, "deleted files without a version");
            }
            Err(error) => tracing::warn!(signal = self.form.signal, %error, "expiry failed"),
        }
        if let Err(error) = self.table.trim_log(LOG_KEPT) {
            tracing::warn!(signal = self.form.signal, %error, "the table's log could not be trimmed");
        }
    }

    fn drop_old_days(&self) -> Result<bool, TableError> {
        let oldest = day_text(self.oldest_day(now_ns()));
        let files = self.table.files();
        let is_old = |file: &&LiveFile| file.partition.get("day").is_some_and(|day| *day < oldest);
        let remove: Vec<String> = files.iter().filter(is_old).map(|file| file.path.clone()).collect();
        if remove.is_empty() {
            return Ok(false);
        }
        tracing::info!(
            signal = self.form.signal,
            files = remove.len(),
            before = oldest,
            "dropping days past retention"
        );
        self.table.commit(&Change { remove, changes_rows: true, ..Change::default() })?;
        Ok(true)
    }

    /// Merges the small files of each day that has too many.
    fn compact(&self) -> Result<bool, TableError> {
        let files = self.table.files();
        let tombstones = self.state.lock().tombstones.clone();
        // It would get into a file that its removal does not know.
        let is_to_be_rewritten = |file: &&LiveFile| tombstones.iter().any(|stone| stone.lists(&file.path));
        let mut days: BTreeMap<&Partition, Vec<&LiveFile>> = BTreeMap::new();
        let rows = |file: &LiveFile| file.rows.unwrap_or(MAX_MERGED_ROWS);
        let is_small =
            |file: &&LiveFile| file.size_bytes < self.options.compact_max_bytes / 2 && rows(file) < MAX_MERGED_ROWS / 2;
        for file in files.iter().filter(is_small).filter(|file| !is_to_be_rewritten(file)) {
            days.entry(&file.partition).or_default().push(file);
        }
        let mut compacted = false;
        for (partition, mut small) in days {
            if small.len() <= self.options.compact_files {
                continue;
            }
            small.sort_by_key(|file| file.size_bytes);
            let (mut total_bytes, mut total_rows) = (0, 0);
            small.retain(|file| {
                total_bytes += file.size_bytes;
                total_rows += rows(file);
                total_bytes <= self.options.compact_max_bytes && total_rows <= MAX_MERGED_ROWS
            });
            if small.len() > 1 {
                self.merge(partition, &small)?;
                compacted = true;
            }
        }
        Ok(compacted)
    }

    fn merge(&self, partition: &Partition, files: &[&LiveFile]) -> Result<(), TableError> {
        let mut rows = Vec::new();
        for file in files {
            rows.extend(self.read_file(&file.path)?);
        }
        let merged = self.write_day(partition, &concat_batches(&self.form.columns, &rows)?)?;
        let remove = files.iter().map(|file| file.path.clone()).collect();
        self.table.commit(&Change { add: vec![merged], remove, ..Change::default() })?;
        Ok(())
    }

    pub(crate) fn count(&self, kind: &str, ok: bool) {
        let outcome = if ok { "ok" } else { "failed" };
        telemetry::COMMITS.with_label_values(&[self.form.signal, kind, outcome]).inc();
    }

    pub(crate) fn show_files(&self) {
        let files = Arc::clone(&self.state.lock().files);
        let gauge = telemetry::FILES.with_label_values(&[self.form.signal]);
        gauge.set(i64::try_from(files.len()).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
    use std::path::Path;
    use tenantscope_model::{Sink, Stamp, StampedBatch, StampedResource, TenantId};

    use super::*;
    use crate::{Options, logs};

    fn batch() -> StampedBatch {
        let stamp = Stamp { tenant: TenantId::anonymous(), account: None, region: None };
        let scope_logs = vec![ScopeLogs { log_records: vec![LogRecord::default()], ..Default::default() }];
        let records = ResourceLogs { scope_logs, ..Default::default() };
        StampedBatch::Logs(vec![StampedResource { stamp, records }])
    }

    fn open(dir: &Path) -> Store {
        let options = Options { removed_grace: Duration::ZERO, ..Options::default() };
        Store::open(dir, &logs::FORM, 1, options).unwrap()
    }

    fn rows(store: &Store) -> u64 {
        store.view().files.iter().filter_map(|file| file.rows).sum()
    }

    #[test]
    fn a_kill_between_file_and_commit_writes_nothing_twice() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        store.apply(store.prepare(batch()).unwrap(), Position(1));
        let written = store.write_rows(&store.view().memory, now_ns()).unwrap();
        drop(store);

        let store = open(dir.path());
        assert_eq!((store.durable(), rows(&store)), (Position(0), 0));
        store.apply(store.prepare_replay(batch()), Position(1));
        store.flush().unwrap();
        assert_eq!((store.durable(), rows(&store)), (Position(1), 1));
        store.maintain();
        assert!(!store.folder().join(&written[0].as_live().path).exists(), "what was not committed is deleted");
        assert_eq!(rows(&store), 1);
    }

    #[test]
    fn a_flush_that_is_asked_for_does_not_wait_for_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { flush_interval: Duration::from_secs(86_400), ..Options::default() };
        let store = Store::open(dir.path(), &logs::FORM, 1, options).unwrap();
        store.apply(store.prepare(batch()).unwrap(), Position(1));
        std::thread::scope(|scope| {
            scope.spawn(|| store.keep());
            let until = Instant::now() + Duration::from_secs(120);
            while store.durable() < Position(1) && Instant::now() < until {
                store.flush_soon();
                std::thread::sleep(Duration::from_millis(5));
            }
            let durable = store.durable();
            store.state.lock().closing = true;
            store.wake.notify_all();
            assert_eq!(durable, Position(1), "before it closes");
        });
    }

    #[test]
    fn a_commit_that_happened_is_not_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let (store, twin) = (open(dir.path()), open(dir.path()));
        store.apply(store.prepare(batch()).unwrap(), Position(1));
        twin.apply(twin.prepare(batch()).unwrap(), Position(1));
        twin.flush().unwrap();
        // Its commit meets the twin's, as one whose answer was lost meets itself.
        store.flush().unwrap();
        assert_eq!((store.durable(), rows(&store)), (Position(1), 1));
    }
}
