//! Metric streams: JSON lines, or OpenTelemetry 1.0's requests with their length before each.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::mem::size_of;

use bytes::Buf as _;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, SummaryDataPoint, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use tenantscope_wire::cloudwatch::{METRICS_SCOPE, dimension_label, metric_name};

use super::datum::{Datum, statistics};
use super::{Budget, MALFORMED_RECORD, Source};
use crate::claims::{ACCOUNT_ATTRIBUTE, REGION_ATTRIBUTE};
use crate::{DecodeError, Rejected, footprint};

/// Gauges by who they are of and by name, so that equal bodies give equal batches.
#[derive(Default)]
pub(super) struct Metrics(BTreeMap<Source, BTreeMap<String, Vec<NumberDataPoint>>>);

impl Metrics {
    /// Adds what a record holds; tells how many parts of it could be read.
    pub(super) fn add_record(
        &mut self,
        data: &[u8],
        budget: &mut Budget,
        left_out: &mut Rejected,
    ) -> Result<usize, DecodeError> {
        budget.take_bytes(data.len())?;
        if is_json(data) { self.add_lines(data, budget, left_out) } else { self.add_requests(data, budget, left_out) }
    }

    fn add_lines(&mut self, data: &[u8], budget: &mut Budget, left_out: &mut Rejected) -> Result<usize, DecodeError> {
        let mut read = 0;
        for line in data.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            let Ok(datum) = serde_json::from_slice::<Datum>(line) else {
                left_out.add(MALFORMED_RECORD, 1);
                continue;
            };
            read += 1;
            let values = statistics(&datum.value.0);
            let names = Names { namespace: &datum.namespace, metric: &datum.metric_name };
            self.add(datum.source(), &names, &datum.dimensions.0, datum.timestamp, &values, budget)?;
        }
        Ok(read)
    }

    fn add_requests(
        &mut self,
        mut rest: &[u8],
        budget: &mut Budget,
        left_out: &mut Rejected,
    ) -> Result<usize, DecodeError> {
        let mut read = 0;
        while rest.has_remaining() {
            let request = prost::decode_length_delimiter(&mut rest).ok().and_then(|length| {
                let (request, behind) = rest.split_at_checked(length)?;
                rest = behind;
                Some(request)
            });
            let Some(request) = request else {
                // Where the next one begins nobody knows.
                left_out.add(MALFORMED_RECORD, 1);
                break;
            };
            budget.take_memory(footprint::decoded_bytes(&footprint::METRICS, request, budget.memory_bytes))?;
            match ExportMetricsServiceRequest::decode(request) {
                Ok(request) => {
                    read += 1;
                    for resource in &request.resource_metrics {
                        self.add_resource(resource, budget, left_out)?;
                    }
                }
                Err(_) => left_out.add(MALFORMED_RECORD, 1),
            }
        }
        Ok(read)
    }

    fn add_resource(
        &mut self,
        resource: &ResourceMetrics,
        budget: &mut Budget,
        left_out: &mut Rejected,
    ) -> Result<(), DecodeError> {
        let attributes = resource.resource.as_ref().map(|resource| resource.attributes.as_slice()).unwrap_or_default();
        let text = |key: &str| text_of(attributes, key).unwrap_or_default().to_owned();
        let source = Source { account: text(ACCOUNT_ATTRIBUTE), region: text(REGION_ATTRIBUTE) };
        for metric in resource.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
            let Some(Data::Summary(summary)) = &metric.data else {
                left_out.add(MALFORMED_RECORD, crate::count::points_of_metric(metric));
                continue;
            };
            for point in &summary.data_points {
                self.add_summary(&source, point, budget, left_out)?;
            }
        }
        Ok(())
    }

    fn add_summary(
        &mut self,
        source: &Source,
        point: &SummaryDataPoint,
        budget: &mut Budget,
        left_out: &mut Rejected,
    ) -> Result<(), DecodeError> {
        let named = |key: &str| text_of(&point.attributes, key);
        let (Some(namespace), Some(metric)) = (named("Namespace"), named("MetricName")) else {
            left_out.add(MALFORMED_RECORD, 1);
            return Ok(());
        };
        // A datapoint bears its period's beginning, as CloudWatch itself has it.
        let nanos = if point.start_time_unix_nano > 0 { point.start_time_unix_nano } else { point.time_unix_nano };
        let at_ms = i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX);
        let mut values = vec![("sum".to_owned(), point.sum), ("count".to_owned(), float(point.count))];
        values.extend(point.quantile_values.iter().map(|at| (quantile_name(at.quantile).into_owned(), at.value)));
        let names = Names { namespace, metric };
        self.add(source.clone(), &names, &dimensions_of(&point.attributes), at_ms, &statistics(&values), budget)
    }

    fn add(
        &mut self,
        source: Source,
        names: &Names<'_>,
        dimensions: &[(String, String)],
        at_ms: i64,
        statistics: &[(&str, f64)],
        budget: &mut Budget,
    ) -> Result<(), DecodeError> {
        let dimension = |(name, value): &(String, String)| string(&dimension_label(name), value);
        let attributes: Vec<KeyValue> = dimensions.iter().map(dimension).collect();
        let pair_bytes = |(name, value): &(String, String)| size_of::<KeyValue>() + 16 + name.len() + value.len();
        let point_bytes = size_of::<NumberDataPoint>() + dimensions.iter().map(pair_bytes).sum::<usize>();
        let by_name = self.0.entry(source).or_default();
        for (statistic, value) in statistics {
            let name = metric_name(names.namespace, names.metric, statistic);
            budget.take_memory(point_bytes.saturating_add(name.len()))?;
            by_name.entry(name).or_default().push(NumberDataPoint {
                attributes: attributes.clone(),
                time_unix_nano: u64::try_from(at_ms).unwrap_or(0).saturating_mul(1_000_000),
                value: Some(number_data_point::Value::AsDouble(*value)),
                ..NumberDataPoint::default()
            });
        }
        Ok(())
    }

    /// A resource for each account and region.
    pub(super) fn into_resources(self) -> Vec<ResourceMetrics> {
        let gauge =
            |(name, data_points)| Metric { name, data: Some(Data::Gauge(Gauge { data_points })), ..Metric::default() };
        let resource = |(source, by_name): (Source, BTreeMap<_, _>)| {
            let scope = InstrumentationScope { name: METRICS_SCOPE.to_owned(), ..InstrumentationScope::default() };
            let metrics = by_name.into_iter().map(gauge).collect();
            ResourceMetrics {
                resource: Some(Resource { attributes: source.attributes(), ..Resource::default() }),
                scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }],
                ..ResourceMetrics::default()
            }
        };
        self.0.into_iter().map(resource).collect()
    }
}

