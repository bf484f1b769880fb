//! The file: alerts that fire, incidents, and the outbox. A change and what must be told of it are one transaction.
//!
//! | table | key | value (JSON) |
//! |---|---|---|
//! | `alerts` | rule, fingerprint | an alert that fires |
//! | `open` | rule | its open incident |
//! | `ended` | time of its end, key | an incident that ended |
//! | `outbox` | notifier, subject | what is to be delivered |

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use parking_lot::RwLock;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tenantscope_model::TenantId;

use crate::book::{Book, Change};
use crate::incident::{HeldAlert, Incident};
use crate::payload::Notification;
use crate::removal::{RemovedAlerts, body_without, incident_without};

const ALERTS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("alerts");
const OPEN: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("open");
const ENDED: TableDefinition<'_, (i64, &str), &[u8]> = TableDefinition::new("ended");
const OUTBOX: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("outbox");

/// The most ended incidents that are kept.
const MAX_ENDED: u64 = 5_000;
/// The most notifications that wait.
const MAX_OUTBOX: u64 = 50_000;

/// The file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database.
    #[error("incidents file: {0}")]
    Database(#[source] Box<redb::Error>),
    /// A record that can't be read.
    #[error("incidents file has a record that can't be read: {0}")]
    Record(#[from] serde_json::Error),
    /// It can't take the place of the one before.
    #[error("incidents file: {0}")]
    Io(#[from] std::io::Error),
}

/// redb has an error type for each kind of call; to us they are one.
macro_rules! from_redb {
    ($($error:ty),*) => {
        $(impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        })*
    };
}

from_redb!(
    redb::Error,
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError
);

/// A notification that waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    /// Rises; tells whether it was replaced while it was being delivered.
    pub(crate) sequence: u64,
    pub(crate) created_ms: i64,
    pub(crate) attempts: u32,
    pub(crate) next_ms: i64,
    pub(crate) body: Value,
}

/// What is to be delivered now, by subject; and when the next one is due.
pub(crate) struct Due {
    pub(crate) entries: Vec<(String, Waiting)>,
    pub(crate) next_ms: Option<i64>,
}

pub(crate) struct Store {
    path: PathBuf,
    /// Whoever writes holds it until the end of the transaction, so that no other file takes its place meanwhile.
    database: RwLock<Database>,
}

