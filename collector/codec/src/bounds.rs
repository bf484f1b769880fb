//! What single records of a tenant may be; those past it are left out of their batch.
//!
//! The bounds in force when a batch came are part of its journal record, so that a replay leaves out the same.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use prost::Message as _;
use tenantscope_model::{StampedBatch, StampedResource, StampedSeries, TenantId};

use crate::claims::{ACCOUNT_LABEL, REGION_LABEL, TENANT_LABEL};
use crate::{Rejected, Stamped, count};

// Reasons are the names of the bounds in the configuration.
const LABEL_NAMES: &str = "max_label_names_per_series";
const LABEL_NAME_LENGTH: &str = "max_label_name_length";
const LABEL_VALUE_LENGTH: &str = "max_label_value_length";
const SAMPLE_AGE: &str = "max_sample_age";
const LOG_LINE_BYTES: &str = "max_log_line_bytes";
const ATTRIBUTE_BYTES: &str = "max_attribute_bytes";

/// What one record may be; an absent bound does not bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordBounds {
    /// The earliest time of a sample, in milliseconds since the epoch.
    pub earliest_ms: Option<i64>,
    /// Labels of one series, its name among them, the stamped ones not.
    pub label_names: Option<u64>,
    /// A label's name.
    pub label_name_bytes: Option<u64>,
    /// A label's value.
    pub label_value_bytes: Option<u64>,
    /// A log record's body.
    pub log_line_bytes: Option<u64>,
    /// Name and value of an attribute of logs and spans.
    pub attribute_bytes: Option<u64>,
}

/// The bounds of a batch's tenants: of all of them, or nothing where none is bounded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bounds(Vec<(TenantId, RecordBounds)>);

impl Bounds {
    /// Of these tenants; each must be there once.
    pub fn new(of_tenants: Vec<(TenantId, RecordBounds)>) -> Self {
        let is_bounded = of_tenants.iter().any(|(_, bounds)| *bounds != RecordBounds::default());
        Self(if is_bounded { of_tenants } else { Vec::new() })
    }

    /// Whether nothing is bounded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(TenantId, RecordBounds)> {
        self.0.iter()
    }

    /// Leaves out of a batch of so many records what is past its tenant's bounds, and counts it as records.
    pub fn apply(&self, stamped: &mut Stamped, records: u64) {
        if self.0.is_empty() {
            return;
        }
        let mut left_out = Rejected::default();
        match &mut stamped.batch {
            StampedBatch::Metrics { series, .. } => {
                let before = series.iter().map(samples_of).sum::<usize>() as u64;
                series.retain_mut(|series| {
                    self.of_series(series).is_none_or(|bounds| bounds.keep(series, &mut left_out))
                });
                return stamped.reject_samples(records, before, left_out.by_reason());
            }
            StampedBatch::Logs(resources) => {
                resources.retain_mut(|StampedResource { stamp, records }| {
                    self.of(&stamp.tenant).is_none_or(|bounds| bounds.keep_logs(records, &mut left_out))
                });
            }
            StampedBatch::Spans(resources) => {
                resources.retain_mut(|StampedResource { stamp, records }| {
                    self.of(&stamp.tenant).is_none_or(|bounds| bounds.keep_spans(records, &mut left_out))
                });
            }
        }
        stamped.rejected.append(&left_out);
    }

    fn of(&self, tenant: &TenantId) -> Option<&RecordBounds> {
        self.0.iter().find(|(id, _)| id == tenant).map(|(_, bounds)| bounds)
    }

    /// Where there is one tenant, nobody asks for labels that need not be made.
    fn of_series(&self, series: &StampedSeries) -> Option<&RecordBounds> {
        match self.0.as_slice() {
            [(_, bounds)] => Some(bounds),
            several => {
                let tenant = series.labels.get(TENANT_LABEL)?;
                several.iter().find(|(id, _)| id.as_str() == tenant).map(|(_, bounds)| bounds)
            }
        }
    }
}

fn samples_of(series: &StampedSeries) -> usize {
    series.samples.len() + series.histograms.len()
}

impl RecordBounds {
    /// Whether something is left of the series.
    fn keep(&self, series: &mut StampedSeries, left_out: &mut Rejected) -> bool {
        if let Some(reason) = self.wrong_labels(series) {
            left_out.add(reason, samples_of(series));
            return false;
        }
        let Some(earliest_ms) = self.earliest_ms else { return true };
        let before = samples_of(series);
        let StampedSeries { samples, histograms, exemplars, starts, .. } = series;
        retain_from(samples, &mut starts.samples_ms, earliest_ms, |sample| sample.t_ms);
        retain_from(histograms, &mut starts.histograms_ms, earliest_ms, |histogram| histogram.t_ms);
        exemplars.retain(|exemplar| exemplar.t_ms >= earliest_ms);
        let is_empty = samples.is_empty() && histograms.is_empty() && exemplars.is_empty();
        left_out.add(SAMPLE_AGE, before - samples_of(series));
        !is_empty
    }

