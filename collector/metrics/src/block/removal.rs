//! Files that go before their time: past retention, or with a tenant.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantscope_model::{Labels, Scope, TenantId};
use tenantscope_table::{Change as TableChange, Table};

use super::error::BlockError;
use super::file::BlockFile;
use super::load::What;
use super::rewrite::Inputs;
use crate::columns::TimeRange;
use crate::error::StoreError;
use crate::removal::Removal;
use crate::series::SeriesId;
use crate::store::MetricStore;
use crate::upkeep::guarded;

impl MetricStore {
    /// Takes files out of the table. The caller holds the lock of those who work on blocks.
    pub(crate) fn remove_blocks(&self, files: &[Arc<BlockFile>]) -> Result<(), StoreError> {
        let table = self.block_table()?;
        let remove = files.iter().map(|file| file.path().to_owned()).collect();
        self.change_table(&table, &TableChange { remove, changes_rows: true, ..TableChange::default() })
    }

    /// Commits a change that is not a conversion. After an error the log says which files live.
    pub(super) fn change_table(&self, table: &Arc<Table>, change: &TableChange) -> Result<(), StoreError> {
        let committed = table.commit(change);
        self.show_table(table);
        committed.map_err(BlockError::from)?;
        Ok(())
    }

    /// Rewrites the listed files that have something of a tenant, and deletes them and all other files that are no longer
    /// live: they may have something of it, too. A damaged file stays listed, and does not keep the others.
    pub(crate) fn remove_from_blocks(
        &self,
        tenant: &TenantId,
        removal: &mut Removal,
        series: &mut HashSet<Labels>,
    ) -> Result<(), StoreError> {
        if !self.may_have_blocks() {
            return Ok(());
        }
        let _one_at_a_time = self.blocks.working.lock();
        self.end_pending()?;
        let table = self.block_table()?;
        self.list_files_to_remove_from()?;
        let stones = self.tombstones();
        let is_listed =
            |path: &str| stones.iter().any(|stone| stone.tenant == tenant.as_str() && stone.covers_file(path));
        let (mut left, mut outcome) = (Vec::new(), Ok(()));
        let blocks = Arc::clone(&self.view().blocks);
        for file in blocks.iter().filter(|file| is_listed(file.path())) {
            match guarded(|| self.remove_from_file(&table, file, tenant, removal, series)) {
                Err(error) if error.is_damage() => {
                    left.push(file.path().to_owned());
                    outcome = outcome.and(Err(error));
                }
                removed => removed?,
            }
        }
        self.leave_files_to_remove_from(tenant, left)?;
        removal.deleted_bytes += table.expire(Duration::ZERO).map_err(BlockError::from)?.bytes;
        outcome
    }

    fn remove_from_file(
        &self,
        table: &Arc<Table>,
        file: &Arc<BlockFile>,
        tenant: &TenantId,
        removal: &mut Removal,
        series: &mut HashSet<Labels>,
    ) -> Result<(), StoreError> {
        let scope = Scope::tenants([tenant.clone()]);
        let what = What { scope: &scope, matchers: &[], range: TimeRange::ALL };
        let some = self.load_sections(file, |head| what.may_be_in(head))?;
        let mut known = self.series_of(tenant);
        let held: HashSet<SeriesId> = some.ids(TimeRange::ALL).collect();
        known.retain(|series| held.contains(&series.id()));
        if known.is_empty() {
            return Ok(());
        }
        drop(some);
        // The tombstone lists the file, so the tenant is left out.
        let loaded = [self.load_whole(file)?];
        let add = self.rewrite(table, file.range().min_ms, &Inputs { files: &loaded, parts: &[] })?;
        drop(loaded);
        let left: u64 = add.iter().filter_map(|file| file.as_live().rows).sum();
        let written_bytes = add.iter().map(|file| file.as_live().size_bytes).sum::<u64>();
        let remove = vec![file.path().to_owned()];
        self.change_table(table, &TableChange { add, remove, transaction: None, changes_rows: true })?;
        tracing::debug!(path = file.path(), "rewrote a block without a tenant");
        self.identities_of(&known, series);
        removal.blocks += 1;
        removal.samples += file.rows().saturating_sub(left);
        removal.written_bytes += written_bytes;
        Ok(())
    }

    /// Deletes files that have not been live for the grace period, and old entries of the log.
    pub(crate) fn delete_dead_blocks(&self) -> Result<(), StoreError> {
        if !self.may_have_blocks() {
            return Ok(());
        }
        // Looking for them lists the whole table.
        if self.blocks.swept.lock().is_some_and(|at| at.elapsed() < SWEEP_INTERVAL) {
            return Ok(());
        }
        let _one_at_a_time = self.blocks.working.lock();
        let table = self.block_table()?;
        *self.blocks.swept.lock() = Some(Instant::now());
        let grace = self.blocks.options.removed_grace;
        let deleted = table.expire(grace).map_err(BlockError::from)?;
        let trimmed = table.trim_log(grace.max(LOG_KEPT)).map_err(BlockError::from)?;
        if deleted.files + trimmed > 0 {
            tracing::info!(files = deleted.files, bytes = deleted.bytes, log_entries = trimmed, "deleted dead blocks");
        }
        self.leave_idle();
        Ok(())
    }
}

/// Time between two looks for dead files.
const SWEEP_INTERVAL: Duration = Duration::from_secs(600);
/// How long the log can be read back at least.
const LOG_KEPT: Duration = Duration::from_secs(86_400);
