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

    /// Rewrites the files that have something of a tenant, and deletes them and all other files that are no longer live:
    /// they may have something of it, too.
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
        let table = self.block_table()?;
        let scope = Scope::tenants([tenant.clone()]);
        let what = What { scope: &scope, matchers: &[], range: TimeRange::ALL };
        let files = self.view().blocks.clone();
        for file in files.iter() {
            let some = self.load_sections(file, |head| what.may_be_in(head))?;
            let known = self.series_of(tenant);
            let ids: Vec<SeriesId> = known.iter().map(|series| series.id()).collect();
            if !some.ids(TimeRange::ALL).any(|id| ids.binary_search(&id).is_ok()) {
                continue;
            }
            self.identities_of(&known, series);
            drop(some);
            self.rewrite_without(&table, file, tenant, removal)?;
        }
        removal.deleted_bytes += table.expire(Duration::ZERO).map_err(BlockError::from)?.bytes;
        Ok(())
    }

    fn rewrite_without(
        &self,
        table: &Arc<Table>,
        file: &Arc<BlockFile>,
        tenant: &TenantId,
        removal: &mut Removal,
    ) -> Result<(), StoreError> {
        let loaded = [self.load_whole(file)?];
        let inputs = Inputs { files: &loaded, parts: &[], without: Some(tenant.as_str()) };
        let add = self.rewrite(table, file.range().min_ms, &inputs)?;
        drop(loaded);
        let left: u64 = add.iter().filter_map(|file| file.as_live().rows).sum();
        removal.blocks += 1;
        removal.samples += file.rows().saturating_sub(left);
        removal.written_bytes += add.iter().map(|file| file.as_live().size_bytes).sum::<u64>();
        tracing::debug!(path = file.path(), "rewrote a block without a tenant");
        let remove = vec![file.path().to_owned()];
        self.change_table(table, &TableChange { add, remove, transaction: None, changes_rows: true })
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
