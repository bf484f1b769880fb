//! Remote write's numbers for the kinds of metrics.

use tenantscope_model::MetricKind;

/// By `prometheus.MetricMetadata.MetricType`, whose numbers both versions have.
const KINDS: [(i32, MetricKind); 8] = [
    (0, MetricKind::Unknown),
    (1, MetricKind::Counter),
    (2, MetricKind::Gauge),
    (3, MetricKind::Histogram),
    (4, MetricKind::GaugeHistogram),
    (5, MetricKind::Summary),
    (6, MetricKind::Info),
    (7, MetricKind::StateSet),
];

pub(crate) fn kind_of(number: i32) -> MetricKind {
    KINDS.into_iter().find(|(known, _)| *known == number).map_or(MetricKind::Unknown, |(_, kind)| kind)
}

pub(crate) fn kind_number(kind: MetricKind) -> i32 {
    KINDS.into_iter().find(|(_, known)| *known == kind).map_or(0, |(number, _)| number)
}
