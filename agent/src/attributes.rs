//! OTLP's words: attributes, resources, scopes.

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use tenantscope_model::{AccountId, Region};

/// Where telemetry comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The account.
    pub account: AccountId,
    /// The region.
    pub region: Region,
}

impl Origin {
    /// The resource attributes that name the origin.
    pub fn attributes(&self) -> Vec<KeyValue> {
        vec![
            text("cloud.provider", "aws"),
            text("cloud.account.id", self.account.as_str()),
            text("cloud.region", self.region.as_str()),
        ]
    }
}

/// An attribute with a text.
pub fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

/// An attribute with a whole number.
pub fn int(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

/// An attribute with a number.
pub fn double(key: &str, value: f64) -> KeyValue {
    attribute(key, Value::DoubleValue(value))
}

/// An attribute with a truth value.
pub fn boolean(key: &str, value: bool) -> KeyValue {
    attribute(key, Value::BoolValue(value))
}

/// An attribute with a list of texts.
pub fn texts<I, T>(key: &str, values: I) -> KeyValue
where
    I: IntoIterator<Item = T>,
    T: Into<String>,
{
    let values = values.into_iter().map(|value| any_text(value)).collect();
    attribute(key, Value::ArrayValue(ArrayValue { values }))
}

/// A text as a value.
pub fn any_text(value: impl Into<String>) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(value.into())) }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A resource with these attributes.
pub fn resource(attributes: Vec<KeyValue>) -> Option<Resource> {
    Some(Resource { attributes, ..Resource::default() })
}

/// The scope of one of the agent's sources.
pub fn scope(name: &str) -> Option<InstrumentationScope> {
    Some(InstrumentationScope {
        name: name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    })
}
