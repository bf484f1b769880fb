//! Streams as resources with log records.

use std::collections::BTreeMap;
use std::mem::size_of;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::{Entry, Stream, malformed, text};
use crate::claims::{ACCOUNT_ATTRIBUTE, ACCOUNT_LABEL, REGION_ATTRIBUTE, REGION_LABEL, TENANT_ATTRIBUTE, TENANT_LABEL};
use crate::labels::MAX_LABELS;
use crate::{DecodeError, Rejected};

/// The attribute from which the label `log_group` is made.
const LOG_GROUP_ATTRIBUTE: &str = "aws.log.group.names";

/// The resource attributes of which Loki makes labels by default, by these labels; and our own labels.
const RESOURCE_LABELS: [(&str, &str); 21] = [
    ("service_name", "service.name"),
    ("service_namespace", "service.namespace"),
    ("service_instance_id", "service.instance.id"),
    ("deployment_environment", "deployment.environment"),
    ("deployment_environment_name", "deployment.environment.name"),
    ("cloud_region", REGION_ATTRIBUTE),
    ("cloud_availability_zone", "cloud.availability_zone"),
    ("k8s_cluster_name", "k8s.cluster.name"),
    ("k8s_namespace_name", "k8s.namespace.name"),
    ("k8s_pod_name", "k8s.pod.name"),
    ("k8s_container_name", "k8s.container.name"),
    ("container_name", "container.name"),
    ("k8s_replicaset_name", "k8s.replicaset.name"),
    ("k8s_deployment_name", "k8s.deployment.name"),
    ("k8s_statefulset_name", "k8s.statefulset.name"),
    ("k8s_daemonset_name", "k8s.daemonset.name"),
    ("k8s_cronjob_name", "k8s.cronjob.name"),
    ("k8s_job_name", "k8s.job.name"),
    (TENANT_LABEL, TENANT_ATTRIBUTE),
    (ACCOUNT_LABEL, ACCOUNT_ATTRIBUTE),
    (REGION_LABEL, REGION_ATTRIBUTE),
];
/// The attribute that says which others of a resource are labels; the OpenTelemetry Collector's Loki exporter reads it, too.
const LABELS_HINT: &str = "loki.resource.labels";
const LOG_GROUP_LABEL: &str = "log_group";
const LEVEL_LABELS: [&str; 2] = ["level", "detected_level"];

/// Where Loki looks for a service's name by default.
const SERVICE_LABELS: [&str; 13] = [
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
];
const UNKNOWN_SERVICE: &str = "unknown_service";

/// Why the lines of a stream without labels are left out.
const MISSING_LABELS: &str = "missing_labels";

