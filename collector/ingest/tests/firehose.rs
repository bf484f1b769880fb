//! Firehose's deliveries over HTTP, with a real journal.

// The lints' exception for tests does not reach helpers of a test crate.
#![allow(clippy::unwrap_used, clippy::panic)]

mod kept;
mod way;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use kept::Kept;
use tenantscope_ingest::write_routes;
use tenantscope_model::{Refusal, StampedBatch};
use tenantscope_tenancy::{Identity, IdentityConfig, Registry};
use tower::ServiceExt as _;
use way::Setup;

/// Two accounts; an access key for the first, and one for both.
fn open(dir: &Path) -> Setup {
    let tenants = r#"tenants: [{id: acme, accounts: ["111122223333"]}, {id: beta, accounts: ["222233334444"]}]"#;
    std::fs::write(dir.join("tenants.yaml"), tenants).unwrap();
    for key in ["acme", "both"] {
        std::fs::write(dir.join(key), format!("{key}-key-of-a-stream")).unwrap();
    }
    let config: IdentityConfig = serde_saphyr::from_str(
        r#"firehose: [{name: acme, key_file: acme, accounts: ["111122223333"]}, {name: both, key_file: both, accounts: ["111122223333", "222233334444"]}]"#,
    )
    .unwrap();
    let registry = Arc::new(Registry::open(&serde_saphyr::from_str("file: tenants.yaml").unwrap(), dir).unwrap());
    let identity = Identity::try_new(&config, Arc::clone(&registry), dir, dir).unwrap();
    way::open_with(&dir.join("ingest"), identity, Some(registry), Kept::default(), Kept::default())
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: serde_json::Value,
}

async fn deliver(setup: &Setup, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let mut request = Request::post(path).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let routes = write_routes(Arc::clone(&setup.intake));
    let answer = routes.oneshot(request.body(body.into()).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
    Answer { status: parts.status, headers: parts.headers, body }
}

const KEY: (&str, &str) = ("x-amz-firehose-access-key", "acme-key-of-a-stream");
const ID: (&str, &str) = ("x-amz-firehose-request-id", "r-1");
const ARN: (&str, &str) = ("x-amz-firehose-source-arn", "arn:aws:firehose:eu-west-1:111122223333:deliverystream/logs");
const COMMON: (&str, &str) =
    ("x-amz-firehose-common-attributes", r#"{"commonAttributes":{"deployment.environment":"production"}}"#);

/// A delivery with one record, the base64 of which is given.
fn body(id: &str, data: &str) -> String {
    format!(r#"{{"requestId":"{id}","timestamp":1700000000000,"records":[{{"data":"{data}"}}]}}"#)
}

fn base64(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    text.as_bytes().chunks(3).fold(String::new(), |mut encoded, chunk| {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            encoded.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
        encoded
    })
}

fn errors(account: &str) -> String {
    base64(&format!(
        r#"{{"account_id":"{account}","region":"eu-west-1","namespace":"AWS/Lambda","metric_name":"Errors","dimensions":{{}},"timestamp":60000,"value":{{"sum":3.0}}}}"#
    ))
}

fn subscription(account: &str, line: &str) -> String {
    base64(&format!(
        r#"{{"messageType":"DATA_MESSAGE","owner":"{account}","logGroup":"/g","logStream":"s","logEvents":[{{"id":"1","timestamp":1700000000000,"message":"{line}"}}]}}"#
    ))
}

#[tokio::test]
async fn a_metric_stream_is_stored_under_the_keys_account_and_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let setup = open(dir.path());
    let answer = deliver(&setup, "/firehose/metrics", &[KEY, ID], body("r-1", &errors("222233334444"))).await;
    assert_eq!((answer.status, &answer.body["requestId"]), (StatusCode::OK, &"r-1".into()));
    assert_eq!(answer.headers["content-type"], "application/json");
    assert!(
        answer.body["timestamp"].as_i64().unwrap() > 1_700_000_000_000 && answer.body.get("errorMessage").is_none()
    );
    let applied = setup.metrics.applied.lock();
    let [(_, StampedBatch::Metrics { series, .. })] = applied.as_slice() else { panic!("{applied:?}") };
    let expected = r#"aws_lambda_errors_sum{account_id="111122223333", region="eu-west-1", tenant="acme"}"#;
    assert_eq!(series[0].labels.to_string(), expected);
}

#[tokio::test]
async fn a_delivery_that_comes_again_is_stored_once_over_a_restart_too() {
    let dir = tempfile::tempdir().unwrap();
    let setup = open(dir.path());
    let headers = [KEY, ID, ARN, COMMON];
    let sent = body("r-1", &subscription("111122223333", "once"));
    let [first, second] = [0, 1].map(|_| deliver(&setup, "/firehose/logs", &headers, sent.clone()));
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.status, second.status), (StatusCode::OK, StatusCode::OK));
    assert_eq!(setup.logs.lines(), ["once"]);
    assert!(format!("{:?}", setup.logs.applied.lock()).contains("production"));
    let other_sender = [("x-amz-firehose-access-key", "both-key-of-a-stream"), ID];
    assert_eq!(deliver(&setup, "/firehose/logs", &other_sender, sent.clone()).await.status, StatusCode::OK);
    assert_eq!(setup.logs.lines(), ["once", "once"]);
    setup.intake.upkeep().await;
    drop(setup);
    let again = open(dir.path());
    let before = again.logs.lines();
    assert_eq!(deliver(&again, "/firehose/logs", &headers, sent).await.status, StatusCode::OK);
    assert_eq!(again.logs.lines(), before);
    let later = [KEY, ("x-amz-firehose-request-id", "r-2")];
    let sent = body("r-2", &subscription("111122223333", "later"));
    assert_eq!(deliver(&again, "/firehose/logs", &later, sent).await.status, StatusCode::OK);
    assert_eq!(again.logs.lines().last().unwrap(), "later");
}

