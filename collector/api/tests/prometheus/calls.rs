//! How calls are put and refused: parameters, paths, methods, error texts.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use serde_json::json;
use tenantscope_api::prometheus::QueryLimits;

use crate::bench::{Bench, FORM};

#[tokio::test]
async fn parameters_come_in_the_query_string_or_a_form() {
    let bench = Bench::new(QueryLimits::default());
    let got = bench.get("/api/v1/query?query=sum(orders_total)&time=AT").await;
    assert_eq!(got.data(), json!({"resultType": "vector", "result": [{"metric": {}, "value": [bench.at_s, "8080"]}]}));
    let posted = bench.post("/api/v1/query", FORM, "query=sum(orders_total)&time=AT").await;
    assert_eq!(posted.text, got.text);
    let with_charset = format!("{FORM}; charset=utf-8");
    let both = bench.post("/api/v1/query?query=1", &with_charset, "query=sum(orders_total)&time=AT").await;
    assert_eq!(both.text, got.text, "the form comes first");
    let other = bench.post("/api/v1/query", "text/plain", "query=1").await;
    assert!(other.text.contains("no expression found in input"), "{}", other.text);
    let large = bench.post("/api/v1/series", FORM, &format!("x={}", "y".repeat(5 << 20))).await;
    assert_eq!(large.status, StatusCode::BAD_REQUEST);
    assert_eq!(large.json()["error"], "error parsing form values: http: POST too large");
}

#[tokio::test]
async fn errors_are_prometheus_s() {
    let bench = Bench::new(QueryLimits::default());
    for (path, status, kind, error) in [
        (
            "query",
            400,
            "bad_data",
            r#"invalid parameter "query": unknown position: parse error: no expression found in input"#,
        ),
        (
            "query?query=up&time=x",
            400,
            "bad_data",
            r#"invalid parameter "time": invalid time value for 'time': cannot parse "x" to a valid timestamp"#,
        ),
        ("query?query=up&limit=-1", 400, "bad_data", r#"invalid parameter "limit": limit must be non-negative"#),
        (
            "query?query=up&timeout=x",
            400,
            "bad_data",
            r#"invalid parameter "timeout": cannot parse "x" to a valid duration"#,
        ),
        (
            "query?query=up&lookback_delta=x",
            400,
            "bad_data",
            r#"error parsing lookback delta duration: cannot parse "x" to a valid duration"#,
        ),
        ("query?query=orders_total&timeout=0", 503, "timeout", "query timed out in expression evaluation"),
        (
            "query_range?query=up&end=1",
            400,
            "bad_data",
            r#"invalid parameter "start": cannot parse "" to a valid timestamp"#,
        ),
        (
            "query_range?query=up&start=5&end=1&step=1",
            400,
            "bad_data",
            r#"invalid parameter "end": end timestamp must not be before start time"#,
        ),
        (
            "query_range?query=up&start=1&end=5&step=0",
            400,
            "bad_data",
            r#"invalid parameter "step": zero or negative query resolution step widths are not accepted. Try a positive integer"#,
        ),
        (
            "query_range?query=up&start=1&end=5&step=1e300",
            400,
            "bad_data",
            r#"invalid parameter "step": cannot parse "1e300" to a valid duration. It overflows int64"#,
        ),
        (
            "query_range?query=up&start=0&end=11001&step=1",
            400,
            "bad_data",
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ),
        (
            "query_range?query=up[5m]&start=0&end=1&step=1",
            400,
            "bad_data",
            r#"invalid parameter "query": invalid expression type "range vector" for range query, must be Scalar or instant Vector"#,
        ),
        ("query_exemplars?query=up&start=5&end=1", 400, "bad_data", "end timestamp must not be before start timestamp"),
        ("series", 400, "bad_data", "no match[] parameter provided"),
        ("series?%zz", 400, "bad_data", r#"error parsing form values: invalid URL escape "%zz""#),
        (
            "series?match[]=%7B%7D",
            400,
            "bad_data",
            r#"invalid parameter "match[]": match[] must contain at least one non-empty matcher"#,
        ),
        ("labels?match[]=%7B%7D", 400, "bad_data", "match[] must contain at least one non-empty matcher"),
        (
            "labels?start=x",
            400,
            "bad_data",
            r#"invalid parameter "start": invalid time value for 'start': cannot parse "x" to a valid timestamp"#,
        ),
        ("metadata?limit=x", 400, "bad_data", "limit must be a number"),
        ("metadata?limit_per_metric=x", 400, "bad_data", "limit_per_metric must be a number"),
        ("rules?type=x", 400, "bad_data", r#"invalid parameter "type": not supported value "x""#),
        ("status/tsdb?limit=0", 400, "bad_data", "limit must be a positive number"),
        ("status/tsdb?limit=10001", 400, "bad_data", "limit must not exceed 10000"),
    ] {
        let answer = bench.get(&format!("/api/v1/{path}")).await;
        let expected = json!({"status": "error", "errorType": kind, "error": error});
        assert_eq!((answer.status.as_u16(), answer.json()), (status, expected), "{path}");
        assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    }
    let steps = bench.get("/api/v1/query_range?query=vector(1)&start=0&end=11000&step=1").await;
    assert_eq!(steps.data()["result"][0]["values"].as_array().unwrap().len(), 11_001);
    let nothing = bench.get("/api/v1/query_exemplars?query=1").await;
    assert_eq!((nothing.status, nothing.text.as_str()), (StatusCode::NO_CONTENT, ""));
}

#[tokio::test]
async fn the_edge_is_prometheus_s() {
    let bench = Bench::new(QueryLimits::default());
    for path in ["/api/v1/unheard", "/api/v1/", "/api/v1/query/more", "/api/v1/alertmanagers"] {
        let answer = bench.get(path).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::NOT_FOUND, "404 page not found\n"), "{path}");
    }
    let wrong = bench.send(Request::delete("/api/v1/query").body(Body::empty()).unwrap()).await;
    assert_eq!((wrong.status, wrong.text.as_str()), (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n"));
    for path in ["/api/v1/query", "/api/v1/unheard"] {
        let request = Request::builder().method(Method::OPTIONS).uri(path).header(header::ORIGIN, "http://x");
        let preflight = bench.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(preflight.status, StatusCode::NO_CONTENT);
        assert_eq!(preflight.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(preflight.headers[header::ACCESS_CONTROL_ALLOW_METHODS], "GET, POST, OPTIONS");
    }
    let plain = bench.get("/api/v1/query?query=1").await;
    assert!(!plain.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
}
