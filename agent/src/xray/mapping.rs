//! X-Ray's segments as OTLP spans. Pure.

use std::collections::HashMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use serde_json::Value;
use tenantscope_wire::cloudwatch::trace_id;

use super::document::Segment;
use super::fields;
use crate::attributes::{self, Origin, text};

/// The scope of everything that comes from X-Ray.
pub(super) const SCOPE: &str = "tenantscope.xray";

/// Spans under one resource.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mapped {
    /// The segment's spans, its own first.
    pub spans: ResourceSpans,
    /// How many.
    pub count: usize,
}

/// The spans of some documents of one trace. `all` are the trace's documents, `wanted` says which of them become
/// spans; the others are there to tell whose subsegments those are.
///
/// A document without usable ids has no spans.
pub(super) fn spans(origin: &Origin, all: &[Segment], wanted: impl Fn(usize) -> bool) -> Vec<Mapped> {
    let owners = owners(all);
    let mapped = all.iter().enumerate().filter(|(place, _)| wanted(*place)).filter_map(|(_, segment)| {
        let trace = trace_id::xray_trace_id(segment.trace_id.as_deref()?)?;
        let parent = segment.parent_id.as_deref().and_then(trace_id::span_id).unwrap_or_default();
        let mut spans = Vec::new();
        let level = if segment.is_subsegment() { Level::Subsegment } else { Level::Segment };
        collect(segment, level, &trace, &parent, &mut spans);
        let owner = owner(segment, &owners).unwrap_or(segment);
        let count = spans.len();
        (count > 0).then(|| Mapped { spans: under_resource(origin, owner, spans), count })
    });
    mapped.collect()
}

/// One request of them.
pub(super) fn request(mapped: Vec<ResourceSpans>) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest { resource_spans: mapped }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Segment,
    Subsegment,
}

/// The segment under which each id is found.
fn owners(all: &[Segment]) -> HashMap<&str, &Segment> {
    fn add<'a>(owners: &mut HashMap<&'a str, &'a Segment>, within: &'a Segment, owner: &'a Segment) {
        owners.insert(&within.id, owner);
        within.subsegments.iter().for_each(|subsegment| add(owners, subsegment, owner));
    }
    let mut owners = HashMap::new();
    all.iter().for_each(|segment| add(&mut owners, segment, segment));
    owners
}

/// A subsegment that was sent on its own belongs to the segment that its parent is in.
fn owner<'a>(segment: &'a Segment, owners: &HashMap<&str, &'a Segment>) -> Option<&'a Segment> {
    let mut found = segment;
    // Documents may point at each other; the number of steps is bounded.
    for _ in 0..16 {
        if !found.is_subsegment() {
            return Some(found);
        }
        found = owners.get(found.parent_id.as_deref()?)?;
    }
    None
}

fn collect(segment: &Segment, level: Level, trace: &[u8], parent: &[u8], spans: &mut Vec<Span>) {
    let Some(id) = trace_id::span_id(&segment.id) else { return };
    spans.push(span(segment, level, trace, parent, &id));
    for subsegment in &segment.subsegments {
        collect(subsegment, Level::Subsegment, trace, &id, spans);
    }
}

fn span(segment: &Segment, level: Level, trace: &[u8], parent: &[u8], id: &[u8]) -> Span {
    let start = nanoseconds(segment.start_time);
    Span {
        trace_id: trace.to_vec(),
        span_id: id.to_vec(),
        parent_span_id: parent.to_vec(),
        name: segment.name.clone(),
        kind: kind(segment, level).into(),
        start_time_unix_nano: start,
        end_time_unix_nano: segment.end_time.map_or(start, nanoseconds).max(start),
        attributes: fields::attributes(segment),
        events: exceptions(segment),
        status: Some(status(segment)),
        ..Span::default()
    }
}

