//! What a line remembers of its journal beside the store: lanes, deliveries, source positions, who reported, running
//! totals.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tenantscope_codec::{Accumulators, Deltas, Record, RecordBody};
use tenantscope_model::{AccountId, Decision, Stamp, TenantId};
use tenantscope_tenancy::Sender;
use tenantscope_wire::Name;

use crate::deliveries::{self, Deliveries, DeliveryKey};
use crate::lanes::{LaneKey, Lanes, Newest};

/// The state as of a journal position: exactly what the records up to there, in order, make of an empty one.
#[derive(Debug)]
pub(crate) struct State {
    /// The last record that counts.
    pub(crate) position: u64,
    pub(crate) lanes: Lanes,
    pub(crate) accumulators: Accumulators,
    pub(crate) deliveries: Deliveries,
    sources: HashMap<AgentKey, BTreeMap<String, SourcePosition>>,
    seen: BTreeMap<Reporter, i64>,
}

/// Delta series of all senders whose running total is kept.
pub(crate) const MAX_DELTA_SERIES: usize = 1_000_000;
/// Sources of one agent; past that the one that moved longest ago is forgotten.
const MAX_SOURCES_OF_AGENT: usize = 4096;
/// Agents of one owner whose sources are kept; past that the one that moved longest ago is forgotten. An owner names its
/// agents as it likes, so a bound over all would let one of them use up the others' room.
const MAX_AGENTS_OF_OWNER: usize = 1024;
/// A running total that got nothing for so long is forgotten.
const IDLE_DELTA_MS: i64 = 24 * 3_600_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct AgentKey {
    owner: String,
    agent: Name,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SourcePosition {
    value: Value,
    at: u64,
}

/// Who sent something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Reporter {
    pub(crate) tenant: TenantId,
    pub(crate) account: Option<AccountId>,
}

/// What a record changes beside the accumulators, taken from it before it is gone.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    received_at_ms: i64,
    lane: Option<(LaneKey, u64, u64)>,
    delivery: Option<DeliveryKey>,
    sources: BTreeMap<String, Value>,
    reporters: Vec<Reporter>,
    removed: Option<TenantId>,
}

impl Change {
    pub(crate) fn of(record: &Record) -> Self {
        let header = record.header.as_ref();
        let lane = header.map(|header| (LaneKey::new(&record.sender, header), header.epoch, header.sequence));
        let delivery = record.delivery.as_ref().map(|delivery| DeliveryKey::new(&record.sender, &delivery.id));
        let sources = header.map(|header| header.positions.by_source().clone()).unwrap_or_default();
        let mut reporters = match &record.body {
            RecordBody::Received { decisions, .. } => decisions.iter().filter_map(reporter).collect(),
            // Our own series say nothing of a tenant's sender.
            RecordBody::Own { .. } | RecordBody::Removal { .. } => Vec::new(),
        };
        reporters.sort_unstable();
        reporters.dedup();
        let removed = match &record.body {
            RecordBody::Removal { tenant, .. } => Some(tenant.clone()),
            RecordBody::Received { .. } | RecordBody::Own { .. } => None,
        };
        Self { received_at_ms: record.received_at_ms, lane, delivery, sources, reporters, removed }
    }
}

fn reporter(decision: &Decision) -> Option<Reporter> {
    match decision {
        Decision::Stamp(Stamp { tenant, account, .. }) => Some(Reporter { tenant: tenant.clone(), account: *account }),
        Decision::Refuse { .. } => None,
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            position: 0,
            lanes: Lanes::default(),
            accumulators: Accumulators::new(MAX_DELTA_SERIES),
            deliveries: Deliveries::default(),
            sources: HashMap::new(),
            seen: BTreeMap::new(),
        }
    }
}

