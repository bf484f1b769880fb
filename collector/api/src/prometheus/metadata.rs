//! `metadata`: what families say of themselves. `targets/metadata` has the same by sender, of which nothing is kept.

use axum::extract::State;
use tenantscope_model::MetadataRequest;

use super::PrometheusApi;
use super::answer::{ApiError, Success};
use super::body::body;
use super::form::{Form, whole_number};
use super::list::{Frame, ListPieces};
use crate::reader::Who;

/// A limit as this call reads it: absent or negative for none.
fn limit(form: &Form, name: &str) -> Result<usize, ApiError> {
    let Some(text) = form.get(name) else { return Ok(usize::MAX) };
    let number = whole_number(text).map_err(|_| ApiError::BadData(format!("{name} must be a number")))?;
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

pub(super) async fn metadata(
    Who(reader): Who,
    State(api): State<PrometheusApi>,
    form: Form,
) -> Result<Success, ApiError> {
    let families = limit(&form, "limit")?;
    // There, unlike for families, 0 means none.
    let each = Some(limit(&form, "limit_per_metric")?).filter(|each| *each > 0).unwrap_or(usize::MAX);
    let family = form.get("metric").map(str::to_owned);
    let scope = reader.scope.clone();
    let select = api.select();
    api.run(&reader, move |run| {
        let request = MetadataRequest { family: family.as_deref(), limit: families, budget: &run.budget };
        let mut found = if families == 0 { Vec::new() } else { select.metadata(&scope, &request)? };
        found.iter_mut().for_each(|(_, entries)| entries.truncate(each));
        Ok(Success::written(body(ListPieces::try_new(found, Frame::object(), Vec::new(), run.budget)?)))
    })
    .await
}
