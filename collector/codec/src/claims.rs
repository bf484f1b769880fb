use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use tenantscope_model::Claim;

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

/// What the names of the series begin with that the collector writes about tenants.
const OWN_PREFIX: &str = "tenantscope_tenant_";
/// What rules write of their alerts, and read again after a restart.
const OWN_NAMES: [&str; 2] = ["ALERTS", "ALERTS_FOR_STATE"];

/// Whether only the collector itself may write series of this name: rules join by them over all tenants, so that one
/// tenant's could stop them for all.
pub(crate) fn is_own_name(name: &[u8]) -> bool {
    name.starts_with(OWN_PREFIX.as_bytes()) || OWN_NAMES.iter().any(|own| own.as_bytes() == name)
}

/// The name that series get which came under one of the collector's own.
pub(crate) fn exported_name(name: &str) -> String {
    format!("{EXPORTED}{name}")
}

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
