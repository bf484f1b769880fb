//! Loki's and Tempo's APIs as Grafana asks them, over a lake that holds two tenants.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData};
use prost::Message;
use serde_json::Value;
use tenantscope_api::{Gate, loki, tempo};
use tenantscope_lake::{Journals, Lake, Options};
use tenantscope_model::{Position, Sink, Stamp, StampedBatch, StampedResource, TenantId};
use tenantscope_tenancy::{Exposure, Readers};
use tower::ServiceExt;

fn now_ns() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
}

fn text(text: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Any::StringValue(text.to_owned())) })
}

fn resource(service: &str) -> Option<Resource> {
    let attributes = vec![KeyValue { key: "service.name".to_owned(), value: text(service), ..Default::default() }];
    Some(Resource { attributes, ..Default::default() })
}

fn stamp(tenant: &str) -> Stamp {
    Stamp { tenant: TenantId::try_new(tenant).unwrap(), account: None, region: None }
}

/// A trace of two spans and two lines for each of two tenants.
fn lake(dir: &Path) -> Arc<Lake> {
    let lake = Lake::open(dir, Journals { logs: 1, spans: 2 }, Options::default()).unwrap();
    for (position, tenant) in [(1, "acme"), (2, "globex")] {
        let at = now_ns() - 60_000_000_000;
        let line = |offset: u64, body: &str| LogRecord {
            time_unix_nano: at + offset,
            body: text(body),
            trace_id: vec![position as u8; 16],
            ..Default::default()
        };
        let log_records = vec![line(0, "order placed"), line(1, &format!("{tenant} ERROR declined"))];
        let scope_logs = vec![ScopeLogs { log_records, ..Default::default() }];
        let records = ResourceLogs { resource: resource("shop"), scope_logs, ..Default::default() };
        let batch = StampedBatch::Logs(vec![StampedResource { stamp: stamp(tenant), records }]);
        let logs = lake.logs();
        logs.apply(logs.prepare(batch).unwrap(), Position(position));

        let span = |id: u8, parent: Vec<u8>, name: &str, code: i32| Span {
            trace_id: vec![position as u8; 16],
            span_id: vec![id; 8],
            parent_span_id: parent,
            name: name.to_owned(),
            kind: 2,
            start_time_unix_nano: at,
            end_time_unix_nano: at + 120_000_000,
            status: Some(Status { code, message: String::new() }),
            ..Default::default()
        };
        let spans = vec![span(1, Vec::new(), "POST /orders", 1), span(2, vec![1; 8], "PutItem", 2)];
        let scope_spans = vec![ScopeSpans { spans, ..Default::default() }];
        let records = ResourceSpans { resource: resource("shop"), scope_spans, ..Default::default() };
        let batch = StampedBatch::Spans(vec![StampedResource { stamp: stamp(tenant), records }]);
        let spans = lake.spans();
        spans.apply(spans.prepare(batch).unwrap(), Position(position));
    }
    Arc::new(lake)
}

