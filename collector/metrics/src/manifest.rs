//! `MANIFEST`: which parts live, and the journal position that they reach. It alone counts.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dirty::KeptRange;
use crate::error::OpenError;
use crate::part::Part;
use crate::removal::Tombstone;
use crate::store::Change;

pub(crate) const FILE_NAME: &str = "MANIFEST";
pub(crate) const TEMPORARY_NAME: &str = "MANIFEST.new";
const MAGIC: &str = "tenantscope-metrics-manifest";
const VERSION: u32 = 2;

/// What `MANIFEST` says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// Parts and metadata hold every record up to here.
    pub(crate) position: u64,
    /// Numbers of the live parts, by window, then from older to newer writes.
    pub(crate) parts: Vec<u64>,
    /// Number of the metadata file; absent before the first metadata came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<u64>,
    /// A random id of this store, under which the table of blocks knows its conversions.
    pub(crate) store: String,
    /// The id of the last conversion that was begun; 0 before the first.
    #[serde(default)]
    pub(crate) conversions: u64,
    /// The conversion that was begun and not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) conversion: Option<Conversion>,
    /// No block has a sample at or after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) blocks_until_ms: Option<i64>,
    /// How far an instant selector looks back at most, over the cadences of all series.
    #[serde(default)]
    pub(crate) widest_lookback_ms: i64,
    /// Tenants that were removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tombstones: Vec<Tombstone>,
    /// What was written to times that had been summed, and is not settled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) dirty: Vec<KeptRange>,
}

/// Parts on their way into the table of blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Conversion {
    /// The version of the store's transaction in the table.
    pub(crate) id: u64,
    /// What goes once the table has it.
    pub(crate) parts: Vec<u64>,
}

impl Manifest {
    /// Reads it; `None` in a folder that never had one.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, OpenError> {
        let path = dir.join(FILE_NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OpenError::io(&path)(error)),
        };
        let (head, body) = text.split_once('\n').ok_or_else(|| OpenError::damaged(&path, "ends in its first line"))?;
        let mut words = head.split(' ');
        if words.next() != Some(MAGIC) {
            return Err(OpenError::damaged(&path, format!("does not start with {MAGIC:?}")));
        }
        let version = words.next().and_then(|version| version.parse().ok());
        let found: u32 = version.ok_or_else(|| OpenError::damaged(&path, "has no version"))?;
        if found != VERSION {
            return Err(OpenError::Version { path, found, known: VERSION });
        }
        if words.next() != Some(checksum(body).as_str()) {
            return Err(OpenError::damaged(&path, "checksum"));
        }
        serde_json::from_str(body).map(Some).map_err(|error| OpenError::damaged(&path, error.to_string()))
    }

    /// What it says after a change that leaves these parts.
    pub(crate) fn after(&self, change: &Change, parts: &[Arc<Part>]) -> Self {
        let kept = self.conversion.clone().filter(|_| !change.end_conversion);
        Self {
            position: change.position.unwrap_or(self.position),
            parts: parts.iter().map(|part| part.number()).collect(),
            metadata: change.families.map(|(number, _)| number).or(self.metadata),
            store: self.store.clone(),
            conversions: change.begin_conversion.as_ref().map_or(self.conversions, |conversion| conversion.id),
            conversion: change.begin_conversion.clone().or(kept),
            blocks_until_ms: self.blocks_until_ms.max(change.blocks_until_ms),
            widest_lookback_ms: self.widest_lookback_ms,
            tombstones: with_tombstones(&self.tombstones, &change.tombstones),
            dirty: self.dirty.clone(),
        }
    }

    /// Replaces it: written beside, fsynced, renamed, the folder fsynced. After an error either one may be in force.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        let body = serde_json::to_string_pretty(self)? + "\n";
        let temporary = dir.join(TEMPORARY_NAME);
        let mut file = File::create(&temporary)?;
        write!(file, "{MAGIC} {VERSION} {}\n{body}", checksum(&body))?;
        file.sync_all()?;
        fs::rename(&temporary, dir.join(FILE_NAME))?;
        sync_folder(dir)
    }
}

/// A tenant has one tombstone, the newest.
fn with_tombstones(before: &[Tombstone], new: &[Tombstone]) -> Vec<Tombstone> {
    let others = before.iter().filter(|stone| new.iter().all(|new| new.tenant != stone.tenant));
    others.chain(new).cloned().collect()
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn checksum(body: &str) -> String {
    format!("crc32={:08x}", crc32fast::hash(body.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), None);
        let manifest = Manifest { position: 7, parts: vec![1, 3], metadata: Some(2), ..Manifest::default() };
        manifest.write(dir.path()).unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), Some(manifest));
        let path = dir.path().join(FILE_NAME);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace('7', "8")).unwrap();
        let error = Manifest::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("MANIFEST") && error.contains("checksum"), "{error}");
        fs::write(&path, text.replace("manifest 2", "manifest 3")).unwrap();
        assert!(matches!(Manifest::read(dir.path()), Err(OpenError::Version { found: 3, .. })));
    }
}
