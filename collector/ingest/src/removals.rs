//! Tenants that were removed: the list, which is durable before anything is deleted, and the door that is shut to a tenant
//! until every store knows of its removal. The format is in FORMAT.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use serde::{Deserialize, Serialize};
use tenantscope_codec::{Decision, Record, RecordBody, TENANT_LABEL};
use tenantscope_model::{FamilyMetadata, Position, RemovedTenants, Signal, StampedSeries, TenantId};
use tenantscope_tenancy::Registry;
use tenantscope_wire::Refused;
use tokio::sync::watch;

/// The first word of the file: what it is, and its version.
const MAGIC: &str = "TSREMOVALS1";
/// Removals that are remembered; past that the oldest that is final is forgotten.
const MAX_REMOVALS: usize = 10_000;
/// When a batch may come again that has something of a tenant whose removal begins.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A tenant's removal: what was deleted, and what is not yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantRemoval {
    /// Rises from one removal to the next.
    pub number: u64,
    /// The tenant.
    pub tenant: TenantId,
    /// Who asked for it; empty where readers have no names.
    pub asked_by: String,
    /// When it was asked for, in milliseconds since the epoch.
    pub begun_ms: i64,
    /// Where its tombstones stand in the journals, once all of them are there.
    pub tombstones: BTreeMap<Signal, u64>,
    /// What each part had of the tenant and has no more: numbers by name.
    pub deleted: BTreeMap<String, BTreeMap<String, u64>>,
    /// The parts that still have something of it.
    pub pending: BTreeSet<String>,
    /// Whether every store tells the tenant from one of the same name that comes now.
    pub in_force: bool,
    /// When everything was deleted that can be deleted at once, in milliseconds since the epoch.
    pub deleted_ms: Option<i64>,
    /// When the last file was gone that had something of it, in milliseconds since the epoch.
    pub final_ms: Option<i64>,
}

/// Why a removal does not begin, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    /// None of them is final, so that none can be forgotten.
    #[error("{MAX_REMOVALS} removals are under way")]
    TooMany,
    /// The list.
    #[error("{path}: {source}", path = path.display())]
    List {
        /// Its file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A journal takes no tombstone for now.
    #[error("a journal takes no tombstone: {0}")]
    Refused(#[from] Refused),
}

/// What the journals have of a tenant behind the tombstones of the removal before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Newer {
    Nothing,
    Something,
}

/// The list and the door. Shared by the lines.
#[derive(Debug)]
pub(crate) struct Removals {
    path: PathBuf,
    list: Mutex<Vec<TenantRemoval>>,
    /// Who reads a journal skips these.
    removed: watch::Sender<Arc<RemovedTenants>>,
    door: RwLock<Door>,
    registry: Option<Arc<Registry>>,
}

#[derive(Debug, Default)]
struct Door {
    /// Tenants of which nothing is taken for the moment.
    shut: BTreeSet<TenantId>,
    /// Tenants that were removed at some time.
    removed: BTreeSet<TenantId>,
}

/// While it is held no tenant's removal begins.
pub(crate) struct Admission<'a> {
    _door: RwLockReadGuard<'a, Door>,
}

impl Removals {
    /// Reads the list, if it is there. A list that can't be read stops the start: what was removed would come back.
    pub(crate) fn open(path: PathBuf, registry: Option<Arc<Registry>>) -> io::Result<Self> {
        let list = read(&path)?;
        let removals =
            Self { path, list: Mutex::new(list), removed: watch::Sender::default(), door: RwLock::default(), registry };
        removals.publish(&removals.list.lock());
        Ok(removals)
    }

    /// What readers of journals skip.
    pub(crate) fn removed(&self) -> watch::Receiver<Arc<RemovedTenants>> {
        self.removed.subscribe()
    }

    pub(crate) fn all(&self) -> Vec<TenantRemoval> {
        self.list.lock().clone()
    }

    pub(crate) fn not_final(&self) -> Vec<TenantRemoval> {
        self.list.lock().iter().filter(|removal| removal.final_ms.is_none()).cloned().collect()
    }

    pub(crate) fn get(&self, number: u64) -> Option<TenantRemoval> {
        self.list.lock().iter().find(|removal| removal.number == number).cloned()
    }

