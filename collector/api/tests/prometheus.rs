//! Prometheus's API as its clients ask it, over a store that holds two tenants.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tenantscope_api::Gate;
use tenantscope_api::prometheus::{PrometheusApi, QueryLimits, routes};
use tenantscope_metrics::{MetricStore, Options};
use tenantscope_model::{
    Exemplar, Histogram, HistogramSample, Labels, Position, Sample, Sink, Span, Spans, StampedBatch, StampedSeries,
};
use tenantscope_promql::Evaluator;
use tenantscope_tenancy::{Exposure, QueryQuota, Quota, Quotas, Readers};
use tower::ServiceExt;

/// A minute ago, in whole seconds.
fn now_s() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs() as i64 - 60
}

struct Bench {
    _dir: TempDir,
    routes: Router,
    at_s: i64,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn data(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.json()["data"].clone()
    }
}

fn series(pairs: &[(&str, &str)], samples: Vec<Sample>) -> StampedSeries {
    StampedSeries {
        labels: Labels::from_pairs(pairs.iter().copied()),
        samples,
        histograms: Vec::new(),
        exemplars: Vec::new(),
        starts: Default::default(),
        cadence: None,
    }
}

/// Ten minutes of two counters of two tenants, a name that needs quotes, and a native histogram.
fn filled(at_s: i64) -> Vec<StampedSeries> {
    let times = || (0..=40).map(move |step| (at_s - 600 + step * 15) * 1000);
    let counter =
        |factor: f64| times().enumerate().map(move |(step, t_ms)| Sample { t_ms, value: step as f64 * factor });
    let mut all = Vec::new();
    for (tenant, factor) in [("acme", 1.0), ("globex", 100.0)] {
        for shop in ["a", "b"] {
            let labels = [("__name__", "orders_total"), ("shop", shop), ("tenant", tenant)];
            all.push(series(&labels, counter(factor).collect()));
        }
    }
    let exemplar = |t_ms| Exemplar { t_ms, value: 0.25, labels: Labels::from_pairs([("trace_id", "abc")]) };
    let quoted = [("__name__", "http.requests"), ("status.code", "200"), ("tenant", "acme")];
    all.push(StampedSeries { exemplars: vec![exemplar(at_s * 1000)], ..series(&quoted, counter(1.0).collect()) });
    let positive = Spans { spans: vec![Span { offset: 0, length: 2 }], counts: vec![1.0, 2.0] };
    let histogram = Arc::new(Histogram { count: 3.0, sum: 4.0, positive, ..Histogram::default() });
    let histograms = times().map(|t_ms| HistogramSample { t_ms, histogram: Arc::clone(&histogram) }).collect();
    all.push(StampedSeries { histograms, ..series(&[("__name__", "latency"), ("tenant", "acme")], Vec::new()) });
    all
}

impl Bench {
    fn new(limits: QueryLimits) -> Self {
        let at_s = now_s();
        Self::with(limits, at_s, filled(at_s))
    }

