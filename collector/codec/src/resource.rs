use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use tenantscope_model::{Region, Stamp};

use crate::claims::{ACCOUNT_ATTRIBUTE, EXPORTED, PROVIDER_ATTRIBUTE, REGION_ATTRIBUTE, TENANT_ATTRIBUTE, text_of};

/// The only cloud whose accounts we prove.
const PROVIDER: &str = "aws";

/// Sets the stamp in a resource's attributes: equal claims go, others move to `exported_…`. Tells how many moved.
pub(crate) fn restamp(resource: &mut Option<Resource>, stamp: &Stamp) -> u64 {
    let attributes = &mut resource.get_or_insert_with(Resource::default).attributes;
    let account = stamp.account.map(|account| account.to_string());
    let mut moved = set(attributes, TENANT_ATTRIBUTE, Some(stamp.tenant.as_str()));
    moved += set(attributes, ACCOUNT_ATTRIBUTE, account.as_deref());
    // Without an account the collector runs open, where a region passes.
    if account.is_some() || stamp.region.is_some() {
        moved += set(attributes, REGION_ATTRIBUTE, stamp.region.as_ref().map(Region::as_str));
    }
    if account.is_some() {
        moved += set(attributes, PROVIDER_ATTRIBUTE, Some(PROVIDER));
    }
    moved
}

/// Leaves `name` with the stamped value alone, or without any.
fn set(attributes: &mut Vec<KeyValue>, name: &str, stamped: Option<&str>) -> u64 {
    let mut differing = None;
    attributes.retain_mut(|attribute| {
        if attribute.key != name {
            return true;
        }
        let value = attribute.value.take().and_then(|value| value.value);
        let text = value.as_ref().and_then(text_of);
        let is_empty = match &value {
            None => true,
            Some(Value::StringValue(text)) => text.is_empty(),
            Some(_) => false,
        };
        if differing.is_none() && !is_empty && text.as_deref() != stamped {
            differing = value;
        }
        false
    });
    if let Some(stamped) = stamped {
        attributes.push(string_attribute(name, stamped));
    }
    let Some(value) = differing else { return 0 };
    let exported = format!("{EXPORTED}{name}");
    attributes.retain(|attribute| attribute.key != exported);
    let value = Some(AnyValue { value: Some(value) });
    attributes.push(KeyValue { key: exported, value, ..KeyValue::default() });
    1
}

/// Adds attributes that the resource does not have.
pub(crate) fn add_missing(resource: &mut Option<Resource>, more: &[(String, String)]) {
    let attributes = &mut resource.get_or_insert_with(Resource::default).attributes;
    for (key, value) in more {
        if attributes.iter().all(|attribute| attribute.key != *key) {
            attributes.push(string_attribute(key, value));
        }
    }
}

fn string_attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}
