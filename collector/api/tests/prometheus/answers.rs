//! What calls answer: series, federation, the state of the store, texts of expressions.

use axum::http::{StatusCode, header};
use serde_json::json;
use tenantscope_api::prometheus::QueryLimits;
use tenantscope_model::Sample;

use crate::bench::{Bench, FORM, filled, now_s, series};

#[tokio::test]
async fn every_call_about_series_takes_selectors_times_and_a_limit() {
    let bench = Bench::new(QueryLimits::default());
    let only_acme = "match[]=%7Btenant=%22acme%22%7D";
    let names = bench.get(&format!("/api/v1/labels?{only_acme}&match[]=orders_total")).await.data();
    assert_eq!(names, json!(["__name__", "shop", "status.code", "tenant"]));
    let names = bench.get("/api/v1/labels?match[]=orders_total").await.data();
    assert_eq!(names, json!(["__name__", "shop", "tenant"]));
    let values = |path: &'static str| async { bench.get(path).await.data() };
    assert_eq!(values("/api/v1/label/__name__/values?match[]=%7Bshop=%22a%22%7D").await, json!(["orders_total"]));
    assert_eq!(values("/api/v1/label/U__status_2e_code/values").await, json!(["200"]));
    assert_eq!(values("/api/v1/label/status.code/values").await, json!(["200"]));
    assert_eq!(values("/api/v1/label/shop/values?end=1000").await, json!([]));
    assert_eq!(values("/api/v1/label/shop/values?start=5&end=1").await, json!([]));
    assert_eq!(values("/api/v1/label/nothing/values").await, json!([]));
    let cut = bench.get("/api/v1/series?match[]=orders_total&limit=3").await.json();
    assert_eq!(
        (cut["data"].as_array().unwrap().len(), &cut["warnings"]),
        (3, &json!(["results truncated due to limit"]))
    );
    let whole = bench.post("/api/v1/series", FORM, "match[]=orders_total&limit=4").await.json();
    assert_eq!((whole["data"].as_array().unwrap().len(), whole.get("warnings")), (4, None));
    let scoped = bench.get_as("/api/v1/label/tenant/values", &[("x-scope-orgid", "globex")]).await.data();
    assert_eq!(scoped, json!(["globex"]));
    let exemplars = bench.get("/api/v1/query_exemplars?query=%7B%22http.requests%22%7D").await.data();
    assert_eq!(exemplars[0]["seriesLabels"]["status.code"], "200");
    let exemplar = json!({"labels": {"trace_id": "abc"}, "value": "0.25", "timestamp": bench.at_s});
    assert_eq!(exemplars[0]["exemplars"], json!([exemplar]));
}

#[tokio::test]
async fn times_past_all_times_have_no_samples() {
    let bench = Bench::new(QueryLimits::default());
    for time in ["1e20", "-1e20", "9223372036854775807"] {
        let answer = bench.get(&format!("/api/v1/query?query=orders_total&time={time}")).await;
        assert_eq!(answer.data(), json!({"resultType": "vector", "result": []}), "{time}");
    }
}

#[tokio::test]
async fn federation_gives_the_newest_samples() {
    let bench = Bench::new(QueryLimits::default());
    let all = "/federate?match[]=%7B__name__=~%22.%2B%22%7D";
    let text = bench.get_as(all, &[("x-scope-orgid", "acme")]).await;
    let expected = format!(
        "# TYPE http_requests untyped\nhttp_requests{{status_code=\"200\",tenant=\"acme\",instance=\"\"}} 40 {at}\n\
         # TYPE orders_total untyped\norders_total{{shop=\"a\",tenant=\"acme\",instance=\"\"}} 40 {at}\n\
         orders_total{{shop=\"b\",tenant=\"acme\",instance=\"\"}} 40 {at}\n",
        at = bench.at_s * 1000
    );
    assert_eq!(text.text, expected);
    let content_type = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
    assert_eq!(text.headers[header::CONTENT_TYPE], content_type);
    for (path, status, text) in [
        ("/federate", 200, ""),
        ("/federate?match[]=%7B%7D", 200, ""),
        ("/federate?match[]=nothing", 200, ""),
        ("/federate?%zz", 400, "error parsing form values: invalid URL escape \"%zz\"\n"),
    ] {
        let answer = bench.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (status, text), "{path}");
    }
    let wrong = bench.get("/federate?match[]=(").await;
    assert!(wrong.status == StatusCode::BAD_REQUEST && wrong.text.contains("parse error"), "{}", wrong.text);
}

#[tokio::test]
async fn the_store_is_counted_whole() {
    let at_s = now_s();
    let many = (0..1000).map(|n: u32| {
        let (name, host) = (format!("metric_{}", n % 500), format!("host-{n}"));
        series(
            &[("__name__", &name), ("host", &host), ("tenant", "acme")],
            vec![Sample { t_ms: at_s * 1000, value: 1.0 }],
        )
    });
    let bench = Bench::with(QueryLimits::default(), at_s, many.chain(filled(at_s)).collect());
    let data = bench.get("/api/v1/status/tsdb?limit=2").await.data();
    assert_eq!((&data["headStats"]["numSeries"], &data["headStats"]["numLabelPairs"]), (&json!(1006), &json!(1508)));
    let first = |list: &str| data[list].as_array().unwrap()[0].clone();
    assert_eq!(data["seriesCountByMetricName"].as_array().unwrap().len(), 2);
    assert_eq!(first("seriesCountByMetricName"), json!({"name": "orders_total", "value": 4}));
    assert_eq!(first("labelValueCountByLabelName"), json!({"name": "host", "value": 1000}));
    assert_eq!(first("seriesCountByLabelValuePair"), json!({"name": "tenant=acme", "value": 1004}));
    let globex = bench.get_as("/api/v1/status/tsdb", &[("x-scope-orgid", "globex")]).await.data();
    assert_eq!(globex["headStats"]["numSeries"], json!(2), "a tenant counts its own");
    assert_eq!(
        globex["labelValueCountByLabelName"],
        json!([
        {"name": "shop", "value": 2}, {"name": "__name__", "value": 1}, {"name": "tenant", "value": 1}])
    );
}

#[tokio::test]
async fn expressions_are_formatted_and_taken_apart() {
    let bench = Bench::new(QueryLimits::default());
    let formatted = bench.get("/api/v1/format_query?query=sum(foo%7Ba=%27b%27%7D)by(a)").await.data();
    assert_eq!(formatted, json!("sum by (a) (foo{a=\"b\"})"));
    let tree = bench.post("/api/v1/parse_query", FORM, "query=foo/bar").await.data();
    assert_eq!((&tree["type"], &tree["op"], &tree["lhs"]["name"]), (&json!("binaryExpr"), &json!("/"), &json!("foo")));
    for path in ["format_query", "parse_query"] {
        let wrong = bench.get(&format!("/api/v1/{path}?query=(")).await;
        let error = r#"invalid parameter "query": 1:2: parse error: unclosed left parenthesis"#;
        assert_eq!((wrong.status, &wrong.json()["error"]), (StatusCode::BAD_REQUEST, &json!(error)));
    }
}
