use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::checkpoint::version_of;
use crate::{Table, TableError};

/// What was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expired {
    /// How many files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Table {
    /// Deletes files that are not live and have not been for `grace`.
    ///
    /// A file that a crash left uncommitted is one of them. A query that began before a file was removed still reads it,
    /// so `grace` is longer than any query. Nobody may write files meanwhile if `grace` is shorter than that takes.
    pub fn expire(&self, grace: Duration) -> Result<Expired, TableError> {
        let (live, removed) = {
            let mut state = self.state.lock();
            // A file that is not live here may be named by a version that is not known yet.
            self.settle(&mut state)?;
            (Arc::clone(&state.live), state.removed.clone())
        };
        let live: BTreeSet<&str> = live.iter().map(|file| file.path.as_str()).collect();
        let mut expired = Expired::default();
        let mut deleted = Vec::new();
        for file in self.place.parquet_files()? {
            let dead_for = removed.get(&file.path).map_or(file.age, Instant::elapsed);
            if live.contains(file.path.as_str()) || dead_for < grace {
                continue;
            }
            self.place.delete(&file.path)?;
            expired.files += 1;
            expired.bytes += file.size_bytes;
            deleted.push(file.path);
        }
        self.place.sync_deleted(&deleted)?;
        let mut state = self.state.lock();
        for path in &deleted {
            state.removed.remove(path);
        }
        Ok(expired)
    }

    /// Deletes from the log all that it says about what is not in the newest version: files that are gone, and the ranges
    /// of what they held. Older versions can't be read any more then, also by who has just begun to.
    pub fn forget_history(&self) -> Result<(), TableError> {
        let mut state = self.state.lock();
        self.settle(&mut state)?;
        if self.place.newest_checkpoint()? != Some(state.snapshot.version()) {
            self.checkpoint(&mut state)?;
        }
        // A commit that never got its name says it, too.
        self.place.clear_staged()?;
        self.trim_log(Duration::ZERO)?;
        Ok(())
    }

    /// Deletes entries of the log that the newest checkpoint covers and that are older than `keep`, and returns how many.
    /// Versions before the checkpoint can't be read any more then.
    pub fn trim_log(&self, keep: Duration) -> Result<usize, TableError> {
        let Some(checkpoint) = self.place.newest_checkpoint()? else { return Ok(0) };
        let mut deleted = Vec::new();
        for entry in self.place.log_entries()? {
            let is_covered = version_of(Path::new(&entry.path)).is_some_and(|version| version < checkpoint);
            if is_covered && entry.age >= keep {
                self.place.delete(&entry.path)?;
                deleted.push(entry.path);
            }
        }
        self.place.sync_deleted(&deleted)?;
        Ok(deleted.len())
    }
}
