//! `{"streams": [{"stream": {"job": "a"}, "values": [["<nanoseconds>", "line", {"key": "value"}]]}]}`

use std::fmt;

use serde::Deserialize;
use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{Entry, Stream, malformed};
use crate::DecodeError;

#[derive(Deserialize)]
struct Push {
    #[serde(default)]
    streams: Vec<PushStream>,
}

#[derive(Deserialize)]
struct PushStream {
    #[serde(default)]
    stream: Pairs,
    #[serde(default)]
    values: Vec<Entry>,
}

pub(super) fn streams_of(json: &[u8]) -> Result<Vec<Stream>, DecodeError> {
    let push: Push = serde_json::from_slice(json).map_err(|error| malformed(error.to_string()))?;
    let stream = |stream: PushStream| Stream { labels: stream.stream.0, entries: stream.values };
    Ok(push.streams.into_iter().map(stream).collect())
}

/// An object's keys and values as text, in their order. Values should be strings; Loki takes others as they are written.
#[derive(Default)]
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;

        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    let value = match value {
                        Value::String(text) => text,
                        other => other.to_string(),
                    };
                    pairs.push((key, value));
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(PairsVisitor)
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntryVisitor;

        impl<'de> Visitor<'de> for EntryVisitor {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time in nanoseconds as text, a line, and possibly structured metadata")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Entry, A::Error> {
                let missing = || de::Error::custom("an entry is a list of a time, a line and possibly metadata");
                let time: String = parts.next_element()?.ok_or_else(missing)?;
                let line: String = parts.next_element()?.ok_or_else(missing)?;
                let metadata = parts.next_element::<Pairs>()?.unwrap_or_default();
                if parts.next_element::<IgnoredAny>()?.is_some() {
                    return Err(missing());
                }
                let since = time.parse::<i64>().ok().and_then(|since| u64::try_from(since).ok());
                let time_unix_nano =
                    since.ok_or_else(|| de::Error::custom(format!("{time:.40?} is no time in nanoseconds")))?;
                Ok(Entry { time_unix_nano, line, metadata: metadata.0 })
            }
        }

        deserializer.deserialize_seq(EntryVisitor)
    }
}
