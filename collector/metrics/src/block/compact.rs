//! Few files instead of many: small ones of one day and class become one.

use std::sync::Arc;
use std::time::Instant;

use tenantscope_table::Change as TableChange;

use super::error::BlockError;
use super::file::{BlockFile, LoadedFile};
use super::rewrite::Inputs;
use crate::error::StoreError;
use crate::store::MetricStore;
use crate::telemetry;

/// Small files of one day that become one; a window makes one every two hours.
const MIN_COMPACTED: usize = 4;

impl MetricStore {
    /// Makes one file of small ones of one day and class, if there are enough, and says whether it did. Readers, ours and
    /// others, go on with the files that they know.
    pub fn compact(&self) -> Result<bool, StoreError> {
        let _one_at_a_time = self.merging.lock();
        let view = self.view();
        let Some(inputs) = next_inputs(&view.blocks, self.blocks.options.compact_max_bytes) else { return Ok(false) };
        let started = Instant::now();
        let compacted = self.compact_files(&inputs);
        compacted.inspect_err(|_| telemetry::FAILURES.with_label_values(&["compact"]).inc())?;
        telemetry::COMPACT_SECONDS.observe(started.elapsed().as_secs_f64());
        self.show_sizes();
        Ok(true)
    }

    fn compact_files(&self, inputs: &[Arc<BlockFile>]) -> Result<(), StoreError> {
        let table = self.block_table()?;
        let loaded = inputs.iter().map(|file| self.load_whole(file)).collect::<Result<Vec<LoadedFile>, BlockError>>()?;
        let day_ms = inputs.first().map_or(0, |file| file.range().min_ms);
        let add = self.rewrite(&table, day_ms, &Inputs { files: &loaded, parts: &[], without: None })?;
        drop(loaded);
        let remove = inputs.iter().map(|file| file.path().to_owned()).collect();
        let change = TableChange { add, remove, transaction: None, changes_rows: false };
        if let Err(error) = table.commit(&change) {
            // Whatever has happened, the log says which files live now.
            table.reload().map_err(BlockError::from)?;
            self.show_table(&table);
            return Err(BlockError::from(error).into());
        }
        tracing::info!(files = inputs.len(), day_ms, "compacted blocks");
        self.show_table(&table);
        Ok(())
    }

    /// Readers see the table's files from now on.
    pub(super) fn show_table(&self, table: &Arc<tenantscope_table::Table>) {
        let before = self.view().blocks.clone();
        self.show_blocks(Arc::new(self.blocks.files(table, &before)));
        self.forget_dead(&before);
    }
}

/// Small files of one day and class, which lie next to each other in time.
fn next_inputs(files: &[Arc<BlockFile>], max_bytes: u64) -> Option<Vec<Arc<BlockFile>>> {
    let key = |file: &BlockFile| (file.partition("day").to_owned(), file.partition("retention").to_owned());
    let mut small: Vec<&Arc<BlockFile>> = files.iter().filter(|file| file.size_bytes() < max_bytes / 2).collect();
    small.sort_by_cached_key(|file| (key(file), file.range().min_ms));
    small.chunk_by(|a, b| key(a) == key(b)).find_map(|day| {
        let mut total = 0;
        let fits = |file: &&&Arc<BlockFile>| {
            total += file.size_bytes();
            total <= max_bytes
        };
        let taken: Vec<Arc<BlockFile>> = day.iter().take_while(fits).map(|file| Arc::clone(file)).collect();
        (taken.len() >= MIN_COMPACTED).then_some(taken)
    })
}
