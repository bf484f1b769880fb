//! Log records as LogQL sees them.

use std::collections::BTreeMap;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use datafusion::error::DataFusionError;
use serde_json::Value;

use super::stream::{RESOURCE, Reading, Resource};
use crate::{QueryError, attributes};

/// The labels that are columns, with these, in the order of the label names.
pub(crate) const LABELS: [(&str, &str); 6] = [
    ("account_id", "account_id"),
    ("level", "level"),
    ("log_group", "log_group"),
    ("region", "region"),
    ("service_name", "service"),
    ("tenant", "tenant"),
];

/// The column of a stream label; `detected_level` is Loki's name for `level`, `cloud_region` the one that it makes of the
/// attribute which is our `region`.
pub(crate) fn label_column(label: &str) -> Option<&'static str> {
    let label = match label {
        "detected_level" => "level",
        "cloud_region" => "region",
        label => label,
    };
    LABELS.iter().find(|(name, _)| *name == label).map(|(_, column)| *column)
}

/// The columns of which [`Rows`] is made.
pub(crate) const COLUMNS: [&str; 12] = [
    "time_ns",
    "account_id",
    "level",
    "log_group",
    "region",
    "service",
    "tenant",
    RESOURCE,
    "body",
    "trace_id",
    "span_id",
    "attributes",
];

/// Time and labels alone.
pub(crate) const LABEL_COLUMNS: [&str; 8] =
    ["time_ns", "account_id", "level", "log_group", "region", "service", "tenant", RESOURCE];

/// The rows of a batch.
pub(crate) struct Rows<'a> {
    time_ns: &'a Int64Array,
    labels: Vec<(&'static str, &'a StringArray)>,
    resource: &'a StringArray,
    // These are left out of the plan where nothing needs them.
    body: Option<&'a StringArray>,
    trace_id: Option<&'a StringArray>,
    span_id: Option<&'a StringArray>,
    attributes: Option<&'a StringArray>,
}

/// One row, its labels as they come and go through the stages of a pipeline.
pub(crate) struct Row {
    pub(crate) time_ns: i64,
    pub(crate) line: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) metadata: BTreeMap<String, String>,
}

pub(crate) fn text<'a>(rows: &'a RecordBatch, column: &str) -> Result<&'a StringArray, QueryError> {
    let array = rows.column_by_name(column).and_then(|array| array.as_string_opt::<i32>());
    array.ok_or_else(|| missing(column))
}

pub(crate) fn integers<'a>(rows: &'a RecordBatch, column: &str) -> Result<&'a Int64Array, QueryError> {
    let array = rows.column_by_name(column).and_then(|array| array.as_primitive_opt::<Int64Type>());
    array.ok_or_else(|| missing(column))
}

fn missing(column: &str) -> QueryError {
    QueryError::Store(DataFusionError::Internal(format!("no column {column} of the expected type")))
}

impl<'a> Rows<'a> {
    pub(crate) fn new(rows: &'a RecordBatch) -> Result<Self, QueryError> {
        let labels = LABELS.iter().map(|(label, column)| Ok((*label, text(rows, column)?)));
        Ok(Self {
            time_ns: integers(rows, "time_ns")?,
            labels: labels.collect::<Result<_, QueryError>>()?,
            resource: text(rows, RESOURCE)?,
            body: text(rows, "body").ok(),
            trace_id: text(rows, "trace_id").ok(),
            span_id: text(rows, "span_id").ok(),
            attributes: text(rows, "attributes").ok(),
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Row> + '_ {
        let mut resources = Reading::default();
        (0..self.time_ns.len()).map(move |at| self.row(at, &resources.read(self.resource.value(at))))
    }

    fn row(&self, at: usize, resource: &Resource) -> Row {
        let present = self.labels.iter().map(|(name, values)| (*name, values.value(at))).filter(|(_, v)| !v.is_empty());
        let present = present.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut metadata = BTreeMap::new();
        // Without attributes nothing but labels is asked for.
        if let Some(attributes) = self.attributes {
            metadata.clone_from(&resource.metadata);
            metadata.append(&mut flat(attributes.value(at)));
        }
        for (name, values) in [("trace_id", self.trace_id), ("span_id", self.span_id)] {
            if let Some(value) = values.map(|values| values.value(at)).filter(|value| !value.is_empty()) {
                metadata.insert(name.to_owned(), value.to_owned());
            }
        }
        Row {
            time_ns: self.time_ns.value(at),
            line: self.body.map(|values| values.value(at).to_owned()).unwrap_or_default(),
            labels: resource.labels.clone().into_iter().chain(present).collect(),
            metadata,
        }
    }
}

/// Attributes as labels: names made fit for LogQL, values as text.
fn flat(json: &str) -> BTreeMap<String, String> {
    match serde_json::from_str(json) {
        Ok(Value::Object(map)) => {
            map.iter().map(|(key, value)| (label_name(key), attributes::json_text(value))).collect()
        }
        _ => BTreeMap::new(),
    }
}

/// A name with everything replaced that a LogQL label can't have.
pub(crate) fn label_name(key: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    let name: String = key.chars().map(fit).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}
