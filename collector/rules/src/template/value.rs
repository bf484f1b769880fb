use std::collections::BTreeMap;
use std::sync::Arc;

use tenantscope_model::Labels;

use super::TemplateError;
use super::format::go_float;

/// What a template computes with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// Milliseconds since the epoch.
    Time(i64),
    /// Seconds.
    Duration(f64),
    Map(Arc<BTreeMap<String, Value>>),
    List(Arc<Vec<Value>>),
}

impl Value {
    pub(super) fn of_labels(labels: &Labels) -> Self {
        let pairs = labels.iter().map(|l| (l.name.to_string(), Self::Text(l.value.to_string()))).collect();
        Self::Map(Arc::new(pairs))
    }

    pub(super) fn of_map(pairs: impl IntoIterator<Item = (&'static str, Self)>) -> Self {
        Self::Map(Arc::new(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
    }

    /// An element of a query's result, with the fields `Labels` and `Value`.
    pub(super) fn of_sample(labels: &Labels, value: f64) -> Self {
        Self::of_map([("Labels", Self::of_labels(labels)), ("Value", Self::Float(value))])
    }

    /// A field; of a map an absent key is the empty text, as in Prometheus (`missingkey=zero`).
    pub(super) fn field(&self, name: &str) -> Result<Self, TemplateError> {
        match self {
            Self::Map(map) => Ok(map.get(name).cloned().unwrap_or_else(|| Self::Text(String::new()))),
            other => Err(TemplateError::Expansion(format!("can't evaluate field {name} in {}", other.kind()))),
        }
    }

    /// Whether `if` takes it for true.
    pub(super) fn truth(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) | Self::Duration(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::Time(_) => true,
            Self::Map(map) => !map.is_empty(),
            Self::List(list) => !list.is_empty(),
        }
    }

    /// As a number, as Prometheus's functions convert it.
    pub(super) fn number(&self) -> Result<f64, TemplateError> {
        let wrong = || TemplateError::Expansion(format!("can't convert {} to float", self.kind()));
        match self {
            Self::Float(value) | Self::Duration(value) => Ok(*value),
            #[expect(clippy::cast_precision_loss, reason = "a template's integers are small")]
            Self::Int(value) => Ok(*value as f64),
            Self::Text(text) => match text.trim_start_matches('+') {
                "Inf" => Ok(f64::INFINITY),
                "-Inf" => Ok(f64::NEG_INFINITY),
                other => other.parse().map_err(|_| wrong()),
            },
            _ => Err(wrong()),
        }
    }

    /// As a text; only texts are.
    pub(super) fn text(&self) -> Result<&str, TemplateError> {
        match self {
            Self::Text(text) => Ok(text),
            other => Err(TemplateError::Expansion(format!("expected string; got {}", other.kind()))),
        }
    }

    pub(super) fn list(&self) -> Result<&[Self], TemplateError> {
        match self {
            Self::List(list) => Ok(list),
            other => Err(TemplateError::Expansion(format!("expected query result; got {}", other.kind()))),
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Time(_) => "time",
            Self::Duration(_) => "duration",
            Self::Map(_) => "map",
            Self::List(_) => "list",
        }
    }

    /// As Go prints it with `%v`.
    pub(super) fn print(&self) -> String {
        match self {
            Self::Nil => "<no value>".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => go_float(*value, 'g', None),
            Self::Text(text) => text.clone(),
            Self::Time(at_ms) => super::format::timestamp(*at_ms),
            Self::Duration(seconds) => super::format::go_duration(*seconds),
            Self::Map(map) => {
                let pairs: Vec<String> = map.iter().map(|(name, value)| format!("{name}:{}", value.print())).collect();
                format!("map[{}]", pairs.join(" "))
            }
            Self::List(list) => {
                let items: Vec<String> = list.iter().map(Self::print).collect();
                format!("[{}]", items.join(" "))
            }
        }
    }
}
