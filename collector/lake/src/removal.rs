//! Removal of one tenant, complete: buffer, files, and what the table's log says about files that are gone.
//!
//! What was applied before is flushed, so that all of it is in files; these are listed in a tombstone, by name, which is
//! durable before anything is deleted. What a tenant of the same name sends later is in other files. The listed ones are
//! written anew, and change places in one commit, which has the position as transaction id, so that it is not made twice.
//! Whoever compacts leaves listed files alone, so nothing of them gets into files that no tombstone lists.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tenantscope_model::{Position, TenantId};
use tenantscope_table::{Change, LiveFile, Rest, TableError};

use crate::files::properties;
use crate::store::Store;
use crate::tombstone::{self, Pending, Tombstone, tenant_hash};
use crate::{Lake, RemovalError};

/// Up to where a tenant's records go: positions of the two journals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpTo {
    /// In the journal of logs.
    pub logs: Position,
    /// In the journal of spans.
    pub spans: Position,
}

/// What a removal deleted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LakeRemoval {
    /// Of logs.
    pub logs: TableRemoval,
    /// Of spans.
    pub spans: TableRemoval,
}

/// What a removal deleted of one table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TableRemoval {
    /// Up to which position of the journal.
    pub position: u64,
    /// Records.
    pub rows: u64,
    /// Files that had records of others, too, and were written anew.
    pub files_rewritten: u64,
    /// Files that were deleted, also such as had been replaced before but were kept for queries under way.
    pub files_deleted: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Bytes of the files that took their places.
    pub written_bytes: u64,
}

impl Lake {
    /// Removes all of a tenant's records that were applied so far, and those that come up to the given positions, and
    /// deletes the files that held something of it. Blocks, possibly for long; others write and read on meanwhile, but a
    /// query under way that still needs one of these files ends with [`QueryError::Removed`](crate::QueryError::Removed).
    /// What is applied later, from behind the positions, stays: it is another tenant of that name.
    ///
    /// After an error, or a crash, it goes on by itself, or with the next call. A call with positions up to which the
    /// tenant was removed before does nothing.
    pub fn remove_tenant(&self, tenant: &TenantId, up_to: UpTo) -> Result<LakeRemoval, RemovalError> {
        // What one table can't do does not keep the other from it.
        let (logs, spans) =
            (self.logs.remove_tenant(tenant, up_to.logs), self.spans.remove_tenant(tenant, up_to.spans));
        Ok(LakeRemoval { logs: logs?, spans: spans? })
    }

    /// Whether a tenant's records up to these positions are told from those that come now, though not all of them may be
    /// deleted yet.
    pub fn is_removal_in_force(&self, tenant: &TenantId, up_to: UpTo) -> bool {
        self.logs.is_removal_in_force(tenant, up_to.logs) && self.spans.is_removal_in_force(tenant, up_to.spans)
    }
}

/// Ends removals that were interrupted, and tries again those that failed, until the lake closes.
pub(crate) fn keep_removing(stores: &[Arc<Store>; 2]) {
    let [first, _] = stores;
    loop {
        stores.iter().for_each(|store| store.resume_removals());
        let mut state = first.state.lock();
        if !state.closing {
            first.closes.wait_for(&mut state, first.options.maintenance_interval);
        }
        if state.closing {
            return;
        }
    }
}

impl Store {
    fn remove_tenant(&self, tenant: &TenantId, up_to: Position) -> Result<TableRemoval, RemovalError> {
        let _one_at_a_time = self.removing.lock();
        let hash = tenant_hash(tenant.as_str());
        let begun = self.pending_removals().into_iter().find(|(stone, _)| stone.tenant_hash == hash);
        let (stone, pending) = match begun.filter(|(stone, _)| up_to.0 <= stone.position) {
            Some(begun) => begun,
            None => {
                let before = self.removed_until(&hash).map_err(|error| self.failed(error))?;
                if let Some(position) = before.filter(|position| 0 < up_to.0 && up_to.0 <= *position) {
                    return Ok(TableRemoval { position, ..TableRemoval::default() });
                }
                self.begin_removal(tenant, up_to).map_err(|error| self.failed(error))?
            }
        };
        self.finish_removal(&stone, &pending)
    }

