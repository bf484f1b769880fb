//! The API over a store that holds two tenants.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;
use tenantscope_api::Gate;
use tenantscope_api::prometheus::{PrometheusApi, QueryLimits, routes};
use tenantscope_metrics::{MetricStore, Options};
use tenantscope_model::{
    Exemplar, Histogram, HistogramSample, Labels, Position, Sample, Sink, Span, Spans, StampedBatch, StampedSeries,
};
use tenantscope_promql::Evaluator;
use tenantscope_tenancy::{Exposure, Readers};
use tower::ServiceExt;

/// A minute ago, in whole seconds.
pub(crate) fn now_s() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs() as i64 - 60
}

pub(crate) struct Bench {
    _dir: TempDir,
    pub(crate) routes: Router,
    pub(crate) at_s: i64,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn data(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.json()["data"].clone()
    }
}

pub(crate) fn series(pairs: &[(&str, &str)], samples: Vec<Sample>) -> StampedSeries {
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
pub(crate) fn filled(at_s: i64) -> Vec<StampedSeries> {
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
    pub(crate) fn new(limits: QueryLimits) -> Self {
        let at_s = now_s();
        Self::with(limits, at_s, filled(at_s))
    }

    pub(crate) fn with(limits: QueryLimits, at_s: i64, series: Vec<StampedSeries>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = MetricStore::open(dir.path(), Options::default()).unwrap();
        let batch = StampedBatch::Metrics { series, metadata: Vec::new() };
        store.apply(store.prepare(batch).unwrap(), Position(1));
        let evaluator = Evaluator::new(limits.engine(), store as _);
        let gate = Gate::new(Readers::try_new(&[], dir.path(), Exposure::Loopback).unwrap());
        Self { _dir: dir, routes: gate.around(routes(PrometheusApi::new(evaluator, limits))), at_s }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, headers, text: String::from_utf8(body.to_vec()).unwrap() }
    }

    /// `AT` in the path is the time of the last samples.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.get_as(path, &[]).await
    }

    pub(crate) async fn get_as(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let path = path.replace("AT", &self.at_s.to_string());
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, content_type: &str, body: &str) -> Answer {
        let request = Request::post(path).header(header::CONTENT_TYPE, content_type);
        self.send(request.body(Body::from(body.replace("AT", &self.at_s.to_string()))).unwrap()).await
    }
}

pub(crate) const FORM: &str = "application/x-www-form-urlencoded";
