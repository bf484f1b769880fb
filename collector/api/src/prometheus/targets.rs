//! `targets`: whoever sends metrics, as if each were scraped.

use std::collections::BTreeMap;

use axum::extract::State;
use serde::Serialize;
use tenantscope_model::{Seen, Signal};

use super::PrometheusApi;
use super::answer::{ApiError, Success};
use super::form::Form;
use crate::Scoped;
use crate::clock::now_ms;

/// After so long without a batch a sender counts as down.
const SILENT_AFTER_MS: i64 = 15 * 60 * 1000;

const POOL: &str = "tenantscope-agents";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Targets {
    active_targets: Vec<Target>,
    dropped_targets: [(); 0],
    dropped_target_counts: Option<BTreeMap<&'static str, usize>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    discovered_labels: BTreeMap<&'static str, String>,
    labels: BTreeMap<&'static str, String>,
    scrape_pool: &'static str,
    scrape_url: String,
    global_url: String,
    last_error: String,
    last_scrape: String,
    last_scrape_duration: f64,
    health: &'static str,
    scrape_interval: String,
    scrape_timeout: String,
}

fn target(seen: &Seen, now_ms: i64) -> Target {
    let account = seen.account.as_ref().map(ToString::to_string).unwrap_or_default();
    let silent = now_ms - seen.last_ms > SILENT_AFTER_MS;
    let last = jiff::Timestamp::from_millisecond(seen.last_ms).map(|at| at.to_string()).unwrap_or_default();
    let mut labels = BTreeMap::from([("job", POOL.to_owned()), ("tenant", seen.tenant.to_string())]);
    if !account.is_empty() {
        labels.insert("account_id", account);
    }
    Target {
        discovered_labels: BTreeMap::new(),
        labels,
        scrape_pool: POOL,
        scrape_url: String::new(),
        global_url: String::new(),
        last_error: if silent { "no metrics for 15 minutes".to_owned() } else { String::new() },
        last_scrape: last,
        last_scrape_duration: 0.0,
        health: if silent { "down" } else { "up" },
        scrape_interval: String::new(),
        scrape_timeout: String::new(),
    }
}

pub(super) async fn targets(
    Scoped(scope): Scoped,
    State(api): State<PrometheusApi>,
    form: Form,
) -> Result<Success, ApiError> {
    let now = now_ms();
    let state = form.text("state").to_ascii_lowercase();
    let is = |wanted: &str| state.is_empty() || state == "any" || state == wanted;
    let wants_active = is("active") && form.get("scrapePool").is_none_or(|pool| pool == POOL);
    let seen = api.reporting.as_ref().map(|reporting| reporting.seen(&scope)).unwrap_or_default();
    let metrics = seen.iter().filter(|seen| wants_active && seen.signal == Signal::Metrics);
    let active_targets = metrics.map(|seen| target(seen, now)).collect();
    let dropped_target_counts = is("dropped").then(|| BTreeMap::from([(POOL, 0)]));
    Success::new(Targets { active_targets, dropped_targets: [], dropped_target_counts })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pools {
    scrape_pools: [&'static str; 1],
}

pub(super) async fn pools(_: Scoped) -> Result<Success, ApiError> {
    Success::new(Pools { scrape_pools: [POOL] })
}
