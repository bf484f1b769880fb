//! How much memory the series of OTLP metrics take, known before they are made.
//!
//! What a resource, a scope or a point says once stands in the labels of each series that is made of it, and a point is
//! as many series as it has buckets: a body of kibibytes can describe series of gibibytes.

use std::mem::size_of;

use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics};
use prost::Message as _;
use tenantscope_model::{FamilyMetadata, Label, Sample, StampedSeries};

/// The metric's name, the stamp, `job` and `instance`, a scope's name, version and address, `le` or `quantile`.
const OWN_LABELS: usize = 10;
/// A series without its labels, and its place among the others.
const SERIES_BYTES: usize = size_of::<StampedSeries>() + size_of::<Sample>() + 64;
/// Part of the name of each label of a scope. A point that says it as well gets both values in one text.
const OF_SCOPE: &str = "scope";

/// The series of a body, in bytes; counting stops once it is over `limit`.
pub(crate) fn series_bytes(resources: &[ResourceMetrics], limit: usize) -> usize {
    let mut total = 0usize;
    for scope_metrics in resources.iter().flat_map(|resource| &resource.scope_metrics) {
        let scope = Scope::of(scope_metrics.scope.as_ref(), &scope_metrics.schema_url);
        for metric in &scope_metrics.metrics {
            total = total.saturating_add(size_of::<FamilyMetadata>()).saturating_add(scope.metric_bytes(metric));
            if total > limit {
                return total;
            }
        }
    }
    total
}

/// What a scope adds to each series.
struct Scope {
    labels: usize,
    text_bytes: usize,
}

impl Scope {
    fn of(scope: Option<&InstrumentationScope>, schema_url: &str) -> Self {
        let text_bytes = scope.map_or(0, InstrumentationScope::encoded_len) + schema_url.len();
        Self { labels: scope.map_or(0, |scope| scope.attributes.len()), text_bytes }
    }

    fn metric_bytes(&self, metric: &Metric) -> usize {
        let add = |total: usize, (attributes, series): (&[KeyValue], usize)| {
            total.saturating_add(self.point_bytes(attributes, series))
        };
        match &metric.data {
            None => 0,
            Some(Data::Gauge(gauge)) => gauge.data_points.iter().map(|p| (&p.attributes[..], 1)).fold(0, add),
            Some(Data::Sum(sum)) => sum.data_points.iter().map(|p| (&p.attributes[..], 1)).fold(0, add),
            Some(Data::ExponentialHistogram(histogram)) => {
                histogram.data_points.iter().map(|p| (&p.attributes[..], 1)).fold(0, add)
            }
            // Each bound, the infinite one, sum and count.
            Some(Data::Histogram(histogram)) => {
                histogram.data_points.iter().map(|p| (&p.attributes[..], p.explicit_bounds.len() + 3)).fold(0, add)
            }
            Some(Data::Summary(summary)) => {
                summary.data_points.iter().map(|p| (&p.attributes[..], p.quantile_values.len() + 2)).fold(0, add)
            }
        }
    }

    fn point_bytes(&self, attributes: &[KeyValue], series: usize) -> usize {
        let labels = attributes.len().saturating_add(self.labels).saturating_add(OWN_LABELS);
        let of_series = SERIES_BYTES.saturating_add(labels.saturating_mul(size_of::<Label>()));
        let doubled = attributes.iter().filter(|attribute| attribute.key.contains(OF_SCOPE)).count();
        series.saturating_mul(of_series).saturating_add(doubled.saturating_mul(self.text_bytes))
    }
}
