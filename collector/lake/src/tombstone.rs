//! What is to be removed, on disk: durable before anything is deleted, and gone when all of it is.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use arrow::array::BooleanArray;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tenantscope_table::TableError;

/// Digits of the hash that stands for a tenant's name.
const HASH_DIGITS: usize = 32;

/// A tenant that is being removed, or whose records may still come from the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tombstone {
    /// The hash of its name, which stays on disk longer than the name may.
    pub(crate) tenant_hash: String,
    /// Under which journal's id the position counts.
    pub(crate) journal: String,
    /// Nothing of the tenant that lies at or before it comes in again.
    pub(crate) position: u64,
    /// What files may still hold of it, until none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pending: Option<Pending>,
}

/// What is left to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pending {
    pub(crate) tenant: String,
    /// Files that may hold something of it. What a tenant of the same name sends later is in others.
    pub(crate) files: Vec<String>,
}

/// What stands for a tenant's name where that must not be.
pub(crate) fn tenant_hash(tenant: &str) -> String {
    let mut digits = hex::encode(Sha256::digest(tenant));
    digits.truncate(HASH_DIGITS);
    digits
}

impl Tombstone {
    pub(crate) fn lists(&self, path: &str) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.files.iter().any(|file| file == path))
    }
}

/// Which of a list of tenants, each of which may come many times in a row, are not among those that were removed.
pub(crate) fn stays<'a>(tenants: impl Iterator<Item = Option<&'a str>>, removed: &[&str]) -> BooleanArray {
    let mut last: Option<(&str, bool)> = None;
    let mut stays = |tenant: &'a str| match last {
        Some((before, stays)) if before == tenant => stays,
        _ => {
            let stays = !removed.contains(&tenant_hash(tenant).as_str());
            last = Some((tenant, stays));
            stays
        }
    };
    tenants.map(|tenant| Some(tenant.is_none_or(&mut stays))).collect()
}

/// Reads what [`write`] wrote. Under another journal no position counts, but what was begun is to be ended.
pub(crate) fn read(path: &Path, journal: &str) -> Result<Vec<Tombstone>, TableError> {
    remove(&path.with_extension("new"))?;
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(path, error)),
    };
    let mut stones: Vec<Tombstone> =
        serde_json::from_slice(&text).map_err(|error| failed(path, io::Error::new(ErrorKind::InvalidData, error)))?;
    for stone in stones.iter_mut().filter(|stone| stone.journal != journal) {
        stone.position = 0;
    }
    Ok(stones)
}

/// Replaces what is on disk, at once and durably.
pub(crate) fn write(path: &Path, stones: &[Tombstone]) -> Result<(), TableError> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    if stones.is_empty() {
        remove(path)?;
        return sync(folder);
    }
    let text = serde_json::to_vec(stones).map_err(|error| failed(path, error.into()))?;
    let new = path.with_extension("new");
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(&text)?;
        file.sync_all()
    });
    written.map_err(|error| failed(&new, error))?;
    fs::rename(&new, path).map_err(|error| failed(path, error))?;
    sync(folder)
}

fn remove(path: &Path) -> Result<(), TableError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(path, error)),
        _ => Ok(()),
    }
}

fn sync(folder: &Path) -> Result<(), TableError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(folder, error))
}

fn failed(path: &Path, source: io::Error) -> TableError {
    TableError::Io { path: path.to_owned(), source }
}
