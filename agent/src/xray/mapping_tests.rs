use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;

use super::*;

/// The example of AWS's page on segment documents, with an exception, SQL and a subsegment of each kind.
const SEGMENT: &str = r#"{
  "trace_id": "1-58406520-a006649127e371903a2de979", "id": "6226467e3f845502", "name": "api.example.com",
  "start_time": 1478293361.271, "end_time": 1478293361.449123, "origin": "AWS::Lambda::Function",
  "resource_arn": "arn:aws:lambda:eu-west-1:111122223333:function:api", "user": "u1", "service": {"version": "7"},
  "http": {"request": {"method": "GET", "url": "https://api.example.com/x", "client_ip": "78.255.233.48"},
           "response": {"status": 500, "content_length": "86"}},
  "fault": true,
  "cause": {"working_directory": "/", "exceptions": [{"id": "1", "type": "KeyError", "message": "no such order",
            "stack": [{"path": "a.py", "line": 7, "label": "handler"}]}]},
  "annotations": {"customer_category": 124, "vip": true, "plan": "gold", "ratio": 0.5},
  "metadata": {"debug": {"test": "x"}},
  "subsegments": [
    {"id": "70de5b6f19ff9a0a", "name": "DynamoDB", "namespace": "aws", "start_time": 1478293361.3, "end_time": 1478293361.4,
     "aws": {"operation": "UpdateItem", "table_name": "orders", "request_id": "3AIE", "retries": 2},
     "error": true, "throttle": true},
    {"id": "70de5b6f19ff9a0b", "name": "orders@db", "namespace": "remote", "start_time": 1478293361.3, "in_progress": true,
     "sql": {"url": "jdbc:postgresql://u:secret@db.example.com:5432/orders", "database_type": "PostgreSQL",
             "sanitized_query": "SELECT ?"}},
    {"id": "70de5b6f19ff9a0c", "name": "work", "start_time": "soon"}]}"#;

fn origin() -> Origin {
    Origin { account: "111122223333".parse().unwrap(), region: "eu-west-1".parse().unwrap() }
}

fn mapped(documents: &[&str]) -> Vec<Mapped> {
    let segments: Vec<Segment> = documents.iter().map(|document| Segment::parse(document).unwrap()).collect();
    spans(&origin(), &segments, |_| true)
}

fn value(attributes: &[KeyValue], key: &str) -> Option<Any> {
    attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value
}

fn text_of(attributes: &[KeyValue], key: &str) -> String {
    match value(attributes, key) {
        Some(Any::StringValue(text)) => text,
        other => format!("{other:?}"),
    }
}

#[test]
fn a_segment_with_its_subsegments() {
    let mapped = mapped(&[SEGMENT]);
    assert_eq!((mapped.len(), mapped[0].count), (1, 4));
    let resource = &mapped[0].spans.resource.as_ref().unwrap().attributes;
    assert_eq!(text_of(resource, "service.name"), "api.example.com");
    assert_eq!(text_of(resource, "service.version"), "7");
    assert_eq!(text_of(resource, "cloud.platform"), "aws_lambda");
    let spans = &mapped[0].spans.scope_spans[0].spans;
    let segment = &spans[0];
    assert_eq!(segment.trace_id, trace_id::hex_bytes("58406520a006649127e371903a2de979").unwrap());
    assert!(segment.parent_span_id.is_empty());
    assert_eq!(segment.kind(), SpanKind::Server);
    assert_eq!(segment.start_time_unix_nano, 1_478_293_361_271_000_000);
    assert_eq!(segment.end_time_unix_nano, 1_478_293_361_449_123_000);
    let status = segment.status.as_ref().unwrap();
    assert_eq!((status.code(), status.message.as_str()), (StatusCode::Error, "no such order"));
    assert_eq!(text_of(&segment.attributes, "http.request.method"), "GET");
    assert_eq!(value(&segment.attributes, "http.response.status_code"), Some(Any::IntValue(500)));
    assert_eq!(value(&segment.attributes, "http.response.body.size"), Some(Any::IntValue(86)));
    assert_eq!(value(&segment.attributes, "customer_category"), Some(Any::IntValue(124)));
    assert_eq!(value(&segment.attributes, "vip"), Some(Any::BoolValue(true)));
    assert_eq!(value(&segment.attributes, "ratio"), Some(Any::DoubleValue(0.5)));
    assert_eq!(text_of(&segment.attributes, "aws.xray.metadata.debug"), r#"{"test":"x"}"#);
    assert_eq!(text_of(&segment.events[0].attributes, "exception.type"), "KeyError");
    assert_eq!(text_of(&segment.events[0].attributes, "exception.stacktrace"), "at handler (a.py:7)");
}

#[test]
fn subsegments_are_calls_or_work_within() {
    let mapped = mapped(&[SEGMENT]);
    let spans = &mapped[0].spans.scope_spans[0].spans;
    let (table, database, work) = (&spans[1], &spans[2], &spans[3]);
    assert!(spans[1..].iter().all(|span| span.parent_span_id == spans[0].span_id));
    assert_eq!(table.kind(), SpanKind::Client);
    assert_eq!(text_of(&table.attributes, "rpc.method"), "UpdateItem");
    assert_eq!(text_of(&table.attributes, "rpc.service"), "DynamoDB");
    assert_eq!(text_of(&table.attributes, "aws.request_id"), "3AIE");
    assert_eq!(value(&table.attributes, "aws.retries"), Some(Any::IntValue(2)));
    assert!(matches!(value(&table.attributes, "aws.dynamodb.table_names"), Some(Any::ArrayValue(_))));
    assert_eq!(table.status.as_ref().unwrap().message, "throttle");
    assert_eq!(database.kind(), SpanKind::Client);
    assert_eq!(text_of(&database.attributes, "db.system.name"), "postgresql");
    assert_eq!(text_of(&database.attributes, "server.address"), "db.example.com");
    assert_eq!(text_of(&database.attributes, "db.namespace"), "orders");
    assert_eq!(value(&database.attributes, "aws.xray.in_progress"), Some(Any::BoolValue(true)));
    assert_eq!(database.end_time_unix_nano, database.start_time_unix_nano);
    assert_eq!(work.kind(), SpanKind::Internal);
    assert_eq!(work.status.as_ref().unwrap().code(), StatusCode::Unset);
}

#[test]
fn a_subsegment_on_its_own_belongs_to_its_parents_segment() {
    let alone = r#"{"type": "subsegment", "trace_id": "1-58406520-a006649127e371903a2de979", "id": "aade5b6f19ff9a0a",
        "parent_id": "70de5b6f19ff9a0c", "name": "S3", "namespace": "aws", "start_time": 1.0, "end_time": 2.0}"#;
    let mapped = mapped(&[alone, SEGMENT]);
    let resource = &mapped[0].spans.resource.as_ref().unwrap().attributes;
    assert_eq!(text_of(resource, "service.name"), "api.example.com");
    let span = &mapped[0].spans.scope_spans[0].spans[0];
    assert_eq!(span.kind(), SpanKind::Client);
    assert_eq!(span.parent_span_id, trace_id::span_id("70de5b6f19ff9a0c").unwrap());
}

#[test]
fn documents_without_ids_and_loops_are_harmless() {
    assert!(mapped(&["{}", r#"{"trace_id": "1-2-3", "id": "zz"}"#]).is_empty());
    let looped = r#"{"type": "subsegment", "trace_id": "1-58406520-a006649127e371903a2de979", "id": "aade5b6f19ff9a0a",
        "parent_id": "aade5b6f19ff9a0a", "name": "x"}"#;
    assert_eq!(mapped(&[looped]).len(), 1);
}
