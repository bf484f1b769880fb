//! `/federate`: the newest sample of each matching series, for another Prometheus to scrape.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tenantscope_model::{
    Labels, Lookback, Matcher, QueryBudget, Scope, Select, SelectRequest, SelectedSeries, is_stale_nan,
};
use tenantscope_promql::PointValue;

use super::PrometheusApi;
use super::answer::ApiError;
use super::body::body;
use super::exposition::{Exposed, ExpositionPieces, Format};
use super::form::Form;
use crate::clock::now_ms;
use crate::reader::Who;

/// Keeps browsers from guessing, as Go's `http.Error` does.
const NOSNIFF: (HeaderName, &str) = (header::X_CONTENT_TYPE_OPTIONS, "nosniff");

/// An error as text, which is what scrapers read.
pub(super) struct Plain(ApiError);

impl From<ApiError> for Plain {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Plain {
    fn into_response(self) -> Response {
        (self.0.status(), [NOSNIFF], format!("{}\n", self.0)).into_response()
    }
}

pub(super) async fn federate(
    Who(reader): Who,
    State(api): State<PrometheusApi>,
    headers: HeaderMap,
    form: Form,
) -> Result<Response, Plain> {
    form.readable()?;
    let sets = form.unchecked_selectors().map_err(ApiError::BadData)?;
    let format = Format::negotiated(&headers);
    let at_ms = now_ms();
    let lookback_ms = api.evaluator.engine().limits().lookback_ms;
    let (select, scope) = (api.select(), reader.scope.clone());
    let written = api.run(&reader, move |run| {
        let mut found = Vec::new();
        // As in Prometheus, a selector without matchers means nothing here.
        for matchers in sets.iter().filter(|matchers| !matchers.is_empty()) {
            newest(&*select, &scope, matchers, (at_ms, lookback_ms), &run.budget, &mut found)?;
        }
        found.sort_by(|a, b| (a.labels.metric_name(), &a.labels).cmp(&(b.labels.metric_name(), &b.labels)));
        found.dedup_by(|a, b| a.labels == b.labels);
        Ok(body(ExpositionPieces::new(found, format, Arc::clone(&run.budget))))
    });
    Ok(answered(format, written.await?))
}

fn answered(format: Format, body: Body) -> Response {
    let content_type = HeaderValue::from_str(&format.content_type());
    let content_type = content_type.unwrap_or_else(|_| HeaderValue::from_static("text/plain"));
    (StatusCode::OK, [(header::CONTENT_TYPE, content_type)], body).into_response()
}

fn newest(
    select: &dyn Select,
    scope: &Scope,
    matchers: &[Matcher],
    (at_ms, lookback_ms): (i64, i64),
    budget: &QueryBudget,
    found: &mut Vec<Exposed>,
) -> Result<(), ApiError> {
    let lookback = Lookback::Widened(lookback_ms);
    let request = SelectRequest { matchers, from_ms: at_ms, to_ms: at_ms, lookback, budget };
    for series in select.select(scope, &request)? {
        if let Some(exposed) = last(series) {
            budget.take_bytes(size_of::<Exposed>())?;
            found.push(exposed);
        }
    }
    Ok(())
}

/// The last sample of a series, unless it marks the series' end, or the series has no name.
fn last(series: SelectedSeries) -> Option<Exposed> {
    let float = series.samples.last();
    let histogram = series.histograms.last().filter(|last| float.is_none_or(|float| last.t_ms > float.t_ms));
    let (t_ms, value) = match (histogram, float) {
        (Some(last), _) if !is_stale_nan(last.histogram.sum) => {
            (last.t_ms, PointValue::Histogram(Arc::clone(&last.histogram)))
        }
        (None, Some(last)) if !is_stale_nan(last.value) => (last.t_ms, PointValue::Float(last.value)),
        _ => return None,
    };
    let has_name = |labels: &Labels| !labels.metric_name().is_empty();
    has_name(&series.labels).then_some(Exposed { labels: series.labels, t_ms, value })
}