    fn is_removal_in_force(&self, tenant: &TenantId, up_to: Position) -> bool {
        let hash = tenant_hash(tenant.as_str());
        let is_of = |(stone, _): &(Tombstone, Pending)| stone.tenant_hash == hash && stone.position >= up_to.0;
        let is_done = || self.removed_until(&hash).is_ok_and(|until| until.is_some_and(|until| until >= up_to.0));
        self.pending_removals().iter().any(is_of) || is_done()
    }

    fn resume_removals(&self) {
        let _one_at_a_time = self.removing.lock();
        self.forget_passed();
        for (stone, pending) in self.pending_removals() {
            if let Err(error) = self.finish_removal(&stone, &pending) {
                tracing::warn!(signal = self.form.signal, %error, "a tenant's removal is still pending");
            }
        }
    }

    fn forget_passed(&self) {
        let _maintaining = self.maintaining.lock();
        if let Err(error) = self.drop_passed_tombstones() {
            tracing::warn!(signal = self.form.signal, %error, "tombstones that are passed could not be dropped");
        }
    }

    fn pending_removals(&self) -> Vec<(Tombstone, Pending)> {
        let state = self.state.lock();
        state.tombstones.iter().filter_map(|stone| Some((stone.clone(), stone.pending.clone()?))).collect()
    }

    fn failed(&self, source: TableError) -> RemovalError {
        RemovalError::Table { signal: self.form.signal, source }
    }

    /// Under which application id the table says up to where a tenant was removed.
    fn removal_id(&self, tenant_hash: &str) -> String {
        format!("removal-{}-{tenant_hash}", self.journal)
    }

    fn removed_until(&self, tenant_hash: &str) -> Result<Option<u64>, TableError> {
        let version = self.table.app_version(&self.removal_id(tenant_hash))?;
        Ok(version.and_then(|version| u64::try_from(version).ok()))
    }

    /// Puts everything into files and lists those that may hold something of a tenant.
    fn begin_removal(&self, tenant: &TenantId, up_to: Position) -> Result<(Tombstone, Pending), TableError> {
        let _maintaining = self.maintaining.lock();
        let mut stone = Tombstone {
            tenant_hash: tenant_hash(tenant.as_str()),
            journal: self.journal.clone(),
            position: up_to.0,
            pending: None,
        };
        let before = {
            let mut state = self.state.lock();
            let before = state.tombstones.clone();
            put_in_force(&mut state.tombstones, stone.clone());
            before
        };
        let begun = self.flush_all().and_then(|reached| {
            stone.position = stone.position.max(reached.0);
            let live = self.table.files();
            let may_hold = live.iter().filter(|file| file.may_have_text("tenant", tenant.as_str()));
            let files = may_hold.map(|file| file.path.clone()).collect();
            let pending = Pending { tenant: tenant.to_string(), files };
            stone.pending = Some(pending.clone());
            self.change_tombstones(|stones| put_in_force(stones, stone.clone()))?;
            Ok((stone, pending))
        });
        if begun.is_err() {
            self.state.lock().tombstones = before;
        }
        begun
    }

    #[tracing::instrument(name = "removal", skip_all, fields(store = self.form.signal))]
    fn finish_removal(&self, stone: &Tombstone, pending: &Pending) -> Result<TableRemoval, RemovalError> {
        let mut removal = TableRemoval { position: stone.position, ..TableRemoval::default() };
        let live = self.table.files();
        let (mut rests, mut left, mut failed) = (Vec::new(), Vec::new(), None);
        for file in live.iter().filter(|file| stone.lists(&file.path)) {
            if self.state.lock().closing {
                return Err(RemovalError::Closing);
            }
            let of_rows = |rows: u64| properties(usize::try_from(rows).unwrap_or(usize::MAX));
            match self.table.without_rows(file, "tenant", &pending.tenant, of_rows) {
                Ok(None) => {}
                Ok(Some(rest)) => rests.push((file, rest)),
                // It does not keep the others.
                Err(error) => {
                    left.push(file.path.clone());
                    failed.get_or_insert(error);
                }
            }
        }
        let ended = self.replace_files(stone, pending, rests, left, &mut removal);
        self.count("removal", ended.is_ok() && failed.is_none());
        ended.map_err(|error| self.failed(error))?;
        if let Some(error) = failed {
            return Err(self.failed(error));
        }
        let TableRemoval { position, rows, .. } = removal;
        tracing::info!(signal = self.form.signal, position, rows, "removed a tenant");
        Ok(removal)
    }