    fn wrong_labels(&self, series: &StampedSeries) -> Option<&'static str> {
        if self.label_names.is_none() && self.label_name_bytes.is_none() && self.label_value_bytes.is_none() {
            return None;
        }
        let over = |bytes: usize, bound: Option<u64>| bound.is_some_and(|bound| bytes as u64 > bound);
        let is_stamped = |name: &str| [TENANT_LABEL, ACCOUNT_LABEL, REGION_LABEL].contains(&name);
        let mut names = 0;
        for label in series.labels.iter().filter(|label| !is_stamped(&label.name)) {
            names += 1;
            if over(label.name.len(), self.label_name_bytes) {
                return Some(LABEL_NAME_LENGTH);
            }
            if over(label.value.len(), self.label_value_bytes) {
                return Some(LABEL_VALUE_LENGTH);
            }
        }
        over(names, self.label_names).then_some(LABEL_NAMES)
    }

    fn keep_logs(&self, resource: &mut ResourceLogs, left_out: &mut Rejected) -> bool {
        if !self.allows_resource(resource.resource.as_ref()) {
            left_out.add(ATTRIBUTE_BYTES, count::logs_of_resource(resource));
            return false;
        }
        for scope in &mut resource.scope_logs {
            let of_scope = self.wrong_scope(scope.scope.as_ref());
            scope.log_records.retain(|record| kept(of_scope.or_else(|| self.wrong_log(record)), left_out));
        }
        resource.scope_logs.retain(|scope| !scope.log_records.is_empty());
        !resource.scope_logs.is_empty()
    }

    fn keep_spans(&self, resource: &mut ResourceSpans, left_out: &mut Rejected) -> bool {
        if !self.allows_resource(resource.resource.as_ref()) {
            left_out.add(ATTRIBUTE_BYTES, count::spans_of_resource(resource));
            return false;
        }
        for scope in &mut resource.scope_spans {
            let of_scope = self.wrong_scope(scope.scope.as_ref());
            scope.spans.retain(|span| kept(of_scope.or_else(|| self.wrong_span(span)), left_out));
        }
        resource.scope_spans.retain(|scope| !scope.spans.is_empty());
        !resource.scope_spans.is_empty()
    }

    fn allows_resource(&self, resource: Option<&Resource>) -> bool {
        resource.is_none_or(|resource| self.allows_attributes(&resource.attributes))
    }

    fn wrong_scope(&self, scope: Option<&InstrumentationScope>) -> Option<&'static str> {
        let is_allowed = scope.is_none_or(|scope| self.allows_attributes(&scope.attributes));
        (!is_allowed).then_some(ATTRIBUTE_BYTES)
    }

    fn wrong_log(&self, record: &LogRecord) -> Option<&'static str> {
        let too_long = self
            .log_line_bytes
            .is_some_and(|bound| record.body.as_ref().is_some_and(|body| value_bytes(body) as u64 > bound));
        if too_long {
            return Some(LOG_LINE_BYTES);
        }
        (!self.allows_attributes(&record.attributes)).then_some(ATTRIBUTE_BYTES)
    }

    fn wrong_span(&self, span: &Span) -> Option<&'static str> {
        let is_allowed = self.allows_attributes(&span.attributes)
            && span.events.iter().all(|event| self.allows_attributes(&event.attributes))
            && span.links.iter().all(|link| self.allows_attributes(&link.attributes));
        (!is_allowed).then_some(ATTRIBUTE_BYTES)
    }

    fn allows_attributes(&self, attributes: &[KeyValue]) -> bool {
        let Some(bound) = self.attribute_bytes else { return true };
        let bytes = |attribute: &KeyValue| attribute.key.len() + attribute.value.as_ref().map_or(0, value_bytes);
        attributes.iter().all(|attribute| bytes(attribute) as u64 <= bound)
    }
}

fn kept(wrong: Option<&'static str>, left_out: &mut Rejected) -> bool {
    if let Some(reason) = wrong {
        left_out.add(reason, 1);
    }
    wrong.is_none()
}

/// Text and bytes as they are, anything else as OTLP's protobuf has it.
fn value_bytes(value: &AnyValue) -> usize {
    match &value.value {
        Some(Value::StringValue(text)) => text.len(),
        Some(Value::BytesValue(bytes)) => bytes.len(),
        _ => value.encoded_len(),
    }
}

/// Leaves out points before a time; their starts, where there are any, go with them.
fn retain_from<T>(points: &mut Vec<T>, starts_ms: &mut Vec<i64>, earliest_ms: i64, t_ms: impl Fn(&T) -> i64) {
    if starts_ms.len() == points.len() {
        let mut times = points.iter().map(&t_ms);
        starts_ms.retain(|_| times.next().is_some_and(|t_ms| t_ms >= earliest_ms));
    }
    points.retain(|point| t_ms(point) >= earliest_ms);
}
