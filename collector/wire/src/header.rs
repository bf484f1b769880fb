//! A batch's identity in HTTP headers and gRPC metadata.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::{InvalidName, Name};

/// The header (and gRPC metadata key) with the agent's name; a batch that has it has an identity.
pub const AGENT: HeaderName = HeaderName::from_static("tenantscope-agent");
/// The header with the lane.
pub const LANE: HeaderName = HeaderName::from_static("tenantscope-lane");
/// The header with the spool's epoch.
pub const EPOCH: HeaderName = HeaderName::from_static("tenantscope-epoch");
/// The header with the batch's sequence.
pub const SEQUENCE: HeaderName = HeaderName::from_static("tenantscope-sequence");
/// The header with the source positions that the batch moved: base64 of a JSON object.
pub const POSITIONS: HeaderName = HeaderName::from_static("tenantscope-positions");

/// Positions of an agent's sources, by source; what a position says is the source's own affair.
///
/// The collector keeps the newest of each source and hands them back with the token. At most 8 KiB as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, serde_json::Value>", into = "BTreeMap<String, serde_json::Value>")]
pub struct Positions(BTreeMap<String, serde_json::Value>);

impl Positions {
    /// The longest form as JSON, in bytes.
    pub const MAX_BYTES: usize = 8 * 1024;

    /// Checks the size.
    pub fn try_new(by_source: BTreeMap<String, serde_json::Value>) -> Result<Self, InvalidBatchHeader> {
        let positions = Self(by_source);
        let bytes = positions.to_json().len();
        if bytes > Self::MAX_BYTES {
            return Err(InvalidBatchHeader::PositionsTooLarge { bytes });
        }
        Ok(positions)
    }

    /// Reads the JSON object.
    pub fn from_json(json: &[u8]) -> Result<Self, InvalidBatchHeader> {
        if json.len() > Self::MAX_BYTES {
            return Err(InvalidBatchHeader::PositionsTooLarge { bytes: json.len() });
        }
        serde_json::from_slice(json).map(Self).map_err(|_| InvalidBatchHeader::Positions)
    }

    /// As a JSON object.
    pub fn to_json(&self) -> Vec<u8> {
        // A map of strings to JSON values can always be written; empty stands for the impossible.
        serde_json::to_vec(&self.0).unwrap_or_default()
    }

    /// The positions by source.
    pub fn by_source(&self) -> &BTreeMap<String, serde_json::Value> {
        &self.0
    }

    /// The positions by source, owned.
    pub fn into_inner(self) -> BTreeMap<String, serde_json::Value> {
        self.0
    }

    /// Whether no source moved.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<BTreeMap<String, serde_json::Value>> for Positions {
    type Error = InvalidBatchHeader;
    fn try_from(by_source: BTreeMap<String, serde_json::Value>) -> Result<Self, Self::Error> {
        Self::try_new(by_source)
    }
}

impl From<Positions> for BTreeMap<String, serde_json::Value> {
    fn from(positions: Positions) -> Self {
        positions.0
    }
}

/// A batch's identity within its sender's account: (agent, lane) name the lane, (epoch, sequence) its place there.
///
/// A batch without one is taken at least once, a batch with one exactly once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchHeader {
    /// The agent's (or forwarder's) name.
    pub agent: Name,
    /// The lane: one signal of one spool.
    pub lane: Name,
    /// The spool's epoch; a batch of an older epoch than the lane's is refused for good.
    pub epoch: u64,
    /// Rises with each batch of the lane; gaps are allowed.
    pub sequence: u64,
    /// What the batch moved.
    pub positions: Positions,
}

/// What is wrong with a batch header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBatchHeader {
    /// There is an agent's name, but this one is missing.
    #[error("header {0} is missing")]
    Missing(HeaderName),
    /// A header is given twice.
    #[error("header {0} is given twice")]
    Twice(HeaderName),
    /// A name breaks its rule.
    #[error("header {header}: {source}")]
    Name {
        /// Which header.
        header: HeaderName,
        /// What is wrong.
        source: InvalidName,
    },
    /// Epoch or sequence is no unsigned number of 64 bits.
    #[error("header {0} is not an unsigned 64-bit number")]
    Number(HeaderName),
    /// The positions are no base64 of a JSON object.
    #[error("header tenantscope-positions is not base64 of a JSON object")]
    Positions,
    /// The positions are too many.
    #[error("source positions of {bytes} bytes are over {} bytes", Positions::MAX_BYTES)]
    PositionsTooLarge {
        /// How large they are, as JSON.
        bytes: usize,
    },
}

