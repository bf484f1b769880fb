//! Removal of one tenant, complete: memory, parts, blocks, index, families. What is durable first is the tombstone, so
//! that neither a crash nor a replay brings anything back.
//!
//! The tombstone is put into force by the flush that reaches its position, so each part lies wholly before or wholly
//! after it, and no merge crosses it while the removal is pending. Blocks have no position: the files that lived when the
//! tombstone was made are listed in it, by name, before any other file is written. So what a tenant of the same name sends
//! while the removal is pending is never taken for what is to go. Whatever rewrites a part or a file leaves the tenant out.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tenantscope_model::{Labels, Position, QueryBudget, Scope, TenantId};

use crate::block::BlockError;
use crate::error::StoreError;
use crate::index::{self, TENANT};
use crate::part::Part;
use crate::series::{Series, SeriesId};
use crate::store::{Change, MetricStore};
use crate::telemetry;

const NO_DEADLINE: Duration = Duration::from_secs(86_400 * 365);

/// A tenant that was removed: nothing of it at or before the position comes in again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tombstone {
    pub(crate) tenant: String,
    pub(crate) position: u64,
    /// Whether files may still hold something.
    pub(crate) pending: bool,
    /// The position of the flush that put it into force: parts up to here may hold something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parts_until: Option<u64>,
    /// The table's files that may hold something; absent until the table could be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) files: Option<Vec<String>>,
}

impl Tombstone {
    /// For everything up to the position that the flush reaches which puts it into force, and up to another one.
    pub(crate) fn new(tenant: &TenantId, up_to: Position, reached: u64) -> Self {
        let (tenant, position) = (tenant.to_string(), up_to.0.max(reached));
        Self { tenant, position, pending: true, parts_until: Some(reached), files: None }
    }

    /// The position that no part crosses while the removal is pending.
    pub(crate) fn boundary(&self) -> Option<u64> {
        self.pending.then(|| self.parts_until.unwrap_or(self.position))
    }

    /// Whether what a part holds of the tenant is to go.
    pub(crate) fn covers_part(&self, part: &Part) -> bool {
        self.boundary().is_some_and(|until| part.footer().max_position <= until)
    }

    /// Whether what a file of the table holds of the tenant is to go.
    pub(crate) fn covers_file(&self, path: &str) -> bool {
        self.pending && self.files.as_ref().is_some_and(|files| files.iter().any(|file| file == path))
    }
}

/// What a removal deleted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Removal {
    /// Up to which journal position.
    pub position: u64,
    /// Series that left the index, or that blocks alone had.
    pub series: u64,
    /// Samples and histograms that parts and blocks had.
    pub samples: u64,
    /// Families' metadata.
    pub families: u64,
    /// Parts that were rewritten or deleted.
    pub parts: u64,
    /// Files of the table that were rewritten or deleted.
    pub blocks: u64,
    /// Bytes of the files that were deleted.
    pub deleted_bytes: u64,
    /// Bytes of the files that took their places.
    pub written_bytes: u64,
}

/// How far a removal has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovalProgress {
    /// Nothing was done.
    NotBegun,
    /// The tenant is told from one of the same name that comes now; files may still hold something of it.
    InForce,
    /// No file does.
    Done,
}

impl MetricStore {
    /// How far the removal of a tenant up to a journal position has come.
    pub fn removal_progress(&self, tenant: &TenantId, up_to: Position) -> RemovalProgress {
        let stones = self.tombstones();
        let reaches = |stone: &&Tombstone| stone.tenant == tenant.as_str() && stone.position >= up_to.0;
        stones.iter().find(reaches).map_or(RemovalProgress::NotBegun, |stone| {
            if stone.pending { RemovalProgress::InForce } else { RemovalProgress::Done }
        })
    }

    /// Removes everything of a tenant that was applied so far, at least up to a journal position, and deletes the files
    /// that held something of it. Blocks, possibly for long; writers and readers go on meanwhile. What is applied once
    /// the call has its position stays: it is another tenant of that name.
    ///
    /// After an error, or a crash, it goes on by itself at the next upkeep, or with the next call.
    pub fn remove_tenant(&self, tenant: &TenantId, up_to: Position) -> Result<Removal, StoreError> {
        let _one_at_a_time = self.upkeep.removing.lock();
        let (tombstone, families) = self.flush_with_tombstone(tenant, up_to)?;
        let mut removal = Removal { position: tombstone.position, families, ..Removal::default() };
        self.finish_removal(tenant, &mut removal)?;
        Ok(removal)
    }

    /// Goes on with removals that were interrupted; one that can't go on does not stop the others.
    pub(crate) fn resume_removals(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.upkeep.removing.lock();
        let mut outcome = Ok(());
        for tombstone in self.tombstones().iter().filter(|tombstone| tombstone.pending) {
            let Ok(tenant) = TenantId::try_new(&tombstone.tenant) else { continue };
            let mut removal = Removal { position: tombstone.position, ..Removal::default() };
            outcome = outcome.and(self.finish_removal(&tenant, &mut removal));
        }
        outcome
    }

    /// The tombstone of a tenant whose removal is pending.
    fn pending_tombstone(&self, tenant: &TenantId) -> Option<Tombstone> {
        let stones = self.tombstones();
        stones.iter().find(|stone| stone.pending && stone.tenant == tenant.as_str()).cloned()
    }

