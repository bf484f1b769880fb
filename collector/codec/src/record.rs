use bytes::Bytes;
use prost::Message;
use tenantscope_model::{
    AccountId, Decision, FamilyMetadata, Region, Signal, Stamp, StampedBatch, StampedSeries, TenantId,
};
use tenantscope_wire::{BatchHeader, Name, Positions, ReceivedBody};

use crate::own;
use crate::remote_write::LabelPair;
use crate::{
    Accumulators, Bounds, DecodeError, DecodeLimits, Decoded, Delivery, Origin, RecordBounds, Stamped, TENANT_LABEL,
    decode, stamp,
};

mod numbers;

use numbers::{encoding_number, encoding_of, form_number, form_of, signal_number, signal_of};

/// The first byte of a record: its version.
const VERSION: u8 = 1;

/// One journal record: a batch with all that a replay needs, so that it asks nobody again.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// When it was received, in milliseconds since the epoch.
    pub received_at_ms: i64,
    /// Who sent it, as the lane's key has it: an account or a forwarder's name; empty where the sender has none.
    pub sender: String,
    /// Whether an agent sent it, so that its cadences count.
    pub from_agent: bool,
    /// The latest time that its points could have, in milliseconds since the epoch; see [`Origin::latest_ms`].
    pub latest_ms: Option<i64>,
    /// Whether the names of its metrics and labels keep all their characters; see [`Origin::utf8_names`].
    pub utf8_names: bool,
    /// What its tenants' records could be when it came.
    pub bounds: Bounds,
    /// The batch's identity.
    pub header: Option<BatchHeader>,
    /// What came beside the body of a Firehose delivery.
    pub delivery: Option<Delivery>,
    /// What it holds.
    pub body: RecordBody,
}

/// What a record holds.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordBody {
    /// A body as it was received, and what was decided about each of its resources.
    Received {
        /// One for each claim of the decoded body.
        decisions: Vec<Decision>,
        /// The body.
        body: ReceivedBody,
    },
    /// Series of our own making: rule results, tenant information, our own counts.
    Own {
        /// The series.
        series: Vec<StampedSeries>,
        /// Their families' metadata.
        metadata: Vec<FamilyMetadata>,
    },
    /// A tombstone: whatever stands before it of the tenant is gone; what stands behind is another tenant of that name.
    Removal {
        /// The tenant.
        tenant: TenantId,
        /// In whose journal it stands.
        signal: Signal,
    },
}

/// Why bytes are no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Written by a release that we do not know, or nothing at all.
    #[error("journal record has version {0:?}, known is {VERSION}")]
    Version(Option<u8>),
    /// Not in its version's form.
    #[error("journal record is damaged: {0}")]
    Damaged(String),
}

impl Record {
    /// A body received at a time, of which nothing more is told: of no sender with a name, under no bounds.
    pub fn new(received_at_ms: i64, body: RecordBody) -> Self {
        Self {
            received_at_ms,
            sender: String::new(),
            from_agent: false,
            latest_ms: None,
            utf8_names: false,
            bounds: Bounds::default(),
            header: None,
            delivery: None,
            body,
        }
    }

    /// The bytes for the journal.
    pub fn to_bytes(&self) -> Vec<u8> {
        let message = RecordMessage::from(self);
        let mut bytes = Vec::with_capacity(1 + message.encoded_len());
        bytes.push(VERSION);
        // Only a buffer that cannot grow makes this fail.
        let _ = message.encode(&mut bytes);
        bytes
    }

    /// Reads the bytes of a journal record; the body shares them.
    pub fn from_bytes(mut bytes: Bytes) -> Result<Self, RecordError> {
        let version = bytes.first().copied();
        if version != Some(VERSION) {
            return Err(RecordError::Version(version));
        }
        let message = RecordMessage::decode(bytes.split_off(1)).map_err(|e| RecordError::Damaged(e.to_string()))?;
        Self::try_from(message)
    }

    /// The signal, and so the journal, of the record.
    pub fn signal(&self) -> Signal {
        match &self.body {
            RecordBody::Received { body, .. } => body.signal,
            RecordBody::Own { .. } => Signal::Metrics,
            RecordBody::Removal { signal, .. } => *signal,
        }
    }

    /// What stamping needs to know of where it came from.
    pub fn origin(&self) -> Origin {
        Origin {
            from_agent: self.from_agent,
            received_at_ms: self.received_at_ms,
            latest_ms: self.latest_ms,
            utf8_names: self.utf8_names,
        }
    }

