use std::collections::BTreeSet;

/// What one thing that a source hands over is known by: its own time and a hash of what identifies it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The thing's own time, in milliseconds.
    pub at_ms: i64,
    /// Hash of its identity.
    pub hash: u64,
}

impl Key {
    /// Hashes parts; two different lists of parts do not run into each other. Stable over releases, since keys are
    /// stored: 64-bit FNV-1a with a final mix.
    pub fn of(at_ms: i64, parts: &[&str]) -> Self {
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let mut eat = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
        for part in parts {
            part.bytes().for_each(&mut eat);
            // No text has this byte, so it separates.
            eat(0xff);
        }
        hash ^= hash >> 33;
        hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 33;
        Self { at_ms, hash }
    }
}

/// The most keys that are remembered for a source; past that the oldest are forgotten and the floor rises.
pub const MAX_SEEN: usize = 50_000;

/// The most keys that are remembered for all sources together; past that the source with the most forgets. A key costs
/// about 24 bytes.
pub const MAX_SEEN_TOTAL: usize = 300_000;

/// How far a source has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Everything up to here has been handed over; what the collector keeps.
    pub position_ms: i64,
    /// The source looks again from here on, and what is older is never looked at again.
    pub floor_ms: i64,
    /// What is at or behind the floor and has been handed over.
    seen: BTreeSet<Key>,
}

/// A step of a source, stored with the batch that it handed over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Move {
    /// The source, such as `logs/eu-west-1//aws/lambda/checkout`.
    pub source: String,
    /// Its new position.
    pub position_ms: i64,
    /// Its new floor; one that is lower than before changes nothing.
    pub floor_ms: i64,
    /// What it handed over.
    pub seen: Vec<Key>,
}

/// A source that has not begun.
impl Default for Progress {
    fn default() -> Self {
        Self { position_ms: i64::MIN, floor_ms: i64::MIN, seen: BTreeSet::new() }
    }
}

impl Progress {
    /// A source that stands at a position, and looks behind it from now on.
    pub fn at(position_ms: i64) -> Self {
        Self { position_ms, floor_ms: position_ms.saturating_add(1), seen: BTreeSet::new() }
    }

    /// Whether this was handed over; never true for what is older than the floor.
    pub fn has_seen(&self, key: Key) -> bool {
        self.seen.contains(&key)
    }

    /// What is remembered.
    pub fn seen(&self) -> impl Iterator<Item = Key> + '_ {
        self.seen.iter().copied()
    }

    /// Takes a step. Position and floor never go back.
    pub fn apply(&mut self, step: &Move) {
        self.position_ms = self.position_ms.max(step.position_ms);
        self.floor_ms = self.floor_ms.max(step.floor_ms);
        self.seen.extend(step.seen.iter().copied());
        if self.seen.first().is_some_and(|key| key.at_ms < self.floor_ms) {
            self.seen = self.seen.split_off(&Key { at_ms: self.floor_ms, hash: 0 });
        }
        self.forget_oldest(self.seen.len().saturating_sub(MAX_SEEN));
    }

    /// Forgets so many of the oldest; the floor rises behind them, so that they do not come again.
    pub fn forget_oldest(&mut self, count: usize) {
        for _ in 0..count {
            let Some(oldest) = self.seen.pop_first() else { return };
            self.floor_ms = self.floor_ms.max(oldest.at_ms.saturating_add(1));
        }
    }

    /// How many are remembered.
    pub fn remembered(&self) -> usize {
        self.seen.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_parts_apart() {
        assert_ne!(Key::of(1, &["ab", "c"]), Key::of(1, &["a", "bc"]));
        assert_ne!(Key::of(1, &["a"]), Key::of(2, &["a"]));
        assert_eq!(Key::of(1, &["a", "b"]), Key::of(1, &["a", "b"]));
        // Stored on disk: this number must never change.
        assert_eq!(
            Key::of(0, &["/aws/lambda/a", "stream", "7"]).hash,
            Key::of(5, &["/aws/lambda/a", "stream", "7"]).hash
        );
    }

    #[test]
    fn what_is_older_than_the_floor_is_forgotten_and_never_goes_back() {
        let mut progress = Progress::default();
        let keys: Vec<Key> = (0..10).map(|at| Key::of(at, &["x"])).collect();
        progress.apply(&Move { position_ms: 9, floor_ms: 0, seen: keys.clone(), ..Move::default() });
        assert!(keys.iter().all(|key| progress.has_seen(*key)));
        progress.apply(&Move { position_ms: 5, floor_ms: 4, ..Move::default() });
        assert_eq!((progress.position_ms, progress.floor_ms), (9, 4));
        assert_eq!(progress.seen().count(), 6);
    }

    #[test]
    fn memory_is_bounded_and_the_floor_rises_instead() {
        let mut progress = Progress::default();
        let seen = (0..=MAX_SEEN as i64).map(|at| Key::of(at, &["x"])).collect();
        progress.apply(&Move { seen, ..Move::default() });
        assert_eq!(progress.seen().count(), MAX_SEEN);
        assert_eq!(progress.floor_ms, 1);
    }
}
