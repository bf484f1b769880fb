//! `status/buildinfo` and `status/tsdb`.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use tenantscope_model::{METRIC_NAME, Matcher, QueryBudget, Scope, SeriesRequest};

use super::PrometheusApi;
use super::answer::{ApiError, Success};
use super::form::Form;
use crate::Scoped;
use crate::clock::now_ms;

/// The Prometheus version whose API this is; Grafana chooses by it what it may ask for.
const PROMETHEUS_VERSION: &str = "3.5.0";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BuildInfo {
    version: &'static str,
    revision: &'static str,
    branch: &'static str,
    build_user: &'static str,
    build_date: &'static str,
    go_version: &'static str,
    application: &'static str,
    application_version: &'static str,
}

pub(super) async fn build_info(_: Scoped) -> Result<Success, ApiError> {
    let info = BuildInfo {
        version: PROMETHEUS_VERSION,
        revision: "",
        branch: "",
        build_user: "",
        build_date: "",
        go_version: "",
        application: "tenantscope",
        application_version: env!("CARGO_PKG_VERSION"),
    };
    Success::new(info, &[])
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tsdb {
    head_stats: HeadStats,
    series_count_by_metric_name: Vec<Count>,
    label_value_count_by_label_name: Vec<Count>,
    memory_in_bytes_by_label_name: Vec<Count>,
    series_count_by_label_value_pair: Vec<Count>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HeadStats {
    num_series: usize,
    num_label_pairs: usize,
    chunk_count: u64,
    min_time: i64,
    max_time: i64,
}

#[derive(Serialize)]
struct Count {
    name: Arc<str>,
    value: usize,
}

/// How far back series count as active here.
const ACTIVE_MS: i64 = 2 * 3_600_000;

/// How many labels' values are counted.
const MAX_LABELS: usize = 200;

pub(super) async fn tsdb(
    Scoped(scope): Scoped,
    State(api): State<PrometheusApi>,
    form: Form,
) -> Result<Success, ApiError> {
    let limit = match form.limit()? {
        0 => 10,
        limit => limit.min(1000),
    };
    let (pool, limits) = (api.pool.clone(), Arc::clone(&api.limits));
    pool.run(limits.timeout, limits.max_samples, move |budget| count(&api, &scope, limit, budget)).await
}

fn count(api: &PrometheusApi, scope: &Scope, limit: usize, budget: &QueryBudget) -> Result<Success, ApiError> {
    let select = api.select();
    let to_ms = now_ms();
    let from_ms = to_ms - ACTIVE_MS;
    let all = SeriesRequest { matcher_sets: &[], from_ms, to_ms, limit: usize::MAX, budget };
    let mut values = Vec::new();
    for name in select.label_names(scope, &all)?.into_iter().take(MAX_LABELS) {
        let value = select.label_values(scope, &name, &all)?.len();
        values.push(Count { name, value });
    }
    let mut by_name = Vec::new();
    for name in select.label_values(scope, METRIC_NAME, &all)?.into_iter().take(limit.saturating_mul(20)) {
        let sets = [vec![Matcher::equal(METRIC_NAME, &name)]];
        let value = select.series(scope, &SeriesRequest { matcher_sets: &sets, ..all })?.len();
        by_name.push(Count { name, value });
    }
    let num_label_pairs = values.iter().map(|count| count.value).sum();
    let num_series = by_name.iter().map(|count| count.value).sum();
    let tsdb = Tsdb {
        head_stats: HeadStats { num_series, num_label_pairs, chunk_count: 0, min_time: from_ms, max_time: to_ms },
        series_count_by_metric_name: largest(by_name, limit),
        label_value_count_by_label_name: largest(values, limit),
        memory_in_bytes_by_label_name: Vec::new(),
        series_count_by_label_value_pair: Vec::new(),
    };
    Success::new(tsdb, &[])
}

fn largest(mut counts: Vec<Count>, limit: usize) -> Vec<Count> {
    counts.sort_by(|a, b| b.value.cmp(&a.value).then_with(|| a.name.cmp(&b.name)));
    counts.truncate(limit);
    counts
}
