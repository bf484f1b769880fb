//! CloudWatch's datapoints as OTLP gauges. Pure.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use tenantscope_wire::cloudwatch::{CADENCE_METADATA, DELAY_METADATA, METRICS_SCOPE, dimension_label, metric_name};

use crate::attributes::{self, Origin};

/// A metric with its dimensions and one statistic: what becomes one series.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SeriesId {
    /// The namespace, such as `AWS/Lambda`.
    pub namespace: String,
    /// The metric, such as `Errors`.
    pub metric: String,
    /// Name and value of each dimension.
    pub dimensions: Vec<(String, String)>,
    /// The statistic, such as `Sum`.
    pub statistic: String,
    /// The period, in milliseconds.
    pub period_ms: i64,
}

/// One datapoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// CloudWatch's own time: the start of its period.
    pub at_ms: i64,
    /// The value.
    pub value: f64,
}

/// How often a series' datapoints come, and how late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rhythm {
    /// Time between two samples.
    pub cadence_ms: i64,
    /// Time from a sample's own time until it comes.
    pub delay_ms: i64,
}

impl Rhythm {
    /// A datapoint bears its period's start, is complete at its end, and CloudWatch takes up to two minutes more.
    const PUBLISHING_MS: i64 = 120_000;

    /// Of a series with this period that is asked for at this interval.
    pub(super) fn of(period_ms: i64, interval_ms: i64) -> Self {
        Self { cadence_ms: period_ms.max(interval_ms), delay_ms: period_ms + Self::PUBLISHING_MS }
    }
}

/// One request with all these series' points. Series of one name become one metric.
pub(super) fn request(
    origin: &Origin,
    interval_ms: i64,
    series: &[(&SeriesId, Vec<Point>)],
) -> ExportMetricsServiceRequest {
    let mut by_name: BTreeMap<(String, i64), Vec<NumberDataPoint>> = BTreeMap::new();
    for (id, points) in series {
        let name = metric_name(&id.namespace, &id.metric, &id.statistic);
        let labels: Vec<_> = id
            .dimensions
            .iter()
            .map(|(dimension, value)| attributes::text(&dimension_label(dimension), value.as_str()))
            .collect();
        let data_points = points.iter().map(|point| NumberDataPoint {
            attributes: labels.clone(),
            time_unix_nano: u64::try_from(point.at_ms).unwrap_or(0).saturating_mul(1_000_000),
            value: Some(number_data_point::Value::AsDouble(point.value)),
            ..NumberDataPoint::default()
        });
        by_name.entry((name, id.period_ms)).or_default().extend(data_points);
    }
    let metrics = by_name.into_iter().map(|((name, period_ms), data_points)| {
        let rhythm = Rhythm::of(period_ms, interval_ms);
        Metric {
            name,
            metadata: vec![
                attributes::int(CADENCE_METADATA, rhythm.cadence_ms),
                attributes::int(DELAY_METADATA, rhythm.delay_ms),
            ],
            data: Some(metric::Data::Gauge(Gauge { data_points })),
            ..Metric::default()
        }
    });
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: attributes::resource(origin.attributes()),
            scope_metrics: vec![ScopeMetrics {
                scope: attributes::scope(METRICS_SCOPE),
                metrics: metrics.collect(),
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;

    use super::*;

    #[test]
    fn a_series_is_a_gauge_named_as_yace_does_with_cadence_and_true_times() {
        let origin = Origin { account: "111122223333".parse().unwrap(), region: "eu-west-1".parse().unwrap() };
        let id = |function: &str| SeriesId {
            namespace: "AWS/Lambda".into(),
            metric: "Errors".into(),
            dimensions: vec![("FunctionName".into(), function.into())],
            statistic: "Sum".into(),
            period_ms: 60_000,
        };
        let (a, b) = (id("a"), id("b"));
        let points = vec![Point { at_ms: 1_700_000_040_000, value: 3.0 }];
        let request = request(&origin, 300_000, &[(&a, points.clone()), (&b, points)]);
        let resource = &request.resource_metrics[0];
        assert_eq!(resource.resource.as_ref().unwrap().attributes.len(), 3);
        let scope = &resource.scope_metrics[0];
        assert_eq!(scope.scope.as_ref().unwrap().name, "tenantscope.cloudwatch");
        assert_eq!(scope.metrics.len(), 1);
        let metric = &scope.metrics[0];
        assert_eq!(metric.name, "aws_lambda_errors_sum");
        let metadata: Vec<_> =
            metric.metadata.iter().map(|m| (m.key.as_str(), m.value.clone().unwrap().value)).collect();
        assert_eq!(metadata[0], (CADENCE_METADATA, Some(Value::IntValue(300_000))));
        assert_eq!(metadata[1], (DELAY_METADATA, Some(Value::IntValue(180_000))));
        let Some(metric::Data::Gauge(gauge)) = &metric.data else { panic!("no gauge") };
        assert_eq!(gauge.data_points.len(), 2);
        assert_eq!(gauge.data_points[0].time_unix_nano, 1_700_000_040_000_000_000);
        assert_eq!(gauge.data_points[0].attributes[0].key, "dimension_FunctionName");
    }
}