/// A resource for each stream. What the labels take with each record counts, too.
pub(super) fn resources_of(
    streams: Vec<Stream>,
    max_memory_bytes: usize,
    left_out: &mut Rejected,
) -> Result<Vec<ResourceLogs>, DecodeError> {
    if streams.is_empty() {
        return Err(malformed("at least one stream is needed"));
    }
    let mut budget = max_memory_bytes;
    let mut resources = Vec::with_capacity(streams.len());
    for stream in streams {
        let labels: BTreeMap<&str, &str> = stream.labels.iter().map(|(name, value)| (&**name, &**value)).collect();
        let labels: Vec<(&str, &str)> = labels.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        if let Some((wrong, _)) = labels.iter().find(|(name, _)| !text::is_label_name(name)) {
            return Err(malformed(format!("could not parse labels: {wrong:.200?} is no label's name")));
        }
        if labels.len() > MAX_LABELS {
            return Err(malformed(format!("a stream has {} labels, {MAX_LABELS} may be", labels.len())));
        }
        if labels.is_empty() {
            left_out.add(MISSING_LABELS, stream.entries.len());
            continue;
        }
        let shared = Shared::of(&labels);
        for entry in &stream.entries {
            let bytes = size_of::<LogRecord>() + shared.bytes + entry_bytes(entry);
            let too_much = DecodeError::TooMuchMemory { max_bytes: max_memory_bytes };
            budget = budget.checked_sub(bytes).ok_or(too_much)?;
        }
        let log_records = stream.entries.into_iter().map(|entry| shared.record_of(entry)).collect();
        resources.push(ResourceLogs {
            resource: Some(Resource { attributes: shared.resource, ..Resource::default() }),
            scope_logs: vec![ScopeLogs { log_records, ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        });
    }
    Ok(resources)
}

fn entry_bytes(entry: &Entry) -> usize {
    let pair = |(name, value): &(String, String)| size_of::<KeyValue>() + name.len() + value.len();
    entry.line.len() + entry.metadata.iter().map(pair).sum::<usize>()
}

/// What a stream's labels say.
#[derive(Default)]
struct Shared {
    resource: Vec<KeyValue>,
    severity_text: String,
    /// Of each record: labels whose attribute another label gave before.
    attributes: Vec<KeyValue>,
    /// What labels take with each record.
    bytes: usize,
}

impl Shared {
    fn of(labels: &[(&str, &str)]) -> Self {
        let mut shared = Self::default();
        let value_of = |wanted: &str| labels.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
        let mut others = Vec::new();
        for &(name, value) in labels {
            let resource = RESOURCE_LABELS.iter().find(|(label, _)| *label == name).map(|(_, attribute)| *attribute);
            match resource {
                // Of an attribute that two labels give the first counts.
                Some(attribute) if shared.resource.iter().all(|known| known.key != attribute) => {
                    shared.resource.push(string(attribute, value));
                }
                None if name == LOG_GROUP_LABEL => shared.resource.push(list(LOG_GROUP_ATTRIBUTE, value)),
                None if LEVEL_LABELS.contains(&name) => value.clone_into(&mut shared.severity_text),
                Some(_) => shared.attributes.push(string(name, value)),
                None => {
                    shared.resource.push(string(name, value));
                    others.push(name);
                }
            }
        }
        if !others.is_empty() {
            shared.resource.push(string(LABELS_HINT, &others.join(",")));
        }
        if value_of("service_name").is_none() {
            let found = SERVICE_LABELS.iter().find_map(|name| value_of(name));
            shared.resource.push(string("service.name", found.unwrap_or(UNKNOWN_SERVICE)));
        }
        // Each record's row has those of the resource, too.
        let is_repeated =
            |name: &str| others.contains(&name) || shared.attributes.iter().any(|known| known.key == name);
        let pairs = labels.iter().filter(|(name, _)| is_repeated(name));
        let pair_bytes = pairs.map(|(name, value)| size_of::<KeyValue>() + name.len() + value.len()).sum::<usize>();
        shared.bytes = shared.severity_text.len() + pair_bytes;
        shared
    }

    fn record_of(&self, entry: Entry) -> LogRecord {
        let mut record = LogRecord {
            time_unix_nano: entry.time_unix_nano,
            severity_text: self.severity_text.clone(),
            body: Some(AnyValue { value: Some(Value::StringValue(entry.line)) }),
            attributes: self.attributes.clone(),
            ..LogRecord::default()
        };
        for (name, value) in entry.metadata {
            if set_field(&mut record, &name, &value).is_none() {
                record.attributes.retain(|known| known.key != name);
                record.attributes.push(string(&name, &value));
            }
        }
        record
    }
}

/// Sets the field of which Loki makes this metadata; `None` where there is none, or the text is not one of Loki's.
fn set_field(record: &mut LogRecord, name: &str, value: &str) -> Option<()> {
    match name {
        "trace_id" => record.trace_id = id(value, 16)?,
        "span_id" => record.span_id = id(value, 8)?,
        "severity_text" => value.clone_into(&mut record.severity_text),
        "detected_level" if record.severity_text.is_empty() => value.clone_into(&mut record.severity_text),
        "severity_number" => record.severity_number = value.parse().ok().filter(|number| (0..=24).contains(number))?,
        "observed_timestamp" => record.observed_time_unix_nano = value.parse().ok()?,
        "flags" => record.flags = value.parse().ok()?,
        "dropped_attributes_count" => record.dropped_attributes_count = value.parse().ok()?,
        _ => return None,
    }
    Some(())
}

fn id(text: &str, bytes: usize) -> Option<Vec<u8>> {
    let digits = text.bytes().map(|b| char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok()));
    let digits: Vec<u8> = digits.collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    let id: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    (rest.is_empty() && id.len() == bytes && id.iter().any(|byte| *byte != 0)).then_some(id)
}

fn string(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn list(key: &str, value: &str) -> KeyValue {
    let values = vec![AnyValue { value: Some(Value::StringValue(value.to_owned())) }];
    attribute(key, Value::ArrayValue(ArrayValue { values }))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
