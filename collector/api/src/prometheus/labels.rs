//! Calls about series rather than their samples.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use serde::{Serialize, Serializer};
use tenantscope_model::{
    Exemplar, Labels, Matcher, MetadataRequest, QueryBudget, Scope, Select, SelectError, SeriesRequest,
};
use tenantscope_promql::parse;

use super::PrometheusApi;
use super::answer::{ApiError, Success, truncate};
use super::form::Form;
use super::write::number;
use crate::Scoped;

/// Labels as a JSON object.
struct LabelMap(Labels);

impl Serialize for LabelMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|label| (&*label.name, &*label.value)))
    }
}

/// What a metadata call is about.
struct About {
    sets: Vec<Vec<Matcher>>,
    from_ms: i64,
    to_ms: i64,
    limit: usize,
}

impl About {
    fn of(form: &Form) -> Result<Self, ApiError> {
        let (from_ms, to_ms) = form.window()?;
        Ok(Self { sets: form.selectors()?, from_ms, to_ms, limit: form.limit()? })
    }

    /// One more than the limit, so that it shows whether the limit cut something.
    fn request<'a>(&'a self, budget: &'a QueryBudget) -> SeriesRequest<'a> {
        let limit = if self.limit == 0 { usize::MAX } else { self.limit.saturating_add(1) };
        SeriesRequest { matcher_sets: &self.sets, from_ms: self.from_ms, to_ms: self.to_ms, limit, budget }
    }
}

/// Asks the store on a blocking thread, cuts the list and writes it.
async fn listed<T, J, R>(api: PrometheusApi, scope: Scope, about: About, ask: R) -> Result<Success, ApiError>
where
    J: Serialize,
    T: Into<J>,
    R: FnOnce(&dyn Select, &Scope, &SeriesRequest<'_>) -> Result<Vec<T>, SelectError> + Send + 'static,
{
    let (pool, limits) = (api.pool.clone(), Arc::clone(&api.limits));
    let work = move |budget: &QueryBudget| {
        let mut list = ask(&*api.select(), &scope, &about.request(budget))?;
        let mut warnings = Vec::new();
        truncate(&mut list, about.limit, &mut warnings);
        let list: Vec<J> = list.into_iter().map(Into::into).collect();
        Success::new(list, &warnings)
    };
    pool.run(limits.timeout, limits.max_samples, work).await
}

impl From<Labels> for LabelMap {
    fn from(labels: Labels) -> Self {
        Self(labels)
    }
}

pub(super) async fn series(
    Scoped(scope): Scoped,
    State(api): State<PrometheusApi>,
    form: Form,
) -> Result<Success, ApiError> {
    let about = About::of(&form)?;
    if about.sets.is_empty() {
        return Err(ApiError::BadData("no match[] parameter provided".to_owned()));
    }
    listed::<Labels, LabelMap, _>(api, scope, about, |select, scope, request| select.series(scope, request)).await
}

pub(super) async fn names(
    Scoped(scope): Scoped,
    State(api): State<PrometheusApi>,
    form: Form,
) -> Result<Success, ApiError> {
    let about = About::of(&form)?;
    listed::<Arc<str>, Arc<str>, _>(api, scope, about, |select, scope, request| select.label_names(scope, request))
        .await
}

pub(super) async fn values(
    Scoped(scope): Scoped,
    State(api): State<PrometheusApi>,
    Path(name): Path<String>,
    form: Form,
) -> Result<Success, ApiError> {
    let about = About::of(&form)?;
    let ask = move |select: &dyn Select, scope: &Scope, request: &SeriesRequest<'_>| {
        select.label_values(scope, &name, request)
    };
    listed::<Arc<str>, Arc<str>, _>(api, scope, about, ask).await
}

#[derive(Serialize)]
struct FamilyMetadata {
    #[serde(rename = "type")]
    kind: String,
    help: Arc<str>,
    unit: Arc<str>,
}

pub(super) async fn metadata(
    Scoped(scope): Scoped,
    State(api): State<PrometheusApi>,
    form: Form,
) -> Result<Success, ApiError> {
    let limit = form.limit()?;
    let family = form.get("metric").map(str::to_owned);
    let per_family: usize = match form.get("limit_per_metric") {
        Some(text) => {
            text.parse().map_err(|_| ApiError::parameter("limit_per_metric", "limit must be non-negative"))?
        }
        None => 0,
    };
    let (pool, limits) = (api.pool.clone(), Arc::clone(&api.limits));
    let work = move |_: &QueryBudget| {
        let limit = if limit == 0 { usize::MAX } else { limit };
        let request = MetadataRequest { family: family.as_deref(), limit };
        let found = api.select().metadata(&scope, &request)?;
        let most = if per_family == 0 { usize::MAX } else { per_family };
        let one = |metadata: tenantscope_model::Metadata| FamilyMetadata {
            kind: metadata.kind.to_string(),
            help: metadata.help,
            unit: metadata.unit,
        };
        let by_family: BTreeMap<Arc<str>, Vec<FamilyMetadata>> = found
            .into_iter()
            .map(|(family, entries)| (family, entries.into_iter().take(most).map(one).collect()))
            .collect();
        Success::new(by_family, &[])
    };
    pool.run(limits.timeout, limits.max_samples, work).await
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SeriesExemplars {
    series_labels: LabelMap,
    exemplars: Vec<ExemplarJson>,
}

#[derive(Serialize)]
struct ExemplarJson {
    labels: LabelMap,
    value: String,
    timestamp: f64,
}

impl From<(Labels, Vec<Exemplar>)> for SeriesExemplars {
    fn from((labels, exemplars): (Labels, Vec<Exemplar>)) -> Self {
        let one = |exemplar: Exemplar| ExemplarJson {
            labels: LabelMap(exemplar.labels),
            value: number(exemplar.value),
            timestamp: exemplar.t_ms as f64 / 1000.0,
        };
        Self { series_labels: LabelMap(labels), exemplars: exemplars.into_iter().map(one).collect() }
    }
}

pub(super) async fn exemplars(
    Scoped(scope): Scoped,
    State(api): State<PrometheusApi>,
    form: Form,
) -> Result<Success, ApiError> {
    let (from_ms, to_ms) = form.window()?;
    let expr = parse(form.get("query").unwrap_or(""))?;
    let sets: Vec<Vec<Matcher>> = expr.selectors().into_iter().map(|(s, _)| s.matchers.clone()).collect();
    let about = About { sets, from_ms, to_ms, limit: 0 };
    if about.sets.is_empty() {
        return Success::new(Vec::<SeriesExemplars>::new(), &[]);
    }
    let ask = |select: &dyn Select, scope: &Scope, request: &SeriesRequest<'_>| select.exemplars(scope, request);
    listed::<_, SeriesExemplars, _>(api, scope, about, ask).await
}
