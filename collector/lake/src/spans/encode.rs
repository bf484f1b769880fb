use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, Int32Builder, Int64Array, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, SchemaRef};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span};
use tenantscope_model::{Refusal, Stamp, StampedBatch};

use super::parts::{events_to_json, links_to_json};
use crate::attributes;
use crate::form::{Form, columns};
use crate::logs::encode::nanoseconds;

pub(crate) static FORM: LazyLock<Form> =
    LazyLock::new(|| Form { signal: "spans", columns: span_columns(), encode, unique_spans: true });

/// `time` and `time_ns` are when the span began.
fn span_columns() -> SchemaRef {
    columns(&[
        ("end_ns", DataType::Int64),
        ("duration_ns", DataType::Int64),
        ("name", DataType::Utf8),
        ("kind", DataType::Int32),
        ("status_code", DataType::Int32),
        ("status_message", DataType::Utf8),
        ("trace_id", DataType::Utf8),
        ("span_id", DataType::Utf8),
        ("parent_span_id", DataType::Utf8),
        ("trace_state", DataType::Utf8),
        ("flags", DataType::Int64),
        ("attributes", DataType::Utf8),
        ("dropped_attributes", DataType::Int64),
        ("events", DataType::Utf8),
        ("dropped_events", DataType::Int64),
        ("links", DataType::Utf8),
        ("dropped_links", DataType::Int64),
        ("resource_attributes", DataType::Utf8),
        ("resource_schema_url", DataType::Utf8),
        ("scope_name", DataType::Utf8),
        ("scope_version", DataType::Utf8),
        ("scope_attributes", DataType::Utf8),
        ("scope_schema_url", DataType::Utf8),
    ])
}

#[derive(Default)]
struct Rows {
    start_ns: Vec<i64>,
    tenant: StringBuilder,
    account: StringBuilder,
    region: StringBuilder,
    service: StringBuilder,
    end_ns: Int64Builder,
    duration_ns: Int64Builder,
    name: StringBuilder,
    kind: Int32Builder,
    status_code: Int32Builder,
    status_message: StringBuilder,
    trace_id: StringBuilder,
    span_id: StringBuilder,
    parent_span_id: StringBuilder,
    trace_state: StringBuilder,
    flags: Int64Builder,
    attributes: StringBuilder,
    dropped_attributes: Int64Builder,
    events: StringBuilder,
    dropped_events: Int64Builder,
    links: StringBuilder,
    dropped_links: Int64Builder,
    resource_attributes: StringBuilder,
    resource_schema_url: StringBuilder,
    scope_name: StringBuilder,
    scope_version: StringBuilder,
    scope_attributes: StringBuilder,
    scope_schema_url: StringBuilder,
}

/// What the spans of one resource share.
struct Resource<'a> {
    stamp: &'a Stamp,
    service: String,
    attributes: String,
    schema_url: &'a str,
}

fn encode(batch: &StampedBatch, now_ns: i64) -> Result<RecordBatch, Refusal> {
    let StampedBatch::Spans(resources) = batch else {
        return Err(Refusal::Invalid { reason: "signal", message: "not spans".to_owned() });
    };
    let mut rows = Rows::default();
    for resource in resources {
        let of = resource.records.resource.as_ref();
        let given: &[KeyValue] = of.map_or(&[], |of| &of.attributes);
        let shared = Resource {
            stamp: &resource.stamp,
            service: attributes::find_text(given, "service.name").unwrap_or_default(),
            attributes: attributes::to_json(given),
            schema_url: &resource.records.schema_url,
        };
        for scope in &resource.records.scope_spans {
            for span in &scope.spans {
                rows.push(&shared, scope, span, now_ns);
            }
        }
    }
    rows.finish().map_err(|error| Refusal::Invalid { reason: "rows", message: error.to_string() })
}

