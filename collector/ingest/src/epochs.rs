//! Epochs for agents without a spool: never the same twice, whatever happens.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

/// Gives out epochs. What the file names is durable and bounds all that were ever given, so that not each of them
/// costs an fsync.
#[derive(Debug)]
pub(crate) struct Epochs {
    path: PathBuf,
    given: Mutex<Given>,
}

#[derive(Debug)]
struct Given {
    last: u64,
    reserved: u64,
}

const RESERVE: u64 = 10_000;

impl Epochs {
    /// Reads the file, if it is there.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let reserved = match fs::read_to_string(path) {
            Ok(text) => text.trim().parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(Self { path: path.to_owned(), given: Mutex::new(Given { last: reserved, reserved }) })
    }

    /// An epoch above every one given before, not below `now_ms`, and above what the agent `used`. Blocks on the disk
    /// now and then.
    ///
    /// A header may claim any epoch, so what one agent used moves its own epoch only, never the others'.
    pub(crate) fn next(&self, now_ms: u64, used: Option<u64>) -> io::Result<u64> {
        let mut given = self.given.lock();
        let epoch = given.last.saturating_add(1).max(now_ms);
        if epoch > given.reserved {
            let reserved = epoch.saturating_add(RESERVE);
            self.reserve(reserved)?;
            given.reserved = reserved;
        }
        given.last = epoch;
        Ok(used.map_or(epoch, |used| epoch.max(used.saturating_add(1))))
    }

    fn reserve(&self, reserved: u64) -> io::Result<()> {
        let unfinished = self.path.with_extension("tmp");
        let mut file = File::create(&unfinished)?;
        writeln!(file, "{reserved}")?;
        file.sync_all()?;
        fs::rename(&unfinished, &self.path)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_never_given_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("epochs");
        let epochs = Epochs::open(&path).unwrap();
        let first = epochs.next(5, None).unwrap();
        let second = epochs.next(0, None).unwrap();
        assert!(first >= 5 && second > first);
        assert!(Epochs::open(&path).unwrap().next(0, None).unwrap() > second);
        fs::write(&path, "broken").unwrap();
        assert!(Epochs::open(&path).is_err());
    }

    #[test]
    fn an_epoch_that_one_agent_claims_does_not_move_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let epochs = Epochs::open(&dir.path().join("epochs")).unwrap();
        assert_eq!(epochs.next(5, Some(u64::MAX - 1)).unwrap(), u64::MAX);
        let others = [epochs.next(5, None).unwrap(), epochs.next(5, Some(3)).unwrap()];
        assert_eq!(others, [6, 7]);
    }
}
