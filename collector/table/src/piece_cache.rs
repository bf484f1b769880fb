//! Pieces of objects that were read lately, in a local folder of bounded size.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use std::collections::HashMap;

use crate::TableError;

/// What is fetched and kept at once.
const PIECE_BYTES: u64 = 1 << 20;
/// Missing pieces next to each other are fetched with one request of at most so many.
const MAX_PIECES_AT_ONCE: u64 = 16;

/// Pieces by object and number. Objects never change, so a piece that is there is right.
#[derive(Debug)]
pub(crate) struct PieceCache {
    dir: PathBuf,
    max_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pieces: HashMap<(u64, u64), Kept>,
    used_bytes: u64,
    clock: u64,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    bytes: u64,
    last_used: u64,
}

impl PieceCache {
    /// An empty cache: what an earlier process left is removed.
    pub(crate) fn open(dir: &Path, max_bytes: u64) -> Result<Self, TableError> {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(TableError::io(dir)(error)),
            _ => {}
        }
        fs::create_dir_all(dir).map_err(TableError::io(dir))?;
        Ok(Self { dir: dir.to_owned(), max_bytes, state: Mutex::default() })
    }

    /// Reads a range of an object, fetching the pieces of it that are not here.
    pub(crate) fn read(
        &self,
        path: &str,
        size: u64,
        offset: u64,
        length: usize,
        fetch: impl Fn(Range<u64>) -> Result<Bytes, TableError>,
    ) -> Result<Bytes, TableError> {
        let end = offset.saturating_add(length as u64);
        if end > size {
            return Err(TableError::Short { path: path.to_owned() });
        }
        if length == 0 {
            return Ok(Bytes::new());
        }
        let object = hash(path);
        let mut out = BytesMut::with_capacity(length);
        let mut at = offset;
        while at < end {
            let number = at / PIECE_BYTES;
            let (first, bytes) = match self.kept(object, number) {
                Some(bytes) => (number * PIECE_BYTES, bytes),
                None => self.fetch(path, object, size, number, end, &fetch)?,
            };
            let from = (at - first) as usize;
            let to = ((end - first) as usize).min(bytes.len());
            let wanted = bytes.get(from..to).filter(|wanted| !wanted.is_empty());
            let wanted = wanted.ok_or_else(|| TableError::Short { path: path.to_owned() })?;
            if wanted.len() == length {
                return Ok(bytes.slice(from..to));
            }
            out.extend_from_slice(wanted);
            at += wanted.len() as u64;
        }
        Ok(out.freeze())
    }

    fn file(&self, object: u64, number: u64) -> PathBuf {
        self.dir.join(format!("{object:016x}-{number}"))
    }

    fn kept(&self, object: u64, number: u64) -> Option<Bytes> {
        let mut state = self.state.lock();
        state.clock += 1;
        let now = state.clock;
        let kept = state.pieces.get_mut(&(object, number))?;
        kept.last_used = now;
        let expected = kept.bytes;
        drop(state);
        // A file that somebody removed or cut is fetched again.
        fs::read(self.file(object, number)).ok().filter(|bytes| bytes.len() as u64 == expected).map(Bytes::from)
    }

    /// Fetches a piece, with those after it that are wanted and not here either.
    fn fetch(
        &self,
        path: &str,
        object: u64,
        size: u64,
        number: u64,
        end: u64,
        fetch: impl Fn(Range<u64>) -> Result<Bytes, TableError>,
    ) -> Result<(u64, Bytes), TableError> {
        let last_wanted = (end - 1) / PIECE_BYTES;
        let mut last = number;
        {
            let state = self.state.lock();
            while last < last_wanted
                && last + 1 - number < MAX_PIECES_AT_ONCE
                && !state.pieces.contains_key(&(object, last + 1))
            {
                last += 1;
            }
        }
        let range = number * PIECE_BYTES..((last + 1) * PIECE_BYTES).min(size);
        let bytes = fetch(range.clone())?;
        if bytes.len() as u64 != range.end - range.start {
            return Err(TableError::Short { path: path.to_owned() });
        }
        for piece in number..=last {
            let from = ((piece - number) * PIECE_BYTES) as usize;
            let to = (from + PIECE_BYTES as usize).min(bytes.len());
            self.keep(object, piece, &bytes.slice(from..to));
        }
        Ok((range.start, bytes))
    }

    /// A cache that can't be written is slow, and no more.
    fn keep(&self, object: u64, number: u64, bytes: &Bytes) {
        let file = self.file(object, number);
        let temporary = file.with_extension("new");
        let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, &file));
        if let Err(error) = written {
            tracing::debug!(file = %file.display(), %error, "could not keep a piece");
            return;
        }
        let mut state = self.state.lock();
        state.clock += 1;
        let kept = Kept { bytes: bytes.len() as u64, last_used: state.clock };
        if let Some(before) = state.pieces.insert((object, number), kept) {
            state.used_bytes -= before.bytes;
        }
        state.used_bytes += kept.bytes;
        let gone = state.shrink(self.max_bytes);
        drop(state);
        for (object, number) in gone {
            // A file that stays is overwritten or goes at the next start.
            let _ = fs::remove_file(self.file(object, number));
        }
    }
}

impl State {
    /// Makes some more room than is needed, so that not every piece looks at all of them.
    fn shrink(&mut self, max_bytes: u64) -> Vec<(u64, u64)> {
        if self.used_bytes <= max_bytes {
            return Vec::new();
        }
        let target = max_bytes - max_bytes / 8;
        let mut oldest: Vec<(u64, (u64, u64))> = self.pieces.iter().map(|(key, kept)| (kept.last_used, *key)).collect();
        oldest.sort_unstable();
        let mut gone = Vec::new();
        for (_, key) in oldest {
            if self.used_bytes <= target {
                break;
            }
            if let Some(kept) = self.pieces.remove(&key) {
                self.used_bytes -= kept.bytes;
                gone.push(key);
            }
        }
        gone
    }
}

fn hash(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn what_was_read_is_read_once_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let cache = PieceCache::open(dir.path(), 3 << 20).unwrap();
        let object: Bytes = (0..10_u32 << 20).map(|n| (n / 7) as u8).collect::<Vec<u8>>().into();
        let fetched = AtomicUsize::new(0);
        let read = |offset: u64, length: usize| {
            let fetch = |range: Range<u64>| {
                fetched.fetch_add(1, Ordering::Relaxed);
                Ok(object.slice(range.start as usize..range.end as usize))
            };
            let got = cache.read("a", object.len() as u64, offset, length, fetch).unwrap();
            assert_eq!(got, object.slice(offset as usize..offset as usize + length));
        };
        read(100, 50);
        read(200, 1000);
        assert_eq!(fetched.load(Ordering::Relaxed), 1);
        read(1_000_000, 3_000_000);
        assert_eq!(fetched.load(Ordering::Relaxed), 2);
        read(0, object.len());
        assert!(cache.state.lock().used_bytes <= 3 << 20);
        assert!(fs::read_dir(dir.path()).unwrap().count() <= 3);
        assert!(cache.read("a", 10, 5, 6, |_| Ok(Bytes::new())).is_err());
    }
}