    /// Commits what is left of files, and deletes these and what is said about them.
    fn replace_files(
        &self,
        stone: &Tombstone,
        pending: &Pending,
        rests: Vec<(&LiveFile, Rest)>,
        left: Vec<String>,
        removal: &mut TableRemoval,
    ) -> Result<(), TableError> {
        let _maintaining = self.maintaining.lock();
        let mut change = Change { changes_rows: true, ..Change::default() };
        for (file, rest) in rests {
            removal.rows += rest.left_out;
            removal.files_rewritten += u64::from(rest.file.is_some());
            removal.written_bytes += rest.file.as_ref().map_or(0, |file| file.as_live().size_bytes);
            change.remove.push(file.path.clone());
            change.add.extend(rest.file);
        }
        if left.is_empty() {
            change.transaction =
                Some((self.removal_id(&stone.tenant_hash), i64::try_from(stone.position).unwrap_or(i64::MAX)));
        }
        let is_done = change.remove.is_empty()
            && (!left.is_empty()
                || self.removed_until(&stone.tenant_hash)?.is_some_and(|until| until >= stone.position));
        if !is_done {
            self.table.commit(&change)?;
        }
        self.state.lock().files = self.table.files();
        self.show_files();
        self.early_deletions.fetch_add(1, Ordering::Relaxed);
        let expired = self.table.expire(Duration::ZERO)?;
        removal.files_deleted = expired.files as u64;
        removal.deleted_bytes = expired.bytes;
        self.table.forget_history()?;

        let pending = (!left.is_empty()).then(|| Pending { tenant: pending.tenant.clone(), files: left });
        let durable = self.state.lock().durable;
        self.change_tombstones(|stones| {
            put_in_force(stones, Tombstone { pending, ..stone.clone() });
            drop_passed(stones, durable);
        })
    }

    /// Forgets tenants of whom nothing can come from the journal any more.
    pub(crate) fn drop_passed_tombstones(&self) -> Result<(), TableError> {
        let durable = self.state.lock().durable;
        self.change_tombstones(|stones| drop_passed(stones, durable))
    }

    /// Changes the tombstones, on disk first. The caller holds the lock of those who change files.
    fn change_tombstones(&self, change: impl FnOnce(&mut Vec<Tombstone>)) -> Result<(), TableError> {
        let before = self.state.lock().tombstones.clone();
        let mut stones = before.clone();
        change(&mut stones);
        if stones != before {
            tombstone::write(&self.tombstones_path, &stones)?;
            self.state.lock().tombstones = stones;
        }
        Ok(())
    }
}

fn put_in_force(stones: &mut Vec<Tombstone>, stone: Tombstone) {
    stones.retain(|other| other.tenant_hash != stone.tenant_hash);
    stones.push(stone);
}

fn drop_passed(stones: &mut Vec<Tombstone>, durable: Position) {
    stones.retain(|stone| stone.pending.is_some() || durable.0 < stone.position);
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
    use tenantscope_model::{Scope, Sink, Stamp, StampedBatch, StampedResource};

    use super::*;
    use crate::{Journals, Options, QueryError, TimeRange};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_query_that_needs_a_deleted_file_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::open(dir.path(), Journals { logs: 1, spans: 2 }, Options::default()).unwrap();
        let stamp = Stamp { tenant: TenantId::anonymous(), account: None, region: None };
        let scope_logs = vec![ScopeLogs { log_records: vec![LogRecord::default()], ..Default::default() }];
        let records = ResourceLogs { scope_logs, ..Default::default() };
        let batch = StampedBatch::Logs(vec![StampedResource { stamp, records }]);
        lake.logs.apply(lake.logs.prepare(batch).unwrap(), Position(1));
        lake.flush().unwrap();

        let query = async {
            let frame = lake.queries.table(&lake.logs, &Scope::All, TimeRange::ALL)?;
            let up_to = UpTo { logs: Position(1), spans: Position(0) };
            lake.remove_tenant(&TenantId::anonymous(), up_to).unwrap();
            lake.queries.for_each(frame, |_| Ok(())).await
        };
        let answer = lake.queries.run("log_lines", query).await;
        assert!(matches!(answer, Err(QueryError::Removed)), "{answer:?}");
    }
}