impl State {
    /// Takes over what the record at `position` changes. In journal order, each record once.
    pub(crate) fn advance(&mut self, position: u64, change: Change, deltas: Deltas) {
        self.position = position;
        if let Some(tenant) = &change.removed {
            self.forget(tenant);
        }
        if let Some((key, epoch, sequence)) = change.lane {
            self.move_sources(&key, change.sources, position);
            self.lanes.advance(key, Newest { epoch, sequence, position });
        }
        if let Some(key) = change.delivery {
            self.deliveries.add(key, change.received_at_ms);
            if position.is_multiple_of(256) {
                self.deliveries.expire(change.received_at_ms);
            }
        }
        for reporter in change.reporters {
            let last_ms = self.seen.entry(reporter).or_insert(change.received_at_ms);
            *last_ms = change.received_at_ms.max(*last_ms);
        }
        if !deltas.is_empty() {
            self.accumulators.commit(deltas);
            // Here, and not by a clock, so that a replay forgets the same totals at the same place.
            if position.is_multiple_of(256) {
                self.accumulators.expire(change.received_at_ms.saturating_sub(IDLE_DELTA_MS));
            }
        }
    }

    /// The owners of lanes and deliveries that are this tenant's alone. An account that others have too keeps its lanes: its
    /// agents go on.
    fn owners_of(&self, tenant: &TenantId) -> BTreeSet<String> {
        let of_tenant = |reporter: &&Reporter| reporter.tenant == *tenant;
        let mut accounts: BTreeSet<AccountId> = self.seen.keys().filter(of_tenant).filter_map(|r| r.account).collect();
        for other in self.seen.keys().filter(|reporter| !of_tenant(reporter)) {
            other.account.map(|account| accounts.remove(&account));
        }
        let open = Sender::Open { tenant: tenant.clone() }.lane_owner();
        accounts.iter().map(ToString::to_string).chain([open]).collect()
    }

    /// How much of what a tombstone makes forgotten is there.
    pub(crate) fn held_of(&self, tenant: &TenantId) -> [(&'static str, u64); 5] {
        let owners = self.owners_of(tenant);
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        [
            ("reporters", count(self.seen.keys().filter(|reporter| reporter.tenant == *tenant).count())),
            ("lanes", count(self.lanes.iter().filter(|(key, _)| owners.contains(&key.owner)).count())),
            ("agents", count(self.sources.keys().filter(|agent| owners.contains(&agent.owner)).count())),
            ("deliveries", count(owners.iter().map(|owner| self.deliveries.count_of(owner)).sum())),
            ("running_totals", count(self.accumulators.count_of(tenant))),
        ]
    }

    fn forget(&mut self, tenant: &TenantId) {
        let owners = self.owners_of(tenant);
        self.seen.retain(|reporter, _| reporter.tenant != *tenant);
        self.lanes.forget(&owners);
        self.sources.retain(|agent, _| !owners.contains(&agent.owner));
        self.deliveries.forget(&owners);
        self.accumulators.forget_tenant(tenant);
    }

    fn move_sources(&mut self, key: &LaneKey, moved: BTreeMap<String, Value>, position: u64) {
        if moved.is_empty() {
            return;
        }
        let agent = AgentKey { owner: key.owner.clone(), agent: key.agent.clone() };
        if !self.sources.contains_key(&agent) {
            self.make_room_for_agent(&agent.owner);
        }
        let sources = self.sources.entry(agent).or_default();
        for (source, value) in moved {
            sources.insert(source, SourcePosition { value, at: position });
        }
        while sources.len() > MAX_SOURCES_OF_AGENT {
            let oldest = sources.iter().min_by_key(|(_, position)| position.at).map(|(source, _)| source.clone());
            oldest.and_then(|oldest| sources.remove(&oldest));
        }
    }

    fn make_room_for_agent(&mut self, owner: &str) {
        let of_owner = || self.sources.iter().filter(|(agent, _)| agent.owner == owner);
        if of_owner().count() < MAX_AGENTS_OF_OWNER {
            return;
        }
        let newest = |sources: &BTreeMap<String, SourcePosition>| sources.values().map(|position| position.at).max();
        let oldest = of_owner().min_by_key(|(_, sources)| newest(sources)).map(|(agent, _)| agent.clone());
        if let Some(oldest) = oldest {
            tracing::warn!(owner, agent = %oldest.agent, "too many agents, forgetting the oldest one's source positions");
            self.sources.remove(&oldest);
        }
    }

    /// The newest positions of an agent's sources, each with the journal position that moved it.
    pub(crate) fn sources_of(&self, owner: &str, agent: &Name) -> BTreeMap<String, (u64, Value)> {
        let key = AgentKey { owner: owner.to_owned(), agent: agent.clone() };
        let sources = self.sources.get(&key).into_iter().flatten();
        sources.map(|(source, position)| (source.clone(), (position.at, position.value.clone()))).collect()
    }

    /// Who reported, and when last.
    pub(crate) fn seen(&self) -> impl Iterator<Item = (&Reporter, i64)> {
        self.seen.iter().map(|(reporter, last_ms)| (reporter, *last_ms))
    }
}

/// The state as it is written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    position: u64,
    lanes: Vec<(LaneKey, Newest)>,
    sources: Vec<(AgentKey, BTreeMap<String, SourcePosition>)>,
    seen: Vec<(Reporter, i64)>,
    #[serde(default)]
    deliveries: Vec<deliveries::Written>,
}

