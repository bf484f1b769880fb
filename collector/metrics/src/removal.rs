//! Removal of one tenant, complete: memory, parts, blocks, index, families. What is durable first is the tombstone, so
//! that neither a crash nor a replay brings anything back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tenantscope_model::{Labels, Position, QueryBudget, Scope, TenantId};

use crate::error::StoreError;
use crate::flush::{create, finish};
use crate::index::{self, LabelTexts, TENANT};
use crate::merge::read_piece;
use crate::part::{Part, PartWriter};
use crate::series::{Series, SeriesId};
use crate::store::{Change, MetricStore, remove_file};

/// Series looked at or rewritten at a time.
const PIECE: usize = 2048;
const NO_DEADLINE: Duration = Duration::from_secs(86_400 * 365);

/// A tenant that was removed: nothing of it at or before the position comes in again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tombstone {
    pub(crate) tenant: String,
    pub(crate) position: u64,
    /// Whether files may still hold something.
    pub(crate) pending: bool,
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

impl MetricStore {
    /// Removes everything of a tenant that was applied so far, at least up to a journal position, and deletes the files
    /// that held something of it. Blocks, possibly for long; writers and readers go on meanwhile.
    ///
    /// After an error, or a crash, it goes on by itself at the next upkeep, or with the next call.
    pub fn remove_tenant(&self, tenant: &TenantId, up_to: Position) -> Result<Removal, StoreError> {
        // Memory becomes parts, so that there is one way to remove.
        self.flush()?;
        let position = up_to.0.max(self.durable_position().0);
        let tombstone = Tombstone { tenant: tenant.to_string(), position, pending: true };
        let families = self.families.write().remove_tenant(tenant);
        self.commit(&Change {
            tombstone: Some(tombstone.clone()),
            families: self.write_families()?,
            ..Change::default()
        })?;
        self.dirty.remove_tenant(tenant.as_str());
        let mut removal = Removal { position, families, ..Removal::default() };
        self.remove_files_of(tenant, &mut removal)?;
        self.commit(&Change { tombstone: Some(Tombstone { pending: false, ..tombstone }), ..Change::default() })?;
        tracing::info!(%position, series = removal.series, samples = removal.samples, "removed a tenant");
        self.show_sizes();
        Ok(removal)
    }

    /// Goes on with removals that were interrupted.
    pub(crate) fn resume_removals(&self) -> Result<(), StoreError> {
        for tombstone in self.tombstones().iter().filter(|tombstone| tombstone.pending) {
            let Ok(tenant) = TenantId::try_new(&tombstone.tenant) else { continue };
            self.remove_tenant(&tenant, Position(tombstone.position))?;
        }
        Ok(())
    }

    fn remove_files_of(&self, tenant: &TenantId, removal: &mut Removal) -> Result<(), StoreError> {
        let mut series = HashSet::new();
        self.remove_from_parts(tenant, removal, &mut series)?;
        self.remove_from_blocks(tenant, removal, &mut series)?;
        removal.series = series.len() as u64;
        Ok(())
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
        removal: &mut Removal,
        series: &mut HashSet<Labels>,
    ) -> Result<(), StoreError> {
        let _no_conversion = self.blocks.working.lock();
        let _no_merge = self.merging.lock();
        let known = self.series_of(tenant);
        self.identities_of(&known, series);
        let ids: Vec<SeriesId> = known.iter().map(|series| series.id()).collect();
        let is_gone = |id: &SeriesId| ids.binary_search(id).is_ok();
        let holding: Vec<Arc<Part>> =
            self.parts().iter().filter(|part| part.ids().any(|id| is_gone(&id))).cloned().collect();
        for part in holding {
            let kept: Vec<SeriesId> = part.ids().filter(|id| !is_gone(id)).collect();
            let add = if kept.is_empty() { None } else { Some(self.part_with(&part, &kept)?) };
            removal.parts += 1;
            removal.deleted_bytes += part.bytes();
            removal.written_bytes += add.as_ref().map_or(0, |part| part.bytes());
            let left = add.as_ref().map_or(0, |part| part.footer().samples);
            removal.samples += part.footer().samples.saturating_sub(left);
            self.commit(&Change { add: add.into_iter().collect(), remove: vec![part], ..Change::default() })?;
        }
        Ok(())
    }

    /// A part with some series of another one.
    fn part_with(&self, part: &Arc<Part>, kept: &[SeriesId]) -> Result<Arc<Part>, StoreError> {
        let mut series: Vec<Arc<Series>> = Vec::with_capacity(kept.len());
        for piece in kept.chunks(PIECE) {
            let index = self.index.read();
            series.extend(piece.iter().filter_map(|id| index.get(*id).cloned()));
        }
        let texts = self.index.read().texts();
        texts.sort(&mut series);
        let mut writer = create(self, part.footer().window_ms)?;
        if let Err(error) = copy(part, &series, &texts, &mut writer) {
            remove_file(writer.path());
            return Err(error);
        }
        finish(writer, (part.footer().min_position, part.footer().max_position))
    }
}

/// Whether a batch at a position must leave out a tenant's series.
pub(crate) fn is_removed(stones: &[Tombstone], tenant: Option<&str>, position: Position) -> bool {
    tenant.is_some_and(|tenant| stones.iter().any(|stone| position.0 <= stone.position && stone.tenant == tenant))
}

fn copy(
    part: &Arc<Part>,
    series: &[Arc<Series>],
    texts: &LabelTexts,
    writer: &mut PartWriter,
) -> Result<(), StoreError> {
    let path = writer.path().to_owned();
    let inputs = [Arc::clone(part)];
    for piece in series.chunks(PIECE) {
        for (series, (columns, exemplars)) in piece.iter().zip(read_piece(&inputs, piece)?) {
            writer.add(series, texts, &columns, &exemplars).map_err(StoreError::io(&path))?;
        }
    }
    Ok(())
}

/// The label by which series are a tenant's.
pub(crate) fn tenant_of(labels: &Labels) -> Option<&str> {
    labels.get(TENANT)
}