    /// The record's body as it was when it came, with what came beside it.
    pub(crate) fn decoded(&self, body: &ReceivedBody) -> Result<Decoded, DecodeError> {
        let mut decoded = decode(body, &DecodeLimits::REPLAY)?;
        if let Some(delivery) = &self.delivery {
            decoded.add_attributes(&delivery.attributes);
        }
        Ok(decoded)
    }

    /// The stamped batch again, just as it was when it was received.
    pub fn replay(&self, accumulators: &Accumulators) -> Result<Stamped, DecodeError> {
        match &self.body {
            RecordBody::Received { decisions, body } => {
                let decoded = self.decoded(body)?;
                let records = decoded.records();
                let mut stamped = stamp(decoded, decisions, self.origin(), accumulators);
                self.bounds.apply(&mut stamped, records);
                Ok(stamped)
            }
            RecordBody::Own { series, metadata } => {
                let batch = StampedBatch::Metrics { series: series.clone(), metadata: metadata.clone() };
                Ok(Stamped::whole(batch))
            }
            RecordBody::Removal { signal, .. } => Ok(Stamped::whole(StampedBatch::empty(*signal))),
        }
    }

    /// Leaves out a tenant: its resources as if they had been refused, its series of our own. Whether it had any.
    pub fn leave_out_tenant(&mut self, tenant: &TenantId) -> bool {
        match &mut self.body {
            RecordBody::Received { decisions, .. } => {
                let mut has_any = false;
                for decision in decisions {
                    if matches!(decision, Decision::Stamp(stamp) if stamp.tenant == *tenant) {
                        *decision = Decision::Refuse { reason: REFUSED_BEFORE };
                        has_any = true;
                    }
                }
                has_any
            }
            RecordBody::Own { series, metadata } => {
                let before = series.len() + metadata.len();
                series.retain(|series| series.labels.get(TENANT_LABEL) != Some(tenant.as_str()));
                metadata.retain(|family| family.tenant.as_ref() != Some(tenant));
                series.len() + metadata.len() < before
            }
            RecordBody::Removal { .. } => false,
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct RecordMessage {
    #[prost(int64, tag = "1")]
    received_at_ms: i64,
    #[prost(string, tag = "2")]
    sender: String,
    #[prost(bool, tag = "3")]
    from_agent: bool,
    #[prost(message, optional, tag = "4")]
    header: Option<HeaderMessage>,
    /// 1 metrics, 2 logs, 3 spans.
    #[prost(uint32, tag = "5")]
    signal: u32,
    /// 1 OTLP protobuf, 2 OTLP JSON, 3 remote write 1.0, 4 remote write 2.0, 5 Loki protobuf, 6 Loki JSON, 7 Firehose;
    /// 100 series of our own, 101 a tombstone.
    #[prost(uint32, tag = "6")]
    form: u32,
    /// 0 identity, 1 gzip, 2 zstd, 3 snappy.
    #[prost(uint32, tag = "7")]
    encoding: u32,
    /// The distinct stamps.
    #[prost(message, repeated, tag = "8")]
    stamps: Vec<StampMessage>,
    /// For each resource 0 where it was refused, else its stamp's place in `stamps`, from 1.
    #[prost(uint32, repeated, tag = "9")]
    decisions: Vec<u32>,
    #[prost(bytes = "bytes", tag = "10")]
    body: Bytes,
    #[prost(int64, optional, tag = "11")]
    latest_ms: Option<i64>,
    #[prost(message, optional, tag = "12")]
    delivery: Option<DeliveryMessage>,
    #[prost(bool, tag = "14")]
    utf8_names: bool,
    /// Of each tenant of the batch, where any is bounded.
    #[prost(message, repeated, tag = "13")]
    bounds: Vec<BoundsMessage>,
    /// Of a tombstone.
    #[prost(string, tag = "15")]
    removed_tenant: String,
}

const OWN_FORM: u32 = 100;
const REMOVAL_FORM: u32 = 101;
/// What a replay says of a resource that was refused when it came.
const REFUSED_BEFORE: &str = "refused";

#[derive(Clone, PartialEq, Message)]
struct HeaderMessage {
    #[prost(string, tag = "1")]
    agent: String,
    #[prost(string, tag = "2")]
    lane: String,
    #[prost(uint64, tag = "3")]
    epoch: u64,
    #[prost(uint64, tag = "4")]
    sequence: u64,
    /// JSON; empty for none.
    #[prost(bytes = "vec", tag = "5")]
    positions: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct DeliveryMessage {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, repeated, tag = "2")]
    attributes: Vec<LabelPair>,
}

#[derive(Clone, PartialEq, Message)]
struct BoundsMessage {
    #[prost(string, tag = "1")]
    tenant: String,
    #[prost(int64, optional, tag = "2")]
    earliest_ms: Option<i64>,
    #[prost(uint64, optional, tag = "3")]
    label_names: Option<u64>,
    #[prost(uint64, optional, tag = "4")]
    label_name_bytes: Option<u64>,
    #[prost(uint64, optional, tag = "5")]
    label_value_bytes: Option<u64>,
    #[prost(uint64, optional, tag = "6")]
    log_line_bytes: Option<u64>,
    #[prost(uint64, optional, tag = "7")]
    attribute_bytes: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
struct StampMessage {
    #[prost(string, tag = "1")]
    tenant: String,
    #[prost(string, tag = "2")]
    account: String,
    #[prost(string, tag = "3")]
    region: String,
}

impl From<&Record> for RecordMessage {
    fn from(record: &Record) -> Self {
        let mut message = Self {
            received_at_ms: record.received_at_ms,
            sender: record.sender.clone(),
            from_agent: record.from_agent,
            latest_ms: record.latest_ms,
            utf8_names: record.utf8_names,
            header: record.header.as_ref().map(HeaderMessage::from),
            delivery: record.delivery.as_ref().map(DeliveryMessage::from),
            bounds: record.bounds.iter().map(BoundsMessage::from).collect(),
            ..Self::default()
        };
        match &record.body {
            RecordBody::Own { series, metadata } => {
                message.signal = signal_number(Signal::Metrics);
                message.form = OWN_FORM;
                message.body = own::encode(series, metadata).into();
            }
            RecordBody::Removal { tenant, signal } => {
                message.signal = signal_number(*signal);
                message.form = REMOVAL_FORM;
                message.removed_tenant = tenant.to_string();
            }
            RecordBody::Received { decisions, body } => {
                message.signal = signal_number(body.signal);
                message.form = form_number(body.form);
                message.encoding = encoding_number(body.encoding);
                message.body = body.bytes.clone();
                message.set_decisions(decisions);
            }
        }
        message
    }
}

impl RecordMessage {
    fn set_decisions(&mut self, decisions: &[Decision]) {
        let mut places = std::collections::HashMap::new();
        for decision in decisions {
            let place = match decision {
                Decision::Refuse { .. } => 0,
                Decision::Stamp(stamp) => *places.entry(stamp).or_insert_with(|| {
                    self.stamps.push(StampMessage::from(stamp));
                    u32::try_from(self.stamps.len()).unwrap_or(u32::MAX)
                }),
            };
            self.decisions.push(place);
        }
    }

    fn read_decisions(&self) -> Result<Vec<Decision>, RecordError> {
        let stamps = self.stamps.iter().map(Stamp::try_from).collect::<Result<Vec<_>, _>>()?;
        let decision = |place: &u32| match place.checked_sub(1) {
            None => Ok(Decision::Refuse { reason: REFUSED_BEFORE }),
            Some(index) => stamps
                .get(index as usize)
                .map(|stamp| Decision::Stamp(stamp.clone()))
                .ok_or_else(|| RecordError::Damaged(format!("there is no stamp {place}"))),
        };
        self.decisions.iter().map(decision).collect()
    }
}

impl TryFrom<RecordMessage> for Record {
    type Error = RecordError;

    fn try_from(message: RecordMessage) -> Result<Self, RecordError> {
        let body = if message.form == OWN_FORM {
            let (series, metadata) = own::decode(message.body.clone()).map_err(RecordError::Damaged)?;
            RecordBody::Own { series, metadata }
        } else if message.form == REMOVAL_FORM {
            let tenant = TenantId::try_new(&message.removed_tenant).map_err(damaged)?;
            RecordBody::Removal { tenant, signal: signal_of(message.signal)? }
        } else {
            let decisions = message.read_decisions()?;
            let body = ReceivedBody {
                signal: signal_of(message.signal)?,
                form: form_of(message.form)?,
                encoding: encoding_of(message.encoding)?,
                bytes: message.body,
            };
            RecordBody::Received { decisions, body }
        };
        let bounds = message.bounds.iter().map(<(TenantId, RecordBounds)>::try_from).collect::<Result<_, _>>()?;
        let bounds = Bounds::new(bounds);
        Ok(Self {
            received_at_ms: message.received_at_ms,
            sender: message.sender,
            from_agent: message.from_agent,
            latest_ms: message.latest_ms,
            utf8_names: message.utf8_names,
            header: message.header.map(BatchHeader::try_from).transpose()?,
            delivery: message.delivery.map(Delivery::from),
            bounds,
            body,
        })
    }
}

impl From<&BatchHeader> for HeaderMessage {
    fn from(header: &BatchHeader) -> Self {
        Self {
            agent: header.agent.as_str().to_owned(),
            lane: header.lane.as_str().to_owned(),
            epoch: header.epoch,
            sequence: header.sequence,
            positions: if header.positions.is_empty() { Vec::new() } else { header.positions.to_json() },
        }
    }
}

fn damaged(error: impl std::fmt::Display) -> RecordError {
    RecordError::Damaged(error.to_string())
}

impl TryFrom<HeaderMessage> for BatchHeader {
    type Error = RecordError;

    fn try_from(message: HeaderMessage) -> Result<Self, RecordError> {
        let positions = match message.positions.as_slice() {
            [] => Positions::default(),
            json => Positions::from_json(json).map_err(damaged)?,
        };
        Ok(Self {
            agent: Name::try_new(&message.agent).map_err(damaged)?,
            lane: Name::try_new(&message.lane).map_err(damaged)?,
            epoch: message.epoch,
            sequence: message.sequence,
            positions,
        })
    }
}

impl From<&Delivery> for DeliveryMessage {
    fn from(delivery: &Delivery) -> Self {
        let pair = |(name, value): &(String, String)| LabelPair { name: name.clone(), value: value.clone() };
        Self { id: delivery.id.clone(), attributes: delivery.attributes.iter().map(pair).collect() }
    }
}

impl From<DeliveryMessage> for Delivery {
    fn from(message: DeliveryMessage) -> Self {
        let attributes = message.attributes.into_iter().map(|pair| (pair.name, pair.value)).collect();
        Self { id: message.id, attributes }
    }
}

impl From<&(TenantId, RecordBounds)> for BoundsMessage {
    fn from((tenant, bounds): &(TenantId, RecordBounds)) -> Self {
        Self {
            tenant: tenant.as_str().to_owned(),
            earliest_ms: bounds.earliest_ms,
            label_names: bounds.label_names,
            label_name_bytes: bounds.label_name_bytes,
            label_value_bytes: bounds.label_value_bytes,
            log_line_bytes: bounds.log_line_bytes,
            attribute_bytes: bounds.attribute_bytes,
        }
    }
}

impl TryFrom<&BoundsMessage> for (TenantId, RecordBounds) {
    type Error = RecordError;

    fn try_from(message: &BoundsMessage) -> Result<Self, RecordError> {
        let bounds = RecordBounds {
            earliest_ms: message.earliest_ms,
            label_names: message.label_names,
            label_name_bytes: message.label_name_bytes,
            label_value_bytes: message.label_value_bytes,
            log_line_bytes: message.log_line_bytes,
            attribute_bytes: message.attribute_bytes,
        };
        Ok((TenantId::try_new(&message.tenant).map_err(damaged)?, bounds))
    }
}

impl From<&Stamp> for StampMessage {
    fn from(stamp: &Stamp) -> Self {
        Self {
            tenant: stamp.tenant.as_str().to_owned(),
            account: stamp.account.map(|account| account.to_string()).unwrap_or_default(),
            region: stamp.region.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }
}

impl TryFrom<&StampMessage> for Stamp {
    type Error = RecordError;

    fn try_from(message: &StampMessage) -> Result<Self, RecordError> {
        let present = |text: &'_ str| !text.is_empty();
        Ok(Self {
            tenant: TenantId::try_new(&message.tenant).map_err(damaged)?,
            account: Some(message.account.as_str())
                .filter(|t| present(t))
                .map(AccountId::try_new)
                .transpose()
                .map_err(damaged)?,
            region: Some(message.region.as_str())
                .filter(|t| present(t))
                .map(Region::try_new)
                .transpose()
                .map_err(damaged)?,
        })
    }
}