impl Store {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        remove_unfinished(path)?;
        let database = Database::create(path)?;
        let write = database.begin_write()?;
        write.open_table(ALERTS)?;
        write.open_table(OPEN)?;
        write.open_table(ENDED)?;
        write.open_table(OUTBOX)?;
        write.commit()?;
        Ok(Self { path: path.to_owned(), database: RwLock::new(database) })
    }

    fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        Ok(self.database.read().begin_read()?)
    }

    /// Takes a tenant out. All the others' is written into a new file, which takes the place of the one before at once: in a
    /// file that goes on, what was deleted lies around.
    pub(crate) fn remove_tenant(&self, tenant: &TenantId) -> Result<RemovedAlerts, StoreError> {
        let mut database = self.database.write();
        let unfinished = remove_unfinished(&self.path)?;
        let next = Database::create(&unfinished)?;
        let removed = copy_without(&database, &next, tenant)?;
        fs::rename(&unfinished, &self.path)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        *database = next;
        Ok(removed)
    }

    /// The rules' alerts and open incidents.
    pub(crate) fn books(&self) -> Result<BTreeMap<String, Book>, StoreError> {
        let read = self.begin_read()?;
        let mut books: BTreeMap<String, Book> = BTreeMap::new();
        for entry in read.open_table(ALERTS)?.iter()? {
            let (key, value) = entry?;
            let (rule, fingerprint) = key.value();
            let alert: HeldAlert = serde_json::from_slice(value.value())?;
            books.entry(rule.to_owned()).or_default().firing.insert(fingerprint.to_owned(), alert);
        }
        for entry in read.open_table(OPEN)?.iter()? {
            let (rule, value) = entry?;
            let incident: Incident = serde_json::from_slice(value.value())?;
            books.entry(rule.value().to_owned()).or_default().open = Some(incident);
        }
        Ok(books)
    }

    /// Incidents that ended, the latest first.
    pub(crate) fn ended(&self, limit: usize) -> Result<Vec<Incident>, StoreError> {
        let read = self.begin_read()?;
        let table = read.open_table(ENDED)?;
        let mut incidents = Vec::new();
        for entry in table.iter()?.rev().take(limit) {
            let (_, value) = entry?;
            incidents.push(serde_json::from_slice(value.value())?);
        }
        Ok(incidents)
    }

    /// Makes a change and its notifications durable, together. The number of notifications for which there was no room.
    pub(crate) fn commit(
        &self,
        rule: &str,
        change: &Change,
        notifications: &[Notification],
        now_ms: i64,
    ) -> Result<u64, StoreError> {
        let database = self.database.read();
        let write = database.begin_write()?;
        {
            let mut alerts = write.open_table(ALERTS)?;
            for alert in &change.alerts {
                let fingerprint = alert.fingerprint();
                match change.book.firing.get(&fingerprint) {
                    Some(held) => drop(alerts.insert((rule, &*fingerprint), &*serde_json::to_vec(held)?)?),
                    None => drop(alerts.remove((rule, &*fingerprint))?),
                }
            }
            let mut open = write.open_table(OPEN)?;
            match &change.book.open {
                Some(incident) => drop(open.insert(rule, &*serde_json::to_vec(incident)?)?),
                None => drop(open.remove(rule)?),
            }
            let mut ended = write.open_table(ENDED)?;
            for incident in &change.ended {
                let at_ms = incident.resolved_ms.unwrap_or(now_ms);
                ended.insert((at_ms, &*incident.key), &*serde_json::to_vec(incident)?)?;
            }
            while ended.len()? > MAX_ENDED {
                ended.pop_first()?;
            }
        }
        let dropped = {
            let mut outbox = write.open_table(OUTBOX)?;
            let mut dropped = 0;
            for notification in notifications {
                let key = (&*notification.notifier, &*notification.subject);
                let before: Option<Waiting> =
                    outbox.get(key)?.map(|held| serde_json::from_slice(held.value())).transpose()?;
                if before.is_none() && outbox.len()? >= MAX_OUTBOX {
                    dropped += 1;
                    continue;
                }
                let waiting = Waiting {
                    sequence: before.as_ref().map_or(0, |before| before.sequence + 1),
                    created_ms: now_ms,
                    attempts: before.as_ref().map_or(0, |before| before.attempts),
                    // A newer one does not jump the queue of a receiver that is away.
                    next_ms: before.map_or(0, |before| before.next_ms),
                    body: notification.body.clone(),
                };
                outbox.insert(key, &*serde_json::to_vec(&waiting)?)?;
            }
            dropped
        };
        write.commit()?;
        Ok(dropped)
    }

    /// What is to be delivered to a notifier now, the oldest first; and when the next one is due, if none is.
    pub(crate) fn due(&self, notifier: &str, now_ms: i64, limit: usize) -> Result<Due, StoreError> {
        let read = self.begin_read()?;
        let table = read.open_table(OUTBOX)?;
        let mut due = Vec::new();
        let mut next_ms: Option<i64> = None;
        for entry in table.range((notifier, "")..)? {
            let (key, value) = entry?;
            let (owner, subject) = key.value();
            if owner != notifier {
                break;
            }
            let waiting: Waiting = serde_json::from_slice(value.value())?;
            if waiting.next_ms <= now_ms {
                due.push((subject.to_owned(), waiting));
            } else {
                next_ms = Some(next_ms.map_or(waiting.next_ms, |next| next.min(waiting.next_ms)));
            }
        }
        due.sort_by_key(|(_, waiting)| waiting.created_ms);
        due.truncate(limit);
        Ok(Due { entries: due, next_ms })
    }

    /// Takes delivered notifications out, those that were not replaced meanwhile.
    pub(crate) fn delivered(&self, notifier: &str, entries: &[(String, Waiting)]) -> Result<(), StoreError> {
        self.edit(notifier, entries, |_| None)
    }

    /// Puts notifications off until later.
    pub(crate) fn postpone(
        &self,
        notifier: &str,
        entries: &[(String, Waiting)],
        next_ms: i64,
    ) -> Result<(), StoreError> {
        self.edit(notifier, entries, |waiting| {
            Some(Waiting { attempts: waiting.attempts.saturating_add(1), next_ms, ..waiting })
        })
    }

    /// How many notifications wait.
    pub(crate) fn waiting(&self) -> Result<u64, StoreError> {
        Ok(self.begin_read()?.open_table(OUTBOX)?.len()?)
    }

    /// Drops what waits for notifiers that are no more.
    pub(crate) fn forget_others(&self, notifiers: &[&str]) -> Result<(), StoreError> {
        let database = self.database.read();
        let write = database.begin_write()?;
        write.open_table(OUTBOX)?.retain(|(notifier, _), _| notifiers.contains(&notifier))?;
        write.commit()?;
        Ok(())
    }

    fn edit(
        &self,
        notifier: &str,
        entries: &[(String, Waiting)],
        edit: impl Fn(Waiting) -> Option<Waiting>,
    ) -> Result<(), StoreError> {
        let database = self.database.read();
        let write = database.begin_write()?;
        {
            let mut outbox = write.open_table(OUTBOX)?;
            for (subject, sent) in entries {
                let key = (notifier, &**subject);
                let held: Option<Waiting> =
                    outbox.get(key)?.map(|held| serde_json::from_slice(held.value())).transpose()?;
                let Some(held) = held else { continue };
                let replaced = held.sequence != sent.sequence;
                match edit(held.clone()) {
                    Some(edited) => drop(outbox.insert(key, &*serde_json::to_vec(&edited)?)?),
                    None if replaced => {}
                    None => drop(outbox.remove(key)?),
                }
            }
        }
        write.commit()?;
        Ok(())
    }
}