#[tokio::test]
async fn a_refused_delivery_says_why_and_may_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let setup = open(dir.path());
    let good = || body("r-1", &errors("111122223333"));
    let both = ("x-amz-firehose-access-key", "both-key-of-a-stream");
    for (headers, body, status, what) in [
        (&[ID][..], good(), StatusCode::UNAUTHORIZED, "access key"),
        (&[ID, ("x-amz-firehose-access-key", "wrong")], good(), StatusCode::UNAUTHORIZED, "not known"),
        (&[KEY], good(), StatusCode::BAD_REQUEST, "request-id"),
        (&[KEY, ("x-amz-firehose-request-id", "r-2")], good(), StatusCode::BAD_REQUEST, "different request ids"),
        (&[KEY, ID], "no json".into(), StatusCode::BAD_REQUEST, "delivery of Firehose"),
        (&[KEY, ID], body("r-1", "*"), StatusCode::BAD_REQUEST, "none of its 1 records"),
        (&[KEY, ID, ("content-encoding", "zstd")], good(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "gzip"),
        (&[KEY, ID, ("x-amz-firehose-common-attributes", "[")], good(), StatusCode::BAD_REQUEST, "common-attributes"),
        (&[both, ID], body("r-1", &errors("999988887777")), StatusCode::BAD_REQUEST, "foreign_account: 1"),
    ] {
        let answer = deliver(&setup, "/firehose/metrics", headers, body).await;
        assert_eq!(answer.status, status, "{what}");
        let message = answer.body["errorMessage"].as_str().unwrap();
        assert!(message.contains(what), "{message}");
        let sent_id = headers.iter().find(|(name, _)| *name == ID.0).map_or("", |(_, id)| *id);
        assert_eq!(answer.body["requestId"], sent_id);
    }
    let retry_after = Duration::from_secs(3);
    *setup.metrics.refuse.lock() = Some(Refusal::Unavailable { reason: "store_memory", retry_after });
    let later = deliver(&setup, "/firehose/metrics", &[KEY, ID], good()).await;
    assert_eq!((later.status, &later.headers["retry-after"]), (StatusCode::SERVICE_UNAVAILABLE, &"3".parse().unwrap()));
    *setup.metrics.refuse.lock() = None;
    assert_eq!(deliver(&setup, "/firehose/metrics", &[KEY, ID], good()).await.status, StatusCode::OK);
    assert_eq!(setup.metrics.values("aws_lambda_errors_sum"), [3.0]);
}