impl Rows {
    fn push(&mut self, resource: &Resource<'_>, scope: &ScopeSpans, span: &Span, now_ns: i64) {
        let start_ns = nanoseconds(span.start_time_unix_nano).unwrap_or(now_ns);
        let end_ns = nanoseconds(span.end_time_unix_nano).unwrap_or(start_ns);
        let (code, message) = span.status.as_ref().map_or((0, ""), |status| (status.code, &status.message));
        let of = scope.scope.as_ref();

        self.start_ns.push(start_ns);
        self.tenant.append_value(resource.stamp.tenant.as_str());
        self.account.append_value(resource.stamp.account.as_ref().map_or("", |account| account.as_str()));
        self.region.append_value(resource.stamp.region.as_ref().map_or("", |region| region.as_str()));
        self.service.append_value(&resource.service);
        self.end_ns.append_value(end_ns);
        // A clock that was set back gives a span that ends before it begins; its duration is none.
        self.duration_ns.append_value(end_ns.saturating_sub(start_ns).max(0));
        self.name.append_value(&span.name);
        self.kind.append_value(span.kind);
        self.status_code.append_value(code);
        self.status_message.append_value(message);
        self.trace_id.append_value(hex::encode(&span.trace_id));
        self.span_id.append_value(hex::encode(&span.span_id));
        self.parent_span_id.append_value(hex::encode(&span.parent_span_id));
        self.trace_state.append_value(&span.trace_state);
        self.flags.append_value(i64::from(span.flags));
        self.attributes.append_value(attributes::to_json(&span.attributes));
        self.dropped_attributes.append_value(i64::from(span.dropped_attributes_count));
        self.events.append_value(events_to_json(&span.events));
        self.dropped_events.append_value(i64::from(span.dropped_events_count));
        self.links.append_value(links_to_json(&span.links));
        self.dropped_links.append_value(i64::from(span.dropped_links_count));
        self.resource_attributes.append_value(&resource.attributes);
        self.resource_schema_url.append_value(resource.schema_url);
        self.scope_name.append_value(of.map_or("", |of| &of.name));
        self.scope_version.append_value(of.map_or("", |of| &of.version));
        self.scope_attributes.append_value(of.map(|of| attributes::to_json(&of.attributes)).unwrap_or_default());
        self.scope_schema_url.append_value(&scope.schema_url);
    }

    fn finish(mut self) -> Result<RecordBatch, arrow::error::ArrowError> {
        let micros = self.start_ns.iter().map(|ns| ns.div_euclid(1_000));
        let time = TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC");
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(time),
            Arc::new(Int64Array::from(self.start_ns)),
            Arc::new(self.tenant.finish()),
            Arc::new(self.account.finish()),
            Arc::new(self.region.finish()),
            Arc::new(self.service.finish()),
            Arc::new(self.end_ns.finish()),
            Arc::new(self.duration_ns.finish()),
            Arc::new(self.name.finish()),
            Arc::new(self.kind.finish()),
            Arc::new(self.status_code.finish()),
            Arc::new(self.status_message.finish()),
            Arc::new(self.trace_id.finish()),
            Arc::new(self.span_id.finish()),
            Arc::new(self.parent_span_id.finish()),
            Arc::new(self.trace_state.finish()),
            Arc::new(self.flags.finish()),
            Arc::new(self.attributes.finish()),
            Arc::new(self.dropped_attributes.finish()),
            Arc::new(self.events.finish()),
            Arc::new(self.dropped_events.finish()),
            Arc::new(self.links.finish()),
            Arc::new(self.dropped_links.finish()),
            Arc::new(self.resource_attributes.finish()),
            Arc::new(self.resource_schema_url.finish()),
            Arc::new(self.scope_name.finish()),
            Arc::new(self.scope_version.finish()),
            Arc::new(self.scope_attributes.finish()),
            Arc::new(self.scope_schema_url.finish()),
        ];
        // Builders leave room for a thousand rows, which the buffer would hold on to.
        arrays.iter_mut().for_each(Array::shrink_to_fit);
        RecordBatch::try_new(Arc::clone(&FORM.columns), arrays)
    }
}
