//! The store: what it owns, how it opens, how the set of live parts changes.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use tenantscope_model::{Cadence, Position};

use crate::block::{BlockFile, Blocks};
use crate::dirty::Dirty;
use crate::error::{OpenError, StoreError};
use crate::families::Families;
use crate::families_file;
use crate::flush::Frozen;
use crate::index::{Identities, Index};
use crate::lookback::Lookbacks;
use crate::manifest::{Conversion, Manifest, sync_folder};
use crate::memory::Memory;
use crate::options::Options;
use crate::part::Part;
use crate::removal::Tombstone;
use crate::series::{Series, SeriesId};
use crate::telemetry;
use crate::upkeep::Upkeep;
use crate::view::{View, Views, sort_parts};

/// Series that are joined to or removed from the index under one lock.
const PIECE: usize = 1024;

/// The metric store. Shared by its writer (`Sink`), its readers (`Select`) and its own upkeep.
#[derive(Debug)]
pub struct MetricStore {
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) hasher: Identities,
    pub(crate) index: RwLock<Index>,
    pub(crate) memory: Memory,
    pub(crate) families: RwLock<Families>,
    pub(crate) applied: Mutex<Applied>,
    /// Held for the length of a flush: there is one at a time.
    pub(crate) flushing: Mutex<Option<Frozen>>,
    /// Held for the length of a merge.
    pub(crate) merging: Mutex<()>,
    pub(crate) upkeep: Upkeep,
    pub(crate) blocks: Blocks,
    pub(crate) dirty: Dirty,
    /// As in `MANIFEST`; looked at by the writer.
    tombstones: RwLock<Arc<Vec<Tombstone>>>,
    pub(crate) lookbacks: Lookbacks,
    pub(crate) views: Views,
    /// Held while files are written and fsynced: no query and no write may wait for it.
    committed: Mutex<Committed>,
    /// Whether a conversion ever began.
    may_have_blocks: AtomicBool,
    /// The end of the newest converted window, as in `MANIFEST`; `i64::MAX` where it is not known.
    blocks_until_ms: AtomicI64,
    durable: AtomicU64,
    next_number: AtomicU64,
    /// Locked as long as the store is open.
    _lock: File,
}

/// Where the writer stands.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    pub(crate) position: u64,
    /// Rises when a flush begins; each series' samples belong to one.
    pub(crate) generation: u64,
    /// How far an instant selector looks back for what was written in this generation, at most, because of cadences.
    pub(crate) lookback_ms: i64,
    /// The same for what is being flushed.
    pub(crate) frozen_lookback_ms: i64,
    /// The first batch that a panic kept from being applied whole.
    pub(crate) failed_at: Option<u64>,
    /// Series written in this generation.
    pub(crate) touched: Vec<Arc<Series>>,
    /// Series written by the batch that is being applied, and held by blocks alone before.
    pub(crate) from_blocks: Vec<SeriesId>,
}

impl Applied {
    /// Up to where everything was applied. What a panic kept from being applied comes again from the journal, so its
    /// position is not passed.
    pub(crate) fn whole_until(&self) -> u64 {
        self.failed_at.map_or(self.position, |failed| self.position.min(failed.saturating_sub(1)))
    }
}

#[derive(Debug)]
struct Committed {
    manifest: Manifest,
    /// `Families::version` of the metadata file.
    families_version: u64,
    /// Files of commits that failed. The manifest on disk may name them, so they go after the next one that succeeds.
    doubtful: Vec<PathBuf>,
}

/// A change of what `MANIFEST` says.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) add: Vec<Arc<Part>>,
    pub(crate) remove: Vec<Arc<Part>>,
    pub(crate) position: Option<u64>,
    /// Number of a new metadata file, and the version that it holds.
    pub(crate) families: Option<(u64, u64)>,
    /// A conversion to blocks begins.
    pub(crate) begin_conversion: Option<Conversion>,
    /// The one that was begun is done, or given up.
    pub(crate) end_conversion: bool,
    /// The table's files from now on.
    pub(crate) blocks: Option<Arc<Vec<Arc<BlockFile>>>>,
    /// Blocks reach up to here.
    pub(crate) blocks_until_ms: Option<i64>,
    /// Tombstones that are new or changed.
    pub(crate) tombstones: Vec<Tombstone>,
}

/// What the store holds, for status pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Series in memory or in a live part.
    pub series: usize,
    /// Bytes of memory used.
    pub memory_bytes: usize,
    /// Live parts.
    pub parts: usize,
    /// Bytes in them.
    pub part_bytes: u64,
    /// Samples in them.
    pub part_samples: u64,
    /// Files of the table of blocks, as far as it is known.
    pub blocks: usize,
    /// Bytes in them.
    pub block_bytes: u64,
    /// Samples in them.
    pub block_samples: u64,
}

