//! The table, its live files, and what is in memory of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tenantscope_table::{LiveFile, Location, Table};

use super::cache::Cache;
use super::error::BlockError;
use super::file::{BlockFile, Opened, Section};
use super::layout::table_spec;
use crate::options::BlockOptions;

/// How long a failed attempt to open the table counts for everybody.
const REOPEN_AFTER: Duration = Duration::from_secs(5);
/// How long a reader waits for somebody else's attempt.
const READER_WAITS: Duration = Duration::from_secs(1);

/// What the store has of its table.
#[derive(Debug)]
pub(crate) struct Blocks {
    pub(super) options: BlockOptions,
    /// The application id under which conversions are in the table's log.
    pub(super) application: String,
    location: Location,
    /// Held by whoever changes the table.
    pub(crate) working: Mutex<()>,
    /// The window whose parts are becoming blocks.
    pub(crate) converting: Mutex<Option<i64>>,
    table: Mutex<Option<Arc<Table>>>,
    /// When the table could not be opened last, and why: readers do not all wait for another try.
    unreachable: Mutex<Option<(Instant, String)>>,
    /// When dead files were looked for last.
    pub(super) swept: Mutex<Option<Instant>>,
    next_number: AtomicU64,
    pub(super) opened: Mutex<Cache<u64, Opened>>,
    pub(super) sections: Mutex<Cache<(u64, u32), Section>>,
    /// Closed windows that have parts: their newest part, and since when it is that.
    pub(super) settling: Mutex<hashbrown::HashMap<i64, (u64, Instant)>>,
    /// Sections that went from the cache while readers had them; their series leave the index with the last one.
    pub(super) leaving: Mutex<Vec<Arc<Section>>>,
}

impl Blocks {
    pub(crate) fn new(dir: std::path::PathBuf, application: String, options: BlockOptions) -> Self {
        Self {
            opened: Mutex::new(Cache::new(options.footer_cache_bytes)),
            sections: Mutex::new(Cache::new(options.index_cache_bytes)),
            location: options.location.clone().unwrap_or(Location::Folder(dir)),
            options,
            application,
            working: Mutex::default(),
            converting: Mutex::default(),
            table: Mutex::default(),
            unreachable: Mutex::default(),
            swept: Mutex::default(),
            next_number: AtomicU64::new(1),
            settling: Mutex::default(),
            leaving: Mutex::default(),
        }
    }

    /// The table, opened where it was not yet. Its files are shown before anybody gets it, since from then on it may change.
    pub(crate) fn table(&self, show: impl FnOnce(Vec<Arc<BlockFile>>)) -> Result<Arc<Table>, BlockError> {
        self.known_or_opened(&mut self.table.lock(), show)
    }

    /// As [`Blocks::table`] for a reader: an attempt to open a table that is away may take as long as a network lets it,
    /// so one reader makes it and the others are soon told.
    pub(crate) fn table_for_reader(&self, show: impl FnOnce(Vec<Arc<BlockFile>>)) -> Result<Arc<Table>, BlockError> {
        match self.table.try_lock_for(READER_WAITS) {
            Some(mut table) => self.known_or_opened(&mut table, show),
            None => Err(BlockError::Away("it is still being opened".to_owned())),
        }
    }

    fn known_or_opened(
        &self,
        table: &mut Option<Arc<Table>>,
        show: impl FnOnce(Vec<Arc<BlockFile>>),
    ) -> Result<Arc<Table>, BlockError> {
        if let Some(known) = table {
            return Ok(Arc::clone(known));
        }
        let mut unreachable = self.unreachable.lock();
        if let Some((since, why)) = &*unreachable
            && since.elapsed() < REOPEN_AFTER
        {
            return Err(BlockError::Away(why.clone()));
        }
        let opened = Table::open_at(&self.location, &table_spec());
        *unreachable = opened.as_ref().err().map(|error| (Instant::now(), error.to_string()));
        let opened = Arc::new(opened?);
        show(self.files(&opened, &[]));
        Ok(Arc::clone(table.insert(opened)))
    }

