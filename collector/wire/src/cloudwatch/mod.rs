//! What comes from CloudWatch is named the same, whether an agent asks for it or a stream sends it.
//!
//! Metrics have the names of YACE (yet-another-cloudwatch-exporter) under the scope [`METRICS_SCOPE`], log records the
//! attributes, severity and trace that their group and line tell.

mod naming;
mod severity;
mod trace_context;
pub mod trace_id;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};

pub use self::naming::{dimension_label, metric_name};

/// The scope of metrics from CloudWatch: their names pass as they are.
pub const METRICS_SCOPE: &str = "tenantscope.cloudwatch";
/// The scope of log records from CloudWatch Logs.
pub const LOGS_SCOPE: &str = "tenantscope.cloudwatch_logs";
/// Metric metadata: time between two points, in milliseconds.
pub const CADENCE_METADATA: &str = "tenantscope.cadence_ms";
/// Metric metadata: how late a point may come, in milliseconds.
pub const DELAY_METADATA: &str = "tenantscope.delay_ms";

/// The groups of Lambda functions begin with this.
const LAMBDA_GROUP: &str = "/aws/lambda/";

/// The resource attributes of a log group's stream, without those that name the account.
pub fn log_attributes(group: &str, stream: &str) -> Vec<KeyValue> {
    let function = group.strip_prefix(LAMBDA_GROUP).filter(|name| !name.is_empty());
    let mut attributes = vec![text("service.name", function.unwrap_or(group))];
    if let Some(function) = function {
        attributes.push(text("cloud.platform", "aws_lambda"));
        attributes.push(text("faas.name", function));
    }
    attributes.push(list("aws.log.group.names", group));
    attributes.push(list("aws.log.stream.names", stream));
    attributes
}

/// An event of a log group, with the severity and the trace that its line tells.
pub fn log_record(time_unix_nano: u64, observed_time_unix_nano: u64, line: String) -> LogRecord {
    let fields = json_fields(&line);
    let severity = fields.as_ref().and_then(severity::of_json).or_else(|| match &fields {
        Some(_) => None,
        None => severity::of_text(&line),
    });
    let context =
        fields.as_ref().and_then(trace_context::of_json).or_else(|| trace_context::of_text(&line)).unwrap_or_default();
    LogRecord {
        time_unix_nano,
        observed_time_unix_nano,
        severity_number: severity.as_ref().map_or(SeverityNumber::Unspecified, |found| found.number).into(),
        severity_text: severity.map(|found| found.text).unwrap_or_default(),
        body: Some(any(Value::StringValue(line))),
        trace_id: context.trace_id,
        span_id: context.span_id,
        ..LogRecord::default()
    }
}

fn json_fields(line: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
    let trimmed = line.trim_start();
    trimmed.starts_with('{').then(|| serde_json::from_str(trimmed).ok())?
}

fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(Value::StringValue(value.to_owned()))), ..KeyValue::default() }
}

fn list(key: &str, value: &str) -> KeyValue {
    let values = vec![any(Value::StringValue(value.to_owned()))];
    KeyValue { key: key.to_owned(), value: Some(any(Value::ArrayValue(ArrayValue { values }))), ..KeyValue::default() }
}
