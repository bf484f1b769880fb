//! CloudWatch Logs' events as OTLP log records. Pure.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use serde_json::{Map, Value};

use super::{severity, trace_context};
use crate::attributes::{self, Origin};

/// The scope of everything that comes from CloudWatch Logs.
pub(super) const SCOPE: &str = "tenantscope.cloudwatch_logs";

/// The groups of Lambda functions begin with this.
const LAMBDA_GROUP: &str = "/aws/lambda/";

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
        by_stream.entry(&event.stream).or_default().push(record(event));
    }
    let resource_logs = by_stream.into_iter().map(|(stream, log_records)| ResourceLogs {
        resource: attributes::resource(resource(origin, group, stream)),
        scope_logs: vec![ScopeLogs { scope: attributes::scope(SCOPE), log_records, ..ScopeLogs::default() }],
        ..ResourceLogs::default()
    });
    ExportLogsServiceRequest { resource_logs: resource_logs.collect() }
}

fn resource(origin: &Origin, group: &str, stream: &str) -> Vec<KeyValue> {
    let mut resource = origin.attributes();
    let function = group.strip_prefix(LAMBDA_GROUP).filter(|name| !name.is_empty());
    resource.push(attributes::text("service.name", function.unwrap_or(group)));
    if let Some(function) = function {
        resource.push(attributes::text("cloud.platform", "aws_lambda"));
        resource.push(attributes::text("faas.name", function));
    }
    resource.push(attributes::texts("aws.log.group.names", [group]));
    resource.push(attributes::texts("aws.log.stream.names", [stream]));
    resource
}

fn record(event: &Event) -> LogRecord {
    let fields = json_fields(&event.message);
    let severity = fields.as_ref().and_then(severity::of_json).or_else(|| match &fields {
        Some(_) => None,
        None => severity::of_text(&event.message),
    });
    let context = fields
        .as_ref()
        .and_then(trace_context::of_json)
        .or_else(|| trace_context::of_text(&event.message))
        .unwrap_or_default();
    LogRecord {
        time_unix_nano: nanoseconds(event.at_ms),
        observed_time_unix_nano: nanoseconds(event.ingested_ms),
        severity_number: severity.as_ref().map_or(SeverityNumber::Unspecified, |found| found.number).into(),
        severity_text: severity.map(|found| found.text).unwrap_or_default(),
        body: Some(attributes::any_text(event.message.as_str())),
        trace_id: context.trace_id,
        span_id: context.span_id,
        ..LogRecord::default()
    }
}

fn json_fields(message: &str) -> Option<Map<String, Value>> {
    let trimmed = message.trim_start();
    trimmed.starts_with('{').then(|| serde_json::from_str(trimmed).ok())?
}

fn nanoseconds(at_ms: i64) -> u64 {
    u64::try_from(at_ms).unwrap_or(0).saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value;

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
