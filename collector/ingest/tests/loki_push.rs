//! Loki's push over HTTP, with a real journal.

// The lints' exception for tests does not reach helpers of a test crate.
#![allow(clippy::unwrap_used, clippy::panic)]

mod kept;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use kept::Kept;
use tenantscope_ingest::{Intake, Limits, Stores, write_routes};
use tenantscope_journal::Options;
use tenantscope_model::{Bytes, Refusal};
use tenantscope_tenancy::Identity;
use tower::ServiceExt as _;

struct Setup {
    intake: Arc<Intake>,
    logs: Arc<Kept>,
}

fn open(dir: &std::path::Path) -> Setup {
    let logs = Arc::new(Kept::default());
    let stores = Stores::new(Arc::new(Kept::default()), Arc::clone(&logs), Arc::new(Kept::default()));
    let limits = Limits { max_body_bytes: Bytes(4096), max_decoded_bytes: Bytes(8192), ..Limits::default() };
    let intake = Intake::open(dir, &stores, Arc::new(Identity::open()), None, limits, &Options::default()).unwrap();
    Setup { intake: Arc::new(intake), logs }
}

async fn push(setup: &Setup, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let mut request = Request::post("/loki/api/v1/push");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let routes = write_routes(Arc::clone(&setup.intake));
    routes.oneshot(request.body(body.into()).unwrap()).await.unwrap()
}

async fn text(answer: Response) -> String {
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

const JSON: [(&str, &str); 1] = [("content-type", "application/json; charset=utf-8")];

fn one(labels: &str, line: &str) -> String {
    format!(r#"{{"streams":[{{"stream":{labels},"values":[["1000","{line}"]]}}]}}"#)
}

/// `PushRequest{streams: [{labels: {a="b"}, entries: [{line: "x"}]}]}`, in snappy's block form.
fn protobuf() -> Vec<u8> {
    let message = [&[0x0a, 14, 0x0a, 7][..], b"{a=\"b\"}", &[0x12, 3, 0x12, 1], b"x"].concat();
    snap::raw::Encoder::new().compress_vec(&message).unwrap()
}

#[tokio::test]
async fn a_push_is_stored_and_read_again_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let setup = open(dir.path());
    let taken = push(&setup, &JSON, one(r#"{"job":"a"}"#, "by json")).await;
    assert_eq!(taken.status(), StatusCode::NO_CONTENT);
    for headers in [&[][..], &[("content-type", "application/x-protobuf"), ("content-encoding", "snappy")]] {
        assert_eq!(push(&setup, headers, protobuf()).await.status(), StatusCode::NO_CONTENT);
    }
    let lines = ["by json", "x", "x"];
    assert_eq!(setup.logs.lines(), lines);
    drop(setup);
    assert_eq!(open(dir.path()).logs.lines(), lines);
}

#[tokio::test]
async fn a_push_is_refused_with_lokis_statuses_and_text() {
    let dir = tempfile::tempdir().unwrap();
    let setup = open(dir.path());
    let deflate = [JSON[0], ("content-encoding", "deflate")];
    let bomb = snap::raw::Encoder::new().compress_vec(&vec![0; 20_000]).unwrap();
    let two = [JSON[0], ("x-scope-orgid", "a|b")];
    for (headers, body, status, what) in [
        (&JSON[..], b"{\"streams\":".to_vec(), StatusCode::BAD_REQUEST, "EOF"),
        (&JSON, one(r#"{"a b":"c"}"#, "x").into(), StatusCode::BAD_REQUEST, "could not parse labels"),
        (&JSON, one("{}", "x").into(), StatusCode::BAD_REQUEST, "missing_labels: 1"),
        (&deflate, one(r#"{"a":"b"}"#, "x").into(), StatusCode::BAD_REQUEST, "deflate"),
        (&[], b"not snappy".to_vec(), StatusCode::BAD_REQUEST, "decompress"),
        (&[], bomb, StatusCode::PAYLOAD_TOO_LARGE, "8192"),
        (&JSON, vec![b' '; 5000], StatusCode::PAYLOAD_TOO_LARGE, "4096"),
        (&two, one(r#"{"a":"b"}"#, "x").into(), StatusCode::BAD_REQUEST, "several tenants"),
    ] {
        let answer = push(&setup, headers, body).await;
        assert_eq!(answer.status(), status, "{what}");
        assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
        let text = text(answer).await;
        assert!(text.contains(what), "{text}");
    }
    assert_eq!(setup.logs.lines(), [""; 0]);
    let retry_after = Duration::from_secs(3);
    *setup.logs.refuse.lock() = Some(Refusal::Unavailable { reason: "lake_buffer", retry_after });
    let later = push(&setup, &JSON, one(r#"{"a":"b"}"#, "x")).await;
    assert_eq!(
        (later.status(), &later.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"3".parse().unwrap())
    );
}