impl MetricStore {
    /// Opens the store in a folder, which is made if need be. Reads `MANIFEST`, deletes files that it does not name, and
    /// loads the series of the parts that it does. Nothing runs yet: see [`MetricStore::run`].
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Arc<Self>, OpenError> {
        let dir = dir.as_ref();
        let parts_dir = parts_dir(dir);
        fs::create_dir_all(&parts_dir).map_err(OpenError::io(&parts_dir))?;
        sync_folder(dir).map_err(OpenError::io(dir))?;
        let lock = lock(dir)?;
        let manifest = match Manifest::read(dir)? {
            Some(manifest) => manifest,
            None => Manifest { store: uuid::Uuid::new_v4().simple().to_string(), ..Manifest::default() },
        };
        let largest = remove_unlisted(dir, &manifest)?;
        let mut index = Index::default();
        let families = match manifest.metadata {
            Some(number) => families_file::read(&families_path(dir, number))?,
            None => Families::default(),
        };
        let memory = Memory::default();
        let families = families.within(&memory, options.memory_max_bytes);
        let parts = open_parts(dir, &manifest, &mut index)?;
        tracing::info!(
            dir = %dir.display(), position = manifest.position, parts = parts.len(), series = index.len(),
            "metric store is open"
        );
        let blocks = Blocks::new(dir.join("blocks"), manifest.store.clone(), options.blocks.clone());
        let store = Self {
            dir: dir.to_owned(),
            blocks,
            options,
            hasher: index.hasher(),
            memory,
            applied: Mutex::new(Applied { position: manifest.position, ..Applied::default() }),
            flushing: Mutex::default(),
            merging: Mutex::default(),
            upkeep: Upkeep::default(),
            dirty: Dirty::new(&manifest.summed, &manifest.dirty),
            tombstones: RwLock::new(Arc::new(manifest.tombstones.clone())),
            lookbacks: Lookbacks::new(&parts, &manifest.block_lookbacks),
            views: Views::new(parts),
            durable: AtomicU64::new(manifest.position),
            next_number: AtomicU64::new(largest + 1),
            may_have_blocks: AtomicBool::new(manifest.conversions > 0),
            blocks_until_ms: AtomicI64::new(manifest.blocks_until_ms.unwrap_or(i64::MAX)),
            committed: Mutex::new(Committed { manifest, families_version: families.version(), doubtful: Vec::new() }),
            families: RwLock::new(families),
            index: RwLock::new(index),
            _lock: lock,
        };
        if store.may_have_blocks()
            && let Err(error) = store.block_table()
        {
            tracing::warn!(%error, "the store opens without its blocks");
        }
        store.show_sizes();
        Ok(Arc::new(store))
    }

    /// What the store holds now.
    pub fn stats(&self) -> Stats {
        let view = self.view();
        let (parts, blocks) = (&view.parts, &view.blocks);
        Stats {
            series: self.index.read().len(),
            memory_bytes: self.memory.used(),
            parts: parts.len(),
            part_bytes: parts.iter().map(|part| part.bytes()).sum(),
            part_samples: parts.iter().map(|part| part.footer().samples).sum(),
            blocks: blocks.len(),
            block_bytes: blocks.iter().map(|file| file.size_bytes()).sum(),
            block_samples: blocks.iter().map(|file| file.rows()).sum(),
        }
    }

    /// Sets the gauges.
    pub(crate) fn show_sizes(&self) {
        let in_blocks_bytes = {
            let index = self.index.read();
            self.memory.set_index(index.bytes());
            index.bytes_of_blocks()
        };
        let stats = self.stats();
        telemetry::SERIES.set(stats.series as i64);
        telemetry::MEMORY_BYTES.set(stats.memory_bytes as i64);
        telemetry::PARTS.set(stats.parts as i64);
        telemetry::PART_BYTES.set(stats.part_bytes as i64);
        telemetry::PART_SAMPLES.set(stats.part_samples as i64);
        telemetry::BLOCKS.set(stats.blocks as i64);
        telemetry::BLOCK_BYTES.set(stats.block_bytes as i64);
        telemetry::BLOCK_SAMPLES.set(stats.block_samples as i64);
        telemetry::BLOCK_CACHE_BYTES.set((self.blocks.cached_bytes() + in_blocks_bytes) as i64);
        telemetry::DURABLE_POSITION.set(self.durable_position().0 as i64);
    }

    pub(crate) fn durable_position(&self) -> Position {
        Position(self.durable.load(Ordering::Acquire))
    }

