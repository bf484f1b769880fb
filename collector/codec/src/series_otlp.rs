//! Stamped series as OTLP: counters become cumulative monotonic sums, everything else gauges, native histograms
//! exponential ones.

use std::collections::{BTreeMap, HashMap};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use tenantscope_model::{
    FamilyMetadata, Histogram, HistogramSample, METRIC_NAME, MetricKind, Sample, Spans, StampedSeries, is_stale_nan,
};

use crate::claims::{ACCOUNT_ATTRIBUTE, ACCOUNT_LABEL, REGION_ATTRIBUTE, REGION_LABEL, TENANT_ATTRIBUTE, TENANT_LABEL};

const NO_RECORDED_VALUE: u32 = 1;
/// Labels that go to the resource, as which attribute.
const RESOURCE_LABELS: [(&str, &str); 5] = [
    (TENANT_LABEL, TENANT_ATTRIBUTE),
    (ACCOUNT_LABEL, ACCOUNT_ATTRIBUTE),
    (REGION_LABEL, REGION_ATTRIBUTE),
    ("job", "service.name"),
    ("instance", "service.instance.id"),
];
/// More buckets than this between the first and the last are not written.
const MAX_BUCKETS: usize = 20_000;

/// One resource for each tenant, account, region, job and instance.
pub(crate) fn resources_of(series: &[StampedSeries], metadata: &[FamilyMetadata]) -> Vec<ResourceMetrics> {
    let kinds: HashMap<&str, MetricKind> =
        metadata.iter().map(|family| (&*family.family, family.metadata.kind)).collect();
    let mut resources: BTreeMap<[&str; 5], Vec<Metric>> = BTreeMap::new();
    for series in series {
        let key = RESOURCE_LABELS.map(|(label, _)| series.labels.get(label).unwrap_or(""));
        let metrics = resources.entry(key).or_default();
        metrics.extend(numbers_of(series, &kinds));
        metrics.extend(histograms_of(series));
    }
    let resource = |(key, metrics): ([&str; 5], Vec<Metric>)| {
        let named = RESOURCE_LABELS.into_iter().zip(key).filter(|(_, value)| !value.is_empty());
        let attributes = named.map(|((_, attribute), value)| attribute_of(attribute, value)).collect();
        ResourceMetrics {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_metrics: vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        }
    };
    resources.into_iter().map(resource).collect()
}

fn attribute_of(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn attributes_of(series: &StampedSeries) -> Vec<KeyValue> {
    let is_own = |name: &str| name != METRIC_NAME && !RESOURCE_LABELS.iter().any(|(label, _)| *label == name);
    let own = series.labels.iter().filter(|label| is_own(&label.name));
    own.map(|label| attribute_of(&label.name, &label.value)).collect()
}

fn nanos(t_ms: i64) -> u64 {
    u64::try_from(t_ms).unwrap_or(0).saturating_mul(1_000_000)
}

fn numbers_of(series: &StampedSeries, kinds: &HashMap<&str, MetricKind>) -> Option<Metric> {
    if series.samples.is_empty() {
        return None;
    }
    let attributes = attributes_of(series);
    let point = |sample: &Sample| NumberDataPoint {
        attributes: attributes.clone(),
        time_unix_nano: nanos(sample.t_ms),
        flags: if is_stale_nan(sample.value) { NO_RECORDED_VALUE } else { 0 },
        value: Some(number_data_point::Value::AsDouble(sample.value)),
        ..NumberDataPoint::default()
    };
    let data_points = series.samples.iter().map(point).collect();
    let name = series.labels.metric_name();
    let data = if is_counter(name, kinds) {
        let aggregation_temporality = AggregationTemporality::Cumulative as i32;
        Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic: true })
    } else {
        Data::Gauge(Gauge { data_points })
    };
    Some(Metric { name: name.to_owned(), data: Some(data), ..Metric::default() })
}

/// By the family's metadata, else by the name's ending.
fn is_counter(name: &str, kinds: &HashMap<&str, MetricKind>) -> bool {
    match kinds.get(name) {
        Some(kind) => *kind == MetricKind::Counter,
        None => ["_total", "_bucket", "_count"].into_iter().any(|suffix| name.ends_with(suffix)),
    }
}

fn histograms_of(series: &StampedSeries) -> Option<Metric> {
    let attributes = attributes_of(series);
    let point = |sample: &HistogramSample| histogram_point(sample, &attributes);
    let data_points: Vec<_> = series.histograms.iter().filter_map(point).collect();
    if data_points.is_empty() {
        return None;
    }
    let aggregation_temporality = AggregationTemporality::Cumulative as i32;
    let data = Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality });
    Some(Metric { name: series.labels.metric_name().to_owned(), data: Some(data), ..Metric::default() })
}

/// Custom bounds have no exponential form and are left out.
fn histogram_point(sample: &HistogramSample, attributes: &[KeyValue]) -> Option<ExponentialHistogramDataPoint> {
    let histogram: &Histogram = &sample.histogram;
    if histogram.schema == -53 {
        return None;
    }
    let stale = is_stale_nan(histogram.sum);
    Some(ExponentialHistogramDataPoint {
        attributes: attributes.to_vec(),
        time_unix_nano: nanos(sample.t_ms),
        count: whole(histogram.count),
        sum: (!stale).then_some(histogram.sum),
        scale: histogram.schema,
        zero_count: whole(histogram.zero_count),
        zero_threshold: histogram.zero_threshold,
        positive: Some(buckets_of(&histogram.positive)?),
        negative: Some(buckets_of(&histogram.negative)?),
        flags: if stale { NO_RECORDED_VALUE } else { 0 },
        ..ExponentialHistogramDataPoint::default()
    })
}

/// The nearest count: OTLP has whole ones only.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(count: f64) -> u64 {
    count.round() as u64
}

fn buckets_of(side: &Spans) -> Option<Buckets> {
    let mut buckets = Buckets::default();
    let mut counts = side.counts.iter();
    for (number, span) in side.spans.iter().enumerate() {
        if number == 0 {
            buckets.offset = span.offset.checked_sub(1)?;
        } else {
            let gap = usize::try_from(span.offset).ok()?;
            if buckets.bucket_counts.len().saturating_add(gap) > MAX_BUCKETS {
                return None;
            }
            buckets.bucket_counts.extend(std::iter::repeat_n(0, gap));
        }
        let length = usize::try_from(span.length).ok()?;
        buckets.bucket_counts.extend(counts.by_ref().take(length).map(|count| whole(*count)));
    }
    Some(buckets)
}
