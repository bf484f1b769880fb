use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::checkpoint::{newest_checkpoint, version_of};
use crate::{Table, TableError};

impl Table {
    /// Deletes files that are not live and have not been for `grace`, and returns how many.
    ///
    /// A file that a crash left uncommitted is one of them. A query that began before a file was removed still reads it,
    /// so `grace` is longer than any query.
    pub fn expire(&self, grace: Duration) -> Result<usize, TableError> {
        let (live, removed) = {
            let state = self.state.lock();
            (std::sync::Arc::clone(&state.live), state.removed.clone())
        };
        let live: BTreeSet<&str> = live.iter().map(|file| file.path.as_str()).collect();
        let mut files = Vec::new();
        parquet_files(&self.root, &mut files)?;

        let mut deleted = Vec::new();
        for path in files {
            let Some(relative) = path.strip_prefix(&self.root).ok().and_then(Path::to_str) else { continue };
            if live.contains(relative) {
                continue;
            }
            let dead_for = match removed.get(relative) {
                Some(since) => since.elapsed(),
                None => age(&path)?,
            };
            if dead_for >= grace {
                fs::remove_file(&path).map_err(TableError::io(&path))?;
                deleted.push(relative.to_owned());
            }
        }
        let mut state = self.state.lock();
        for path in &deleted {
            state.removed.remove(path);
        }
        Ok(deleted.len())
    }

    /// Deletes entries of the log that the newest checkpoint covers and that are older than `keep`, and returns how many.
    /// Versions before the checkpoint can't be read any more then.
    pub fn trim_log(&self, keep: Duration) -> Result<usize, TableError> {
        let log = self.root.join("_delta_log");
        let Some(checkpoint) = newest_checkpoint(&log)? else { return Ok(0) };
        let mut deleted = 0;
        for entry in fs::read_dir(&log).map_err(TableError::io(&log))? {
            let path = entry.map_err(TableError::io(&log))?.path();
            let is_covered = version_of(&path).is_some_and(|version| version < checkpoint);
            if is_covered && age(&path)? >= keep {
                fs::remove_file(&path).map_err(TableError::io(&path))?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }
}

fn age(path: &Path) -> Result<Duration, TableError> {
    let modified = fs::metadata(path).and_then(|meta| meta.modified()).map_err(TableError::io(path))?;
    // A clock that was set back makes a file look young, which only keeps it longer.
    Ok(SystemTime::now().duration_since(modified).unwrap_or_default())
}

/// The Parquet files under a folder; folders that begin with an underscore are not data.
fn parquet_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), TableError> {
    for entry in fs::read_dir(folder).map_err(TableError::io(folder))? {
        let entry = entry.map_err(TableError::io(folder))?;
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if !name.to_string_lossy().starts_with('_') {
                parquet_files(&path, found)?;
            }
        } else if name.to_string_lossy().ends_with(".parquet") {
            found.push(path);
        }
    }
    Ok(())
}
