//! Labels of a stream beside its columns: those with which it was pushed, and the resource attributes of which Loki makes
//! labels. They are read from `resource_attributes`, so any record that says them has them, however it came.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::functions::expr_fn::contains;
use datafusion::logical_expr::{ColumnarValue, Expr as Plan, ScalarUDF, Volatility, col, create_udf, lit};
use serde_json::{Map, Value};

use super::row::{LABELS, label_column, label_name};
use crate::attributes;

/// The column that has them.
pub(crate) const RESOURCE: &str = "resource_attributes";
/// The resource attribute that names those of which labels are to be made; the OpenTelemetry Collector's Loki exporter
/// reads it, too.
const HINT: &str = "loki.resource.labels";
/// A stream has at most so many labels beside its columns; others of its attributes are metadata.
const MAX_LABELS: usize = 64;
/// Of these Loki makes labels by default; the others of its list are columns.
const INDEXED: [&str; 16] = [
    "cloud.availability_zone",
    "container.name",
    "deployment.environment",
    "deployment.environment.name",
    "k8s.cluster.name",
    "k8s.container.name",
    "k8s.cronjob.name",
    "k8s.daemonset.name",
    "k8s.deployment.name",
    "k8s.job.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.replicaset.name",
    "k8s.statefulset.name",
    "service.instance.id",
    "service.namespace",
];
/// What columns say.
const IN_COLUMNS: [&str; 4] = ["cloud.account.id", "cloud.region", "service.name", "tenant.id"];

/// What a resource says beside the columns, by names that LogQL can have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Resource {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Resource {
    /// Reads the column's text.
    pub(crate) fn of(json: &str) -> Self {
        let mut resource = Self::default();
        let Ok(Value::Object(attributes)) = serde_json::from_str(json) else { return resource };
        let hinted = hinted(&attributes);
        for (key, value) in &attributes {
            if key == HINT || IN_COLUMNS.contains(&key.as_str()) {
                continue;
            }
            let (name, value) = (label_name(key), attributes::json_text(value));
            let is_label = INDEXED.contains(&key.as_str()) || hinted.contains(key.as_str());
            // No sender's label stands for what is stamped.
            let is_free = label_column(&name).is_none() && resource.labels.len() < MAX_LABELS;
            if !value.is_empty() {
                let into = if is_label && is_free { &mut resource.labels } else { &mut resource.metadata };
                into.insert(name, value);
            }
        }
        resource
    }
}

/// The names in the hint: a list, or a text with commas.
fn hinted(attributes: &Map<String, Value>) -> BTreeSet<&str> {
    match attributes.get(HINT) {
        Some(Value::String(names)) => names.split(',').map(str::trim).collect(),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => BTreeSet::new(),
    }
}

/// Reads resources one after the other; those of neighbours are often the same.
#[derive(Default)]
pub(crate) struct Reading<'a>(Option<(&'a str, Arc<Resource>)>);

impl<'a> Reading<'a> {
    pub(crate) fn read(&mut self, json: &'a str) -> Arc<Resource> {
        match &self.0 {
            Some((last, resource)) if *last == json => Arc::clone(resource),
            _ => {
                let resource = Arc::new(Resource::of(json));
                self.0 = Some((json, Arc::clone(&resource)));
                resource
            }
        }
    }
}

/// A label's value in a plan; empty where a record has no such label.
pub(crate) fn label(name: &str) -> Plan {
    match label_column(name) {
        Some(column) => col(column),
        None => STREAM_LABEL.call(vec![col(RESOURCE), lit(name)]),
    }
}

/// What a record whose label has a value must fulfil, beside having it: it costs less to look at.
pub(crate) fn may_have(name: &str, value: &str) -> Option<Plan> {
    if label_column(name).is_some() || value.is_empty() {
        return None;
    }
    let quoted = Value::from(value).to_string();
    let written = quoted.strip_prefix('"').and_then(|quoted| quoted.strip_suffix('"'))?;
    Some(contains(col(RESOURCE), lit(written)))
}

/// The columns by which streams are apart: the labels' own, and what has the others.
pub(crate) fn columns() -> Vec<Plan> {
    LABELS.iter().map(|(_, column)| col(*column)).chain([col(RESOURCE)]).collect()
}

static STREAM_LABEL: LazyLock<ScalarUDF> = LazyLock::new(|| {
    let arguments = vec![DataType::Utf8, DataType::Utf8];
    create_udf("stream_label", arguments, DataType::Utf8, Volatility::Immutable, Arc::new(stream_label))
});

fn stream_label(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let wrong = || DataFusionError::Internal("stream_label takes texts and a name".to_owned());
    let [resources, ColumnarValue::Scalar(ScalarValue::Utf8(Some(name)))] = arguments else { return Err(wrong()) };
    let of = |resource: &Resource| resource.labels.get(name).cloned().unwrap_or_default();
    if let ColumnarValue::Scalar(ScalarValue::Utf8(json)) = resources {
        let value = of(&Resource::of(json.as_deref().unwrap_or_default()));
        return Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(value))));
    }
    let ColumnarValue::Array(resources) = resources else { return Err(wrong()) };
    let texts = resources.as_string_opt::<i32>().ok_or_else(wrong)?;
    let (mut reading, mut values) = (Reading::default(), StringBuilder::new());
    for json in texts {
        values.append_value(of(&reading.read(json.unwrap_or_default())));
    }
    Ok(ColumnarValue::Array(Arc::new(values.finish()) as ArrayRef))
}

#[cfg(test)]
mod tests {
    use super::Resource;

    #[test]
    fn hints_and_lokis_own_list_make_labels_and_the_rest_is_metadata() {
        let resource = Resource::of(
            r#"{"job":"a","k8s.pod.name":"p","host.name":"h","tenant":"forged","tenant.id":"t","n":7,
                "loki.resource.labels":"job, tenant,n,absent"}"#,
        );
        let pairs = |of: &std::collections::BTreeMap<String, String>| {
            of.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        assert_eq!(pairs(&resource.labels), ["job=a", "k8s_pod_name=p", "n=7"]);
        assert_eq!(pairs(&resource.metadata), ["host_name=h", "tenant=forged"]);
        let hinted: Vec<String> = (0..100).map(|n| format!("l{n:03}")).collect();
        let many = hinted.iter().map(|name| format!(r#""{name}":"x""#)).collect::<Vec<_>>().join(",");
        let many = Resource::of(&format!(r#"{{{many},"loki.resource.labels":"{}"}}"#, hinted.join(",")));
        assert_eq!((many.labels.len(), many.metadata.len()), (64, 36));
        assert_eq!(Resource::of("no json"), Resource::default());
    }
}