fn kind(segment: &Segment, level: Level) -> SpanKind {
    match (level, segment.namespace.as_deref()) {
        (Level::Segment, _) if !segment.http.is_empty() || segment.origin.is_some() => SpanKind::Server,
        (Level::Subsegment, Some("aws" | "remote")) => SpanKind::Client,
        _ => SpanKind::Internal,
    }
}

fn status(segment: &Segment) -> Status {
    if !(segment.fault || segment.error || segment.throttle) {
        return Status { code: StatusCode::Unset.into(), message: String::new() };
    }
    let message = exception_list(segment).find_map(|exception| field(exception, "message"));
    let flag = match (segment.throttle, segment.fault) {
        (true, _) => "throttle",
        (_, true) => "fault",
        _ => "error",
    };
    Status { code: StatusCode::Error.into(), message: message.unwrap_or(flag).to_owned() }
}

fn exceptions(segment: &Segment) -> Vec<Event> {
    let at = nanoseconds(segment.end_time.unwrap_or(segment.start_time));
    let events = exception_list(segment).map(|exception| {
        let named = [("type", "exception.type"), ("message", "exception.message")];
        let mut attributes: Vec<KeyValue> =
            named.iter().filter_map(|(name, key)| Some(text(key, field(exception, name)?))).collect();
        if let Some(stack) = exception.get("stack").and_then(Value::as_array) {
            attributes.push(text("exception.stacktrace", stack_trace(stack)));
        }
        Event { time_unix_nano: at, name: "exception".to_owned(), attributes, dropped_attributes_count: 0 }
    });
    events.collect()
}

fn exception_list(segment: &Segment) -> impl Iterator<Item = &Value> {
    segment.cause.get("exceptions").and_then(Value::as_array).into_iter().flatten()
}

fn field<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn stack_trace(stack: &[Value]) -> String {
    let lines = stack.iter().map(|frame| {
        let line = frame.get("line").and_then(Value::as_i64).unwrap_or(0);
        format!("at {} ({}:{line})", field(frame, "label").unwrap_or("?"), field(frame, "path").unwrap_or("?"))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn under_resource(origin: &Origin, owner: &Segment, spans: Vec<Span>) -> ResourceSpans {
    let mut resource = origin.attributes();
    resource.push(text("service.name", owner.name.as_str()));
    if let Some(version) = owner.service.get("version").and_then(Value::as_str) {
        resource.push(text("service.version", version));
    }
    if let Some(kind) = owner.origin.as_deref() {
        if let Some(platform) = platform(kind) {
            resource.push(text("cloud.platform", platform));
        }
        if kind == "AWS::Lambda::Function" {
            resource.push(text("faas.name", owner.name.as_str()));
        }
        resource.push(text("aws.xray.origin", kind));
    }
    if let Some(arn) = &owner.resource_arn {
        resource.push(text("cloud.resource_id", arn.as_str()));
    }
    ResourceSpans {
        resource: attributes::resource(resource),
        scope_spans: vec![ScopeSpans { scope: attributes::scope(SCOPE), spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }
}

fn platform(origin: &str) -> Option<&'static str> {
    Some(match origin {
        "AWS::Lambda" | "AWS::Lambda::Function" => "aws_lambda",
        "AWS::EC2::Instance" => "aws_ec2",
        "AWS::ECS::Container" | "AWS::ECS::Fargate" | "AWS::ECS::EC2" => "aws_ecs",
        "AWS::EKS::Container" => "aws_eks",
        "AWS::ElasticBeanstalk::Environment" => "aws_elastic_beanstalk",
        "AWS::AppRunner::Service" => "aws_app_runner",
        _ => return None,
    })
}

/// Seconds with a fraction as nanoseconds. A double of today's seconds is exact to a quarter of a microsecond, so
/// what is finer is noise and is rounded away.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a cast of f64 saturates; negatives are cut off
fn nanoseconds(seconds: f64) -> u64 {
    let microseconds = (seconds.max(0.0) * 1e6).round() as u64;
    microseconds.saturating_mul(1_000)
}

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;
