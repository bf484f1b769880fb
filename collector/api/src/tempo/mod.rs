//! Tempo's HTTP API over the lake: what Grafana's Tempo data source asks for.

mod answer;
mod tags;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Form, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use tenantscope_lake::{Lake, SearchRequest, TimeRange};

use crate::Scoped;
use crate::loki::failure::Failure;
use crate::loki::params::{Params, now_ns};

/// Tempo's defaults.
const DEFAULT_LIMIT: usize = 20;
const DEFAULT_SPANS_PER_TRACE: usize = 3;
const MAX_SPANS_PER_TRACE: usize = 100;
/// A search without times looks so far back.
const DEFAULT_RANGE_NS: i64 = 24 * 3_600_000_000_000;
/// Clocks differ: what is stamped a little ahead of ours is found, too.
const AHEAD_NS: i64 = 300_000_000_000;

/// A trace reaches at most so far beyond the times that a client names for it.
const TRACE_SLACK_NS: i64 = 3_600_000_000_000;

type Pairs = Form<Vec<(String, String)>>;
type Answer = Result<Response, Failure>;

/// Tempo's routes, under `/tempo/api`.
pub fn routes(lake: Arc<Lake>) -> Router {
    Router::new()
        .route("/tempo/api/echo", get(async |_: Scoped| "echo"))
        .route("/tempo/api/traces/{id}", get(trace))
        .route("/tempo/api/v2/traces/{id}", get(trace_v2))
        .route("/tempo/api/search", get(search))
        .route("/tempo/api/search/tags", get(tag_names))
        .route("/tempo/api/search/tag/{name}/values", get(tag_values))
        .route("/tempo/api/v2/search/tags", get(tag_names_v2))
        .route("/tempo/api/v2/search/tag/{name}/values", get(tag_values_v2))
        .with_state(lake)
}

type LakeState = State<Arc<Lake>>;

async fn trace(
    Scoped(scope): Scoped,
    State(lake): LakeState,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(pairs): Pairs,
) -> Answer {
    let (id, range) = (trace_id(&id)?, trace_range(&Params::new(pairs))?);
    let trace = lake.trace(&scope, &id, range).await?.ok_or_else(|| Failure::not_found("trace not found"))?;
    answer::trace(&trace, answer::wants_protobuf(&headers))
}

async fn trace_v2(
    Scoped(scope): Scoped,
    State(lake): LakeState,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(pairs): Pairs,
) -> Answer {
    let (id, range) = (trace_id(&id)?, trace_range(&Params::new(pairs))?);
    let trace = lake.trace(&scope, &id, range).await?.ok_or_else(|| Failure::not_found("trace not found"))?;
    answer::trace_v2(&trace, answer::wants_protobuf(&headers))
}

async fn search(Scoped(scope): Scoped, State(lake): LakeState, Form(pairs): Pairs) -> Answer {
    let params = Params::new(pairs);
    let spans_per_trace = params.count("spss")?.unwrap_or(DEFAULT_SPANS_PER_TRACE).min(MAX_SPANS_PER_TRACE);
    let request = SearchRequest {
        query: params.get("q"),
        tags: params.get("tags").map_or(Ok(Vec::new()), tags::parse)?,
        min_duration: params.duration("minDuration")?,
        max_duration: params.duration("maxDuration")?,
        range: search_range(&params)?,
        limit: params.count("limit")?.unwrap_or(DEFAULT_LIMIT),
        spans_per_trace,
    };
    Ok(answer::search(&lake.search(&scope, &request).await?))
}

async fn tag_names(Scoped(scope): Scoped, State(lake): LakeState, Form(pairs): Pairs) -> Answer {
    let range = search_range(&Params::new(pairs))?;
    Ok(answer::tag_names(&lake.tags(&scope, range).await?))
}

async fn tag_names_v2(Scoped(scope): Scoped, State(lake): LakeState, Form(pairs): Pairs) -> Answer {
    let params = Params::new(pairs);
    let found = lake.tags(&scope, search_range(&params)?).await?;
    Ok(answer::tag_names_v2(&found, params.get("scope")))
}

async fn tag_values(
    Scoped(scope): Scoped,
    State(lake): LakeState,
    Path(name): Path<String>,
    Form(pairs): Pairs,
) -> Answer {
    let range = search_range(&Params::new(pairs))?;
    Ok(answer::tag_values(&lake.tag_values(&scope, &name, range).await?))
}

async fn tag_values_v2(
    Scoped(scope): Scoped,
    State(lake): LakeState,
    Path(name): Path<String>,
    Form(pairs): Pairs,
) -> Answer {
    let range = search_range(&Params::new(pairs))?;
    Ok(answer::tag_values_v2(&name, &lake.tag_values(&scope, &name, range).await?))
}

/// Up to 32 hexadecimal digits; leading zeroes may be missing, as in Tempo's own answers.
pub(crate) fn trace_id(text: &str) -> Result<Vec<u8>, Failure> {
    let wrong = || Failure::parameter("trace id", text, "up to 32 hexadecimal digits");
    if text.is_empty() || text.len() > 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let number = u128::from_str_radix(text, 16).map_err(|_| wrong())?;
    Ok(number.to_be_bytes().to_vec())
}

/// A trace is looked for everywhere, unless times narrow it: to where it lies roughly, so that it still comes whole.
fn trace_range(params: &Params) -> Result<TimeRange, Failure> {
    match (params.time_ns("start")?, params.time_ns("end")?) {
        (Some(start_ns), Some(end_ns)) if start_ns < end_ns => Ok(TimeRange {
            start_ns: start_ns.saturating_sub(TRACE_SLACK_NS),
            end_ns: end_ns.saturating_add(TRACE_SLACK_NS),
        }),
        _ => Ok(TimeRange::ALL),
    }
}

fn search_range(params: &Params) -> Result<TimeRange, Failure> {
    let end_ns = params.time_ns("end")?.unwrap_or_else(|| now_ns().saturating_add(AHEAD_NS));
    let start_ns = params.time_ns("start")?.unwrap_or_else(|| end_ns.saturating_sub(DEFAULT_RANGE_NS));
    if end_ns <= start_ns {
        return Err(Failure::bad("http parameter start must be before end"));
    }
    Ok(TimeRange { start_ns, end_ns })
}

#[cfg(test)]
mod tests {
    use super::trace_id;

    #[test]
    fn leading_zeroes_of_a_trace_id_may_be_missing() {
        let whole = trace_id("00000000000000000a1b2c3d4e5f6071").unwrap();
        assert_eq!(trace_id("a1b2c3d4e5f6071").unwrap(), whole);
        assert!(trace_id("").is_err() && trace_id("+1").is_err() && trace_id(&"0".repeat(33)).is_err());
    }
}
