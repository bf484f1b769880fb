//! What a query may use, and what it is told past that.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tenantscope_api::prometheus::QueryLimits;
use tenantscope_model::{Sample, StampedSeries};
use tenantscope_tenancy::{QueryQuota, Quota, Quotas};
use tower::ServiceExt;

use crate::bench::{Bench, now_s, series};

#[tokio::test]
async fn a_query_past_a_limit_is_told_which() {
    let ms = Duration::from_millis;
    let tight = QueryLimits {
        max_samples: 50,
        max_steps: 10,
        max_range: Some(ms(3_600_000)),
        quotas: Quotas {
            default: Quota { query: QueryQuota { max_steps: Some(5), ..QueryQuota::default() }, ..Quota::default() },
            ..Quotas::default()
        },
        ..QueryLimits::default()
    };
    let bench = Bench::new(tight);
    for (path, status, kind, key) in [
        ("query?query=orders_total[10m]&time=AT", 422, "execution", "query.max_samples"),
        ("query_range?query=up&start=0&end=11&step=1", 400, "bad_data", "maximum resolution of 10 points"),
        ("query_range?query=up&start=0&end=11&step=1", 400, "bad_data", "query.max_steps"),
        ("query?query=rate(up[2h])", 400, "bad_data", "query.max_range"),
        ("query?query=up[2h]%20offset%201h", 400, "bad_data", "query.max_range"),
        ("query?query=up[(2h)]", 400, "bad_data", "query.max_range"),
        ("query?query=up[1h%2B1s]", 400, "bad_data", "query.max_range"),
        ("query?query=max_over_time(up[2h:1h])", 400, "bad_data", "query.max_range"),
        ("query?query=max_over_time(rate(up[31m])[30m:1m])", 400, "bad_data", "query.max_range"),
        ("query_range?query=rate(up[range()])&start=0&end=1801&step=600", 400, "bad_data", "query.max_range"),
        ("query_range?query=up&start=0&end=7200&step=3600", 400, "bad_data", "query.max_range"),
    ] {
        let answer = bench.get(&format!("/api/v1/{path}")).await;
        let error = answer.json();
        assert_eq!((answer.status.as_u16(), &error["errorType"]), (status, &json!(kind)), "{path}: {error}");
        assert!(error["error"].as_str().unwrap().contains(key), "{path}: {error}");
    }
    for within in
        ["up[1h]", "up[(30m*2)]", "max_over_time(rate(up[30m])[30m:1m])", "up[59m]%20offset%201y", "up[1h]%20@%200"]
    {
        let answer = bench.get(&format!("/api/v1/query?query={}", within.replace('*', "%2A"))).await;
        assert_eq!(answer.status, StatusCode::OK, "{within}: {}", answer.text);
    }
    let of_tenant = [("x-scope-orgid", "acme")];
    let answer = bench.get_as("/api/v1/query_range?query=up&start=0&end=6&step=1", &of_tenant).await;
    assert!(answer.text.contains("maximum resolution of 5 points"), "a tenant has its own: {}", answer.text);
}

#[tokio::test]
async fn what_only_reads_a_text_has_limits_too() {
    let bench = Bench::new(QueryLimits { timeout: Duration::ZERO, ..QueryLimits::default() });
    for path in ["/api/v1/parse_query?query=up", "/api/v1/format_query?query=up"] {
        let late = bench.get(path).await;
        assert_eq!((late.status.as_u16(), &late.json()["errorType"]), (503, &json!("timeout")), "{path}");
        assert!(late.text.contains("query.timeout"), "{}", late.text);
    }
}