struct Names<'a> {
    namespace: &'a str,
    metric: &'a str,
}

impl Source {
    /// What of it is known.
    pub(super) fn attributes(&self) -> Vec<KeyValue> {
        let known = [(ACCOUNT_ATTRIBUTE, &self.account), (REGION_ATTRIBUTE, &self.region)];
        known.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| string(key, value)).collect()
    }
}

/// A request's length of `{` would have its first field behind it, which is no way to go on in a line of JSON.
fn is_json(data: &[u8]) -> bool {
    match data.trim_ascii_start() {
        [b'{', next, ..] => *next != 0x0a,
        _ => false,
    }
}

fn text_of<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn dimensions_of(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let dimensions = attributes.iter().find(|attribute| attribute.key == "Dimensions");
    let value = dimensions.and_then(|dimensions| dimensions.value.as_ref()?.value.as_ref());
    let Some(Value::KvlistValue(list)) = value else { return Vec::new() };
    let pair = |pair: &KeyValue| Some((pair.key.clone(), text_of(std::slice::from_ref(pair), &pair.key)?.to_owned()));
    list.values.iter().filter_map(pair).collect()
}

/// The statistic that a stream writes as this quantile: the ends are the extremes.
fn quantile_name(quantile: f64) -> Cow<'static, str> {
    if quantile <= 0.0 {
        "min".into()
    } else if quantile >= 1.0 {
        "max".into()
    } else {
        // 0.999 × 100 must not become 99.90000000000001.
        format!("p{}", (quantile * 1e8).round() / 1e6).into()
    }
}

fn string(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// Counts above 2^53 lose their last digits, as in CloudWatch itself.
#[allow(clippy::cast_precision_loss)]
fn float(count: u64) -> f64 {
    count as f64
}
