//! Which series are active, by hashes.

use std::collections::HashSet;

/// A series that got nothing for one to two of these is not active any more.
pub(super) const GENERATION_MS: i64 = 30 * 60_000;

/// Hashes of series, by when they last got a sample: in this generation, or in the one before.
#[derive(Debug, Default)]
pub(super) struct ActiveSeries {
    current: HashSet<u64>,
    previous: HashSet<u64>,
    began_at_ms: i64,
}

impl ActiveSeries {
    /// How many are active.
    pub(super) fn active(&self) -> usize {
        self.current.len() + self.previous.len()
    }

    /// How many are active now.
    pub(super) fn active_at(&mut self, now_ms: i64) -> usize {
        self.rotate(now_ms);
        self.active()
    }

    /// Those of a batch that are not active yet.
    pub(super) fn new_of(&mut self, hashes: &HashSet<u64>, now_ms: i64) -> Vec<u64> {
        self.rotate(now_ms);
        let is_new = |hash: &&u64| !self.current.contains(*hash) && !self.previous.contains(*hash);
        hashes.iter().filter(is_new).copied().collect()
    }

    /// All of a batch are active from now on.
    pub(super) fn add(&mut self, hashes: HashSet<u64>) {
        for hash in hashes {
            self.previous.remove(&hash);
            self.current.insert(hash);
        }
    }

    /// Series that came with a batch that was not stored.
    pub(super) fn forget(&mut self, hashes: &[u64]) {
        for hash in hashes {
            self.current.remove(hash);
            self.previous.remove(hash);
        }
    }

    fn rotate(&mut self, now_ms: i64) {
        let generations = now_ms.saturating_sub(self.began_at_ms) / GENERATION_MS;
        if generations <= 0 {
            return;
        }
        let ended = std::mem::take(&mut self.current);
        self.previous = if generations == 1 { ended } else { HashSet::new() };
        self.began_at_ms = now_ms;
    }
}
