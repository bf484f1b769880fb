//! `MANIFEST`: which parts live, and the journal position that they reach. It alone counts.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dirty::{KeptRange, Summed};
use crate::error::OpenError;
use crate::lookback::{self, BlockLookback};
use crate::part::Part;
use crate::removal::Tombstone;
use crate::store::Change;
use crate::view::View;

pub(crate) const FILE_NAME: &str = "MANIFEST";
pub(crate) const TEMPORARY_NAME: &str = "MANIFEST.new";
const MAGIC: &str = "tenantscope-metrics-manifest";
const VERSION: u32 = 3;
/// Had `widest_lookback_ms`, and neither `block_lookbacks` nor `summed`.
const VERSION_BEFORE: u32 = 2;

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
    /// How far back instant selectors look for blocks, by their days.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) block_lookbacks: Vec<BlockLookback>,
    /// The same for all series at all times, as the version before had it.
    #[serde(default, skip_serializing)]
    pub(crate) widest_lookback_ms: i64,
    /// Tenants that were removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tombstones: Vec<Tombstone>,
    /// What was written to times that had been summed, and is not settled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) dirty: Vec<KeptRange>,
    /// Up to when it was summed, and where in the journal the writer stood then; both rise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) summed: Vec<Summed>,
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
        if found != VERSION && found != VERSION_BEFORE {
            return Err(OpenError::Version { path, found, known: VERSION });
        }
        if words.next() != Some(checksum(body).as_str()) {
            return Err(OpenError::damaged(&path, "checksum"));
        }
        let read: Self = serde_json::from_str(body).map_err(|error| OpenError::damaged(&path, error.to_string()))?;
        Ok(Some(read.of_this_version()))
    }

    /// What the version before said for all times counts for the blocks that it knew.
    fn of_this_version(mut self) -> Self {
        let lookback_ms = std::mem::take(&mut self.widest_lookback_ms);
        if lookback_ms > 0 && self.conversions > 0 {
            let until_ms = self.blocks_until_ms.unwrap_or(i64::MAX);
            self.block_lookbacks.push(BlockLookback { from_ms: i64::MIN, until_ms, lookback_ms });
        }
        self
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
            block_lookbacks: self.block_lookbacks.clone(),
            widest_lookback_ms: 0,
            tombstones: with_tombstones(&self.tombstones, &change.tombstones),
            dirty: self.dirty.clone(),
            summed: self.summed.clone(),
        }
    }

    /// What a change of parts and blocks makes of the look-backs: windows that become blocks take that of all that lives
    /// with them, and days without a block go, once it is known which blocks there are.
    pub(crate) fn change_lookbacks(&mut self, change: &Change, before: &View, live_ms: i64) {
        let begun: &[u64] = change.begin_conversion.as_ref().map_or(&[], |conversion| &conversion.parts);
        let converted = change.blocks.as_ref().map_or(&[][..], |_| &change.remove);
        let begin = before.parts.iter().filter(|part| begun.contains(&part.number()));
        let windows_ms = begin.chain(converted).map(|part| part.footer().window_ms);
        lookback::raise(&mut self.block_lookbacks, windows_ms, live_ms);
        let blocks = change.blocks.as_ref().or(before.blocks_known.then_some(&before.blocks));
        if let (Some(blocks), None) = (blocks, &self.conversion) {
            lookback::retain_of(&mut self.block_lookbacks, blocks);
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
        fs::write(&path, text.replace("manifest 3", "manifest 4")).unwrap();
        assert!(matches!(Manifest::read(dir.path()), Err(OpenError::Version { found: 4, .. })));
    }

    #[test]
    fn the_look_back_of_the_version_before_counts_for_its_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let read = |fields: &str| {
            let body = format!(r#"{{"position": 1, "parts": [], "store": "s", "widest_lookback_ms": 600{fields}}}"#);
            fs::write(dir.path().join(FILE_NAME), format!("{MAGIC} 2 {}\n{body}", checksum(&body))).unwrap();
            Manifest::read(dir.path()).unwrap().unwrap()
        };
        assert_eq!(read("").block_lookbacks, [], "what parts hold is in their tables");
        let manifest = read(r#", "conversions": 3, "blocks_until_ms": 7200000"#);
        let all = BlockLookback { from_ms: i64::MIN, until_ms: 7_200_000, lookback_ms: 600 };
        assert_eq!(manifest.block_lookbacks, [all]);
        manifest.write(dir.path()).unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), Some(manifest), "and once only");
    }

    /// What stands behind a right first line, and any text.
    #[test]
    fn manifest() {
        tenantscope_fuzz::fuzz!("manifest", |input| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(FILE_NAME);
            fs::write(&path, input).unwrap();
            assert!(Manifest::read(dir.path()).is_err(), "nothing passes without a right first line");
            let Ok(body) = std::str::from_utf8(input) else { return };
            fs::write(&path, format!("{MAGIC} {VERSION} {}\n{body}", checksum(body))).unwrap();
            let Ok(Some(manifest)) = Manifest::read(dir.path()) else { return };
            manifest.write(dir.path()).unwrap();
            assert_eq!(Manifest::read(dir.path()).unwrap(), Some(manifest));
        });
    }
}
