use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, Metric, ResourceMetrics};
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;

pub(crate) fn points_of_resource(resource: &ResourceMetrics) -> usize {
    resource.scope_metrics.iter().flat_map(|scope| &scope.metrics).map(points_of_metric).sum()
}

pub(crate) fn points_of_metric(metric: &Metric) -> usize {
    match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        Some(Data::Summary(summary)) => summary.data_points.len(),
        None => 0,
    }
}

pub(crate) fn logs_of_resource(resource: &ResourceLogs) -> usize {
    resource.scope_logs.iter().map(|scope| scope.log_records.len()).sum()
}

pub(crate) fn spans_of_resource(resource: &ResourceSpans) -> usize {
    resource.scope_spans.iter().map(|scope| scope.spans.len()).sum()
}

pub(crate) fn has_deltas(resource: &ResourceMetrics) -> bool {
    let delta = AggregationTemporality::Delta as i32;
    resource.scope_metrics.iter().flat_map(|scope| &scope.metrics).any(|metric| match &metric.data {
        Some(Data::Sum(sum)) => sum.aggregation_temporality == delta,
        Some(Data::Histogram(histogram)) => histogram.aggregation_temporality == delta,
        Some(Data::ExponentialHistogram(histogram)) => histogram.aggregation_temporality == delta,
        Some(Data::Gauge(_) | Data::Summary(_)) | None => false,
    })
}