    /// The table's files, those that are known already as they are.
    pub(crate) fn files(&self, table: &Arc<Table>, known: &[Arc<BlockFile>]) -> Vec<Arc<BlockFile>> {
        let known: hashbrown::HashMap<&str, &Arc<BlockFile>> = known.iter().map(|file| (file.path(), file)).collect();
        let live = table.files();
        let mut files: Vec<Arc<BlockFile>> = live
            .iter()
            .map(|file| {
                known.get(file.path.as_str()).map_or_else(|| self.new_file(file, table), |file| Arc::clone(file))
            })
            .collect();
        files.sort_by_key(|file| (file.range.min_ms, file.number));
        files
    }

    fn new_file(&self, live: &LiveFile, table: &Arc<Table>) -> Arc<BlockFile> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        Arc::new(BlockFile::new(number, live.clone(), Arc::clone(table)))
    }

    /// Bytes of directories and sections in memory.
    pub(crate) fn cached_bytes(&self) -> usize {
        self.opened.lock().used_bytes() + self.sections.lock().used_bytes()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::sync::mpsc;
    use std::thread;

    use tempfile::TempDir;
    use tenantscope_model::{
        Labels, Lookback, Position, QueryBudget, Sample, Scope, Select, SelectError, SelectRequest, Sink, StampedBatch,
        StampedSeries,
    };

    use super::*;
    use crate::options::Options;
    use crate::store::MetricStore;

    /// A store with one block and nothing else, which was started while its table was away. The table is back.
    fn store_that_does_not_know_its_blocks() -> (TempDir, Arc<MetricStore>) {
        let blocks = BlockOptions { settle: Duration::ZERO, ..BlockOptions::default() };
        let options = Options { retention: None, future_max: None, blocks, ..Options::default() };
        let dir = tempfile::tempdir().unwrap();
        let store = MetricStore::open(dir.path(), options.clone()).unwrap();
        let labels = Labels::from_pairs([("__name__", "up")]);
        let series = StampedSeries::of_samples(labels, vec![Sample { t_ms: 0, value: 1.0 }]);
        let batch = StampedBatch::Metrics { series: vec![series], metadata: Vec::new() };
        store.apply(store.prepare(batch).unwrap(), Position(1));
        store.flush().unwrap();
        assert!(store.convert().unwrap());
        drop(store);
        let (table, away) = (dir.path().join("blocks"), dir.path().join("away"));
        fs::rename(&table, &away).unwrap();
        fs::write(&table, "no folder").unwrap();
        let store = MetricStore::open(dir.path(), options).unwrap();
        assert!(!store.view().blocks_known);
        fs::remove_file(&table).unwrap();
        fs::rename(&away, &table).unwrap();
        // As if it had been a while since.
        *store.blocks.unreachable.lock() = None;
        (dir, store)
    }

    fn samples(store: &MetricStore) -> Result<usize, SelectError> {
        let budget = QueryBudget::new(Instant::now() + Duration::from_secs(600), u64::MAX);
        let (from_ms, to_ms) = (i64::MIN, i64::MAX);
        let request = SelectRequest { matchers: &[], from_ms, to_ms, lookback: Lookback::Range, budget: &budget };
        store.select(&Scope::All, &request).map(|all| all.iter().map(|one| one.samples.len()).sum())
    }

    #[test]
    fn no_reader_waits_for_a_commit_before_the_blocks_are_known() {
        let (_dir, store) = store_that_does_not_know_its_blocks();
        let commits = store.hold_commits();
        let (tell, told) = mpsc::channel();
        let reader = Arc::clone(&store);
        let reading = thread::spawn(move || tell.send(samples(&reader).unwrap()));
        // It takes milliseconds, and would take for ever.
        let answer = told.recv_timeout(Duration::from_secs(60));
        drop(commits);
        reading.join().unwrap().unwrap();
        assert_eq!(answer, Ok(1));
    }

    #[test]
    fn a_reader_is_told_that_the_table_is_away_while_somebody_else_asks_for_it() {
        let (_dir, store) = store_that_does_not_know_its_blocks();
        let asking = store.blocks.table.lock();
        let error = samples(&store).unwrap_err().to_string();
        assert!(error.contains("the table of blocks can't be reached: it is still being opened"), "{error}");
        drop(asking);
        assert_eq!(samples(&store).unwrap(), 1);
    }
}
