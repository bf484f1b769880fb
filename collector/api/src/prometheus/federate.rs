//! `/federate`: the newest sample of each matching series, for another Prometheus to scrape.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tenantscope_model::{
    Labels, Lookback, Matcher, QueryBudget, Scope, Select, SelectRequest, SeriesView, is_stale_nan,
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

/// Series whose labels are made at once.
const PIECE: usize = 1024;

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

/// The newest samples of the series, and their labels, whose memory is taken before they are all there.
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
    let selection = select.find(scope, &request)?;
    let mut lasts: Vec<(usize, i64, PointValue)> = Vec::new();
    let mut scan = selection.scan(0..selection.len());
    while let Some(series) = scan.next()? {
        if let Some((t_ms, value)) = last(&series) {
            budget.take_bytes(size_of::<(usize, i64, PointValue)>() + size_of::<Exposed>())?;
            lasts.push((series.place, t_ms, value));
        }
    }
    drop(scan);
    for piece in lasts.chunks(PIECE) {
        let places: Vec<usize> = piece.iter().map(|(place, ..)| *place).collect();
        let labels = selection.labels(&places)?;
        budget.take_bytes(labels.iter().map(Labels::held_bytes).sum())?;
        let named = labels.into_iter().zip(piece).filter(|(labels, _)| !labels.metric_name().is_empty());
        found.extend(named.map(|(labels, (_, t_ms, value))| Exposed { labels, t_ms: *t_ms, value: value.clone() }));
    }
    Ok(())
}

/// The last sample of a series, unless it marks the series' end.
fn last(series: &SeriesView<'_>) -> Option<(i64, PointValue)> {
    let float = series.samples.last();
    let histogram = series.histograms.last().filter(|last| float.is_none_or(|float| last.t_ms > float.t_ms));
    match (histogram, float) {
        (Some(last), _) if !is_stale_nan(last.histogram.sum) => {
            Some((last.t_ms, PointValue::Histogram(Arc::clone(&last.histogram))))
        }
        (None, Some(last)) if !is_stale_nan(last.value) => Some((last.t_ms, PointValue::Float(last.value))),
        _ => None,
    }
}
