//! `status/…`: build, time, settings and what there is in the store.

use std::collections::BTreeMap;

use axum::extract::State;
use serde::Serialize;
use tenantscope_model::{Cardinality, Count, SeriesRequest};
use tenantscope_rules::format_duration;

use super::PrometheusApi;
use super::answer::{ApiError, Success};
use super::form::{Form, whole_number};
use crate::Scoped;
use crate::clock::now_ms;
use crate::reader::Who;

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
    Success::new(BuildInfo {
        version: PROMETHEUS_VERSION,
        revision: "",
        branch: "",
        build_user: "",
        build_date: "",
        go_version: "",
        application: "tenantscope",
        application_version: env!("CARGO_PKG_VERSION"),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeInfo {
    start_time: String,
    #[serde(rename = "CWD")]
    folder: &'static str,
    hostname: &'static str,
    server_time: String,
    reload_config_success: bool,
    last_config_time: String,
    corruption_count: u64,
    goroutine_count: u64,
    #[serde(rename = "GOMAXPROCS")]
    cores: usize,
    #[serde(rename = "GOMEMLIMIT")]
    memory_limit: u64,
    #[serde(rename = "GOGC")]
    gogc: &'static str,
    #[serde(rename = "GODEBUG")]
    godebug: &'static str,
    storage_retention: String,
}

fn rfc3339(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map(|at| at.to_string()).unwrap_or_default()
}

pub(super) async fn runtime_info(_: Scoped, State(api): State<PrometheusApi>) -> Result<Success, ApiError> {
    let retention = api.retention().map(format_duration).unwrap_or_default();
    Success::new(RuntimeInfo {
        start_time: rfc3339(api.started_ms),
        // Where the program runs is no reader's business.
        folder: "",
        hostname: "",
        server_time: rfc3339(now_ms()),
        reload_config_success: api.config_is_in_force(),
        last_config_time: rfc3339(api.configured_ms()),
        corruption_count: 0,
        goroutine_count: 0,
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        memory_limit: 0,
        gogc: "",
        godebug: "",
        storage_retention: retention,
    })
}

/// Settings of ours that are flags of Prometheus's, under its names.
pub(super) async fn flags(_: Scoped, State(api): State<PrometheusApi>) -> Result<Success, ApiError> {
    let limits = api.limits();
    let flags = BTreeMap::from([
        ("query.lookback-delta", format_duration(limits.lookback)),
        ("query.max-concurrency", limits.max_concurrent.to_string()),
        ("query.max-samples", limits.max_samples.to_string()),
        ("query.timeout", format_duration(limits.timeout)),
        ("storage.tsdb.retention.time", api.retention().map(format_duration).unwrap_or_default()),
        ("web.enable-remote-write-receiver", true.to_string()),
    ]);
    Success::new(flags)
}

#[derive(Serialize)]
struct ConfigText {
    yaml: String,
}

/// What a reader may know of the configuration, in Prometheus's form: how often rules are evaluated and what is
/// expected of senders.
pub(super) async fn config(_: Scoped) -> Result<Success, ApiError> {
    let interval = format_duration(tenantscope_rules::GroupDefaults::default().interval);
    Success::new(ConfigText { yaml: format!("global:\n  scrape_interval: 1m\n  evaluation_interval: {interval}\n") })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tsdb {
    head_stats: HeadStats,
    series_count_by_metric_name: Vec<Named>,
    label_value_count_by_label_name: Vec<Named>,
    memory_in_bytes_by_label_name: Vec<Named>,
    series_count_by_label_value_pair: Vec<Named>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HeadStats {
    num_series: u64,
    num_label_pairs: u64,
    chunk_count: u64,
    min_time: i64,
    max_time: i64,
}

#[derive(Serialize)]
struct Named {
    name: String,
    value: u64,
}

fn named(counts: Vec<Count>) -> Vec<Named> {
    counts.into_iter().map(|count| Named { name: count.name.to_string(), value: count.count }).collect()
}

/// How far back series count as active here.
const ACTIVE_MS: i64 = 2 * 3_600_000;

/// The longest lists.
const MAX_LISTED: usize = 10_000;

fn listed(form: &Form) -> Result<usize, ApiError> {
    let Some(text) = form.get("limit") else { return Ok(10) };
    let wrong = |problem: String| Err(ApiError::BadData(problem));
    match whole_number(text).ok().and_then(|number| usize::try_from(number).ok()) {
        None | Some(0) => wrong("limit must be a positive number".to_owned()),
        Some(limit) if limit > MAX_LISTED => wrong(format!("limit must not exceed {MAX_LISTED}")),
        Some(limit) => Ok(limit),
    }
}

pub(super) async fn tsdb(Who(reader): Who, State(api): State<PrometheusApi>, form: Form) -> Result<Success, ApiError> {
    let limit = listed(&form)?;
    let (select, scope) = (api.select(), reader.scope.clone());
    api.run(&reader, move |run| {
        let to_ms = now_ms();
        let from_ms = to_ms - ACTIVE_MS;
        let request = SeriesRequest { matcher_sets: &[], from_ms, to_ms, limit, budget: &run.budget };
        let Cardinality { series, label_pairs, times_ms, by_metric, by_label, bytes_by_label, by_pair } =
            select.cardinality(&scope, &request)?;
        let (min_time, max_time) = times_ms.unwrap_or((from_ms, to_ms));
        Success::new(Tsdb {
            head_stats: HeadStats {
                num_series: series,
                num_label_pairs: label_pairs,
                chunk_count: 0,
                min_time,
                max_time,
            },
            series_count_by_metric_name: named(by_metric),
            label_value_count_by_label_name: named(by_label),
            memory_in_bytes_by_label_name: named(bytes_by_label),
            series_count_by_label_value_pair: named(by_pair),
        })
    })
    .await
}