    /// Notes that a tenant is to be removed, durably, and shuts the door to it. One that is under way goes on, but for the
    /// `newer` data of the tenant, which came since that one is in force and stands behind its tombstones. Blocks.
    pub(crate) fn begin(
        &self,
        tenant: &TenantId,
        newer: Newer,
        asked_by: &str,
        parts: &[&str],
        now_ms: i64,
    ) -> Result<TenantRemoval, RemovalError> {
        let mut list = self.list.lock();
        let reaches_all = |known: &TenantRemoval| newer == Newer::Nothing || !known.in_force;
        let under_way = |known: &&TenantRemoval| known.tenant == *tenant && known.deleted_ms.is_none();
        if let Some(under_way) = list.iter().rev().find(under_way).filter(|known| reaches_all(known)) {
            return Ok(under_way.clone());
        }
        let mut next = list.clone();
        if next.len() >= MAX_REMOVALS {
            let oldest = next.iter().position(|known| known.final_ms.is_some()).ok_or(RemovalError::TooMany)?;
            next.remove(oldest);
        }
        let removal = TenantRemoval {
            number: next.iter().map(|known| known.number).max().unwrap_or(0) + 1,
            tenant: tenant.clone(),
            asked_by: asked_by.to_owned(),
            begun_ms: now_ms,
            tombstones: BTreeMap::new(),
            deleted: BTreeMap::new(),
            pending: parts.iter().map(|part| (*part).to_owned()).collect(),
            in_force: false,
            deleted_ms: None,
            final_ms: None,
        };
        next.push(removal.clone());
        self.replace(&mut list, next)?;
        Ok(removal)
    }

    /// Changes a removal, durably; what became of it. Blocks.
    pub(crate) fn change(
        &self,
        number: u64,
        change: impl FnOnce(&mut TenantRemoval),
    ) -> Result<Option<TenantRemoval>, RemovalError> {
        let mut list = self.list.lock();
        let mut next = list.clone();
        let Some(removal) = next.iter_mut().find(|removal| removal.number == number) else { return Ok(None) };
        change(removal);
        let removal = removal.clone();
        if *list != next {
            self.replace(&mut list, next)?;
        }
        Ok(Some(removal))
    }

    fn replace(&self, list: &mut Vec<TenantRemoval>, next: Vec<TenantRemoval>) -> Result<(), RemovalError> {
        write(&self.path, &next).map_err(|source| RemovalError::List { path: self.path.clone(), source })?;
        self.publish(&next);
        *list = next;
        Ok(())
    }

    fn publish(&self, list: &[TenantRemoval]) {
        let mut removed = RemovedTenants::default();
        // Of a final one the journals have nothing left to skip.
        for removal in list.iter().filter(|removal| removal.final_ms.is_none()) {
            for (signal, position) in &removal.tombstones {
                removed.add(removal.tenant.clone(), *signal, Position(*position));
            }
        }
        let tenants = |removals: &mut dyn Iterator<Item = &TenantRemoval>| removals.map(|r| r.tenant.clone()).collect();
        let door = Door {
            shut: tenants(&mut list.iter().filter(|removal| !removal.in_force)),
            removed: tenants(&mut list.iter()),
        };
        // Waits for batches that are being queued: those stand before the tombstone then.
        *self.door.write() = door;
        self.removed.send_if_modified(|known| {
            let changes = **known != removed;
            if changes {
                *known = Arc::new(removed);
            }
            changes
        });
    }

