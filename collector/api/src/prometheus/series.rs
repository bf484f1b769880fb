//! Calls about series rather than their samples: `series`, `labels`, `label/<name>/values`, `query_exemplars`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tenantscope_model::{Labels, Matcher, QueryBudget, Scope, Select, SelectError, SeriesRequest};
use tenantscope_promql::parse;
use tenantscope_tenancy::Reading;

use super::PrometheusApi;
use super::answer::{ApiError, Success, truncate};
use super::body::body;
use super::escaping::unescaped;
use super::form::Form;
use super::list::{Entry, Frame, ListPieces};
use crate::reader::Who;

/// What a call is about.
struct About {
    sets: Vec<Vec<Matcher>>,
    from_ms: i64,
    to_ms: i64,
    limit: usize,
}

impl About {
    /// One more than the limit, so that it shows whether the limit cut something.
    fn request<'a>(&'a self, budget: &'a QueryBudget) -> SeriesRequest<'a> {
        let limit = if self.limit == 0 { usize::MAX } else { self.limit.saturating_add(1) };
        SeriesRequest { matcher_sets: &self.sets, from_ms: self.from_ms, to_ms: self.to_ms, limit, budget }
    }
}

/// Asks the store on a blocking thread, cuts the list and writes it.
async fn listed<T: Entry>(
    api: PrometheusApi,
    reader: Reading,
    about: About,
    ask: impl FnOnce(&dyn Select, &Scope, &SeriesRequest<'_>) -> Result<Vec<T>, SelectError> + Send + 'static,
) -> Result<Success, ApiError> {
    let scope = reader.scope.clone();
    let select = api.select();
    api.run(&reader, move |run| {
        let is_empty = about.to_ms < about.from_ms;
        let mut list = if is_empty { Vec::new() } else { ask(&*select, &scope, &about.request(&run.budget))? };
        let mut warnings = Vec::new();
        truncate(&mut list, about.limit, &mut warnings);
        let pieces = ListPieces::try_new(list, Frame::array(), warnings, run.budget)?;
        Ok(Success::written(body(pieces)))
    })
    .await
}

pub(super) async fn series(
    Who(reader): Who,
    State(api): State<PrometheusApi>,
    form: Form,
) -> Result<Success, ApiError> {
    form.readable()?;
    if form.values("match[]").next().is_none() {
        return Err(ApiError::BadData("no match[] parameter provided".to_owned()));
    }
    let limit = form.limit()?;
    let (from_ms, to_ms) = form.window_ms()?;
    let sets = form.selectors().map_err(|problem| ApiError::parameter("match[]", problem))?;
    let about = About { sets, from_ms, to_ms, limit };
    listed::<Labels>(api, reader, about, |select, scope, request| select.series(scope, request)).await
}

fn about_labels(form: &Form) -> Result<About, ApiError> {
    let limit = form.limit()?;
    let (from_ms, to_ms) = form.window_ms()?;
    let sets = form.selectors().map_err(ApiError::BadData)?;
    Ok(About { sets, from_ms, to_ms, limit })
}

pub(super) async fn names(Who(reader): Who, State(api): State<PrometheusApi>, form: Form) -> Result<Success, ApiError> {
    let about = about_labels(&form)?;
    listed::<Arc<str>>(api, reader, about, |select, scope, request| select.label_names(scope, request)).await
}

pub(super) async fn values(
    Who(reader): Who,
    State(api): State<PrometheusApi>,
    Path(name): Path<String>,
    form: Form,
) -> Result<Success, ApiError> {
    let about = about_labels(&form)?;
    let name = unescaped(&name);
    let ask = move |select: &dyn Select, scope: &Scope, request: &SeriesRequest<'_>| {
        select.label_values(scope, &name, request)
    };
    listed::<Arc<str>>(api, reader, about, ask).await
}

pub(super) async fn exemplars(
    Who(reader): Who,
    State(api): State<PrometheusApi>,
    form: Form,
) -> Result<Response, ApiError> {
    let (from_ms, to_ms) = form.window_ms()?;
    if to_ms < from_ms {
        return Err(ApiError::BadData("end timestamp must not be before start timestamp".to_owned()));
    }
    let expr = parse(form.text("query")).map_err(|error| ApiError::BadData(error.to_string()))?;
    let sets: Vec<Vec<Matcher>> = expr.selectors().into_iter().map(|(s, _)| s.matchers.clone()).collect();
    if sets.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let about = About { sets, from_ms, to_ms, limit: 0 };
    let listed = listed(api, reader, about, |select, scope, request| select.exemplars(scope, request)).await?;
    Ok(listed.into_response())
}
