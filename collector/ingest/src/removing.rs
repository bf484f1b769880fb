//! What the way in does of a tenant's removal: tombstones, what it remembers itself, and when the last segment is gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use tenantscope_model::{RemovedTenants, Signal, TenantId};
use tokio::sync::watch;

use crate::clock::now_ms;
use crate::intake::Intake;
use crate::line;
use crate::refusal;
use crate::removals::{Newer, RemovalError, Removals, TenantRemoval};
use crate::taking::blocking;

/// What a removal that is not final waits for in a journal.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct JournalWait {
    /// Whose journal.
    pub journal: Signal,
    /// Who has not passed the tombstone yet; absent where the segment just has to go.
    pub cursor: Option<String>,
}

impl Intake {
    /// Every removal that is remembered, the oldest first.
    pub fn removals(&self) -> Vec<TenantRemoval> {
        self.removals.all()
    }

    /// Those that are not final, the oldest first.
    pub fn unfinished_removals(&self) -> Vec<TenantRemoval> {
        self.removals.not_final()
    }

    /// The removal of that number.
    pub fn removal(&self, number: u64) -> Option<TenantRemoval> {
        self.removals.get(number)
    }

    /// What whoever reads a journal skips.
    pub fn removed_tenants(&self) -> watch::Receiver<Arc<RemovedTenants>> {
        self.removals.removed()
    }

    /// Begins to remove a tenant, of which these parts may have something: notes it durably, and takes nothing of it until
    /// [`Intake::removal_in_force`]. One that is under way goes on, unless the tenant came again and sent something meanwhile.
    /// Nothing is deleted yet: [`Intake::entomb`] is next.
    pub async fn begin_removal(
        &self,
        tenant: &TenantId,
        asked_by: &str,
        parts: &'static [&'static str],
    ) -> Result<TenantRemoval, RemovalError> {
        // A tombstone makes this forgotten, so what there is came behind it.
        let came_again = self.lines.iter().any(|line| line.state.lock().held_of(tenant).iter().any(|(_, n)| *n > 0));
        let newer = if came_again { Newer::Something } else { Newer::Nothing };
        let (tenant, asked_by) = (tenant.clone(), asked_by.to_owned());
        self.on_list(move |list| list.begin(&tenant, newer, &asked_by, parts, now_ms())).await
    }

    /// Puts the tombstones into the journals, where they are not there yet: from now on nothing that stands before them is
    /// read of the tenant, and what the way in remembers of it is forgotten.
    pub async fn entomb(&self, number: u64) -> Result<(), RemovalError> {
        let Some(TenantRemoval { tenant, tombstones, .. }) = self.removal(number) else { return Ok(()) };
        if !tombstones.is_empty() {
            return Ok(());
        }
        let (mut stones, mut forgotten) = (BTreeMap::new(), BTreeMap::new());
        for line in &self.lines {
            for (what, count) in line.state.lock().held_of(&tenant) {
                *forgotten.entry(what.to_owned()).or_default() += count;
            }
            let queued = {
                let (line, tenant) = (Arc::clone(line), tenant.clone());
                blocking(move || line.take_tombstone(tenant, now_ms())).await?
            };
            let position = queued.await.map_err(|error| refusal::of_append(&error))?;
            stones.insert(line.signal, position);
        }
        self.forget_of_tenant(&tenant);
        self.on_list(move |list| {
            list.change(number, |removal| {
                removal.tombstones = stones;
                removal.deleted.insert("state".to_owned(), forgotten);
            })
        })
        .await?;
        if let Some(removal) = self.removal(number) {
            self.lines.iter().for_each(|line| cut_behind(line, &removal));
        }
        Ok(())
    }

    /// Notes what a part had of the tenant, once it has nothing any more. With the last one everything is deleted that can
    /// be deleted at once.
    pub async fn part_removed(
        &self,
        number: u64,
        part: &str,
        counts: BTreeMap<String, u64>,
    ) -> Result<(), RemovalError> {
        let part = part.to_owned();
        self.change_removal(number, move |removal| {
            removal.pending.remove(&part);
            removal.deleted.insert(part, counts);
            if removal.pending.is_empty() && removal.in_force {
                removal.deleted_ms.get_or_insert_with(now_ms);
            }
        })
        .await
    }

    /// Every store tells the tenant from one of the same name that comes now: it may come.
    pub async fn removal_in_force(&self, number: u64) -> Result<(), RemovalError> {
        if let Some(removal) = self.removal(number) {
            // Of batches that were acknowledged just before the tombstone.
            self.forget_of_tenant(&removal.tenant);
        }
        self.change_removal(number, |removal| {
            removal.in_force = true;
            if removal.pending.is_empty() {
                removal.deleted_ms.get_or_insert_with(now_ms);
            }
        })
        .await
    }

    /// Makes those final whose last segment is gone; these.
    pub async fn finish_removals(&self) -> Result<Vec<TenantRemoval>, RemovalError> {
        let mut finished = Vec::new();
        for removal in self.unfinished_removals().iter().filter(|removal| removal.deleted_ms.is_some()) {
            let waits = self.removal_waits(removal);
            if waits.is_empty() {
                self.change_removal(removal.number, |removal| removal.final_ms = Some(now_ms())).await?;
                finished.extend(self.removal(removal.number));
            }
            waits.iter().for_each(|wait| self.hurry(removal, wait));
        }
        Ok(finished)
    }

    /// The journals that may still have something of the tenant in a segment.
    pub fn removal_waits(&self, removal: &TenantRemoval) -> Vec<JournalWait> {
        let waits = |line: &Arc<line::Line>| {
            let stone = *removal.tombstones.get(&line.signal)?;
            let behind = line.journal.slowest_cursor().filter(|(_, at)| *at < stone).map(|(cursor, _)| cursor);
            (removal.final_ms.is_none() && line.journal.first() <= stone)
                .then_some(JournalWait { journal: line.signal, cursor: behind })
        };
        self.lines.iter().filter_map(waits).collect()
    }

    /// Lets a journal go on where that is for us to do, rather than at the stores' own times.
    fn hurry(&self, removal: &TenantRemoval, wait: &JournalWait) {
        let line = self.line(wait.journal);
        match wait.cursor.as_deref() {
            Some(line::STORE_CURSOR | line::STATE_CURSOR) => line.ask_for_room(),
            Some(_) => {}
            // A crash may have come before the segment was closed.
            None => cut_behind(line, removal),
        }
    }

    /// What is counted of a tenant and said of it, so that the next round brings none of it back.
    fn forget_of_tenant(&self, tenant: &TenantId) {
        self.forget_counts(tenant);
        self.tenant_info.forget(tenant);
        self.coverage.forget(tenant);
    }

    async fn change_removal(
        &self,
        number: u64,
        change: impl FnOnce(&mut TenantRemoval) + Send + 'static,
    ) -> Result<(), RemovalError> {
        self.on_list(move |list| list.change(number, change).map(drop)).await
    }

    /// Works on the list where its disk may be waited for.
    async fn on_list<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Removals) -> Result<T, RemovalError> + Send + 'static,
    ) -> Result<T, RemovalError> {
        let list = Arc::clone(&self.removals);
        blocking(move || Ok(work(&list))).await?
    }
}

/// Lets the segment go that has the tombstone, however little comes.
fn cut_behind(line: &line::Line, removal: &TenantRemoval) {
    if let Some(stone) = removal.tombstones.get(&line.signal) {
        line.journal.cut_behind(*stone);
    }
}
