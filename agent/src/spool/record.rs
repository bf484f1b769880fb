//! The record of the spool's journal: a version byte, then a protobuf message. Readers take every version up to theirs.

use bytes::Bytes;
use prost::Message;
use tenantscope_model::Signal;
use tenantscope_wire::{BodyForm, Encoding};

use super::{Key, Move};

const VERSION: u8 = 1;

/// A body that is ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its signal.
    pub signal: Signal,
    /// The body's form under the compression.
    pub form: BodyForm,
    /// The body's compression.
    pub encoding: Encoding,
    /// How many datapoints, log records or spans it holds; 0 where nobody counted.
    pub items: u64,
    /// The body.
    pub body: Bytes,
}

/// Why bytes are no record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It has no bytes.
    #[error("is empty")]
    Empty,
    /// A later release wrote it.
    #[error("has version {0}, this release reads up to {VERSION}")]
    Version(u8),
    /// Its message is damaged.
    #[error(transparent)]
    Message(#[from] prost::DecodeError),
    /// It names a signal, form or compression that this release does not know.
    #[error("has an unknown {0}")]
    Unknown(&'static str),
}

#[derive(Clone, PartialEq, Message)]
struct RecordMessage {
    #[prost(uint32, tag = "1")]
    signal: u32,
    #[prost(uint32, tag = "2")]
    form: u32,
    #[prost(uint32, tag = "3")]
    encoding: u32,
    #[prost(uint64, tag = "4")]
    items: u64,
    #[prost(message, repeated, tag = "5")]
    moves: Vec<MoveMessage>,
    #[prost(bytes = "bytes", tag = "6")]
    body: Bytes,
}

/// A move, here and in the checkpoint.
#[derive(Clone, PartialEq, Message)]
pub(super) struct MoveMessage {
    #[prost(string, tag = "1")]
    source: String,
    #[prost(int64, tag = "2")]
    position_ms: i64,
    #[prost(int64, tag = "3")]
    floor_ms: i64,
    #[prost(int64, repeated, tag = "4")]
    seen_at_ms: Vec<i64>,
    #[prost(fixed64, repeated, tag = "5")]
    seen_hash: Vec<u64>,
}

impl From<&Move> for MoveMessage {
    fn from(step: &Move) -> Self {
        Self {
            source: step.source.clone(),
            position_ms: step.position_ms,
            floor_ms: step.floor_ms,
            seen_at_ms: step.seen.iter().map(|key| key.at_ms).collect(),
            seen_hash: step.seen.iter().map(|key| key.hash).collect(),
        }
    }
}

impl From<MoveMessage> for Move {
    fn from(message: MoveMessage) -> Self {
        let seen = message.seen_at_ms.into_iter().zip(message.seen_hash);
        Self {
            source: message.source,
            position_ms: message.position_ms,
            floor_ms: message.floor_ms,
            seen: seen.map(|(at_ms, hash)| Key { at_ms, hash }).collect(),
        }
    }
}

pub(super) fn encode(batch: &Batch, moves: &[Move]) -> Vec<u8> {
    let message = RecordMessage {
        signal: signal_number(batch.signal),
        form: form_number(batch.form),
        encoding: encoding_number(batch.encoding),
        items: batch.items,
        moves: moves.iter().map(MoveMessage::from).collect(),
        body: batch.body.clone(),
    };
    let mut bytes = Vec::with_capacity(1 + message.encoded_len());
    bytes.push(VERSION);
    // A vector grows as needed, so there is always room.
    let _ = message.encode(&mut bytes);
    bytes
}

pub(super) fn decode(bytes: Vec<u8>) -> Result<(Batch, Vec<Move>), RecordError> {
    let mut bytes = Bytes::from(bytes);
    match bytes.first() {
        None => return Err(RecordError::Empty),
        Some(&VERSION) => {}
        Some(&version) => return Err(RecordError::Version(version)),
    }
    let message = RecordMessage::decode(bytes.split_off(1))?;
    let batch = Batch {
        signal: signal_of(message.signal).ok_or(RecordError::Unknown("signal"))?,
        form: form_of(message.form).ok_or(RecordError::Unknown("form"))?,
        encoding: encoding_of(message.encoding).ok_or(RecordError::Unknown("compression"))?,
        items: message.items,
        body: message.body,
    };
    Ok((batch, message.moves.into_iter().map(Move::from).collect()))
}

fn signal_number(signal: Signal) -> u32 {
    match signal {
        Signal::Metrics => 1,
        Signal::Logs => 2,
        Signal::Spans => 3,
    }
}

fn signal_of(number: u32) -> Option<Signal> {
    Signal::ALL.into_iter().find(|signal| signal_number(*signal) == number)
}

fn form_number(form: BodyForm) -> u32 {
    match form {
        BodyForm::OtlpProtobuf => 1,
        BodyForm::OtlpJson => 2,
        // No source of the agent makes another form; a reader refuses 0.
        _ => 0,
    }
}

fn form_of(number: u32) -> Option<BodyForm> {
    [BodyForm::OtlpProtobuf, BodyForm::OtlpJson].into_iter().find(|form| form_number(*form) == number)
}

fn encoding_number(encoding: Encoding) -> u32 {
    match encoding {
        Encoding::Identity => 1,
        Encoding::Gzip => 2,
        Encoding::Zstd => 3,
        Encoding::Snappy => 4,
    }
}

fn encoding_of(number: u32) -> Option<Encoding> {
    [Encoding::Identity, Encoding::Gzip, Encoding::Zstd, Encoding::Snappy]
        .into_iter()
        .find(|encoding| encoding_number(*encoding) == number)
}
