//! `metadata`: what families say of themselves. `targets/metadata` has the same by sender, of which nothing is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use tenantscope_model::{Metadata, MetadataRequest};

use super::PrometheusApi;
use super::answer::{ApiError, Success};
use super::form::{Form, whole_number};
use crate::reader::Who;

#[derive(Serialize)]
struct FamilyMetadata {
    #[serde(rename = "type")]
    kind: String,
    unit: Arc<str>,
    help: Arc<str>,
}

impl From<Metadata> for FamilyMetadata {
    fn from(metadata: Metadata) -> Self {
        Self { kind: metadata.kind.to_string(), unit: metadata.unit, help: metadata.help }
    }
}

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
    api.run(&reader, move |_| {
        let request = MetadataRequest { family: family.as_deref(), limit: families };
        let found = if families == 0 { Vec::new() } else { select.metadata(&scope, &request)? };
        let by_family: BTreeMap<Arc<str>, Vec<FamilyMetadata>> = found
            .into_iter()
            .map(|(family, entries)| (family, entries.into_iter().take(each).map(Into::into).collect()))
            .collect();
        Success::new(by_family)
    })
    .await
}
