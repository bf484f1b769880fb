//! Which series labels belong to, without comparing them.

use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::{BuildHasher, Hasher, RandomState};

use tenantscope_model::Labels;

/// 128 bits of a keyed hash of a series' labels. With a key that no sender knows two series never have the same ones,
/// so nothing else is compared: at millions of series each string that is not looked at is a cache miss less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// For hash tables.
    pub(crate) hash: u64,
    check: u64,
}

/// Bytes of labels that are hashed at once.
const PIECE_BYTES: usize = 512;

/// Makes identities, under a key of this process alone.
#[derive(Debug, Clone)]
pub(crate) struct Identities {
    key: (u64, u64),
}

impl Default for Identities {
    fn default() -> Self {
        let random = || RandomState::new().build_hasher().finish();
        Self { key: (random(), random()) }
    }
}

impl Identities {
    /// Of labels in order.
    pub(crate) fn of_pairs<'a>(&self, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Identity {
        let mut text =
            Text { bytes: [0; PIECE_BYTES], length: 0, hasher: SipHasher13::new_with_keys(self.key.0, self.key.1) };
        for (name, value) in pairs {
            text.add(name.as_bytes());
            text.add(value.as_bytes());
        }
        text.finish()
    }
}

/// The identity of labels, in whichever form they are.
pub(crate) fn hash_labels(identities: &Identities, labels: &Labels) -> Identity {
    identities.of_pairs(labels.iter().map(|label| (&*label.name, &*label.value)))
}

/// Strings gathered, since the hash takes many bytes at once far faster than few.
struct Text {
    bytes: [u8; PIECE_BYTES],
    length: usize,
    hasher: SipHasher13,
}

impl Text {
    fn add(&mut self, string: &[u8]) {
        if self.length + string.len() >= PIECE_BYTES {
            self.hasher.write(self.bytes.get(..self.length).unwrap_or_default());
            self.length = 0;
            if string.len() >= PIECE_BYTES {
                self.hasher.write(string);
                // No UTF-8 text has this byte, so no two lists of labels give the same bytes.
                return self.hasher.write(&[0xff]);
            }
        }
        let end = self.length + string.len();
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(string);
        }
        if let Some(separator) = self.bytes.get_mut(end) {
            *separator = 0xff;
        }
        self.length = end + 1;
    }

    fn finish(mut self) -> Identity {
        self.hasher.write(self.bytes.get(..self.length).unwrap_or_default());
        let hash = self.hasher.finish128();
        Identity { hash: hash.h1, check: hash.h2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_one_identity_and_others_another() {
        let identities = Identities::default();
        let of = |pairs: &[(&str, &str)]| hash_labels(&identities, &Labels::from_pairs(pairs.iter().copied()));
        assert_eq!(of(&[("a", "b"), ("c", "d")]), of(&[("c", "d"), ("a", "b")]));
        assert_ne!(of(&[("a", "bc")]), of(&[("ab", "c")]));
        assert_ne!(of(&[("a", "b")]), of(&[("a", "b"), ("c", "d")]));
        for length in [PIECE_BYTES - 3, PIECE_BYTES - 2, PIECE_BYTES - 1, PIECE_BYTES, 3 * PIECE_BYTES] {
            let long = "x".repeat(length);
            let mut streamed = SipHasher13::new_with_keys(identities.key.0, identities.key.1);
            [b"a", &b"\xff"[..], long.as_bytes(), b"\xff", b"b", b"\xff", b"c", b"\xff"]
                .iter()
                .for_each(|b| streamed.write(b));
            let hash = streamed.finish128();
            assert_eq!(of(&[("a", &long), ("b", "c")]), Identity { hash: hash.h1, check: hash.h2 });
        }
    }
}
