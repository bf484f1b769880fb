//! Which batches were stored: the highest epoch and sequence of each lane, and the lanes' flights.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tenantscope_wire::{BatchHeader, Name};
use tokio::sync::watch;

/// One ordered stream of batches of one sender.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct LaneKey {
    /// The account, or the forwarder's name; from the credential.
    pub(crate) owner: String,
    /// From the header.
    pub(crate) agent: Name,
    /// From the header.
    pub(crate) lane: Name,
}

impl LaneKey {
    pub(crate) fn new(owner: &str, header: &BatchHeader) -> Self {
        Self { owner: owner.to_owned(), agent: header.agent.clone(), lane: header.lane.clone() }
    }
}

/// The newest durable batch of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Newest {
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
    /// The batch's journal position.
    pub(crate) position: u64,
}

/// How a batch stands to what its lane has stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Not stored yet.
    New,
    /// It (or a later one) was stored.
    Stored,
    /// Of a spool that was replaced.
    OldEpoch { newest: u64 },
}

/// The durable part: what was fsynced, and nothing else.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    newest: HashMap<LaneKey, Newest>,
    by_owner: HashMap<String, usize>,
}

/// Lanes of one account or forwarder; past that its oldest one is forgotten, which can repeat only its own data.
const MAX_LANES_OF_OWNER: usize = 1024;

impl Lanes {
    pub(crate) fn standing(&self, key: &LaneKey, header: &BatchHeader) -> Standing {
        match self.newest.get(key) {
            Some(newest) if header.epoch < newest.epoch => Standing::OldEpoch { newest: newest.epoch },
            Some(newest) if header.epoch == newest.epoch && header.sequence <= newest.sequence => Standing::Stored,
            _ => Standing::New,
        }
    }

    /// Takes note of a durable batch.
    pub(crate) fn advance(&mut self, key: LaneKey, newest: Newest) {
        if !self.newest.contains_key(&key) {
            let lanes = self.by_owner.entry(key.owner.clone()).or_default();
            *lanes += 1;
            if *lanes > MAX_LANES_OF_OWNER {
                self.forget_oldest(&key.owner);
            }
        }
        self.newest.insert(key, newest);
    }

    fn forget_oldest(&mut self, owner: &str) {
        let of_owner = self.newest.iter().filter(|(key, _)| key.owner == owner);
        let oldest = of_owner.min_by_key(|(_, newest)| newest.position).map(|(key, _)| key.clone());
        if let Some(oldest) = oldest {
            tracing::warn!(owner, agent = %oldest.agent, lane = %oldest.lane, "too many lanes, forgetting the oldest");
            self.newest.remove(&oldest);
            if let Some(lanes) = self.by_owner.get_mut(owner) {
                *lanes -= 1;
            }
        }
    }

    /// Forgets the lanes of these owners.
    pub(crate) fn forget(&mut self, owners: &BTreeSet<String>) {
        self.newest.retain(|key, _| !owners.contains(&key.owner));
        self.by_owner.retain(|owner, _| !owners.contains(owner));
    }

    /// The highest epoch of any lane of an agent.
    pub(crate) fn epoch_of(&self, owner: &str, agent: &Name) -> Option<u64> {
        let of_agent = self.newest.iter().filter(|(key, _)| key.owner == owner && key.agent == *agent);
        of_agent.map(|(_, newest)| newest.epoch).max()
    }

    pub(crate) fn len(&self) -> usize {
        self.newest.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&LaneKey, &Newest)> {
        self.newest.iter()
    }
}

/// The lanes (or deliveries) that have a batch under way. One at a time: the next one of the lane waits.
#[derive(Debug)]
pub(crate) struct Flights<K: Eq + Hash>(Arc<Mutex<HashMap<K, watch::Receiver<()>>>>);

/// A lane's right to have a batch under way; the next one goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Flight<K: Eq + Hash> {
    flights: Arc<Mutex<HashMap<K, watch::Receiver<()>>>>,
    key: K,
    _landed: watch::Sender<()>,
}

impl<K: Eq + Hash> Default for Flights<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Clone + Eq + Hash> Flights<K> {
    /// Takes off once no other batch of the lane is under way, if `check` (asked then) allows it.
    pub(crate) async fn take_off<E>(&self, key: &K, check: impl Fn() -> Result<(), E>) -> Result<Flight<K>, E> {
        loop {
            let mut landed = {
                let mut flights = self.0.lock();
                match flights.get(key) {
                    Some(landed) => landed.clone(),
                    None => {
                        check()?;
                        let (sender, receiver) = watch::channel(());
                        flights.insert(key.clone(), receiver);
                        return Ok(Flight { flights: Arc::clone(&self.0), key: key.clone(), _landed: sender });
                    }
                }
            };
            // Nothing is ever sent: this ends when the flight is dropped.
            landed.changed().await.ok();
        }
    }
}

impl<K: Eq + Hash> Drop for Flight<K> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(epoch: u64, sequence: u64) -> BatchHeader {
        let name = |text| Name::try_new(text).unwrap();
        BatchHeader { agent: name("a"), lane: name("l"), epoch, sequence, positions: Default::default() }
    }

    #[test]
    fn only_what_is_newer_is_new() {
        let mut lanes = Lanes::default();
        let key = LaneKey::new("o", &header(0, 0));
        assert_eq!(lanes.standing(&key, &header(2, 5)), Standing::New);
        lanes.advance(key.clone(), Newest { epoch: 2, sequence: 5, position: 1 });
        for (epoch, sequence, standing) in [
            (2, 5, Standing::Stored),
            (2, 4, Standing::Stored),
            (2, 9, Standing::New),
            (3, 0, Standing::New),
            (1, 9, Standing::OldEpoch { newest: 2 }),
        ] {
            assert_eq!(lanes.standing(&key, &header(epoch, sequence)), standing);
        }
        assert_eq!(lanes.epoch_of("o", &key.agent), Some(2));
        assert_eq!(lanes.epoch_of("other", &key.agent), None);
    }

    #[test]
    fn an_owner_cannot_grow_without_bound() {
        let mut lanes = Lanes::default();
        for i in 0..=MAX_LANES_OF_OWNER {
            let mut key = LaneKey::new("o", &header(0, 0));
            key.lane = Name::try_new(&format!("l{i}")).unwrap();
            lanes.advance(key, Newest { epoch: 1, sequence: 1, position: i as u64 });
        }
        assert_eq!(lanes.len(), MAX_LANES_OF_OWNER);
        let mut first = LaneKey::new("o", &header(0, 0));
        first.lane = Name::try_new("l0").unwrap();
        assert_eq!(lanes.standing(&first, &header(1, 1)), Standing::New);
    }

    #[tokio::test]
    async fn a_second_batch_of_a_lane_waits_for_the_first() {
        let flights = Flights::default();
        let key = LaneKey::new("o", &header(0, 0));
        let first = flights.take_off::<()>(&key, || Ok(())).await.unwrap();
        let second = flights.take_off::<()>(&key, || Ok(()));
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        assert!(second.await.is_ok());
        assert_eq!(flights.take_off(&key, || Err("stored")).await.unwrap_err(), "stored");
    }
}
