//! Which deliveries were stored: the ids of the last ones of each sender, since a delivery has no order among others.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::Hasher as _;

use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

/// Deliveries of one sender whose ids are kept; past that the oldest is forgotten.
const MAX_OF_OWNER: usize = 4096;
/// Firehose tries for two hours at the most, after which it gives a delivery up.
const KEPT_MS: i64 = 3 * 3_600_000;

/// One delivery of a sender, for the time in which it may come again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct DeliveryKey {
    /// The account, or the forwarder's name; from the credential.
    pub(crate) owner: String,
    /// See [`fingerprint`].
    pub(crate) id: u128,
}

impl DeliveryKey {
    pub(crate) fn new(owner: &str, id: &str) -> Self {
        Self { owner: owner.to_owned(), id: fingerprint(id) }
    }
}

/// Stands for an id of any length. The key is fixed, since it is kept over restarts: whoever makes two ids alike loses
/// a delivery of its own.
fn fingerprint(id: &str) -> u128 {
    let mut hasher = SipHasher13::new_with_key(b"tenantscope/dlv1");
    hasher.write(id.as_bytes());
    hasher.finish128().into()
}

/// The durable part: what was fsynced, and nothing else.
#[derive(Debug, Default)]
pub(crate) struct Deliveries(HashMap<String, Window>);

/// A sender's last deliveries, oldest first.
#[derive(Debug, Default)]
struct Window {
    order: VecDeque<(i64, u128)>,
    ids: HashSet<u128>,
}

/// A sender's deliveries as they are written down: when each was received, and its fingerprint in hexadecimal.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Written(String, Vec<(i64, String)>);

impl Deliveries {
    pub(crate) fn has(&self, key: &DeliveryKey) -> bool {
        self.0.get(&key.owner).is_some_and(|window| window.ids.contains(&key.id))
    }

    /// Takes note of a durable delivery.
    pub(crate) fn add(&mut self, key: DeliveryKey, received_at_ms: i64) {
        let window = self.0.entry(key.owner).or_default();
        if window.ids.insert(key.id) {
            window.order.push_back((received_at_ms, key.id));
        }
        window.forget(received_at_ms);
    }

    /// Forgets what can't come again.
    pub(crate) fn expire(&mut self, now_ms: i64) {
        self.0.retain(|_, window| {
            window.forget(now_ms);
            !window.order.is_empty()
        });
    }

    /// How many are remembered of an owner.
    pub(crate) fn count_of(&self, owner: &str) -> usize {
        self.0.get(owner).map_or(0, |window| window.order.len())
    }

    /// Forgets those of these owners.
    pub(crate) fn forget(&mut self, owners: &BTreeSet<String>) {
        self.0.retain(|owner, _| !owners.contains(owner));
    }

    pub(crate) fn to_written(&self) -> Vec<Written> {
        let id = |(received_at_ms, id): &(i64, u128)| (*received_at_ms, format!("{id:032x}"));
        self.0.iter().map(|(owner, window)| Written(owner.clone(), window.order.iter().map(id).collect())).collect()
    }

    /// `None` where an id is none.
    pub(crate) fn from_written(written: Vec<Written>) -> Option<Self> {
        let mut deliveries = Self::default();
        for Written(owner, ids) in written {
            let window = deliveries.0.entry(owner).or_default();
            for (received_at_ms, id) in ids {
                let id = u128::from_str_radix(&id, 16).ok()?;
                window.ids.insert(id);
                window.order.push_back((received_at_ms, id));
            }
        }
        Some(deliveries)
    }
}

impl Window {
    fn forget(&mut self, now_ms: i64) {
        let before_ms = now_ms.saturating_sub(KEPT_MS);
        while let Some((received_at_ms, id)) = self.order.front().copied() {
            if received_at_ms >= before_ms && self.order.len() <= MAX_OF_OWNER {
                break;
            }
            self.order.pop_front();
            self.ids.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_bounded_in_number_and_time_for_each_sender() {
        let mut deliveries = Deliveries::default();
        let key = |owner: &str, i: usize| DeliveryKey::new(owner, &format!("id-{i}"));
        for i in 0..=MAX_OF_OWNER {
            deliveries.add(key("a", i), 1_000);
        }
        deliveries.add(key("b", 0), 1_000);
        assert!(!deliveries.has(&key("a", 0)) && deliveries.has(&key("a", 1)) && deliveries.has(&key("b", 0)));
        deliveries.add(key("b", 1), 1_000 + KEPT_MS + 1);
        assert!(!deliveries.has(&key("b", 0)) && deliveries.has(&key("b", 1)));
        let read = Deliveries::from_written(deliveries.to_written()).unwrap();
        assert!(read.has(&key("a", MAX_OF_OWNER)) && read.has(&key("b", 1)) && !read.has(&key("b", 0)));
        deliveries.expire(1_000 + KEPT_MS + 1);
        assert_eq!(deliveries.0.len(), 1);
    }
}