    fn finish_removal(&self, tenant: &TenantId, removal: &mut Removal) -> Result<(), StoreError> {
        let removed = self.remove_files_of(tenant, removal);
        removed.inspect_err(|_| telemetry::FAILURES.with_label_values(&["remove"]).inc())?;
        let Removal { position, series, samples, .. } = *removal;
        tracing::info!(%position, series, samples, "removed a tenant");
        self.show_sizes();
        Ok(())
    }

    fn remove_files_of(&self, tenant: &TenantId, removal: &mut Removal) -> Result<(), StoreError> {
        let Some(tombstone) = self.pending_tombstone(tenant) else { return Ok(()) };
        let mut series = HashSet::new();
        self.remove_from_parts(tenant, &tombstone, removal, &mut series)?;
        self.remove_from_blocks(tenant, removal, &mut series)?;
        removal.series = series.len() as u64;
        let tombstone = self.pending_tombstone(tenant).unwrap_or(tombstone);
        let done = Tombstone { pending: false, files: None, ..tombstone };
        self.commit(&Change { tombstones: vec![done], ..Change::default() })
    }

    /// Lists the table's files in the tombstones that have no list yet. Called by whoever works on blocks, before any file
    /// is written.
    pub(crate) fn list_files_to_remove_from(&self) -> Result<(), StoreError> {
        let stones = self.tombstones();
        let unlisted: Vec<&Tombstone> = stones.iter().filter(|stone| stone.pending && stone.files.is_none()).collect();
        if unlisted.is_empty() {
            return Ok(());
        }
        let table = self.block_table()?;
        // A file that a failed commit may have added is one of them.
        table.reload().map_err(BlockError::from)?;
        self.show_table(&table);
        let files: Vec<String> = self.view().blocks.iter().map(|file| file.path().to_owned()).collect();
        let listed = unlisted.into_iter().map(|stone| Tombstone { files: Some(files.clone()), ..stone.clone() });
        self.commit(&Change { tombstones: listed.collect(), ..Change::default() })
    }

    /// The removal goes on, with these files left to rewrite.
    pub(crate) fn leave_files_to_remove_from(&self, tenant: &TenantId, files: Vec<String>) -> Result<(), StoreError> {
        let Some(stone) = self.pending_tombstone(tenant).filter(|stone| stone.files.as_ref() != Some(&files)) else {
            return Ok(());
        };
        self.commit(&Change { tombstones: vec![Tombstone { files: Some(files), ..stone }], ..Change::default() })
    }

    /// The tenant's series in the index, by rising number.
    pub(crate) fn series_of(&self, tenant: &TenantId) -> Vec<Arc<Series>> {
        let budget = QueryBudget::new(Instant::now() + NO_DEADLINE, u64::MAX);
        let found = index::find(&self.index, &Scope::tenants([tenant.clone()]), &[], &budget);
        // A budget without a limit never ends a search.
        found.unwrap_or_default()
    }

    /// What tells series apart, whatever their numbers are.
    pub(crate) fn identities_of(&self, series: &[Arc<Series>], out: &mut HashSet<Labels>) {
        let index = self.index.read();
        out.extend(series.iter().map(|series| index.labels_of(series)));
    }

    fn remove_from_parts(
        &self,
        tenant: &TenantId,
        tombstone: &Tombstone,
        removal: &mut Removal,
        series: &mut HashSet<Labels>,
    ) -> Result<(), StoreError> {
        let _no_conversion = self.blocks.working.lock();
        let _no_merge = self.merging.lock();
        let mut known = self.series_of(tenant);
        let ids: Vec<SeriesId> = known.iter().map(|series| series.id()).collect();
        let is_gone = |id: &SeriesId| ids.binary_search(id).is_ok();
        let parts = self.parts();
        let covered = parts.iter().filter(|part| tombstone.covers_part(part));
        let holding: Vec<Arc<Part>> = covered.filter(|part| part.ids().any(|id| is_gone(&id))).cloned().collect();
        let held: HashSet<SeriesId> = holding.iter().flat_map(|part| part.ids()).collect();
        known.retain(|series| held.contains(&series.id()));
        self.identities_of(&known, series);
        for part in holding {
            let kept: Vec<SeriesId> = part.ids().filter(|id| !is_gone(id)).collect();
            let add = self.part_of(std::slice::from_ref(&part), &kept)?;
            removal.parts += 1;
            removal.deleted_bytes += part.bytes();
            removal.written_bytes += add.as_ref().map_or(0, |part| part.bytes());
            let left = add.as_ref().map_or(0, |part| part.footer().samples);
            removal.samples += part.footer().samples.saturating_sub(left);
            self.commit(&Change { add: add.into_iter().collect(), remove: vec![part], ..Change::default() })?;
        }
        Ok(())
    }
}

/// Whether a batch at a position must leave out a tenant's series.
pub(crate) fn is_removed(stones: &[Tombstone], tenant: Option<&str>, position: Position) -> bool {
    tenant.is_some_and(|tenant| stones.iter().any(|stone| position.0 <= stone.position && stone.tenant == tenant))
}

/// The label by which series are a tenant's.
pub(crate) fn tenant_of(labels: &Labels) -> Option<&str> {
    labels.get(TENANT)
}