/// The first bytes of a state file: what it is, and its version.
const MAGIC: &[u8; 8] = b"TSSTATE1";

/// Why bytes are no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StateError {
    /// Not written by us, or by a release that we do not know.
    #[error("it is no state file of version 1")]
    Magic,
    /// Its checksum or its content is wrong.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

impl State {
    /// `magic, length of the document (u64, little endian), document (JSON), accumulators, CRC-32 of all that`.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let document = Document {
            position: self.position,
            lanes: self.lanes.iter().map(|(key, newest)| (key.clone(), *newest)).collect(),
            sources: self.sources.iter().map(|(key, sources)| (key.clone(), sources.clone())).collect(),
            seen: self.seen.iter().map(|(reporter, last_ms)| (reporter.clone(), *last_ms)).collect(),
            deliveries: self.deliveries.to_written(),
        };
        let json = serde_json::to_vec(&document)?;
        let accumulators = self.accumulators.to_bytes();
        let mut bytes = Vec::with_capacity(MAGIC.len() + 12 + json.len() + accumulators.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(json.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&json);
        bytes.extend_from_slice(&accumulators);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        Ok(bytes)
    }

    pub(crate) fn from_bytes(mut bytes: Bytes) -> Result<Self, StateError> {
        let damaged = |what: &str| StateError::Damaged(what.to_owned());
        if !bytes.starts_with(MAGIC) {
            return Err(StateError::Magic);
        }
        if bytes.len() < MAGIC.len() + 12 {
            return Err(damaged("it ends early"));
        }
        let checksum = bytes.split_off(bytes.len() - 4);
        if checksum != crc32fast::hash(&bytes).to_le_bytes()[..] {
            return Err(damaged("its checksum is wrong"));
        }
        let mut rest = bytes.split_off(MAGIC.len());
        let length = rest.split_to(8);
        let length =
            <[u8; 8]>::try_from(&length[..]).map(u64::from_le_bytes).map_err(|_| damaged("it has no length"))?;
        let length = usize::try_from(length).ok().filter(|length| *length <= rest.len());
        let json = rest.split_to(length.ok_or_else(|| damaged("its length is wrong"))?);
        let document: Document =
            serde_json::from_slice(&json).map_err(|error| StateError::Damaged(error.to_string()))?;
        let accumulators =
            Accumulators::from_bytes(rest, MAX_DELTA_SERIES).map_err(|error| StateError::Damaged(error.to_string()))?;
        let deliveries =
            Deliveries::from_written(document.deliveries).ok_or_else(|| damaged("a delivery's id is none"))?;
        let mut lanes = Lanes::default();
        for (key, newest) in document.lanes {
            lanes.advance(key, newest);
        }
        Ok(Self {
            position: document.position,
            lanes,
            accumulators,
            deliveries,
            sources: document.sources.into_iter().collect(),
            seen: document.seen.into_iter().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenantscope_model::Signal;
    use tenantscope_wire::{BatchHeader, BodyForm, Encoding, Positions, ReceivedBody};

    fn record(sequence: u64, source: &str) -> Record {
        let name = |text| Name::try_new(text).unwrap();
        let positions = Positions::try_new(BTreeMap::from([(source.to_owned(), sequence.into())])).unwrap();
        let stamp = Stamp { tenant: TenantId::anonymous(), account: None, region: None };
        Record {
            received_at_ms: 1000 + sequence as i64,
            sender: "o".into(),
            from_agent: true,
            latest_ms: None,
            utf8_names: false,
            bounds: tenantscope_codec::Bounds::default(),
            header: Some(BatchHeader { agent: name("a"), lane: name("l"), epoch: 1, sequence, positions }),
            delivery: None,
            body: RecordBody::Received {
                decisions: vec![Decision::Stamp(stamp), Decision::Refuse { reason: "x" }],
                body: ReceivedBody {
                    signal: Signal::Logs,
                    form: BodyForm::OtlpProtobuf,
                    encoding: Encoding::Identity,
                    bytes: Bytes::new(),
                },
            },
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut state = State::default();
        for (position, source) in [(1, "x"), (2, "y"), (3, "x")] {
            state.advance(position, Change::of(&record(position * 10, source)), Deltas::default());
        }
        let bytes = Bytes::from(state.to_bytes().unwrap());
        let read = State::from_bytes(bytes.clone()).unwrap();
        assert_eq!((read.position, read.lanes.len()), (3, 1));
        let agent = Name::try_new("a").unwrap();
        let sources = read.sources_of("o", &agent);
        assert_eq!(sources, BTreeMap::from([("x".into(), (3, 30.into())), ("y".into(), (2, 20.into()))]));
        assert_eq!(read.seen().map(|(_, last_ms)| last_ms).collect::<Vec<_>>(), [1030]);
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            assert!(State::from_bytes(changed.into()).is_err(), "at {at}");
            assert!(State::from_bytes(bytes.slice(..at)).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_tombstone_makes_what_is_the_tenants_alone_forgotten() {
        let sent = |tenant: &str, account: &str| {
            let stamp = Stamp {
                tenant: TenantId::try_new(tenant).unwrap(),
                account: Some(AccountId::try_new(account).unwrap()),
                region: None,
            };
            let mut record = record(1, "x");
            record.sender = account.into();
            if let RecordBody::Received { decisions, .. } = &mut record.body {
                *decisions = vec![Decision::Stamp(stamp)];
            }
            record
        };
        let (alone, shared) = ("111122223333", "444455556666");
        let mut state = State::default();
        for (position, record) in (1..).zip([sent("acme", alone), sent("acme", shared), sent("beta", shared)]) {
            state.advance(position, Change::of(&record), Deltas::default());
        }
        let acme = TenantId::try_new("acme").unwrap();
        assert_eq!(state.held_of(&acme)[..3], [("reporters", 2), ("lanes", 1), ("agents", 1)]);
        let stone = Record::new(9, RecordBody::Removal { tenant: acme.clone(), signal: Signal::Logs });
        state.advance(4, Change::of(&stone), Deltas::default());
        assert_eq!((state.position, state.held_of(&acme).map(|(_, count)| count)), (4, [0; 5]));
        assert_eq!((state.lanes.len(), state.seen().count()), (1, 1), "the other's agent goes on");
    }

    #[test]
    fn an_owner_with_too_many_agents_loses_its_own_oldest() {
        let mut state = State::default();
        let mut at = 0;
        let mut send = |owner: &str, agent: &str| {
            at += 1;
            let mut record = record(1, "x");
            record.sender = owner.into();
            if let Some(header) = &mut record.header {
                header.agent = Name::try_new(agent).unwrap();
            }
            state.advance(at, Change::of(&record), Deltas::default());
        };
        for agent in 0..=MAX_AGENTS_OF_OWNER {
            send("o", &format!("a{agent}"));
        }
        send("p", "a");
        let kept = |owner: &str, agent: &str| !state.sources_of(owner, &Name::try_new(agent).unwrap()).is_empty();
        assert!(!kept("o", "a0") && kept("o", "a1") && kept("p", "a"));
        assert_eq!(state.sources.len(), MAX_AGENTS_OF_OWNER + 1);
    }
}
