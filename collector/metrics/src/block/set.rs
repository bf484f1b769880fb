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

    /// The table, opened where it was not yet.
    pub(crate) fn table(&self) -> Result<Arc<Table>, BlockError> {
        let mut table = self.table.lock();
        if let Some(table) = &*table {
            return Ok(Arc::clone(table));
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
        *table = Some(Arc::clone(&opened));
        Ok(opened)
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