/// Deletes what a crash left of a file that was to take another's place; where such a file is written.
fn remove_unfinished(path: &Path) -> Result<PathBuf, StoreError> {
    let unfinished = path.with_extension("redb.new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(unfinished),
    }
}

fn copy_without(from: &Database, to: &Database, tenant: &TenantId) -> Result<RemovedAlerts, StoreError> {
    let (read, write) = (from.begin_read()?, to.begin_write()?);
    let mut removed = RemovedAlerts::default();
    {
        let mut alerts = write.open_table(ALERTS)?;
        for entry in read.open_table(ALERTS)?.iter()? {
            let (key, value) = entry?;
            let alert: HeldAlert = serde_json::from_slice(value.value())?;
            if alert.tenant().as_ref() == Some(tenant) {
                removed.alerts += 1;
            } else {
                alerts.insert(key.value(), value.value())?;
            }
        }
        let mut open = write.open_table(OPEN)?;
        for entry in read.open_table(OPEN)?.iter()? {
            let (rule, value) = entry?;
            if let Some(left) = left_of_incident(value.value(), tenant, &mut removed)? {
                open.insert(rule.value(), &*left)?;
            }
        }
        let mut ended = write.open_table(ENDED)?;
        for entry in read.open_table(ENDED)?.iter()? {
            let (key, value) = entry?;
            if let Some(left) = left_of_incident(value.value(), tenant, &mut removed)? {
                ended.insert(key.value(), &*left)?;
            }
        }
        let mut outbox = write.open_table(OUTBOX)?;
        for entry in read.open_table(OUTBOX)?.iter()? {
            let (key, value) = entry?;
            let before: Waiting = serde_json::from_slice(value.value())?;
            let left = body_without(before.body.clone(), tenant);
            removed.notifications += u64::from(left.as_ref() != Some(&before.body));
            if let Some(body) = left {
                outbox.insert(key.value(), &*serde_json::to_vec(&Waiting { body, ..before })?)?;
            }
        }
    }
    write.commit()?;
    Ok(removed)
}

fn left_of_incident(
    bytes: &[u8],
    tenant: &TenantId,
    removed: &mut RemovedAlerts,
) -> Result<Option<Vec<u8>>, StoreError> {
    let before: Incident = serde_json::from_slice(bytes)?;
    let left = incident_without(before.clone(), tenant);
    removed.incidents += u64::from(left.as_ref() != Some(&before));
    Ok(left.map(|left| serde_json::to_vec(&left)).transpose()?)
}
