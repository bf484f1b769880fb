//! Checkpoints: a power cut may leave half of one, and the commits that it covers are still there then.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::TableError;
use crate::engine::{sync_file, sync_folder};

/// Names the newest checkpoint.
pub(crate) const HINT: &str = "_last_checkpoint";

pub(crate) fn checkpoint_name(version: u64) -> String {
    format!("{version:020}.checkpoint.parquet")
}

fn checkpoint_path(log: &Path, version: u64) -> PathBuf {
    log.join(checkpoint_name(version))
}

/// The version that the content of `_last_checkpoint` names.
pub(crate) fn hinted_version(hint: &[u8]) -> Option<u64> {
    let hint: serde_json::Value = serde_json::from_slice(hint).ok()?;
    hint.get("version")?.as_u64()
}

/// The version with which the name of an entry of the log begins.
pub(crate) fn version_of(path: &Path) -> Option<u64> {
    const DIGITS: usize = 20;
    let name = path.file_name()?.to_str()?;
    let (digits, rest) = name.split_at_checked(DIGITS)?;
    rest.starts_with('.').then(|| digits.parse().ok())?
}

/// Makes a checkpoint durable; until then it may be half there after a power cut.
pub(crate) fn sync_checkpoint(log: &Path, version: u64) -> Result<(), TableError> {
    sync_file(&checkpoint_path(log, version))?;
    sync_file(&log.join(HINT))?;
    sync_folder(log)
}

/// Takes the newest checkpoint away, so that the log is read without it. False where there is none, or where the log could
/// not be read without it: then whatever is wrong must not be made worse.
pub(crate) fn discard_newest(log: &Path) -> Result<bool, TableError> {
    let (mut commits, mut checkpoints) = (BTreeSet::new(), BTreeSet::new());
    for entry in fs::read_dir(log).map_err(TableError::io(log))? {
        let path = entry.map_err(TableError::io(log))?.path();
        let Some(version) = version_of(&path) else { continue };
        let name = path.to_string_lossy();
        if name.ends_with(".checkpoint.parquet") {
            checkpoints.insert(version);
        } else if name.ends_with(".json") {
            commits.insert(version);
        }
    }
    let Some(newest) = checkpoints.pop_last() else { return Ok(false) };
    let first = checkpoints.last().map_or(0, |before| before + 1);
    if !(first..=newest).all(|version| commits.contains(&version)) {
        return Ok(false);
    }
    let checkpoint = checkpoint_path(log, newest);
    fs::rename(&checkpoint, checkpoint.with_extension("unreadable")).map_err(TableError::io(checkpoint))?;
    let hint = log.join(HINT);
    match fs::remove_file(&hint) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(TableError::io(hint)(error)),
        _ => {}
    }
    sync_folder(log)?;
    Ok(true)
}
