//! Stamped series as OTLP: counters become cumulative monotonic sums, everything else gauges, native histograms
//! exponential ones or, with custom bounds, explicit ones. Starts go along; a series' exemplars go with its last point.

use std::collections::{BTreeMap, HashMap};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    self as otlp, AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use tenantscope_model::{
    Exemplar, FamilyMetadata, Histogram, HistogramSample, METRIC_NAME, MetricKind, ResetHint, Sample, Spans,
    StampedSeries, is_stale_nan,
};

use crate::claims::{ACCOUNT_ATTRIBUTE, ACCOUNT_LABEL, REGION_ATTRIBUTE, REGION_LABEL, TENANT_ATTRIBUTE, TENANT_LABEL};
use crate::native::CUSTOM;

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
    let point = |(at, sample): (usize, &Sample)| NumberDataPoint {
        attributes: attributes.clone(),
        start_time_unix_nano: start_nanos(&series.starts.samples_ms, at),
        time_unix_nano: nanos(sample.t_ms),
        flags: if is_stale_nan(sample.value) { NO_RECORDED_VALUE } else { 0 },
        value: Some(number_data_point::Value::AsDouble(sample.value)),
        ..NumberDataPoint::default()
    };
    let mut data_points: Vec<_> = series.samples.iter().enumerate().map(point).collect();
    if let Some(last) = data_points.last_mut() {
        last.exemplars = exemplars_of(series);
    }
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

fn histograms_of(series: &StampedSeries) -> Vec<Metric> {
    let mut exponential: BTreeMap<i32, Vec<ExponentialHistogramDataPoint>> = BTreeMap::new();
    let mut explicit: BTreeMap<i32, Vec<HistogramDataPoint>> = BTreeMap::new();
    if series.histograms.is_empty() {
        return Vec::new();
    }
    let attributes = attributes_of(series);
    for (at, sample) in series.histograms.iter().enumerate() {
        let start_time_unix_nano = start_nanos(&series.starts.histograms_ms, at);
        let temporality = temporality_of(sample.histogram.reset_hint);
        if sample.histogram.schema == CUSTOM {
            let point = explicit_point(sample, &attributes, start_time_unix_nano);
            explicit.entry(temporality).or_default().extend(point);
        } else {
            let point = exponential_point(sample, &attributes, start_time_unix_nano);
            exponential.entry(temporality).or_default().extend(point);
        }
    }
    if series.samples.is_empty() {
        let exponentials = exponential.values_mut().filter_map(|points| points.last_mut()).map(|p| &mut p.exemplars);
        let explicits = explicit.values_mut().filter_map(|points| points.last_mut()).map(|p| &mut p.exemplars);
        if let Some(exemplars) = exponentials.chain(explicits).next() {
            *exemplars = exemplars_of(series);
        }
    }
    let exponential = exponential.into_iter().map(|(aggregation_temporality, data_points)| {
        Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality })
    });
    let explicit = explicit.into_iter().map(|(aggregation_temporality, data_points)| {
        Data::Histogram(otlp::Histogram { data_points, aggregation_temporality })
    });
    let name = series.labels.metric_name();
    let metric = |data| Metric { name: name.to_owned(), data: Some(data), ..Metric::default() };
    exponential.chain(explicit).map(metric).collect()
}

/// A histogram that is no counter has no form of its own in OTLP; Prometheus reads deltas as such.
fn temporality_of(hint: ResetHint) -> i32 {
    match hint {
        ResetHint::Gauge => AggregationTemporality::Delta as i32,
        ResetHint::Unknown | ResetHint::CounterReset | ResetHint::NotCounterReset => {
            AggregationTemporality::Cumulative as i32
        }
    }
}

/// The start of the point at that place; 0 where it is not known.
fn start_nanos(starts_ms: &[i64], at: usize) -> u64 {
    starts_ms.get(at).map_or(0, |start_ms| nanos(*start_ms))
}

fn exemplars_of(series: &StampedSeries) -> Vec<otlp::Exemplar> {
    series.exemplars.iter().map(exemplar_of).collect()
}

/// `trace_id` and `span_id` have fields of their own where they are such ids.
fn exemplar_of(exemplar: &Exemplar) -> otlp::Exemplar {
    let id = |label: &str, bytes: usize| {
        let id = exemplar.labels.get(label).and_then(bytes_of_hex).filter(|id| id.len() == bytes);
        (id.is_some(), id.unwrap_or_default())
    };
    let (has_trace, trace_id) = id("trace_id", 16);
    let (has_span, span_id) = id("span_id", 8);
    let is_said = |name: &str| (name == "trace_id" && has_trace) || (name == "span_id" && has_span);
    let others = exemplar.labels.iter().filter(|label| !is_said(&label.name));
    otlp::Exemplar {
        filtered_attributes: others.map(|label| attribute_of(&label.name, &label.value)).collect(),
        time_unix_nano: nanos(exemplar.t_ms),
        trace_id,
        span_id,
        value: Some(exemplar::Value::AsDouble(exemplar.value)),
    }
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// Buckets of custom bounds are OTLP's explicit ones.
fn explicit_point(
    sample: &HistogramSample,
    attributes: &[KeyValue],
    start_time_unix_nano: u64,
) -> Option<HistogramDataPoint> {
    let histogram: &Histogram = &sample.histogram;
    let mut bucket_counts = vec![0; histogram.custom_bounds.len() + 1];
    let mut counts = histogram.positive.counts.iter();
    let mut index = 0usize;
    for span in &histogram.positive.spans {
        index = index.checked_add(usize::try_from(span.offset).ok()?)?;
        for _ in 0..span.length {
            *bucket_counts.get_mut(index)? = whole(*counts.next()?);
            index += 1;
        }
    }
    let stale = is_stale_nan(histogram.sum);
    Some(HistogramDataPoint {
        attributes: attributes.to_vec(),
        start_time_unix_nano,
        time_unix_nano: nanos(sample.t_ms),
        count: whole(histogram.count),
        sum: (!stale).then_some(histogram.sum),
        bucket_counts,
        explicit_bounds: histogram.custom_bounds.clone(),
        flags: if stale { NO_RECORDED_VALUE } else { 0 },
        ..HistogramDataPoint::default()
    })
}

/// `None` where the buckets lie too far apart to be written side by side.
fn exponential_point(
    sample: &HistogramSample,
    attributes: &[KeyValue],
    start_time_unix_nano: u64,
) -> Option<ExponentialHistogramDataPoint> {
    let histogram: &Histogram = &sample.histogram;
    let stale = is_stale_nan(histogram.sum);
    Some(ExponentialHistogramDataPoint {
        attributes: attributes.to_vec(),
        start_time_unix_nano,
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
