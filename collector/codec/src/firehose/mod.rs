//! Deliveries of Amazon Data Firehose: metric streams as the gauges that an agent would send, log subscriptions as its
//! log records.
//!
//! A delivery is JSON with records in base64. A record that has no meaning is left out and counted, since Firehose
//! would send all of them again; a delivery in which no record has one is refused.

mod datum;
mod logs;
mod metrics;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use tenantscope_model::Signal;

use crate::decode::Content;
use crate::{DecodeError, DecodeLimits, Rejected};

const FORM: &str = "a delivery of Firehose";
/// Why a record is left out.
const MALFORMED_RECORD: &str = "malformed_record";

/// What came beside a delivery's body, in its headers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delivery {
    /// The request's id: the same whenever the delivery is sent again.
    pub id: String,
    /// Attributes of all its resources, where these do not say them themselves.
    pub attributes: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(rename = "requestId", borrow)]
    request_id: Cow<'a, str>,
    /// When Firehose made it, in milliseconds since the epoch.
    #[serde(default)]
    timestamp: i64,
    #[serde(borrow, default)]
    records: Vec<RequestRecord<'a>>,
}

#[derive(Deserialize)]
struct RequestRecord<'a> {
    #[serde(borrow, default)]
    data: Cow<'a, str>,
}

/// What records may still take, over all of a delivery.
struct Budget {
    limits: DecodeLimits,
    bytes: usize,
    memory_bytes: usize,
}

impl Budget {
    fn of(limits: &DecodeLimits) -> Self {
        Self { limits: *limits, bytes: limits.max_decoded_bytes, memory_bytes: limits.max_memory_bytes() }
    }

    /// Takes what a record has once it is decompressed.
    fn take_bytes(&mut self, bytes: usize) -> Result<(), DecodeError> {
        let too_large = DecodeError::TooLarge { max_bytes: self.limits.max_decoded_bytes };
        self.bytes = self.bytes.checked_sub(bytes).ok_or(too_large)?;
        Ok(())
    }

    /// Takes what a part takes in memory.
    fn take_memory(&mut self, bytes: usize) -> Result<(), DecodeError> {
        let too_much = DecodeError::TooMuchMemory { max_bytes: self.limits.max_memory_bytes() };
        self.memory_bytes = self.memory_bytes.checked_sub(bytes).ok_or(too_much)?;
        Ok(())
    }
}

/// Reads a delivery; tells its id, too.
pub(crate) fn read(
    json: &[u8],
    signal: Signal,
    limits: &DecodeLimits,
    left_out: &mut Rejected,
) -> Result<(Content, String), DecodeError> {
    let malformed = |message: String| DecodeError::malformed(FORM, &message);
    let request: Request<'_> = serde_json::from_slice(json).map_err(|error| malformed(error.to_string()))?;
    let mut budget = Budget::of(limits);
    let mut metrics = metrics::Metrics::default();
    let mut logs = logs::Logs::of(request.timestamp);
    let (mut records, mut read) = (0usize, 0usize);
    for record in request.records.iter().filter(|record| !record.data.is_empty()) {
        records += 1;
        let Ok(data) = BASE64.decode(record.data.as_bytes()) else {
            left_out.add(MALFORMED_RECORD, 1);
            continue;
        };
        let parts = match signal {
            Signal::Metrics => metrics.add_record(&data, &mut budget, left_out)?,
            Signal::Logs => logs.add_record(&data, &mut budget, left_out)?,
            Signal::Spans => return Err(DecodeError::Signal(signal)),
        };
        read += usize::from(parts > 0);
    }
    if records > 0 && read == 0 {
        return Err(malformed(format!("none of its {records} records can be read")));
    }
    let content = match signal {
        Signal::Metrics => Content::Metrics(metrics.into_resources()),
        Signal::Logs => Content::Logs(logs.into_resources()),
        Signal::Spans => return Err(DecodeError::Signal(signal)),
    };
    Ok((content, request.request_id.into_owned()))
}

/// Who a record says that it is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Source {
    account: String,
    region: String,
}