impl BatchHeader {
    /// Reads the header from HTTP headers or gRPC metadata; `None` where there is no agent's name.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, InvalidBatchHeader> {
        if !headers.contains_key(&AGENT) {
            return Ok(None);
        }
        Ok(Some(Self {
            agent: name(headers, AGENT)?,
            lane: name(headers, LANE)?,
            epoch: number(headers, EPOCH)?,
            sequence: number(headers, SEQUENCE)?,
            positions: positions(headers)?,
        }))
    }

    /// Writes the header into HTTP headers or gRPC metadata, replacing one that is there.
    pub fn to_headers(&self, headers: &mut HeaderMap) {
        let mut set = |name: HeaderName, text: &str| {
            // Names, numbers and base64 are visible ASCII, so each of them is a header value.
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        };
        set(AGENT, self.agent.as_str());
        set(LANE, self.lane.as_str());
        set(EPOCH, &self.epoch.to_string());
        set(SEQUENCE, &self.sequence.to_string());
        if self.positions.is_empty() {
            headers.remove(POSITIONS);
        } else {
            set(POSITIONS, &BASE64.encode(self.positions.to_json()));
        }
    }
}

fn text(headers: &HeaderMap, header: HeaderName) -> Result<Option<&str>, InvalidBatchHeader> {
    let mut values = headers.get_all(&header).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(InvalidBatchHeader::Twice(header));
    }
    // A value that is not ASCII breaks every rule below, so it may read as empty.
    Ok(Some(value.to_str().unwrap_or("")))
}

fn required(headers: &HeaderMap, header: HeaderName) -> Result<&str, InvalidBatchHeader> {
    text(headers, header.clone())?.ok_or(InvalidBatchHeader::Missing(header))
}

fn name(headers: &HeaderMap, header: HeaderName) -> Result<Name, InvalidBatchHeader> {
    Name::try_new(required(headers, header.clone())?).map_err(|source| InvalidBatchHeader::Name { header, source })
}

fn number(headers: &HeaderMap, header: HeaderName) -> Result<u64, InvalidBatchHeader> {
    let digits = required(headers, header.clone())?;
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| plain).ok_or(InvalidBatchHeader::Number(header))
}

fn positions(headers: &HeaderMap) -> Result<Positions, InvalidBatchHeader> {
    let Some(encoded) = text(headers, POSITIONS)? else { return Ok(Positions::default()) };
    let json = BASE64.decode(encoded).map_err(|_| InvalidBatchHeader::Positions)?;
    Positions::from_json(&json)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_name() -> impl Strategy<Value = Name> {
        "[A-Za-z0-9_.:@/-]{1,128}".prop_map(|text| Name::try_new(&text).unwrap())
    }

    prop_compose! {
        fn any_header()(
            agent in any_name(), lane in any_name(), epoch: u64, sequence: u64,
            positions in prop::collection::btree_map(".{0,40}", any::<i64>(), 0..20),
        ) -> BatchHeader {
            let positions = positions.into_iter().map(|(source, at)| (source, at.into())).collect();
            BatchHeader { agent, lane, epoch, sequence, positions: Positions::try_new(positions).unwrap() }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(header in any_header()) {
            let mut headers = HeaderMap::new();
            header.to_headers(&mut headers);
            prop_assert_eq!(BatchHeader::from_headers(&headers), Ok(Some(header)));
        }

        #[test]
        fn any_header_values_are_read_or_refused(values in prop::collection::vec("[ -~]{0,40}", 5)) {
            let mut headers = HeaderMap::new();
            for (name, value) in [AGENT, LANE, EPOCH, SEQUENCE, POSITIONS].into_iter().zip(values) {
                headers.insert(name, HeaderValue::from_str(&value).unwrap());
            }
            let _ = BatchHeader::from_headers(&headers);
        }
    }

    #[test]
    fn no_agent_means_no_identity_and_half_an_identity_is_wrong() {
        assert_eq!(BatchHeader::from_headers(&HeaderMap::new()), Ok(None));
        let mut headers = HeaderMap::new();
        headers.insert(AGENT, HeaderValue::from_static("a"));
        assert_eq!(BatchHeader::from_headers(&headers), Err(InvalidBatchHeader::Missing(LANE)));
        headers.insert(LANE, HeaderValue::from_static("metrics"));
        headers.insert(EPOCH, HeaderValue::from_static("+1"));
        assert_eq!(BatchHeader::from_headers(&headers), Err(InvalidBatchHeader::Number(EPOCH)));
    }

    #[test]
    fn positions_are_bounded() {
        let by_source = BTreeMap::from([("logs".to_owned(), "x".repeat(Positions::MAX_BYTES).into())]);
        assert!(matches!(Positions::try_new(by_source), Err(InvalidBatchHeader::PositionsTooLarge { .. })));
    }
}
