use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, Int32Builder, Int64Array, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::DataType;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use tenantscope_model::{Refusal, Stamp, StampedBatch};

use crate::form::{Form, columns};
use crate::{attributes, level};

/// The resource or record attribute that names the CloudWatch log group.
const LOG_GROUP: &str = "aws.log.group.names";

pub(crate) static FORM: LazyLock<Form> =
    LazyLock::new(|| Form { signal: "logs", columns: log_columns(), encode, unique_spans: false });

fn log_columns() -> arrow::datatypes::SchemaRef {
    columns(&[
        ("level", DataType::Utf8),
        ("log_group", DataType::Utf8),
        ("observed_ns", DataType::Int64),
        ("severity_number", DataType::Int32),
        ("severity_text", DataType::Utf8),
        ("body", DataType::Utf8),
        ("event_name", DataType::Utf8),
        ("trace_id", DataType::Utf8),
        ("span_id", DataType::Utf8),
        ("flags", DataType::Int64),
        ("attributes", DataType::Utf8),
        ("resource_attributes", DataType::Utf8),
        ("scope_name", DataType::Utf8),
        ("scope_version", DataType::Utf8),
    ])
}

#[derive(Default)]
struct Rows {
    time_ns: Vec<i64>,
    tenant: StringBuilder,
    account: StringBuilder,
    region: StringBuilder,
    service: StringBuilder,
    level: StringBuilder,
    log_group: StringBuilder,
    observed_ns: Int64Builder,
    severity_number: Int32Builder,
    severity_text: StringBuilder,
    body: StringBuilder,
    event_name: StringBuilder,
    trace_id: StringBuilder,
    span_id: StringBuilder,
    flags: Int64Builder,
    attributes: StringBuilder,
    resource_attributes: StringBuilder,
    scope_name: StringBuilder,
    scope_version: StringBuilder,
}

/// What the records of one resource share.
struct Resource<'a> {
    stamp: &'a Stamp,
    service: String,
    log_group: Option<String>,
    attributes: String,
}

fn encode(batch: &StampedBatch, now_ns: i64) -> Result<RecordBatch, Refusal> {
    let StampedBatch::Logs(resources) = batch else {
        return Err(Refusal::Invalid { reason: "signal", message: "not logs".to_owned() });
    };
    let mut rows = Rows::default();
    for resource in resources {
        let ResourceLogs { resource: of, scope_logs, .. } = &resource.records;
        let given: &[KeyValue] = of.as_ref().map_or(&[], |of| &of.attributes);
        let shared = Resource {
            stamp: &resource.stamp,
            service: attributes::find_text(given, "service.name").unwrap_or_default(),
            log_group: attributes::find_text(given, LOG_GROUP),
            attributes: attributes::to_json(given),
        };
        for scope in scope_logs {
            for record in &scope.log_records {
                rows.push(&shared, scope, record, now_ns);
            }
        }
    }
    rows.finish().map_err(|error| Refusal::Invalid { reason: "rows", message: error.to_string() })
}

impl Rows {
    fn push(&mut self, resource: &Resource<'_>, scope: &ScopeLogs, record: &LogRecord, now_ns: i64) {
        let observed_ns = nanoseconds(record.observed_time_unix_nano).unwrap_or(now_ns);
        let line = record.body.as_ref().map(attributes::plain_text).unwrap_or_default();
        let own_group = || attributes::find_text(&record.attributes, LOG_GROUP);
        let log_group = resource.log_group.clone().or_else(own_group).unwrap_or_default();

        self.time_ns.push(nanoseconds(record.time_unix_nano).unwrap_or(observed_ns));
        self.tenant.append_value(resource.stamp.tenant.as_str());
        self.account.append_value(resource.stamp.account.as_ref().map_or("", |account| account.as_str()));
        self.region.append_value(resource.stamp.region.as_ref().map_or("", |region| region.as_str()));
        self.service.append_value(&resource.service);
        self.level.append_value(level::level(record.severity_number, &record.severity_text, &line));
        self.log_group.append_value(log_group);
        self.observed_ns.append_value(observed_ns);
        self.severity_number.append_value(record.severity_number);
        self.severity_text.append_value(&record.severity_text);
        self.body.append_value(line);
        self.event_name.append_value(&record.event_name);
        self.trace_id.append_value(hex::encode(&record.trace_id));
        self.span_id.append_value(hex::encode(&record.span_id));
        self.flags.append_value(i64::from(record.flags));
        self.attributes.append_value(attributes::to_json(&record.attributes));
        self.resource_attributes.append_value(&resource.attributes);
        self.scope_name.append_value(scope.scope.as_ref().map_or("", |scope| &scope.name));
        self.scope_version.append_value(scope.scope.as_ref().map_or("", |scope| &scope.version));
    }

    fn finish(mut self) -> Result<RecordBatch, arrow::error::ArrowError> {
        let micros = self.time_ns.iter().map(|ns| ns.div_euclid(1_000));
        let time = TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC");
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(time),
            Arc::new(Int64Array::from(self.time_ns)),
            Arc::new(self.tenant.finish()),
            Arc::new(self.account.finish()),
            Arc::new(self.region.finish()),
            Arc::new(self.service.finish()),
            Arc::new(self.level.finish()),
            Arc::new(self.log_group.finish()),
            Arc::new(self.observed_ns.finish()),
            Arc::new(self.severity_number.finish()),
            Arc::new(self.severity_text.finish()),
            Arc::new(self.body.finish()),
            Arc::new(self.event_name.finish()),
            Arc::new(self.trace_id.finish()),
            Arc::new(self.span_id.finish()),
            Arc::new(self.flags.finish()),
            Arc::new(self.attributes.finish()),
            Arc::new(self.resource_attributes.finish()),
            Arc::new(self.scope_name.finish()),
            Arc::new(self.scope_version.finish()),
        ];
        // Builders leave room for a thousand rows, which the buffer would hold on to.
        arrays.iter_mut().for_each(Array::shrink_to_fit);
        RecordBatch::try_new(Arc::clone(&FORM.columns), arrays)
    }
}

/// A time that was set, as far as it fits.
pub(crate) fn nanoseconds(time_unix_nano: u64) -> Option<i64> {
    (time_unix_nano > 0).then(|| i64::try_from(time_unix_nano).unwrap_or(i64::MAX))
}
