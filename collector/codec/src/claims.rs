use std::collections::HashMap;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use tenantscope_model::Claim;

use crate::remote_write::{TimeSeries, WriteRequest};

/// The resource attribute with the tenant.
pub const TENANT_ATTRIBUTE: &str = "tenant.id";
/// The resource attribute with the cloud.
pub const PROVIDER_ATTRIBUTE: &str = "cloud.provider";
/// The resource attribute with the account.
pub const ACCOUNT_ATTRIBUTE: &str = "cloud.account.id";
/// The resource attribute with the region.
pub const REGION_ATTRIBUTE: &str = "cloud.region";
/// The label with the tenant.
pub const TENANT_LABEL: &str = "tenant";
/// The label with the account.
pub const ACCOUNT_LABEL: &str = "account_id";
/// The label with the region.
pub const REGION_LABEL: &str = "region";
/// Stands before the name of a claim that differs from the stamp.
pub const EXPORTED: &str = "exported_";

/// What a resource's attributes claim; of an attribute that comes twice the first counts.
pub(crate) fn of_resource(resource: Option<&Resource>) -> Claim {
    let mut claim = Claim::default();
    for attribute in resource.map(|resource| resource.attributes.as_slice()).unwrap_or_default() {
        let field = match attribute.key.as_str() {
            TENANT_ATTRIBUTE => &mut claim.tenant,
            ACCOUNT_ATTRIBUTE => &mut claim.account,
            REGION_ATTRIBUTE => &mut claim.region,
            _ => continue,
        };
        if field.is_none() {
            *field = attribute.value.as_ref().and_then(|value| value.value.as_ref()).and_then(text_of);
        }
    }
    claim
}

/// A claim's text; one that is empty, or no scalar, claims nothing.
pub(crate) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::StringValue(text) if !text.is_empty() => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Which series of a remote write make the same claim.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct SeriesClaims {
    /// In order of first appearance; the metadata's, which is empty, last where there is metadata.
    pub(crate) distinct: Vec<Claim>,
    /// For each series its place in `distinct`.
    pub(crate) by_series: Vec<usize>,
}

impl SeriesClaims {
    pub(crate) fn of(request: &WriteRequest) -> Self {
        let mut claims = Self::default();
        let mut places: HashMap<Claim, usize> = HashMap::new();
        for series in &request.timeseries {
            let claim = of_series(series);
            let place = *places.entry(claim).or_insert_with_key(|claim| {
                claims.distinct.push(claim.clone());
                claims.distinct.len() - 1
            });
            claims.by_series.push(place);
        }
        if !request.metadata.is_empty() {
            claims.distinct.push(Claim::default());
        }
        claims
    }
}

fn of_series(series: &TimeSeries) -> Claim {
    let mut claim = Claim::default();
    for label in series.labels.iter().filter(|label| !label.value.is_empty()) {
        match label.name.as_str() {
            TENANT_LABEL => claim.tenant = Some(label.value.clone()),
            ACCOUNT_LABEL => claim.account = Some(label.value.clone()),
            REGION_LABEL => claim.region = Some(label.value.clone()),
            _ => {}
        }
    }
    claim
}