    /// No block has a sample at or after this time.
    pub(crate) fn blocks_until_ms(&self) -> Option<i64> {
        Some(self.blocks_until_ms.load(Ordering::Acquire)).filter(|until_ms| *until_ms < i64::MAX)
    }

    pub(crate) fn may_have_blocks(&self) -> bool {
        self.may_have_blocks.load(Ordering::Acquire)
    }

    /// Tenants that were removed.
    pub(crate) fn tombstones(&self) -> Arc<Vec<Tombstone>> {
        Arc::clone(&self.tombstones.read())
    }

    /// Whether a window's parts are becoming blocks, and must stay as they are.
    pub(crate) fn is_converting(&self, window_ms: i64) -> bool {
        *self.blocks.converting.lock() == Some(window_ms)
    }

    /// The conversion that was begun and not ended.
    pub(crate) fn pending_conversion(&self) -> Option<Conversion> {
        self.committed.lock().manifest.conversion.clone()
    }

    /// The id of the last conversion that was begun.
    pub(crate) fn last_conversion(&self) -> u64 {
        self.committed.lock().manifest.conversions
    }

    /// Whether `MANIFEST` has it that times up to here were summed.
    pub(crate) fn is_kept_as_summed(&self, t_ms: i64) -> bool {
        self.committed.lock().manifest.summed.last().is_some_and(|last| last.until_ms >= t_ms)
    }

    /// A number that no file has.
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn part_path(&self, number: u64) -> PathBuf {
        part_path(&self.dir, number)
    }

    pub(crate) fn families_path(&self, number: u64) -> PathBuf {
        families_path(&self.dir, number)
    }

    /// The metadata's version in the file that `MANIFEST` names.
    pub(crate) fn families_version(&self) -> u64 {
        self.committed.lock().families_version
    }

    /// Keeps every commit waiting until it is dropped, as a disk does that hangs.
    #[cfg(test)]
    pub(crate) fn hold_commits(&self) -> impl Sized + '_ {
        self.committed.lock()
    }

    /// Puts a change into force: the folder fsynced, `MANIFEST` replaced, then the list that readers see.
    pub(crate) fn commit(&self, change: &Change) -> Result<(), StoreError> {
        let mut committed = self.committed.lock();
        let view = self.view();
        let removed: HashSet<u64> = change.remove.iter().map(|part| part.number()).collect();
        let (gone, mut parts): (Vec<Arc<Part>>, Vec<Arc<Part>>) =
            view.parts.iter().cloned().partition(|part| removed.contains(&part.number()));
        parts.extend(change.add.iter().cloned());
        sort_parts(&mut parts);
        let mut manifest = committed.manifest.after(change, &parts);
        (manifest.summed, manifest.dirty) = self.dirty.to_keep();
        manifest.change_lookbacks(change, &view, self.lookbacks.live_ms());
        let parts_dir = parts_dir(&self.dir);
        let written = sync_folder(&parts_dir).map_err(StoreError::io(&parts_dir)).and_then(|()| {
            manifest.write(&self.dir).map_err(StoreError::io(&self.dir.join(crate::manifest::FILE_NAME)))
        });
        if let Err(error) = written {
            committed.doubtful.extend(change.add.iter().map(|part| part.path().to_owned()));
            committed.doubtful.extend(change.families.map(|(number, _)| self.families_path(number)));
            return Err(error);
        }
        change.add.iter().for_each(|part| self.join(part));
        let is_conversion = change.blocks.is_some();
        // Before the view with the block: a reader of it looks for blocks up to there, and back as far.
        self.lookbacks.set_blocks(&manifest.block_lookbacks);
        self.may_have_blocks.store(manifest.conversions > 0, Ordering::Release);
        self.blocks_until_ms.store(manifest.blocks_until_ms.unwrap_or(i64::MAX), Ordering::Release);
        self.views.replace(if is_conversion { gone.clone() } else { Vec::new() }, |newest| {
            // The blocks that readers know may have come while the manifest was written.
            let blocks = change.blocks.clone().unwrap_or_else(|| Arc::clone(&newest.blocks));
            View::new(Arc::new(parts), blocks, newest.blocks_known || is_conversion)
        });
        self.durable.store(manifest.position, Ordering::Release);
        let mut obsolete = std::mem::take(&mut committed.doubtful);
        if let Some((_, version)) = change.families {
            obsolete.extend(committed.manifest.metadata.map(|number| self.families_path(number)));
            committed.families_version = version;
        }
        *self.tombstones.write() = Arc::new(manifest.tombstones.clone());
        committed.manifest = manifest;
        drop(committed);
        self.recount_lookback();
        obsolete.iter().for_each(|path| remove_file(path));
        gone.iter().for_each(|part| part.supersede());
        if !is_conversion {
            gone.iter().for_each(|part| self.leave_ids(&part.ids().collect::<Vec<_>>()));
        }
        drop(view);
        self.leave_unneeded();
        Ok(())
    }

    /// Its series are now in one more part.
    fn join(&self, part: &Part) {
        let ids: Vec<SeriesId> = part.ids().collect();
        for piece in ids.chunks(PIECE) {
            let index = self.index.read();
            piece.iter().filter_map(|id| index.get(*id)).for_each(|series| series.join_part());
        }
    }

    /// One reason less for these series to be in the index; those go for which it was the last.
    pub(crate) fn leave_ids(&self, ids: &[SeriesId]) {
        for piece in ids.chunks(PIECE) {
            let series: Vec<Arc<Series>> = {
                let index = self.index.read();
                piece.iter().filter_map(|id| index.get(*id).cloned()).collect()
            };
            let unused: Vec<SeriesId> =
                series.iter().filter(|series| series.leave_part()).map(|series| series.id()).collect();
            self.forget(&unused);
        }
    }

    /// Removes those of the series that nothing holds; those that blocks in memory hold are left to them.
    pub(crate) fn forget(&self, ids: &[SeriesId]) {
        for piece in ids.chunks(PIECE) {
            let mut index = self.index.write();
            piece.iter().for_each(|id| index.forget(*id));
            index.purge();
            self.memory.set_index(index.bytes());
        }
    }
}

