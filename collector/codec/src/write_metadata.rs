//! Remote write's numbers for the kinds of metrics.

use tenantscope_model::MetricKind;

/// By `prometheus.MetricMetadata.MetricType`; gauge histograms (4) and state sets (7) have no kind of their own here.
const KINDS: [(i32, MetricKind); 8] = [
    (0, MetricKind::Unknown),
    (1, MetricKind::Counter),
    (2, MetricKind::Gauge),
    (3, MetricKind::Histogram),
    (5, MetricKind::Summary),
    (6, MetricKind::Info),
    (4, MetricKind::Histogram),
    (7, MetricKind::Gauge),
];

pub(crate) fn kind_of(number: i32) -> MetricKind {
    KINDS.into_iter().find(|(known, _)| *known == number).map_or(MetricKind::Unknown, |(_, kind)| kind)
}

pub(crate) fn kind_number(kind: MetricKind) -> i32 {
    KINDS.into_iter().find(|(_, known)| *known == kind).map_or(0, |(number, _)| number)
}