    /// Whether a record may be queued: what has something of a tenant whose removal begins comes again later, and so does what
    /// was decided while the registry listed one that is gone by now, since whose it is must be decided anew.
    pub(crate) fn admit(&self, record: &Record) -> Result<Admission<'_>, Refused> {
        let door = self.door.read();
        let is_shut = |tenant: &str| door.shut.iter().any(|shut| shut.as_str() == tenant);
        let is_gone =
            |tenant: &TenantId| door.shut.contains(tenant) || door.removed.contains(tenant) && !self.is_listed(tenant);
        let names_gone = match &record.body {
            RecordBody::Received { decisions, .. } if !door.removed.is_empty() => {
                decisions.iter().any(|decision| matches!(decision, Decision::Stamp(stamp) if is_gone(&stamp.tenant)))
            }
            RecordBody::Own { series, .. } if !door.shut.is_empty() => {
                series.iter().filter_map(|series| series.labels.get(TENANT_LABEL)).any(is_shut)
            }
            _ => false,
        };
        if names_gone {
            let message = "a tenant of the batch is being removed";
            return Err(Refused::unavailable("tenant_removal", message, ASK_AGAIN));
        }
        Ok(Admission { _door: door })
    }

    /// Whoever is in quarantine is never listed, and more of it comes.
    fn is_listed(&self, tenant: &TenantId) -> bool {
        let lists = |registry: &Arc<Registry>| registry.tenants().lists(tenant);
        *tenant == TenantId::unassigned() || self.registry.as_ref().is_none_or(lists)
    }

    /// Leaves out what we would say ourselves of a tenant that is gone, which would bring series of it back: alerts that
    /// end, counts, staleness markers.
    pub(crate) fn leave_out(&self, series: &mut Vec<StampedSeries>, metadata: &mut Vec<FamilyMetadata>) {
        let gone: BTreeSet<TenantId> = {
            let door = self.door.read();
            let unlisted = door.removed.iter().filter(|tenant| !self.is_listed(tenant));
            unlisted.chain(&door.shut).cloned().collect()
        };
        if gone.is_empty() {
            return;
        }
        let is_gone = |tenant: &str| gone.iter().any(|gone| gone.as_str() == tenant);
        series.retain(|series| !series.labels.get(TENANT_LABEL).is_some_and(is_gone));
        metadata.retain(|family| !family.tenant.as_ref().is_some_and(|tenant| gone.contains(tenant)));
    }
}

fn read(path: &Path) -> io::Result<Vec<TenantRemoval>> {
    let damaged = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let (first, json) = text.split_once('\n').ok_or_else(|| damaged("it has no first line".to_owned()))?;
    if first != first_line(json) {
        return Err(damaged("it is no list of removals of version 1, or its checksum is wrong".to_owned()));
    }
    serde_json::from_str(json).map_err(|error| damaged(error.to_string()))
}

fn first_line(json: &str) -> String {
    format!("{MAGIC} {:08x}", crc32fast::hash(json.as_bytes()))
}

/// Writes it whole or not at all; durable when it returns.
fn write(path: &Path, list: &[TenantRemoval]) -> io::Result<()> {
    let json = serde_json::to_string(list)?;
    let unfinished = path.with_extension("tmp");
    let mut file = File::create(&unfinished)?;
    write!(file, "{}\n{json}", first_line(&json))?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_and_damage_stops_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("removals");
        let acme = TenantId::try_new("acme").unwrap();
        let removals = Removals::open(path.clone(), None).unwrap();
        let begun = removals.begin(&acme, Newer::Nothing, "oncall", &["metrics"], 7).unwrap();
        for newer in [Newer::Nothing, Newer::Something] {
            let again = removals.begin(&acme, newer, "another", &[], 8).unwrap();
            assert_eq!(again, begun, "one that is under way goes on");
        }
        let changed = removals.change(begun.number, |removal| {
            removal.tombstones.insert(Signal::Logs, 5);
        });
        let changed = changed.unwrap().unwrap();

        let again = Removals::open(path.clone(), None).unwrap();
        assert_eq!(again.all(), [changed]);
        let removed = again.removed().borrow().clone();
        assert_eq!(removed.at(Signal::Logs, Position(5)).collect::<Vec<_>>(), [&acme]);
        let text = fs::read(&path).unwrap();
        for at in 0..text.len() {
            let mut damaged = text.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert!(Removals::open(path.clone(), None).is_err(), "at {at}");
        }
    }

    #[test]
    fn the_oldest_that_is_final_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let removals = Removals::open(dir.path().join("removals"), None).unwrap();
        let tenant = |n: usize| TenantId::try_new(&format!("t{n}")).unwrap();
        let begin = |n: usize| removals.begin(&tenant(n), Newer::Nothing, "", &[], 0);
        let one = begin(0).unwrap();
        let numbered = |n: usize| TenantRemoval { number: n as u64 + 1, tenant: tenant(n), ..one.clone() };
        *removals.list.lock() = (0..MAX_REMOVALS).map(numbered).collect();
        assert!(matches!(begin(MAX_REMOVALS), Err(RemovalError::TooMany)));
        removals.change(3, |removal| removal.final_ms = Some(1)).unwrap();
        begin(MAX_REMOVALS).unwrap();
        let all = removals.all();
        assert!(all.len() == MAX_REMOVALS && all.iter().all(|removal| removal.number != 3));
    }
}