/// The parts; their series are in the index.
fn open_parts(dir: &Path, manifest: &Manifest, index: &mut Index) -> Result<Vec<Arc<Part>>, OpenError> {
    let mut parts = Vec::with_capacity(manifest.parts.len());
    let mut cadences: Vec<(u64, Arc<Series>, Cadence)> = Vec::new();
    for number in &manifest.parts {
        let mut lookback_ms = 0;
        let part = Part::open(&part_path(dir, *number), *number, |table, footer| {
            let mut joined: Vec<(SeriesId, u32)> = Vec::with_capacity(footer.series as usize);
            index.join(table, |series, entry| {
                series.join_part();
                joined.push((series.id(), entry.block_length));
                lookback_ms = entry.cadence.map_or(0, |cadence| cadence.lookback_ms(0)).max(lookback_ms);
                cadences.extend(entry.cadence.map(|cadence| (footer.max_position, Arc::clone(series), cadence)));
            })?;
            Ok(joined)
        })?;
        parts.push(Arc::new(part.with_lookback_ms(lookback_ms)));
    }
    // Parts are listed by window, but the newest write's cadence holds.
    cadences.sort_by_key(|(position, ..)| *position);
    cadences.into_iter().for_each(|(_, series, cadence)| series.set_cadence(cadence));
    Ok(parts)
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("LOCK");
    let file = File::create(&path).map_err(OpenError::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path }),
        Err(TryLockError::Error(error)) => Err(OpenError::io(&path)(error)),
    }
}

fn parts_dir(dir: &Path) -> PathBuf {
    dir.join("parts")
}

fn part_path(dir: &Path, number: u64) -> PathBuf {
    parts_dir(dir).join(format!("{number:020}.part"))
}

fn families_path(dir: &Path, number: u64) -> PathBuf {
    parts_dir(dir).join(format!("{number:020}.families"))
}

/// Deletes files of ours that the manifest does not name, and returns the largest number that any file had.
fn remove_unlisted(dir: &Path, manifest: &Manifest) -> Result<u64, OpenError> {
    let parts_dir = parts_dir(dir);
    let listed: HashSet<PathBuf> = manifest
        .parts
        .iter()
        .map(|number| part_path(dir, *number))
        .chain(manifest.metadata.map(|number| families_path(dir, number)))
        .collect();
    let mut largest = manifest.parts.iter().copied().chain(manifest.metadata).max().unwrap_or(0);
    for entry in fs::read_dir(&parts_dir).map_err(OpenError::io(&parts_dir))? {
        let path = entry.map_err(OpenError::io(&parts_dir))?.path();
        let ours = path.extension().is_some_and(|kind| kind == "part" || kind == "families");
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        let Some(number) = number.filter(|_| ours) else { continue };
        largest = largest.max(number);
        if !listed.contains(&path) {
            tracing::info!(path = %path.display(), "removing a file that the manifest does not name");
            fs::remove_file(&path).map_err(OpenError::io(&path))?;
        }
    }
    Ok(largest)
}

/// Removes a file that nothing names any more; the next open would do it otherwise.
pub(crate) fn remove_file(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "could not remove a file");
    }
}
