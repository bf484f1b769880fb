//! CloudWatch Logs' events as OTLP log records. Pure.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use tenantscope_wire::cloudwatch::{LOGS_SCOPE, log_attributes, log_record};

use crate::attributes::{self, Origin};

/// An event of a log group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// The stream.
    pub stream: String,
    /// CloudWatch's id of the event.
    pub id: String,
    /// The event's own time.
    pub at_ms: i64,
    /// When CloudWatch took it in.
    pub ingested_ms: i64,
    /// The line.
    pub message: String,
}

/// One request with all these events of a group, a resource for each stream.
pub(super) fn request(origin: &Origin, group: &str, events: &[Event]) -> ExportLogsServiceRequest {
    let mut by_stream: BTreeMap<&str, Vec<LogRecord>> = BTreeMap::new();
    for event in events {
        let record = log_record(nanoseconds(event.at_ms), nanoseconds(event.ingested_ms), event.message.clone());
        by_stream.entry(&event.stream).or_default().push(record);
    }
    let resource_logs = by_stream.into_iter().map(|(stream, log_records)| ResourceLogs {
        resource: attributes::resource(resource(origin, group, stream)),
        scope_logs: vec![ScopeLogs { scope: attributes::scope(LOGS_SCOPE), log_records, ..ScopeLogs::default() }],
        ..ResourceLogs::default()
    });
    ExportLogsServiceRequest { resource_logs: resource_logs.collect() }
}

fn resource(origin: &Origin, group: &str, stream: &str) -> Vec<KeyValue> {
    let mut resource = origin.attributes();
    resource.extend(log_attributes(group, stream));
    resource
}

fn nanoseconds(at_ms: i64) -> u64 {
    u64::try_from(at_ms).unwrap_or(0).saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value;
    use opentelemetry_proto::tonic::logs::v1::SeverityNumber;

    use super::*;

    fn event(stream: &str, message: &str) -> Event {
        Event {
            stream: stream.into(),
            id: "1".into(),
            at_ms: 1_700_000_000_123,
            ingested_ms: 1_700_000_001_000,
            message: message.into(),
        }
    }

    #[test]
    fn a_lambda_groups_events_bear_service_severity_and_trace() {
        let origin = Origin { account: "111122223333".parse().unwrap(), region: "eu-west-1".parse().unwrap() };
        let line = r#"{"level":"ERROR","message":"x","trace_id":"58406520a006649127e371903a2de979"}"#;
        let events = [event("2026/11/24/[$LATEST]a", line), event("2026/11/24/[$LATEST]b", "plain")];
        let request = request(&origin, "/aws/lambda/checkout", &events);
        assert_eq!(request.resource_logs.len(), 2);
        let resource = &request.resource_logs[0].resource.as_ref().unwrap().attributes;
        let text = |key: &str| {
            let found = resource.iter().find(|a| a.key == key)?.value.clone()?.value?;
            match found {
                any_value::Value::StringValue(text) => Some(text),
                _ => None,
            }
        };
        assert_eq!(text("service.name").as_deref(), Some("checkout"));
        assert_eq!(text("faas.name").as_deref(), Some("checkout"));
        assert_eq!(text("cloud.account.id").as_deref(), Some("111122223333"));
        let record = &request.resource_logs[0].scope_logs[0].log_records[0];
        assert_eq!(record.severity_number, i32::from(SeverityNumber::Error));
        assert_eq!(record.trace_id.len(), 16);
        assert_eq!(record.time_unix_nano, 1_700_000_000_123_000_000);
        assert_eq!(record.body, Some(attributes::any_text(line)));
    }
}
