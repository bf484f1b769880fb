//! What the lake's tests share: batches as ingest would hand them over.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use parquet::file::reader::{FileReader, SerializedFileReader};
use tenantscope_lake::{
    Direction, Journals, Lake, LogAnswer, LogRequest, LogStream, Options, SearchRequest, Store, TimeRange,
};
use tenantscope_model::{AccountId, Position, Region, Scope, Sink, Stamp, StampedBatch, StampedResource, TenantId};

pub const JOURNALS: Journals = Journals { logs: 1, spans: 2 };
pub const SECOND_NS: i64 = 1_000_000_000;

/// Some hours ago, so that everything is within retention.
pub fn base_ns() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    (now.as_secs() as i64 - 7_200) * SECOND_NS
}

/// Nothing happens by itself: tests flush when they mean to.
pub fn options() -> Options {
    Options { flush_interval: Duration::from_secs(3_600), ..Options::default() }
}

pub fn open(dir: &Path) -> Lake {
    Lake::open(dir, JOURNALS, options()).unwrap()
}

pub fn tenant(id: &str) -> TenantId {
    TenantId::try_new(id).unwrap()
}

pub fn only(id: &str) -> Scope {
    Scope::only(tenant(id))
}

pub fn stamp(id: &str) -> Stamp {
    Stamp {
        tenant: tenant(id),
        account: Some(AccountId::try_new("111122223333").unwrap()),
        region: Some(Region::try_new("eu-west-1").unwrap()),
    }
}

pub fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..Default::default() }
}

pub fn resource(service: &str) -> Option<Resource> {
    let attributes = vec![text("service.name", service), text("aws.log.group.names", "/aws/lambda/x")];
    Some(Resource { attributes, ..Default::default() })
}

pub fn logs(id: &str, service: &str, lines: &[(i64, &str)]) -> StampedBatch {
    let record = |(time_ns, line): &(i64, &str)| LogRecord {
        time_unix_nano: *time_ns as u64,
        body: Some(AnyValue { value: Some(Value::StringValue((*line).to_owned())) }),
        attributes: vec![text("http.route", "/pay")],
        ..Default::default()
    };
    let scope_logs = vec![ScopeLogs { log_records: lines.iter().map(record).collect(), ..Default::default() }];
    let records = ResourceLogs { resource: resource(service), scope_logs, ..Default::default() };
    StampedBatch::Logs(vec![StampedResource { stamp: stamp(id), records }])
}

pub fn span(trace: u8, id: u8, parent: u8, name: &str, start_ns: i64, duration_ns: i64) -> Span {
    Span {
        trace_id: vec![trace; 16],
        span_id: vec![id; 8],
        parent_span_id: if parent == 0 { Vec::new() } else { vec![parent; 8] },
        name: name.to_owned(),
        kind: 2,
        start_time_unix_nano: start_ns as u64,
        end_time_unix_nano: (start_ns + duration_ns) as u64,
        attributes: vec![text("http.route", "/pay")],
        ..Default::default()
    }
}

pub fn failed(span: Span) -> Span {
    Span { status: Some(Status { code: 2, message: "boom".to_owned() }), ..span }
}

pub fn spans(id: &str, service: &str, spans: Vec<Span>) -> StampedBatch {
    let scope = Some(InstrumentationScope { name: "lib".to_owned(), version: "1".to_owned(), ..Default::default() });
    let scope_spans = vec![ScopeSpans { scope, spans, schema_url: String::new() }];
    let records = ResourceSpans { resource: resource(service), scope_spans, schema_url: "https://schema".to_owned() };
    StampedBatch::Spans(vec![StampedResource { stamp: stamp(id), records }])
}

pub fn put(store: &Store, position: u64, batch: StampedBatch) {
    let prepared = store.prepare(batch).unwrap();
    store.apply(prepared, Position(position));
}

pub fn around() -> TimeRange {
    TimeRange { start_ns: base_ns() - 86_400 * SECOND_NS, end_ns: base_ns() + 86_400 * SECOND_NS }
}

pub async fn streams(lake: &Lake, scope: &Scope, query: &str) -> Vec<LogStream> {
    let request = LogRequest { query, range: around(), step: None, limit: 100, direction: Direction::Forward };
    match lake.log_query(scope, &request).await.unwrap() {
        LogAnswer::Streams(streams) => streams,
        other => panic!("{query}: {other:?}"),
    }
}

pub async fn lines(lake: &Lake, scope: &Scope, query: &str) -> Vec<String> {
    let streams = streams(lake, scope, query).await;
    let mut entries: Vec<_> = streams.into_iter().flat_map(|stream| stream.entries).collect();
    entries.sort_by_key(|entry| entry.time_ns);
    entries.into_iter().map(|entry| entry.line).collect()
}

pub fn search(query: &str) -> SearchRequest<'_> {
    SearchRequest {
        query: Some(query),
        tags: Vec::new(),
        min_duration: None,
        max_duration: None,
        range: around(),
        limit: 20,
        spans_per_trace: 3,
    }
}

/// The files below a folder in whose name or content a text stands; of Parquet files also what is in their compressed
/// pages.
pub fn files_with(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files_with(&path, text));
            continue;
        }
        let content = std::fs::read(&path).unwrap();
        let stands_in = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        let is_rows = path.extension().is_some_and(|extension| extension == "parquet");
        if stands_in(path.to_string_lossy().as_bytes()) || stands_in(&content) || is_rows && stands_in(&pages(content))
        {
            found.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    found.sort();
    found
}

/// The decompressed pages of a Parquet file, dictionaries included.
fn pages(content: Vec<u8>) -> Vec<u8> {
    let reader = SerializedFileReader::new(Bytes::from(content)).unwrap();
    let mut bytes = Vec::new();
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).unwrap();
        for column in 0..group.num_columns() {
            let mut pages = group.get_column_page_reader(column).unwrap();
            while let Some(page) = pages.get_next_page().unwrap() {
                bytes.extend_from_slice(page.buffer());
            }
        }
    }
    bytes
}
