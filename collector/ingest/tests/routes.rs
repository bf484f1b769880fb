//! The routes over HTTP, with a real journal and a listener of our own on loopback.

// The lints' exception for tests does not reach helpers of a test crate.
#![allow(clippy::unwrap_used, clippy::panic)]

mod kept;

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use kept::Kept;
use prost::Message as _;
use tenantscope_ingest::{Intake, Limits, Stores, write_routes};
use tenantscope_journal::Options;
use tenantscope_model::{Bytes, StampedBatch};
use tenantscope_tenancy::Identity;
use tower::ServiceExt as _;

#[derive(Clone, PartialEq, prost::Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

fn up() -> Vec<u8> {
    let label = |name: &str, value: &str| Label { name: name.into(), value: value.into() };
    let series = TimeSeries {
        labels: vec![label("__name__", "up"), label("job", "a")],
        samples: vec![Sample { value: 1.0, timestamp: 1_000 }],
    };
    let message = WriteRequest { timeseries: vec![series] }.encode_to_vec();
    snap::raw::Encoder::new().compress_vec(&message).unwrap()
}

struct Setup {
    intake: Arc<Intake>,
    metrics: Arc<Kept>,
    _dir: tempfile::TempDir,
}

fn setup() -> Setup {
    setup_with(Limits { max_body_bytes: Bytes(4096), max_decoded_bytes: Bytes(8192), ..Limits::default() })
}

fn setup_with(limits: Limits) -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Kept::default());
    let stores = Stores::new(Arc::clone(&metrics), Arc::new(Kept::default()), Arc::new(Kept::default()));
    let identity = Arc::new(Identity::open());
    let intake = Intake::open(dir.path(), &stores, identity, None, limits, &Options::default()).unwrap();
    Setup { intake: Arc::new(intake), metrics, _dir: dir }
}

async fn post(setup: &Setup, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Response {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    write_routes(Arc::clone(&setup.intake)).oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
}

const REMOTE_WRITE: [(&str, &str); 3] = [
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "0.1.0"),
];

