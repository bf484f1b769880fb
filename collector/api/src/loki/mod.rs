//! Loki's HTTP API over the lake: what Grafana's Loki data source and `logcli` ask for.

mod answer;
pub(crate) mod failure;
pub(crate) mod params;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Form, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use tenantscope_lake::{Direction, LabelRequest, Lake, LogRequest, TimeRange};

use self::failure::Failure;
use self::params::Params;
use crate::Scoped;

/// Loki's defaults.
const DEFAULT_LIMIT: usize = 100;
const DEFAULT_RANGE_NS: i64 = 3_600_000_000_000;
/// A range query without a step gets about so many points, as Loki does.
const DEFAULT_POINTS: u64 = 250;
const SECOND_NS: u64 = 1_000_000_000;

type Pairs = Form<Vec<(String, String)>>;
type Answer = Result<Response, Failure>;

/// Loki's routes, under `/loki/api/v1`.
pub fn routes(lake: Arc<Lake>) -> Router {
    Router::new()
        .route("/loki/api/v1/query_range", get(query_range).post(query_range))
        .route("/loki/api/v1/query", get(query).post(query))
        .route("/loki/api/v1/labels", get(labels).post(labels))
        .route("/loki/api/v1/label", get(labels).post(labels))
        .route("/loki/api/v1/label/{name}/values", get(label_values))
        .route("/loki/api/v1/series", get(series).post(series))
        .route("/loki/api/v1/index/stats", get(stats).post(stats))
        .route("/loki/api/v1/index/volume", get(volume).post(volume))
        .with_state(lake)
}

async fn query_range(
    Scoped(scope): Scoped,
    State(lake): State<Arc<Lake>>,
    headers: HeaderMap,
    Form(pairs): Pairs,
) -> Answer {
    let params = Params::new(pairs);
    let range = range(&params)?;
    let automatic = || Duration::from_secs((range.end_ns.abs_diff(range.start_ns) / SECOND_NS / DEFAULT_POINTS).max(1));
    let step = params.duration("step")?.filter(|step| !step.is_zero()).unwrap_or_else(automatic);
    let request = LogRequest {
        query: params.needed("query")?,
        range,
        step: Some(step),
        limit: params.count("limit")?.unwrap_or(DEFAULT_LIMIT),
        direction: direction(&params)?,
    };
    let found = lake.log_query(&scope, &request).await?;
    Ok(answer::query(found, answer::categorizes(&headers)))
}

async fn query(Scoped(scope): Scoped, State(lake): State<Arc<Lake>>, headers: HeaderMap, Form(pairs): Pairs) -> Answer {
    let params = Params::new(pairs);
    let at_ns = params.time_ns("time")?.unwrap_or_else(params::now_ns);
    let request = LogRequest {
        query: params.needed("query")?,
        range: TimeRange { start_ns: at_ns, end_ns: at_ns },
        step: None,
        limit: params.count("limit")?.unwrap_or(DEFAULT_LIMIT),
        direction: direction(&params)?,
    };
    let found = lake.log_query(&scope, &request).await?;
    Ok(answer::query(found, answer::categorizes(&headers)))
}

async fn labels(Scoped(scope): Scoped, State(lake): State<Arc<Lake>>, Form(pairs): Pairs) -> Answer {
    let params = Params::new(pairs);
    let request = LabelRequest { selector: params.get("query"), range: label_range(&params)? };
    Ok(answer::values(&lake.log_label_names(&scope, &request).await?))
}

async fn label_values(
    Scoped(scope): Scoped,
    State(lake): State<Arc<Lake>>,
    Path(name): Path<String>,
    Form(pairs): Pairs,
) -> Answer {
    let params = Params::new(pairs);
    let request = LabelRequest { selector: params.get("query"), range: label_range(&params)? };
    Ok(answer::values(&lake.log_label_values(&scope, &name, &request).await?))
}

async fn series(Scoped(scope): Scoped, State(lake): State<Arc<Lake>>, Form(pairs): Pairs) -> Answer {
    let params = Params::new(pairs);
    let mut selectors = params.all("match[]");
    selectors.extend(params.all("match"));
    if selectors.is_empty() {
        selectors.push("{}");
    }
    Ok(answer::values(&lake.log_series(&scope, &selectors, label_range(&params)?).await?))
}

async fn stats(Scoped(scope): Scoped, State(lake): State<Arc<Lake>>, Form(pairs): Pairs) -> Answer {
    let params = Params::new(pairs);
    let request = LabelRequest { selector: Some(params.needed("query")?), range: range(&params)? };
    Ok(answer::stats(&lake.log_volume(&scope, &request).await?))
}

async fn volume(Scoped(scope): Scoped, State(lake): State<Arc<Lake>>, Form(pairs): Pairs) -> Answer {
    let params = Params::new(pairs);
    let request = LabelRequest { selector: Some(params.needed("query")?), range: range(&params)? };
    let targets: Option<Vec<&str>> = params.get("targetLabels").map(|names| names.split(',').collect());
    let limit = params.count("limit")?.unwrap_or(DEFAULT_LIMIT);
    let volumes = lake.log_volume(&scope, &request).await?;
    Ok(answer::volume(&volumes, targets.as_deref(), limit, params::now_ns()))
}

fn direction(params: &Params) -> Result<Direction, Failure> {
    match params.get("direction").map(str::to_ascii_lowercase).as_deref() {
        None | Some("backward") => Ok(Direction::Backward),
        Some("forward") => Ok(Direction::Forward),
        Some(other) => Err(Failure::parameter("direction", other, "forward or backward")),
    }
}

/// The hour before the end, where nothing else is said; the end is now.
fn range(params: &Params) -> Result<TimeRange, Failure> {
    range_of(params, DEFAULT_RANGE_NS)
}

/// Labels are asked for without times by hand and by editors: six hours, as Loki has it.
fn label_range(params: &Params) -> Result<TimeRange, Failure> {
    range_of(params, 6 * DEFAULT_RANGE_NS)
}

fn range_of(params: &Params, default_ns: i64) -> Result<TimeRange, Failure> {
    // What is written while the request is on its way belongs to it: the end itself is not in a range.
    let end_ns = params.time_ns("end")?.unwrap_or_else(|| params::now_ns().saturating_add(1));
    let since = params.duration("since")?.map(|since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX));
    let start_ns = params.time_ns("start")?.unwrap_or_else(|| end_ns.saturating_sub(since.unwrap_or(default_ns)));
    if end_ns < start_ns {
        return Err(Failure::bad("end timestamp must not be before or equal to start time"));
    }
    Ok(TimeRange { start_ns, end_ns })
}
