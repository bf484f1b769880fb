//! Few files instead of many: small ones of one day and class become one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tenantscope_table::Change as TableChange;

use super::error::BlockError;
use super::file::{BlockFile, LoadedFile};
use super::rewrite::Inputs;
use crate::error::StoreError;
use crate::store::MetricStore;
use crate::telemetry;
use crate::upkeep::{Work, guarded};

/// Small files of one day that become one; a window makes one every two hours.
const MIN_COMPACTED: usize = 3;
/// Up to so many rows a file is read quickly, whatever lies in it.
const FEW_ROWS: u64 = 1 << 20;
/// Files with more rows become one only while a series has about so many rows in it: who asks for an hour decodes them all.
const MAX_ROWS_OF_SERIES: u64 = 720;

impl MetricStore {
    /// Makes one file of small ones of one day and class, if there are enough, and says whether it did. Readers, ours and
    /// others, go on with the files that they know.
    pub fn compact(&self) -> Result<bool, StoreError> {
        let _one_at_a_time = self.blocks.working.lock();
        let started = Instant::now();
        let mut inputs = Vec::new();
        let compacted = guarded(|| {
            self.list_files_to_remove_from()?;
            inputs = self.files_to_compact()?;
            if inputs.is_empty() { Ok(()) } else { self.compact_files(&inputs) }
        });
        compacted.inspect_err(|error| {
            telemetry::FAILURES.with_label_values(&["compact"]).inc();
            if error.is_damage() {
                self.hold_damaged(error, &inputs);
            }
        })?;
        if inputs.is_empty() {
            return Ok(false);
        }
        telemetry::COMPACT_SECONDS.observe(started.elapsed().as_secs_f64());
        self.show_sizes();
        Ok(true)
    }

    /// The file that an error names is let alone, or all that were at hand where it names none.
    fn hold_damaged(&self, error: &StoreError, inputs: &[Arc<BlockFile>]) {
        let blocks = Arc::clone(&self.view().blocks);
        let named =
            blocks.iter().filter(|file| matches!(error, StoreError::Block(error) if error.is_about(file.path())));
        let mut damaged: Vec<&Arc<BlockFile>> = named.collect();
        if damaged.is_empty() {
            damaged.extend(inputs);
        }
        damaged.iter().for_each(|file| self.upkeep.hold(Work::Compact(file.path().to_owned())));
    }

    fn files_to_compact(&self) -> Result<Vec<Arc<BlockFile>>, StoreError> {
        let view = self.view();
        let is_sound = |file: &&Arc<BlockFile>| !self.upkeep.is_held(&Work::Compact(file.path().to_owned()));
        let files: Vec<Arc<BlockFile>> = view.blocks.iter().filter(is_sound).cloned().collect();
        let rows_of_series = |file: &Arc<BlockFile>| self.rows_of_series(file);
        Ok(next_inputs(&files, self.blocks.options.compact_max_bytes, rows_of_series)?)
    }

    /// About how many rows a series has in a file.
    fn rows_of_series(&self, file: &Arc<BlockFile>) -> Result<u64, BlockError> {
        let opened = catch_unwind(AssertUnwindSafe(|| self.opened(file)));
        let opened = opened.unwrap_or_else(|_| Err(BlockError::damaged(file.path(), "its decoder panicked")))?;
        let series: u64 = opened.sections.iter().map(|head| u64::from(head.series)).sum();
        Ok(file.rows() / series.max(1))
    }

    fn compact_files(&self, inputs: &[Arc<BlockFile>]) -> Result<(), StoreError> {
        let table = self.block_table()?;
        let loaded =
            inputs.iter().map(|file| self.load_whole(file)).collect::<Result<Vec<LoadedFile>, BlockError>>()?;
        let day_ms = inputs.first().map_or(0, |file| file.range().min_ms);
        let add = self.rewrite(&table, day_ms, &Inputs { files: &loaded, parts: &[] })?;
        drop(loaded);
        let remove = inputs.iter().map(|file| file.path().to_owned()).collect();
        let change = TableChange { add, remove, transaction: None, changes_rows: false };
        self.change_table(&table, &change)?;
        tracing::info!(files = inputs.len(), day_ms, "compacted blocks");
        Ok(())
    }

    /// Readers see the table's files from now on.
    pub(crate) fn show_table(&self, table: &Arc<tenantscope_table::Table>) {
        let before = self.view().blocks.clone();
        self.show_blocks(Arc::new(self.blocks.files(table, &before)));
        self.forget_dead(&before);
    }
}

/// Small files of one day and class, which lie next to each other in time; none where there are too few.
fn next_inputs(
    files: &[Arc<BlockFile>],
    max_bytes: u64,
    rows_of_series: impl Fn(&Arc<BlockFile>) -> Result<u64, BlockError>,
) -> Result<Vec<Arc<BlockFile>>, BlockError> {
    let key = |file: &BlockFile| (file.partition("day").to_owned(), file.partition("retention").to_owned());
    let mut small: Vec<&Arc<BlockFile>> = files.iter().filter(|file| file.size_bytes() < max_bytes / 2).collect();
    small.sort_by_cached_key(|file| (key(file), file.range().min_ms));
    for day in small.chunk_by(|a, b| key(a) == key(b)).filter(|day| day.len() >= MIN_COMPACTED) {
        let (mut bytes, mut rows, mut of_series) = (0, 0, 0);
        let mut taken: Vec<Arc<BlockFile>> = Vec::new();
        for file in day {
            bytes += file.size_bytes();
            rows += file.rows();
            of_series += rows_of_series(file)?;
            if bytes > max_bytes || rows > FEW_ROWS && of_series > MAX_ROWS_OF_SERIES {
                if taken.len() >= MIN_COMPACTED {
                    return Ok(taken);
                }
                taken.clear();
                (bytes, rows, of_series) = (file.size_bytes(), file.rows(), rows_of_series(file)?);
            }
            taken.push(Arc::clone(file));
        }
        if taken.len() >= MIN_COMPACTED {
            return Ok(taken);
        }
    }
    Ok(Vec::new())
}