struct Api(Router, #[allow(dead_code)] tempfile::TempDir);

impl Api {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lake = lake(dir.path());
        let gate = Gate::new(Readers::try_new(&[], dir.path(), Exposure::Loopback).unwrap());
        let routes = loki::routes(Arc::clone(&lake)).merge(tempo::routes(lake));
        Self(gate.around(routes), dir)
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, Vec<u8>) {
        let response = self.0.clone().oneshot(request).await.unwrap();
        let status = response.status();
        (status, response.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    async fn get(&self, path: &str, tenants: Option<&str>) -> (StatusCode, String) {
        let mut request = Request::get(path);
        if let Some(tenants) = tenants {
            request = request.header("X-Scope-OrgID", tenants);
        }
        let (status, body) = self.send(request.body(Body::empty()).unwrap()).await;
        (status, String::from_utf8(body).unwrap())
    }

    async fn json(&self, path: &str, tenants: Option<&str>) -> Value {
        let (status, body) = self.get(path, tenants).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }
}

#[tokio::test]
async fn lines_in_lokis_json() {
    let api = Api::new();
    let query = "/loki/api/v1/query_range?query=%7Btenant%3D%22acme%22%7D&direction=forward";
    let answer = api.json(query, None).await;
    assert_eq!(answer["status"], "success");
    assert_eq!(answer["data"]["resultType"], "streams");
    let streams = answer["data"]["result"].as_array().unwrap();
    assert_eq!(streams.len(), 2, "one with level error, one without");
    let failed = streams.iter().find(|stream| stream["stream"]["level"] == "error").unwrap();
    assert_eq!(failed["values"][0][1], "acme ERROR declined");
    assert_eq!(failed["values"][0].as_array().unwrap().len(), 2);
    assert_eq!(failed["stream"]["trace_id"], "01".repeat(16), "metadata are labels among labels");
    assert!(failed["values"][0][0].as_str().unwrap().len() == 19, "nanoseconds");

    let other = api.json(query, Some("globex")).await;
    assert_eq!(other["data"]["result"], serde_json::json!([]));

    let grafana = Request::post("/loki/api/v1/query_range")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header("X-Loki-Response-Encoding-Flags", "categorize-labels")
        .body(Body::from("query=%7Bservice_name%3D%22shop%22%7D+%7C%3D+%22ERROR%22&limit=1"))
        .unwrap();
    let (status, body) = api.send(grafana).await;
    assert_eq!(status, StatusCode::OK);
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer["data"]["encodingFlags"][0], "categorize-labels");
    let entry = &answer["data"]["result"][0]["values"][0];
    assert_eq!(entry[2]["structuredMetadata"]["trace_id"], "02".repeat(16));
    assert!(answer["data"]["result"][0]["stream"].get("trace_id").is_none());
}

#[tokio::test]
async fn labels_series_and_numbers() {
    let api = Api::new();
    let labels = api.json("/loki/api/v1/labels", None).await;
    assert_eq!(labels["data"], serde_json::json!(["level", "service_name", "tenant"]));
    assert_eq!(api.json("/loki/api/v1/label/tenant/values", None).await["data"], serde_json::json!(["acme", "globex"]));
    let narrowed = api.json("/loki/api/v1/label/tenant/values", Some("acme")).await;
    assert_eq!(narrowed["data"], serde_json::json!(["acme"]));
    let series = api.json("/loki/api/v1/series?match[]=%7Btenant%3D%22acme%22%7D", None).await;
    assert_eq!(series["data"].as_array().unwrap().len(), 2);

    let stats = api.json("/loki/api/v1/index/stats?query=%7B%7D", Some("acme")).await;
    assert_eq!((&stats["streams"], &stats["entries"]), (&2.into(), &2.into()));
    assert_eq!(stats["bytes"], "order placed".len() + "acme ERROR declined".len());
    let volume = api.json("/loki/api/v1/index/volume?query=%7B%7D&targetLabels=tenant", None).await;
    let result = volume["data"]["result"].as_array().unwrap();
    assert_eq!(result.len(), 2);
    assert_eq!(result[0]["metric"], serde_json::json!({ "tenant": "globex" }));

    let health = api.json("/loki/api/v1/query?query=vector(1)%2Bvector(1)&time=4000000000", None).await;
    let wanted = serde_json::json!([{ "metric": {}, "value": [4_000_000_000.0, "2"] }]);
    assert_eq!((&health["data"]["resultType"], &health["data"]["result"]), (&"vector".into(), &wanted));
    let volume = "/loki/api/v1/query_range?query=sum%20by%20(tenant)%20(count_over_time(%7Btenant%3D~%22.%2B%22%7D%5B10m%5D))&step=60";
    let volume = api.json(volume, Some("acme|nobody")).await;
    assert_eq!(volume["data"]["resultType"], "matrix");
    let series = volume["data"]["result"].as_array().unwrap();
    assert_eq!(series.len(), 1);
    assert_eq!(series[0]["metric"], serde_json::json!({ "tenant": "acme" }));
    assert_eq!(series[0]["values"].as_array().unwrap().last().unwrap()[1], "2");
}

#[tokio::test]
async fn what_is_wrong_is_said_with_its_place() {
    let api = Api::new();
    for (path, status, words) in [
        ("/loki/api/v1/query_range?query=%7Btenant%3D%22acme%22", 400, "col 15"),
        ("/loki/api/v1/query_range", 400, "query"),
        ("/loki/api/v1/query_range?query=%7B%7D&limit=many", 400, "limit"),
        ("/loki/api/v1/query_range?query=%7B%7D&direction=up", 400, "direction"),
        ("/loki/api/v1/query?query=%7B%7D", 400, "instant"),
        ("/loki/api/v1/labels?start=never", 400, "start"),
        ("/tempo/api/search?q=%7B%20name%20%3D%20%7D", 400, "col 10"),
        ("/tempo/api/search?minDuration=long", 400, "minDuration"),
        ("/tempo/api/traces/xyz", 400, "hexadecimal"),
        ("/tempo/api/traces/ffff", 404, "not found"),
    ] {
        let (found, body) = api.get(path, None).await;
        assert_eq!(found.as_u16(), status, "{path}: {body}");
        assert!(body.contains(words), "{path}: {body}");
    }
    let lake = lake(tempfile::tempdir().unwrap().path());
    let without_gate = loki::routes(lake).oneshot(Request::get("/loki/api/v1/labels").body(Body::empty()).unwrap());
    assert_eq!(without_gate.await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn traces_as_json_and_protobuf() {
    let api = Api::new();
    let id = "01".repeat(16);
    let trace = api.json(&format!("/tempo/api/traces/{id}"), Some("acme")).await;
    let spans = trace["batches"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    assert_eq!(spans.len(), 2);
    // As Tempo's: protobuf's JSON, not OTLP's.
    assert_eq!(spans[0]["traceId"], "AQEBAQEBAQEBAQEBAQEBAQ==");
    assert_eq!(
        (&spans[0]["kind"], &spans[0]["status"]["code"]),
        (&"SPAN_KIND_SERVER".into(), &"STATUS_CODE_OK".into())
    );
    assert_eq!(api.get(&format!("/tempo/api/traces/{id}"), Some("globex")).await.0, StatusCode::NOT_FOUND);
    let wrapped = api.json(&format!("/tempo/api/v2/traces/{id}"), None).await;
    assert_eq!(wrapped["trace"]["resourceSpans"].as_array().unwrap().len(), 1);

    for (path, header_bytes) in [(format!("/tempo/api/traces/{id}"), 0), (format!("/tempo/api/v2/traces/{id}"), 3)] {
        let request = Request::get(&path).header(header::ACCEPT, "application/protobuf").body(Body::empty()).unwrap();
        let (status, body) = api.send(request).await;
        assert_eq!(status, StatusCode::OK);
        let decoded = TracesData::decode(&body[header_bytes..]).unwrap();
        assert_eq!(decoded.resource_spans[0].scope_spans[0].spans.len(), 2, "{path}");
    }
}

#[tokio::test]
async fn searches_and_tags() {
    let api = Api::new();
    for (query, found) in [
        ("q=%7B%20resource.service.name%20%3D%20%22shop%22%20%7D", 2),
        ("q=%7B%20status%20%3D%20error%20%26%26%20name%20%3D%20%22PutItem%22%20%7D", 2),
        ("tags=tenant%3Dacme%20service.name%3Dshop&minDuration=100ms&limit=5", 1),
        ("tags=service.name%3Dshop&maxDuration=1ms", 0),
        ("", 2),
    ] {
        let answer = api.json(&format!("/tempo/api/search?{query}"), None).await;
        assert_eq!(answer["traces"].as_array().unwrap().len(), found, "{query}");
        let narrowed = api.json(&format!("/tempo/api/search?{query}"), Some("nobody")).await;
        assert_eq!(narrowed["traces"], serde_json::json!([]), "{query}");
    }
    let trace = &api.json("/tempo/api/search?tags=tenant%3Dacme", None).await["traces"][0];
    assert_eq!(trace["traceID"], "01".repeat(16));
    assert_eq!((&trace["rootServiceName"], &trace["rootTraceName"]), (&"shop".into(), &"POST /orders".into()));
    assert_eq!(trace["durationMs"], 120);
    assert_eq!(trace["spanSet"]["matched"], 2);

    assert_eq!(api.get("/tempo/api/echo", None).await.1, "echo");
    let names = api.json("/tempo/api/v2/search/tags?scope=resource", None).await;
    assert_eq!(names["scopes"], serde_json::json!([{ "name": "resource", "tags": ["service.name"] }]));
    assert_eq!(api.json("/tempo/api/search/tags", None).await["tagNames"], serde_json::json!(["service.name"]));
    let values = api.json("/tempo/api/v2/search/tag/resource.service.name/values", Some("acme")).await;
    assert_eq!(values["tagValues"], serde_json::json!([{ "type": "string", "value": "shop" }]));
    let values = api.json("/tempo/api/search/tag/service.name/values", Some("nobody")).await;
    assert_eq!(values["tagValues"], serde_json::json!([]));
}

#[tokio::test]
async fn times_as_far_apart_as_can_be_and_large_expressions_end_in_an_answer() {
    let api = Api::new();
    let rate = "sum(rate(%7Btenant%3D%22acme%22%7D%5B1m%5D))";
    for (start, end) in [(i64::MIN, i64::MAX), (i64::MIN, i64::MIN), (i64::MAX, i64::MAX)] {
        for query in ["%7Btenant%3D%22acme%22%7D", rate] {
            for step in ["", "&step=1000000000", "&step=0.000000001"] {
                let path = format!("/loki/api/v1/query_range?query={query}&start={start}&end={end}{step}");
                let (status, body) = api.get(&path, None).await;
                assert!(matches!(status, StatusCode::OK | StatusCode::BAD_REQUEST), "{path}: {body}");
            }
        }
    }
    let large = "%7Btenant%3D~%22%5C%5CpL%7B300%7D%7C%5C%5CpN%7B900%7D%22%7D";
    let (status, body) = api.get(&format!("/loki/api/v1/query_range?query={large}"), None).await;
    assert_eq!((status, body.contains("regular expressions")), (StatusCode::UNPROCESSABLE_ENTITY, true), "{body}");
}
