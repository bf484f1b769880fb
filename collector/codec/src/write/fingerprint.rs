//! Fingerprints of label sets as their sender writes them.
//!
//! Two keyed hashes of 64 bits each. The keys are drawn once a process, as the standard library's hash maps draw
//! theirs; they decide what a fingerprint looks like and never what a batch becomes.

use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;

use hashbrown::DefaultHashBuilder;

static KEYS: LazyLock<[DefaultHashBuilder; 2]> = LazyLock::new(Default::default);

/// What the hashed bytes are, so that the forms do not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Domain {
    LabelMessages,
    Symbol,
    SymbolRefs,
    Stamp,
}

/// The fingerprint of some bytes.
pub(crate) fn of_bytes(domain: Domain, bytes: &[u8]) -> u128 {
    let mut hashers = Hashers::new();
    hashers.each(|hasher| {
        hasher.write_u8(domain as u8);
        hasher.write(bytes);
    });
    hashers.finish()
}

/// The fingerprint of others in their order.
pub(crate) fn of_all(domain: Domain, parts: impl Iterator<Item = u128>) -> u128 {
    let mut hashers = Hashers::new();
    hashers.each(|hasher| hasher.write_u8(domain as u8));
    parts.for_each(|part| hashers.each(|hasher| hasher.write_u128(part)));
    hashers.finish()
}

/// The fingerprint of two.
pub(crate) fn joined(first: u128, second: u128) -> u128 {
    let mut hashers = Hashers::new();
    hashers.each(|hasher| {
        hasher.write_u128(first);
        hasher.write_u128(second);
    });
    hashers.finish()
}

type KeyedHasher = <DefaultHashBuilder as BuildHasher>::Hasher;

struct Hashers([KeyedHasher; 2]);

impl Hashers {
    fn new() -> Self {
        Self(KEYS.each_ref().map(BuildHasher::build_hasher))
    }

    fn each(&mut self, feed: impl Fn(&mut KeyedHasher)) {
        self.0.iter_mut().for_each(feed);
    }

    fn finish(self) -> u128 {
        let [first, second] = self.0.map(|hasher| u128::from(hasher.finish()));
        first << 64 | second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_domain_and_length_tell_fingerprints_apart() {
        let bytes = |bytes: &[u8]| of_bytes(Domain::Symbol, bytes);
        assert_eq!(bytes(b"ab"), bytes(b"ab"));
        assert_ne!(bytes(b"ab"), bytes(b"ba"));
        assert_ne!(bytes(b""), bytes(b"\0"));
        assert_ne!(bytes(b"ab"), of_bytes(Domain::LabelMessages, b"ab"));
        assert_ne!(bytes(b"ab") >> 64, bytes(b"ab") & u128::from(u64::MAX));
        let all = |parts: &[u128]| of_all(Domain::SymbolRefs, parts.iter().copied());
        assert_ne!(all(&[1, 2]), all(&[2, 1]));
        assert_ne!(joined(1, 2), joined(2, 1));
    }
}