#[tokio::test]
async fn remote_write_is_stored_under_the_tenant_of_its_header() {
    let setup = setup();
    let headers = [REMOTE_WRITE.as_slice(), &[("x-scope-orgid", "acme")]].concat();
    assert_eq!(post(&setup, "/api/v1/write", &headers, up()).await.status(), StatusCode::NO_CONTENT);
    let applied = setup.metrics.applied.lock();
    let [(_, StampedBatch::Metrics { series, .. })] = applied.as_slice() else { panic!("{applied:?}") };
    assert_eq!(series[0].labels.to_string(), r#"up{job="a", tenant="acme"}"#);
}

#[tokio::test]
async fn remote_write_refuses_with_the_status_of_the_protocol() {
    let setup = setup();
    let two = [REMOTE_WRITE.as_slice(), &[("x-scope-orgid", "a|b")]].concat();
    let v3 = [("content-type", "application/x-protobuf;proto=io.prometheus.write.v3.Request"), REMOTE_WRITE[1]];
    let json = [("content-type", "application/json"), REMOTE_WRITE[1]];
    let gzip = [REMOTE_WRITE[0], ("content-encoding", "gzip")];
    let bomb = snap::raw::Encoder::new().compress_vec(&vec![0; 20_000]).unwrap();
    for (headers, body, status) in [
        (two.as_slice(), up(), StatusCode::BAD_REQUEST),
        (&v3, up(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (&json, up(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (&REMOTE_WRITE_2, up(), StatusCode::BAD_REQUEST),
        (&gzip, up(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (&REMOTE_WRITE, b"not snappy".to_vec(), StatusCode::BAD_REQUEST),
        (&REMOTE_WRITE, vec![0; 5000], StatusCode::PAYLOAD_TOO_LARGE),
        (&REMOTE_WRITE, bomb, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        assert_eq!(post(&setup, "/api/v1/write", headers, body).await.status(), status);
    }
    assert!(setup.metrics.applied.lock().is_empty());
}

const REMOTE_WRITE_2: [(&str, &str); 3] = [
    ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "2.0.0"),
];

/// `io.prometheus.write.v2.Request`, as far as the tests send it.
#[derive(Clone, PartialEq, prost::Message)]
struct Request2 {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<TimeSeries2>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TimeSeries2 {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

fn request2(series: &[&[u32]], t_ms: i64) -> Vec<u8> {
    let symbols = ["", "__name__", "up", "job", "a"].map(str::to_owned).to_vec();
    let one = |refs: &&[u32]| TimeSeries2 {
        labels_refs: refs.to_vec(),
        samples: vec![Sample { value: 1.0, timestamp: t_ms }],
    };
    let message = Request2 { symbols, timeseries: series.iter().map(one).collect() }.encode_to_vec();
    snap::raw::Encoder::new().compress_vec(&message).unwrap()
}

/// Samples, histograms and exemplars, as the answer says.
fn written(answer: &Response) -> [Option<String>; 3] {
    ["samples", "histograms", "exemplars"].map(|what| {
        let header = answer.headers().get(format!("x-prometheus-remote-write-{what}-written"))?;
        Some(header.to_str().unwrap().to_owned())
    })
}

fn counts(samples: u32) -> [Option<String>; 3] {
    [samples, 0, 0].map(|count| Some(count.to_string()))
}

#[tokio::test]
async fn remote_write_2_stores_what_it_can_and_tells_how_much() {
    let setup = setup();
    let whole = post(&setup, "/api/v1/write", &REMOTE_WRITE_2, request2(&[&[1, 2, 3, 4]], 1_000)).await;
    assert_eq!((whole.status(), written(&whole)), (StatusCode::NO_CONTENT, counts(1)));
    let series: [&[u32]; 3] = [&[1, 2, 3, 99], &[1, 2, 3], &[1, 2, 3, 4]];
    let partly = post(&setup, "/api/v1/write", &REMOTE_WRITE_2, request2(&series, 2_000)).await;
    assert_eq!((partly.status(), written(&partly)), (StatusCode::BAD_REQUEST, counts(1)));
    let text = String::from_utf8(partly.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    assert!(text.contains("odd_label_refs: 1") && text.contains("symbol_out_of_range: 1"), "{text}");
    let applied = setup.metrics.applied.lock();
    let [_, (_, StampedBatch::Metrics { series, .. })] = applied.as_slice() else { panic!("{applied:?}") };
    assert_eq!(series[0].labels.to_string(), r#"up{job="a", tenant="anonymous"}"#);
}

#[tokio::test]
async fn points_too_far_ahead_are_left_out_and_nothing_is_written_of_a_refused_body() {
    let setup = setup();
    let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let hour_ahead = request2(&[&[1, 2, 3, 4]], now_ms + 3_600_000);
    let ahead = post(&setup, "/api/v1/write", &REMOTE_WRITE_2, hour_ahead).await;
    assert_eq!((ahead.status(), written(&ahead)), (StatusCode::BAD_REQUEST, counts(0)));
    assert!(setup.metrics.applied.lock().is_empty());
    *setup.metrics.refuse.lock() = Some(tenantscope_model::Refusal::Unavailable {
        reason: "store_memory",
        retry_after: std::time::Duration::from_secs(3),
    });
    let later = post(&setup, "/api/v1/write", &REMOTE_WRITE_2, request2(&[&[1, 2, 3, 4]], now_ms)).await;
    assert_eq!((later.status(), written(&later)), (StatusCode::SERVICE_UNAVAILABLE, counts(0)));
    assert_eq!(later.headers()["retry-after"], "3");
}

#[tokio::test]
async fn senders_may_leave_their_headers_out_or_quote_what_they_say() {
    let setup = setup();
    let quoted = "application/x-protobuf; proto=\"io.prometheus.write.v2.Request\"";
    let headers = [("content-type", quoted), ("content-encoding", "Snappy")];
    let answer = post(&setup, "/api/v1/write", &headers, request2(&[&[1, 2, 3, 4]], 1_000)).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    let answer = post(&setup, "/api/v1/write", &[], up()).await;
    assert_eq!((answer.status(), written(&answer)), (StatusCode::NO_CONTENT, counts(1)));
}

#[tokio::test]
async fn otlp_over_http_comes_in_on_the_same_router() {
    let setup = setup();
    let json = r#"{"resourceMetrics":[{"resource":{"attributes":[]},"scopeMetrics":[{"metrics":[{"name":"queue.depth",
        "gauge":{"dataPoints":[{"timeUnixNano":"1000000000","asInt":"7"}]}}]}]}]}"#;
    let headers = [("content-type", "application/json")];
    let answer = post(&setup, "/v1/metrics", &headers, json.into()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(setup.metrics.applied.lock().len(), 1);
    let wrong = post(&setup, "/v1/metrics", &headers, b"[1,2".to_vec()).await;
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_identity_exchange_answers_json() {
    let setup = setup();
    let request =
        r#"{"agent":"a1","mode":"once","version":"0.1.0","proof":{"kind":"token","token":"x"},"wants_epoch":true}"#;
    let headers = [("content-type", "application/json")];
    let answer = post(&setup, "/tenantscope/v1/identity", &headers, request.into()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let answer: tenantscope_wire::IdentityResponse = serde_json::from_slice(&body).unwrap();
    assert!(answer.epoch.is_some() && answer.token.starts_with("ts1."));
    let wrong = post(&setup, "/tenantscope/v1/identity", &headers, b"{}".to_vec()).await;
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn names_of_otlp_keep_their_characters_where_that_is_configured() {
    for (utf8_names, name) in [(false, "queue_depth"), (true, "queue.depth")] {
        let setup = setup_with(Limits { utf8_names, ..Limits::default() });
        let json = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"queue.depth","gauge":{"dataPoints":[
            {"timeUnixNano":"1000000000","asInt":"7"}]}}]}]}]}"#;
        let answer = post(&setup, "/v1/metrics", &[("content-type", "application/json")], json.into()).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(setup.metrics.values(name), [7.0]);
    }
}
