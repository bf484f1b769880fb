//! A line's state files: `state-<position>` in a folder of their own. The format is in `state.rs`.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tenantscope_journal::make_folder;

use crate::state::State;

/// How many states ahead of the store are kept; they wait to be caught up with.
const MAX_AHEAD: usize = 8;

/// The folder of the state files and the positions that are there, oldest first.
#[derive(Debug)]
pub(crate) struct StateFiles {
    folder: PathBuf,
    positions: Vec<u64>,
}

impl StateFiles {
    /// Looks what is there; unfinished files of a crash are deleted.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        make_folder(folder)?;
        let mut positions = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.ends_with(".tmp") {
                fs::remove_file(entry.path())?;
            } else if let Some(position) = name.strip_prefix("state-").and_then(|text| text.parse().ok()) {
                positions.push(position);
            }
        }
        positions.sort_unstable();
        Ok(Self { folder: folder.to_owned(), positions })
    }

    /// The newest readable state that is not ahead of `durable`. Where there is none, the empty one if the journal goes
    /// back to its beginning; else (the store was lost) the oldest one ahead, since lanes that are forgotten would take
    /// batches twice.
    pub(crate) fn load(&self, durable: u64, journal_first: u64) -> State {
        let behind = self.positions.iter().rev().filter(|position| **position <= durable);
        let ahead = self.positions.iter().filter(|position| **position > durable && journal_first > 1);
        for position in behind.chain(ahead) {
            let path = self.path(*position);
            let read = fs::read(&path).map_err(|error| error.to_string());
            match read.and_then(|bytes| State::from_bytes(bytes.into()).map_err(|error| error.to_string())) {
                Ok(state) => return state,
                Err(error) => {
                    tracing::error!(path = %path.display(), error, "state file can't be read, trying another");
                }
            }
        }
        State::default()
    }

    /// Writes a state: whole or not at all. Replaces nothing.
    pub(crate) fn write(&mut self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(position);
        let unfinished = path.with_extension("tmp");
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        File::open(&self.folder)?.sync_all()?;
        if let Err(place) = self.positions.binary_search(&position) {
            self.positions.insert(place, position);
        }
        Ok(())
    }

    /// The newest written position.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.positions.last().copied()
    }

    /// Deletes what no restart needs: all before the newest that is not ahead of `durable`, and of those ahead the
    /// middle ones where they are too many. Returns the position from which a restart would replay.
    pub(crate) fn prune(&mut self, durable: u64) -> io::Result<u64> {
        let kept_from = self.positions.iter().rposition(|position| *position <= durable);
        let mut dropped: Vec<u64> = self.positions.drain(..kept_from.unwrap_or(0)).collect();
        let needed = usize::from(kept_from.is_some());
        while self.positions.len() > needed + MAX_AHEAD {
            // The oldest ahead is the next to be caught up with, the newest the best for later.
            dropped.push(self.positions.remove(needed + 1));
        }
        for position in dropped {
            fs::remove_file(self.path(position))?;
        }
        Ok(if kept_from.is_some() { self.positions.first().copied().unwrap_or(0) } else { 0 })
    }

    fn path(&self, position: u64) -> PathBuf {
        self.folder.join(format!("state-{position:020}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(files: &mut StateFiles, position: u64) {
        let mut state = State::default();
        state.position = position;
        files.write(position, &state.to_bytes().unwrap()).unwrap();
    }

    #[test]
    fn the_newest_state_not_ahead_of_the_store_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = StateFiles::open(dir.path()).unwrap();
        assert_eq!(files.load(5, 1).position, 0);
        for position in [10, 20, 30] {
            write(&mut files, position);
        }
        assert_eq!(files.load(25, 2).position, 20);
        assert_eq!(files.load(5, 1).position, 0, "the journal has it all");
        assert_eq!(files.load(5, 2).position, 10, "all are ahead: the oldest");
        assert_eq!(files.prune(5).unwrap(), 0);
        assert_eq!(files.prune(25).unwrap(), 20);
        let mut files = StateFiles::open(dir.path()).unwrap();
        assert_eq!(files.positions, [20, 30]);
        for position in 31..60 {
            write(&mut files, position);
        }
        assert_eq!(files.prune(25).unwrap(), 20);
        assert_eq!(files.positions.len(), 1 + MAX_AHEAD);
        assert_eq!((files.positions[1], files.newest()), (30, Some(59)));
    }

    #[test]
    fn a_damaged_file_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = StateFiles::open(dir.path()).unwrap();
        write(&mut files, 10);
        write(&mut files, 20);
        fs::write(files.path(20), "broken").unwrap();
        assert_eq!(files.load(30, 1).position, 10);
    }
}