    fn with(limits: QueryLimits, at_s: i64, series: Vec<StampedSeries>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = MetricStore::open(dir.path(), Options::default()).unwrap();
        let batch = StampedBatch::Metrics { series, metadata: Vec::new() };
        store.apply(store.prepare(batch).unwrap(), Position(1));
        let evaluator = Evaluator::new(limits.engine(), store as _);
        let gate = Gate::new(Readers::try_new(&[], dir.path(), Exposure::Loopback).unwrap());
        Self { _dir: dir, routes: gate.around(routes(PrometheusApi::new(evaluator, limits))), at_s }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, headers, text: String::from_utf8(body.to_vec()).unwrap() }
    }

    /// `AT` in the path is the time of the last samples.
    async fn get(&self, path: &str) -> Answer {
        self.get_as(path, &[]).await
    }

    async fn get_as(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let path = path.replace("AT", &self.at_s.to_string());
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, content_type: &str, body: &str) -> Answer {
        let request = Request::post(path).header(header::CONTENT_TYPE, content_type);
        self.send(request.body(Body::from(body.replace("AT", &self.at_s.to_string()))).unwrap()).await
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

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
async fn warnings_limits_and_statistics_are_told() {
    let bench = Bench::new(QueryLimits::default());
    let cut = bench.get("/api/v1/query?query=orders_total&time=AT&limit=3").await.json();
    assert_eq!(
        (cut["data"]["result"].as_array().unwrap().len(), &cut["warnings"]),
        (3, &json!(["results truncated due to limit"]))
    );
    let odd = bench.get("/api/v1/query?query=orders_total&time=AT&stats=1").await.json();
    assert!(odd["warnings"][0].as_str().unwrap().contains("deprecated"), "{odd}");
    assert!(odd["data"]["stats"]["samples"].get("totalQueryableSamplesPerStep").is_none());
    let silent = bench.get("/api/v1/query?query=orders_total&time=AT").await.json();
    assert!(silent["data"].get("stats").is_none());
    let stats =
        bench.get("/api/v1/query_range?query=orders_total&start=AT&end=AT&step=1&stats=all").await.data()["stats"]
            .clone();
    let timings =
        ["evalTotalTime", "resultSortTime", "queryPreparationTime", "innerEvalTime", "execQueueTime", "execTotalTime"];
    assert!(timings.iter().all(|name| stats["timings"][name].is_number()), "{stats}");
    assert!(stats["samples"]["peakSamples"].is_number() && stats["samples"]["totalQueryableSamples"].is_number());
    assert_eq!(stats["samples"]["totalQueryableSamplesPerStep"], json!([[bench.at_s, 4]]));
}

#[tokio::test]
async fn samples_are_counted_as_prometheus_counts_them() {
    let bench = &Bench::new(QueryLimits::default());
    let by_step = |samples: &Value, of: &str| -> Vec<u64> {
        let pairs = samples[format!("{of}PerStep")].as_array().unwrap();
        let counts: Vec<u64> = pairs.iter().map(|pair| pair[1].as_u64().unwrap()).collect();
        assert_eq!(samples[of].as_u64(), Some(counts.iter().sum()), "{samples}");
        counts
    };
    let counted = |path: String| async move {
        let samples = bench.get(&format!("/api/v1/{path}&stats=all")).await.data()["stats"]["samples"].clone();
        (by_step(&samples, "totalQueryableSamples"), by_step(&samples, "samplesRead"))
    };
    // Four series with a sample every 15 seconds.
    for (query, step, looked_at, read) in [
        ("sum(rate(orders_total[1m]))", 15, [16, 16, 16], [16, 4, 4]),
        ("sum(rate(orders_total[15s]))", 30, [4, 4, 4], [4, 4, 4]),
        ("orders_total*2", 15, [4, 4, 4], [4, 4, 4]),
        ("orders_total@0", 15, [0, 0, 0], [0, 0, 0]),
        ("sum(orders_total@end())", 15, [4, 4, 4], [4, 0, 0]),
        ("sum(max_over_time(orders_total[1m]@end()))", 15, [16, 16, 16], [16, 0, 0]),
        ("max_over_time(orders_total[1m:15s])", 15, [16, 16, 16], [16, 4, 4]),
        ("max_over_time(orders_total[15s:15s]%20offset%201m)", 30, [4, 4, 4], [4, 4, 4]),
        ("sum(max_over_time(rate(orders_total[1m])[1m:15s]))", 15, [16, 16, 16], [28, 4, 4]),
        ("max_over_time(sum(orders_total)[1m:15s])", 15, [4, 4, 4], [16, 4, 4]),
    ] {
        let start_s = bench.at_s - 2 * step;
        let range = format!("query_range?query={query}&start={start_s}&end=AT&step={step}");
        assert_eq!(counted(range).await, (looked_at.to_vec(), read.to_vec()), "{query}");
    }
    for (query, looked_at, read) in [
        ("orders_total[1m]", 16, 16),
        ("orders_total[1m:15s]", 16, 16),
        ("rate(orders_total[1m])[1m:15s]", 64, 28),
        ("last_over_time(orders_total[15s:15s])", 4, 4),
        ("max_over_time(max_over_time(orders_total[1m:15s])[1m:15s])", 16, 28),
    ] {
        assert_eq!(counted(format!("query?query={query}&time=AT")).await, (vec![looked_at], vec![read]), "{query}");
    }
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
