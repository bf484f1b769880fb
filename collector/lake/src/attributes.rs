//! Attributes as JSON text, so that any engine can read them, and back without loss of type.
//!
//! An object from key to value. Integers are JSON integers, doubles have a fraction or exponent; what JSON has no form for
//! is an object with one key that begins with `$`: `{"$bytes": "<base64>"}`, `{"$double": "NaN"}`, and
//! `{"$map": {…}}` around a map that has a key with `$` itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use serde_json::{Map, Number, Value};

/// Attributes as one JSON object; of a key that comes twice the last value counts.
pub(crate) fn to_json(attributes: &[KeyValue]) -> String {
    if attributes.is_empty() {
        return String::new();
    }
    Value::Object(object(attributes)).to_string()
}

/// What [`to_json`] made; text that it did not make is no attributes.
pub(crate) fn from_json(text: &str) -> Vec<KeyValue> {
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => pairs(map),
        _ => Vec::new(),
    }
}

/// A value as a person would write it: a string is itself, anything else its JSON.
pub(crate) fn plain_text(value: &AnyValue) -> String {
    match &value.value {
        Some(Any::StringValue(text)) => text.clone(),
        None => String::new(),
        Some(_) => to_value(value).to_string(),
    }
}

/// As [`plain_text`], for a value that is JSON already.
pub(crate) fn json_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(items) if items.len() == 1 => items.first().map(json_text).unwrap_or_default(),
        other => other.to_string(),
    }
}

/// The text of one attribute; of a list its first element.
pub(crate) fn find_text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?;
    match &value.value {
        Some(Any::ArrayValue(array)) => array.values.first().map(plain_text),
        _ => Some(plain_text(value)),
    }
}

fn object(attributes: &[KeyValue]) -> Map<String, Value> {
    let value = |attribute: &KeyValue| attribute.value.as_ref().map_or(Value::Null, to_value);
    attributes.iter().map(|attribute| (attribute.key.clone(), value(attribute))).collect()
}

fn tagged(tag: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(tag.to_owned(), value)]))
}

pub(crate) fn to_value(value: &AnyValue) -> Value {
    match &value.value {
        None | Some(Any::StringValueStrindex(_)) => Value::Null,
        Some(Any::StringValue(text)) => Value::String(text.clone()),
        Some(Any::BoolValue(flag)) => Value::Bool(*flag),
        Some(Any::IntValue(number)) => Value::from(*number),
        Some(Any::DoubleValue(number)) => double(*number),
        Some(Any::BytesValue(bytes)) => tagged("$bytes", BASE64.encode(bytes).into()),
        Some(Any::ArrayValue(array)) => array.values.iter().map(to_value).collect(),
        Some(Any::KvlistValue(list)) => {
            let map = object(&list.values);
            let ambiguous = map.keys().any(|key| key.starts_with('$'));
            if ambiguous { tagged("$map", Value::Object(map)) } else { Value::Object(map) }
        }
    }
}

/// The JSON parser is quick rather than exact: a double that it would not read back to the last bit is written as text.
fn double(number: f64) -> Value {
    let plain = Number::from_f64(number).filter(|plain| {
        serde_json::from_str::<f64>(&plain.to_string()).is_ok_and(|read| read.to_bits() == number.to_bits())
    });
    plain.map_or_else(|| tagged("$double", number.to_string().into()), Value::Number)
}

fn pairs(map: Map<String, Value>) -> Vec<KeyValue> {
    map.into_iter().map(|(key, value)| KeyValue { key, value: Some(from_value(value)), ..Default::default() }).collect()
}

fn from_value(value: Value) -> AnyValue {
    let value = match value {
        Value::Null => None,
        Value::Bool(flag) => Some(Any::BoolValue(flag)),
        Value::String(text) => Some(Any::StringValue(text)),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Some(Any::IntValue(integer)),
            None => number.as_f64().map(Any::DoubleValue),
        },
        Value::Array(items) => {
            Some(Any::ArrayValue(ArrayValue { values: items.into_iter().map(from_value).collect() }))
        }
        Value::Object(map) => Some(from_object(map)),
    };
    AnyValue { value }
}

fn from_object(mut map: Map<String, Value>) -> Any {
    if let Some(Value::String(text)) = map.get("$bytes") {
        return Any::BytesValue(BASE64.decode(text).unwrap_or_default());
    }
    if let Some(Value::String(text)) = map.get("$double") {
        return Any::DoubleValue(text.parse().unwrap_or(f64::NAN));
    }
    let map = match map.remove("$map") {
        Some(Value::Object(inner)) => inner,
        _ => map,
    };
    Any::KvlistValue(KeyValueList { values: pairs(map) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(key: &str, value: Option<Any>) -> KeyValue {
        KeyValue { key: key.to_owned(), value: Some(AnyValue { value }), ..Default::default() }
    }

    #[test]
    fn every_type_comes_back() {
        let inner = KeyValueList { values: vec![attribute("$bytes", Some(Any::StringValue("x".into())))] };
        let attributes = vec![
            attribute("a", Some(Any::StringValue("text \"q\"".into()))),
            attribute("b", Some(Any::BoolValue(true))),
            attribute("c", Some(Any::IntValue(i64::MIN))),
            attribute("d", Some(Any::DoubleValue(3.0))),
            attribute("e", Some(Any::DoubleValue(f64::INFINITY))),
            attribute("f", Some(Any::BytesValue(vec![0, 255]))),
            attribute("g", None),
            attribute("h", Some(Any::KvlistValue(inner))),
            attribute("i", Some(Any::ArrayValue(ArrayValue { values: vec![AnyValue { value: None }] }))),
        ];
        assert_eq!(from_json(&to_json(&attributes)), attributes);
        assert_eq!(to_json(&attributes[2..4]), r#"{"c":-9223372036854775808,"d":3.0}"#);
        assert!(from_json("").is_empty());
    }

    fn values() -> impl Strategy<Value = Option<Any>> {
        let leaf = prop_oneof![
            Just(None),
            ".*".prop_map(|text| Some(Any::StringValue(text))),
            any::<bool>().prop_map(|flag| Some(Any::BoolValue(flag))),
            any::<i64>().prop_map(|number| Some(Any::IntValue(number))),
            any::<f64>().prop_filter("NaN is not itself", |n| !n.is_nan()).prop_map(|n| Some(Any::DoubleValue(n))),
            any::<Vec<u8>>().prop_map(|bytes| Some(Any::BytesValue(bytes))),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            let list = proptest::collection::vec(inner.clone(), 0..3);
            let map = proptest::collection::btree_map("[$a-c]{0,3}", inner, 0..3);
            prop_oneof![
                list.prop_map(|items| {
                    let values = items.into_iter().map(|value| AnyValue { value }).collect();
                    Some(Any::ArrayValue(ArrayValue { values }))
                }),
                map.prop_map(|map| {
                    let values = map.into_iter().map(|(key, value)| attribute(&key, value)).collect();
                    Some(Any::KvlistValue(KeyValueList { values }))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn attributes_come_back(map in proptest::collection::btree_map(".{0,6}", values(), 0..5)) {
            let attributes: Vec<KeyValue> = map.into_iter().map(|(key, value)| attribute(&key, value)).collect();
            prop_assert_eq!(from_json(&to_json(&attributes)), attributes);
        }
    }
}
