//! `logproto.PushRequest`, by Loki's published `push.proto`.

use super::{Entry, Stream, malformed, text};
use crate::DecodeError;
use crate::remote_write::LabelPair;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) streams: Vec<StreamAdapter>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StreamAdapter {
    /// As in LogQL: `{job="a"}`.
    #[prost(string, tag = "1")]
    pub(crate) labels: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) entries: Vec<EntryAdapter>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EntryAdapter {
    #[prost(message, optional, tag = "1")]
    pub(crate) timestamp: Option<Timestamp>,
    /// A string, of which Loki does not ask that it be UTF-8.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) line: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) structured_metadata: Vec<LabelPair>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

pub(super) fn streams_of(request: PushRequest) -> Result<Vec<Stream>, DecodeError> {
    request.streams.into_iter().map(stream_of).collect()
}

fn stream_of(stream: StreamAdapter) -> Result<Stream, DecodeError> {
    Ok(Stream {
        labels: text::labels_of(&stream.labels)?,
        entries: stream.entries.into_iter().map(entry_of).collect::<Result<_, _>>()?,
    })
}

fn entry_of(entry: EntryAdapter) -> Result<Entry, DecodeError> {
    let line = String::from_utf8(entry.line).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into());
    Ok(Entry {
        time_unix_nano: nanoseconds(entry.timestamp.unwrap_or_default())?,
        line,
        metadata: entry.structured_metadata.into_iter().map(|pair| (pair.name, pair.value)).collect(),
    })
}

fn nanoseconds(time: Timestamp) -> Result<u64, DecodeError> {
    let since = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    // Loki's own times are nanoseconds in 64 bits with a sign.
    let since = i64::try_from(since).ok().and_then(|since| u64::try_from(since).ok());
    since.ok_or_else(|| malformed(format!("time of {} s is out of range", time.seconds)))
}
