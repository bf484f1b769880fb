//! Log subscriptions: JSON in gzip, as CloudWatch Logs sends it, or what Firehose made of it by decompressing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::mem::size_of;

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde::Deserialize;
use tenantscope_wire::cloudwatch::{LOGS_SCOPE, log_attributes, log_record};

use super::{Budget, MALFORMED_RECORD, Source};
use crate::{DecodeError, Rejected};

const DATA_MESSAGE: &str = "DATA_MESSAGE";
/// Sent now and then to see whether the destination can be reached.
const CONTROL_MESSAGE: &str = "CONTROL_MESSAGE";
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

#[derive(Deserialize)]
struct Subscription<'a> {
    #[serde(rename = "messageType", borrow)]
    message_type: Cow<'a, str>,
    /// The account of the log group.
    #[serde(borrow, default)]
    owner: Cow<'a, str>,
    #[serde(rename = "logGroup", borrow, default)]
    log_group: Cow<'a, str>,
    #[serde(rename = "logStream", borrow, default)]
    log_stream: Cow<'a, str>,
    #[serde(rename = "logEvents", default)]
    log_events: Vec<LogEvent>,
}

#[derive(Deserialize)]
struct LogEvent {
    /// Milliseconds since the epoch.
    timestamp: i64,
    message: String,
}

/// Records by account, group and stream, so that equal bodies give equal batches.
pub(super) struct Logs {
    by_stream: BTreeMap<(String, String, String), Vec<LogRecord>>,
    observed_time_unix_nano: u64,
}

impl Logs {
    /// Of a delivery that was made then.
    pub(super) fn of(made_at_ms: i64) -> Self {
        Self { by_stream: BTreeMap::new(), observed_time_unix_nano: nanoseconds(made_at_ms) }
    }

    /// Adds what a record holds; tells how many messages of it could be read.
    pub(super) fn add_record(
        &mut self,
        data: &[u8],
        budget: &mut Budget,
        left_out: &mut Rejected,
    ) -> Result<usize, DecodeError> {
        /// Every event becomes a record.
        const OBJECT_BYTES: usize = size_of::<LogRecord>() + size_of::<LogEvent>();
        let Some(json) = decompressed(data, budget)? else {
            left_out.add(MALFORMED_RECORD, 1);
            return Ok(0);
        };
        let objects = json.iter().filter(|byte| **byte == b'{').count();
        budget.take_memory(json.len().saturating_add(objects.saturating_mul(OBJECT_BYTES)))?;
        let mut read = 0;
        for message in serde_json::Deserializer::from_slice(&json).into_iter::<Subscription<'_>>() {
            match message {
                Ok(message) if message.message_type == DATA_MESSAGE => self.add_message(message),
                Ok(message) if message.message_type == CONTROL_MESSAGE => {}
                Ok(_) => {
                    left_out.add(MALFORMED_RECORD, 1);
                    continue;
                }
                Err(_) => {
                    // Where the next one begins nobody knows.
                    left_out.add(MALFORMED_RECORD, 1);
                    break;
                }
            }
            read += 1;
        }
        Ok(read)
    }

    fn add_message(&mut self, message: Subscription<'_>) {
        let stream = (message.owner.into_owned(), message.log_group.into_owned(), message.log_stream.into_owned());
        let observed = self.observed_time_unix_nano;
        let record = |event: LogEvent| log_record(nanoseconds(event.timestamp), observed, event.message);
        self.by_stream.entry(stream).or_default().extend(message.log_events.into_iter().map(record));
    }

    /// A resource for each stream.
    pub(super) fn into_resources(self) -> Vec<ResourceLogs> {
        let resource = |((account, group, stream), log_records): ((String, String, String), _)| {
            let mut attributes = Source { account, ..Source::default() }.attributes();
            attributes.extend(log_attributes(&group, &stream));
            let scope = InstrumentationScope { name: LOGS_SCOPE.to_owned(), ..InstrumentationScope::default() };
            ResourceLogs {
                resource: Some(Resource { attributes, ..Resource::default() }),
                scope_logs: vec![ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() }],
                ..ResourceLogs::default()
            }
        };
        self.by_stream.into_iter().map(resource).collect()
    }
}

/// The record's JSON; `None` where its compression is wrong.
fn decompressed<'a>(data: &'a [u8], budget: &mut Budget) -> Result<Option<Cow<'a, [u8]>>, DecodeError> {
    if !data.starts_with(&GZIP_MAGIC) {
        budget.take_bytes(data.len())?;
        return Ok(Some(data.into()));
    }
    let mut json = Vec::new();
    let one_more = u64::try_from(budget.bytes).unwrap_or(u64::MAX).saturating_add(1);
    let read = flate2::read::MultiGzDecoder::new(data).take(one_more).read_to_end(&mut json);
    budget.take_bytes(json.len())?;
    Ok(read.is_ok().then(|| json.into()))
}

fn nanoseconds(at_ms: i64) -> u64 {
    u64::try_from(at_ms).unwrap_or(0).saturating_mul(1_000_000)
}