#[tokio::test]
async fn memory_is_bounded_and_free_again() {
    let bench = Bench::new(QueryLimits { max_bytes: 1000, ..QueryLimits::default() });
    let large = bench.get("/api/v1/query_range?query=vector(1)&start=0&end=1000&step=1").await;
    assert_eq!((large.status.as_u16(), &large.json()["errorType"]), (422, &json!("execution")));
    assert!(large.text.contains("query.max_bytes"), "{}", large.text);
    let bench = Bench::new(QueryLimits { memory_max_bytes: 20_000, ..QueryLimits::default() });
    for _ in 0..10 {
        let answer = bench.get("/api/v1/query_range?query=vector(1)&start=0&end=1000&step=1").await;
        assert_eq!(answer.status, StatusCode::OK, "what earlier answers held is free");
    }
    let large = bench.get("/api/v1/query_range?query=vector(1)&start=0&end=5000&step=1").await;
    assert_eq!((large.status.as_u16(), &large.json()["errorType"]), (503, &json!("unavailable")));
    assert!(large.text.contains("query.memory_max_bytes") && large.headers.contains_key(header::RETRY_AFTER));
    let on_the_way = "sum(max_over_time(vector(time()%5Etime())%5B1h:1s%5D))";
    for _ in 0..10 {
        let refused = bench.get(&format!("/api/v1/query?query={on_the_way}")).await;
        assert!(refused.text.contains("query.memory_max_bytes"), "what is held on the way counts: {}", refused.text);
        assert_eq!(bench.get("/api/v1/query?query=sum(vector(1))").await.status, StatusCode::OK, "and is free again");
    }
}

/// So many series of one metric, each with a sample a minute ago.
fn many(count: usize) -> (i64, Vec<StampedSeries>) {
    let at_s = now_s();
    let one = |host: usize| {
        let labels = [("__name__", "many"), ("host", &*format!("host-{host:06}")), ("tenant", "acme")];
        series(&labels, vec![Sample { t_ms: at_s * 1000, value: 1.0 }])
    };
    (at_s, (0..count).map(one).collect())
}

#[tokio::test]
async fn lists_of_series_hold_memory_until_they_are_read() {
    let (at_s, series) = many(5_000);
    let bench = Bench::with(QueryLimits { memory_max_bytes: 1 << 20, ..QueryLimits::default() }, at_s, series);
    let request = || Request::get("/api/v1/series?match[]=many").body(Body::empty()).unwrap();
    let unread = bench.routes.clone().oneshot(request()).await.unwrap();
    let second = bench.send(request()).await;
    assert_eq!((second.status.as_u16(), &second.json()["errorType"]), (503, &json!("unavailable")));
    assert!(second.text.contains("query.memory_max_bytes"), "{}", second.text);
    let read = unread.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(serde_json::from_slice::<Value>(&read).unwrap()["data"].as_array().unwrap().len(), 5_000);
    assert_eq!(bench.send(request()).await.data().as_array().unwrap().len(), 5_000, "what was read is free");

    let (at_s, series) = many(5_000);
    let bench = Bench::with(QueryLimits { max_bytes: 100_000, ..QueryLimits::default() }, at_s, series);
    for path in ["series?match[]=many", "label/host/values"] {
        let large = bench.get(&format!("/api/v1/{path}")).await;
        assert_eq!((large.status.as_u16(), &large.json()["errorType"]), (422, &json!("execution")), "{path}");
        assert!(large.text.contains("query.max_bytes"), "{}", large.text);
    }
}

#[tokio::test]
async fn labels_of_federated_series_are_memory_of_the_query() {
    for (max_bytes, status) in [(1_000_000, 422), (20_000_000, 200)] {
        let (at_s, series) = many(5_000);
        let bench = Bench::with(QueryLimits { max_bytes, ..QueryLimits::default() }, at_s, series);
        let answer = bench.get("/federate?match[]=many").await;
        assert_eq!(answer.status.as_u16(), status, "{max_bytes}");
        assert_eq!(answer.text.contains("query.max_bytes"), status == 422);
    }
}

#[tokio::test]
async fn a_list_with_a_limit_costs_what_the_limit_allows() {
    let (at_s, series) = many(2_000);
    let bench =
        Bench::with(QueryLimits { max_samples: 100, max_bytes: 10_000, ..QueryLimits::default() }, at_s, series);
    let cut = bench.get("/api/v1/series?match[]=many&limit=2").await;
    assert_eq!((cut.data().as_array().unwrap().len(), cut.json()["warnings"].is_array()), (2, true));
    let values = bench.get("/api/v1/label/host/values?limit=2").await;
    assert_eq!(values.data(), json!(["host-000000", "host-000001"]));
    let whole = bench.get("/api/v1/series?match[]=many").await;
    assert_eq!(whole.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(whole.text.contains("query.max_samples"), "{}", whole.text);
}
