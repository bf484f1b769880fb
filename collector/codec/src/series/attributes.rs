//! Attributes as labels.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use tenantscope_model::{Label, LabelsBuilder};

use super::name::label_name;
use crate::claims::{ACCOUNT_ATTRIBUTE, REGION_ATTRIBUTE, TENANT_ATTRIBUTE};

const SERVICE_NAMESPACE: &str = "service.namespace";
const SERVICE_NAME: &str = "service.name";
const SERVICE_INSTANCE: &str = "service.instance.id";
/// Values nest as deep as the decoder allows; text stops here.
const MAX_DEPTH: usize = 16;

/// What a resource gives to each of its series.
#[derive(Debug, Default)]
pub(super) struct ResourceLabels {
    /// `job` and `instance`, where the resource names its service.
    pub(super) identity: Vec<Label>,
}

impl ResourceLabels {
    pub(super) fn of(attributes: &[KeyValue]) -> Self {
        let value = |key: &str| {
            let attribute = attributes.iter().find(|attribute| attribute.key == key);
            attribute.map(|attribute| text(attribute).into_owned()).filter(|text| !text.is_empty())
        };
        let job = match (value(SERVICE_NAMESPACE), value(SERVICE_NAME)) {
            (Some(namespace), Some(name)) => Some(format!("{namespace}/{name}")),
            (None, Some(name)) => Some(name),
            (_, None) => None,
        };
        let labels = [("job", job), ("instance", value(SERVICE_INSTANCE))];
        let identity = labels
            .into_iter()
            .filter_map(|(name, value)| Some(Label { name: name.into(), value: value?.into() }))
            .collect();
        Self { identity }
    }

    /// The attributes for `target_info`: all that no label of the series says already.
    pub(super) fn described(&self, attributes: &[KeyValue]) -> Vec<KeyValue> {
        const SAID: [&str; 6] =
            [SERVICE_NAMESPACE, SERVICE_NAME, SERVICE_INSTANCE, TENANT_ATTRIBUTE, ACCOUNT_ATTRIBUTE, REGION_ATTRIBUTE];
        attributes.iter().filter(|attribute| !SAID.contains(&attribute.key.as_str())).cloned().collect()
    }
}

/// Label names of a batch; each is made and kept once.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Whether names keep all their characters.
    utf8: bool,
    by_key: HashMap<String, Arc<str>>,
    verbatim: HashSet<Arc<str>>,
}

impl Names {
    pub(super) fn new(utf8: bool) -> Self {
        Self { utf8, ..Self::default() }
    }

    /// A name as it is, shared.
    pub(super) fn shared(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.verbatim.get(name) {
            return Arc::clone(known);
        }
        let shared: Arc<str> = name.into();
        self.verbatim.insert(Arc::clone(&shared));
        shared
    }

    fn label_name(&mut self, key: &str) -> Arc<str> {
        if let Some(known) = self.by_key.get(key) {
            return Arc::clone(known);
        }
        let name: Arc<str> = label_name(key).into();
        self.by_key.insert(key.to_owned(), Arc::clone(&name));
        name
    }

    /// Sets attributes as labels. Values of keys that become the same name are joined by `;`, in the keys' order.
    pub(super) fn add_attributes(&mut self, labels: &mut LabelsBuilder, attributes: &[KeyValue], verbatim: bool) {
        let mut sorted: Vec<&KeyValue> = attributes.iter().collect();
        sorted.sort_by(|a, b| a.key.cmp(&b.key));
        for attribute in sorted {
            // Names of our own agent are valid already; reserved ones are never taken as they are.
            let pass = (verbatim || self.utf8) && !attribute.key.starts_with('_') && !attribute.key.is_empty();
            let name = if pass { self.shared(&attribute.key) } else { self.label_name(&attribute.key) };
            if name.is_empty() {
                continue;
            }
            let value = text(attribute);
            match labels.get(&name) {
                Some(first) => {
                    let joined = format!("{first};{value}");
                    labels.set(name, joined);
                }
                None => {
                    labels.set(name, value.into_owned());
                }
            }
        }
    }
}

/// An attribute's value as text, by OpenTelemetry's rules for protocols without types: scalars as they are, bytes in
/// base64, lists and maps as JSON.
pub(super) fn text(attribute: &KeyValue) -> Cow<'_, str> {
    match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        None => "".into(),
        Some(Value::StringValue(text)) => text.into(),
        Some(Value::BoolValue(value)) => value.to_string().into(),
        Some(Value::IntValue(value)) => value.to_string().into(),
        Some(Value::DoubleValue(value)) => double(*value).into(),
        Some(Value::BytesValue(bytes)) => BASE64.encode(bytes).into(),
        Some(value @ (Value::ArrayValue(_) | Value::KvlistValue(_))) => json(value, 0).to_string().into(),
        // A reference into a table that only profiles have.
        Some(Value::StringValueStrindex(_)) => "".into(),
    }
}

/// A number as JSON writes it; what JSON has no number for has a name.
fn double(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else if value == 0.0 || (1e-6..1e21).contains(&value.abs()) {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // A string takes whatever is written.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn json(value: &Value, depth: usize) -> serde_json::Value {
    let inner = |value: Option<&AnyValue>| match value.and_then(|value| value.value.as_ref()) {
        Some(value) if depth < MAX_DEPTH => json(value, depth + 1),
        _ => serde_json::Value::Null,
    };
    match value {
        Value::StringValue(text) => text.as_str().into(),
        Value::BoolValue(value) => (*value).into(),
        Value::IntValue(value) => (*value).into(),
        Value::DoubleValue(value) if value.is_finite() => (*value).into(),
        Value::DoubleValue(value) => double(*value).into(),
        Value::BytesValue(bytes) => BASE64.encode(bytes).into(),
        Value::ArrayValue(array) => array.values.iter().map(|value| inner(Some(value))).collect(),
        Value::KvlistValue(list) => {
            let entry = |pair: &KeyValue| (pair.key.clone(), inner(pair.value.as_ref()));
            serde_json::Value::Object(list.values.iter().map(entry).collect())
        }
        // A reference into a table that only profiles have.
        Value::StringValueStrindex(_) => serde_json::Value::Null,
    }
}
