//! OTLP metrics as series, by OpenTelemetry's Prometheus compatibility rules.
//!
//! Where these leave a choice: a unit is not added to a name that has it, wherever in the name; deltas become running
//! totals; a metric that must say its temporality and does not is rejected, as by Prometheus; a classic histogram stays
//! one; `job` and `instance` take the place of attributes of these names, a scope's labels are joined to them; an
//! attribute's name that begins with an underscore gets `key` before it, since those with two are Prometheus's own; a
//! duplicate of a point, and one that comes late, is the store's affair, where the newest write wins, but a delta that is
//! not newer than its total is rejected.
//!
//! Metrics of the scope [`CLOUDWATCH_SCOPE`] have Prometheus names already: they pass as they are, without unit
//! suffix, scope labels or `target_info`.

mod attributes;
mod name;
mod points;
mod size;

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, Metric, ResourceMetrics};
use tenantscope_model::{
    Cadence, FamilyMetadata, Label, Labels, LabelsBuilder, METRIC_NAME, Metadata, MetricKind, Sample, Stamp,
    StampedBatch, StampedSeries, TenantId,
};

use self::attributes::{Names, ResourceLabels};
use self::name::{NameKind, metric_name, utf8_metric_name};
use crate::accumulate::Accumulation;
use crate::claims::{exported_name, is_own_name};
use crate::labels::{MAX_LABELS, StampLabels, TOO_MANY_LABELS};
use crate::stamp::{Origin, Rejected, Stamped, TOO_FAR_AHEAD};
use crate::{Accumulators, count, resource};

pub(crate) use self::size::series_bytes;
pub use tenantscope_wire::cloudwatch::{CADENCE_METADATA, DELAY_METADATA, METRICS_SCOPE as CLOUDWATCH_SCOPE};

/// Stands before the names of a scope's labels.
const SCOPE_PREFIX: &str = "otel_scope_";

/// Collects the series of a batch.
pub(crate) struct SeriesBuilder<'a> {
    origin: Origin,
    accumulation: Accumulation<'a>,
    series: Vec<StampedSeries>,
    places: HashMap<Labels, usize>,
    metadata: HashMap<(TenantId, Arc<str>), Metadata>,
    names: Names,
    moved_claims: u64,
    pub(crate) rejected: Rejected,
}

/// When a point was taken, and since when it counts.
#[derive(Debug, Clone, Copy)]
struct PointTime {
    t_ms: i64,
    /// 0 where the point says nothing, or does not count.
    start_ms: i64,
}

/// What all points of a metric share.
struct MetricContext<'a> {
    stamp: &'a StampLabels,
    /// Labels of resource and scope.
    shared: &'a [Label],
    /// Whether attribute names pass unchanged.
    verbatim: bool,
    /// Whether its points count since a start.
    counts: bool,
    name: Arc<str>,
    cadence: Option<Cadence>,
}

impl<'a> SeriesBuilder<'a> {
    pub(crate) fn new(origin: Origin, accumulators: &'a Accumulators) -> Self {
        Self {
            origin,
            accumulation: Accumulation::over(accumulators),
            series: Vec::new(),
            places: HashMap::new(),
            metadata: HashMap::new(),
            names: Names::new(origin.utf8_names),
            moved_claims: 0,
            rejected: Rejected::default(),
        }
    }

    pub(crate) fn add_resource(&mut self, mut resource: ResourceMetrics, stamp: &Stamp) {
        self.moved_claims += resource::restamp(&mut resource.resource, stamp);
        let stamp_labels = StampLabels::of(stamp);
        let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
        let labels = ResourceLabels::of(&attributes);
        let mut newest_ms = None;
        for scope_metrics in &resource.scope_metrics {
            let scope = scope_metrics.scope.as_ref();
            if scope.is_some_and(|scope| scope.attributes.len() > MAX_LABELS) {
                let points = scope_metrics.metrics.iter().map(count::points_of_metric).sum();
                self.rejected.add(TOO_MANY_LABELS, points);
                continue;
            }
            let verbatim = scope.is_some_and(|scope| scope.name == CLOUDWATCH_SCOPE);
            let mut shared = labels.identity.clone();
            if !verbatim {
                shared.extend(self.scope_labels(scope, &scope_metrics.schema_url));
            }
            for metric in &scope_metrics.metrics {
                let context = self.context(metric, &stamp_labels, &shared, verbatim);
                let last_ms = self.add_metric(metric, &context, &stamp.tenant);
                if !verbatim {
                    newest_ms = newest_ms.max(last_ms);
                }
            }
        }
        if let Some(t_ms) = newest_ms {
            self.add_target_info(&labels, &attributes, &stamp_labels, &stamp.tenant, t_ms);
        }
    }

    pub(crate) fn finish(self) -> Stamped {
        let mut metadata: Vec<FamilyMetadata> = self
            .metadata
            .into_iter()
            .map(|((tenant, family), metadata)| FamilyMetadata { tenant: Some(tenant), family, metadata })
            .collect();
        metadata.sort_by(|a, b| (&a.tenant, &a.family).cmp(&(&b.tenant, &b.family)));
        Stamped {
            rejected: self.rejected,
            moved_claims: self.moved_claims,
            deltas: self.accumulation.into_deltas(),
            batch: StampedBatch::Metrics { series: self.series, metadata },
        }
    }

    /// The scope's own labels; attributes that would take their place are dropped.
    fn scope_labels(&mut self, scope: Option<&InstrumentationScope>, schema_url: &str) -> Vec<Label> {
        let (name, version) = scope.map_or(("", ""), |scope| (&scope.name, &scope.version));
        let own = [("otel_scope_name", name), ("otel_scope_version", version), ("otel_scope_schema_url", schema_url)];
        let attributes = scope.map(|scope| scope.attributes.as_slice()).unwrap_or_default();
        let prefixed =
            |attribute: &KeyValue| KeyValue { key: format!("{SCOPE_PREFIX}{}", attribute.key), ..attribute.clone() };
        let prefixed: Vec<KeyValue> = attributes.iter().map(prefixed).collect();
        let mut labels = LabelsBuilder::default();
        self.names.add_attributes(&mut labels, &prefixed, false);
        for (name, value) in own {
            labels.set(name, value);
        }
        labels.build().iter().cloned().collect()
    }

    fn context<'c>(
        &mut self,
        metric: &Metric,
        stamp: &'c StampLabels,
        shared: &'c [Label],
        verbatim: bool,
    ) -> MetricContext<'c> {
        let name = match (verbatim, self.origin.utf8_names) {
            (true, _) => metric.name.clone(),
            (false, true) if metric.name.is_empty() => String::new(),
            (false, true) => utf8_metric_name(&metric.name, &metric.unit, name_kind(metric)),
            (false, false) => metric_name(&metric.name, &metric.unit, name_kind(metric)),
        };
        let name = match is_own_name(name.as_bytes()) {
            true => {
                self.moved_claims += count::points_of_metric(metric) as u64;
                exported_name(&name)
            }
            false => name,
        };
        let cadence = if self.origin.from_agent { cadence_of(&metric.metadata) } else { None };
        MetricContext { stamp, shared, verbatim, counts: counts(metric), name: name.into(), cadence }
    }

    /// Adds a metric's points; tells the newest time.
    fn add_metric(&mut self, metric: &Metric, context: &MetricContext<'_>, tenant: &TenantId) -> Option<i64> {
        if context.name.is_empty() {
            self.rejected.add("no_metric_name", count::points_of_metric(metric));
            return None;
        }
        let kind = kind_of(metric);
        let family = (tenant.clone(), Arc::clone(&context.name));
        self.metadata.entry(family).or_insert_with(|| Metadata {
            kind,
            unit: if context.verbatim { metric.unit.as_str().into() } else { name::unit_name(&metric.unit).into() },
            help: metric.description.as_str().into(),
        });
        if has_no_temporality(metric) {
            self.rejected.add("no_temporality", count::points_of_metric(metric));
            return None;
        }
        if is_delta_of_no_counter(metric) {
            self.rejected.add("delta_not_monotonic", count::points_of_metric(metric));
            return None;
        }
        match metric.data.as_ref()? {
            Data::Gauge(gauge) => self.add_numbers(&gauge.data_points, false, context),
            Data::Sum(sum) => {
                let delta = is_delta(sum.aggregation_temporality);
                self.add_numbers(&sum.data_points, delta, context)
            }
            Data::Histogram(histogram) => {
                let delta = is_delta(histogram.aggregation_temporality);
                self.add_classic(&histogram.data_points, delta, context)
            }
            Data::ExponentialHistogram(histogram) => {
                let delta = is_delta(histogram.aggregation_temporality);
                self.add_native(&histogram.data_points, delta, context)
            }
            Data::Summary(summary) => self.add_summaries(&summary.data_points, context),
        }
    }

    /// The labels of a point, but for what tells its family's series apart; `None` where the point is rejected.
    fn point_labels(&mut self, attributes: &[KeyValue], context: &MetricContext<'_>) -> Option<LabelsBuilder> {
        if attributes.len() > MAX_LABELS {
            self.rejected.add(TOO_MANY_LABELS, 1);
            return None;
        }
        let mut labels = LabelsBuilder::default();
        self.names.add_attributes(&mut labels, attributes, context.verbatim);
        for label in context.shared {
            let own = labels.get(&label.name).filter(|_| label.name.starts_with(SCOPE_PREFIX));
            let value = own.map_or_else(|| Arc::clone(&label.value), |own| format!("{own};{}", label.value).into());
            labels.set(Arc::clone(&label.name), value);
        }
        self.moved_claims += context.stamp.apply(&mut labels);
        labels.set(self.names.shared(METRIC_NAME), Arc::clone(&context.name));
        Some(labels)
    }

    /// The series with these labels, new in the batch or known.
    fn series_mut(&mut self, labels: Labels, cadence: Option<Cadence>) -> &mut StampedSeries {
        let place = *self.places.entry(labels).or_insert_with_key(|labels| {
            self.series.push(StampedSeries {
                labels: labels.clone(),
                samples: Vec::new(),
                histograms: Vec::new(),
                exemplars: Vec::new(),
                starts: Default::default(),
                cadence: None,
            });
            self.series.len() - 1
        });
        // A place is only ever made together with its series.
        #[allow(clippy::indexing_slicing)]
        let series = &mut self.series[place];
        series.cadence = cadence.or(series.cadence);
        series
    }

    fn add_target_info(
        &mut self,
        labels: &ResourceLabels,
        attributes: &[KeyValue],
        stamp: &StampLabels,
        tenant: &TenantId,
        t_ms: i64,
    ) {
        let described = labels.described(attributes);
        if labels.identity.is_empty() || described.is_empty() || described.len() > MAX_LABELS {
            return;
        }
        let mut builder = LabelsBuilder::default();
        self.names.add_attributes(&mut builder, &described, false);
        for label in &labels.identity {
            builder.set(Arc::clone(&label.name), Arc::clone(&label.value));
        }
        self.moved_claims += stamp.apply(&mut builder);
        builder.set(METRIC_NAME, "target_info");
        self.series_mut(builder.build(), None).samples.push(Sample { t_ms, value: 1.0 });
        let help = "Target metadata".into();
        let metadata = Metadata { kind: MetricKind::Info, unit: "".into(), help };
        self.metadata.entry((tenant.clone(), "target_info".into())).or_insert(metadata);
    }

    /// A point's time in milliseconds, that of receipt where the point has none; `None` where it is rejected.
    ///
    /// A start at the point's own time says that the true one is not known.
    fn time_of(&mut self, time_unix_nano: u64, start_unix_nano: u64, context: &MetricContext<'_>) -> Option<PointTime> {
        let ms = |nanos: u64| i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX);
        let t_ms = match ms(time_unix_nano) {
            0 => self.origin.received_at_ms,
            t_ms => t_ms,
        };
        if !self.origin.is_in_time(t_ms) {
            self.rejected.add(TOO_FAR_AHEAD, 1);
            return None;
        }
        let start_ms = ms(start_unix_nano);
        Some(PointTime { t_ms, start_ms: if context.counts && start_ms < t_ms { start_ms } else { 0 } })
    }
}

/// Adds a sample with the start of its counting.
fn push_sample(series: &mut StampedSeries, time: PointTime, value: f64) {
    series.samples.push(Sample { t_ms: time.t_ms, value });
    set_start(&mut series.starts.samples_ms, series.samples.len(), time.start_ms);
}

/// Sets the start of the last of `count` points; the list stays empty until one has a start.
fn set_start(starts_ms: &mut Vec<i64>, count: usize, start_ms: i64) {
    if start_ms != 0 || !starts_ms.is_empty() {
        starts_ms.resize(count, 0);
        if let Some(last) = starts_ms.last_mut() {
            *last = start_ms;
        }
    }
}

fn counts(metric: &Metric) -> bool {
    match &metric.data {
        Some(Data::Sum(sum)) => sum.is_monotonic,
        Some(Data::Histogram(_) | Data::ExponentialHistogram(_) | Data::Summary(_)) => true,
        Some(Data::Gauge(_)) | None => false,
    }
}

/// Whether the sender left out what it must say: whether points are totals or what came in between.
fn has_no_temporality(metric: &Metric) -> bool {
    let temporality = match &metric.data {
        Some(Data::Sum(sum)) => sum.aggregation_temporality,
        Some(Data::Histogram(histogram)) => histogram.aggregation_temporality,
        Some(Data::ExponentialHistogram(histogram)) => histogram.aggregation_temporality,
        Some(Data::Gauge(_) | Data::Summary(_)) | None => return false,
    };
    !is_delta(temporality) && temporality != AggregationTemporality::Cumulative as i32
}

/// What goes up and down by deltas has no total that anybody knows: the rules drop it.
fn is_delta_of_no_counter(metric: &Metric) -> bool {
    matches!(&metric.data, Some(Data::Sum(sum)) if !sum.is_monotonic && is_delta(sum.aggregation_temporality))
}

fn is_delta(temporality: i32) -> bool {
    temporality == AggregationTemporality::Delta as i32
}

fn name_kind(metric: &Metric) -> NameKind {
    match &metric.data {
        Some(Data::Sum(sum)) if sum.is_monotonic => NameKind::Counter,
        Some(Data::Gauge(_)) => NameKind::Gauge,
        _ => NameKind::Other,
    }
}

fn kind_of(metric: &Metric) -> MetricKind {
    match &metric.data {
        Some(Data::Sum(sum)) if sum.is_monotonic => MetricKind::Counter,
        Some(Data::Sum(_) | Data::Gauge(_)) => kind_before(&metric.metadata),
        Some(Data::Histogram(_) | Data::ExponentialHistogram(_)) => MetricKind::Histogram,
        Some(Data::Summary(_)) => MetricKind::Summary,
        None => MetricKind::Unknown,
    }
}

/// What a gauge was in Prometheus before it became OTLP.
fn kind_before(metadata: &[KeyValue]) -> MetricKind {
    let hint = metadata.iter().find(|attribute| attribute.key == "prometheus.type");
    match hint.map(attributes::text).as_deref() {
        // The specification itself spells it so.
        Some("unknown" | "unkown") => MetricKind::Unknown,
        Some("info") => MetricKind::Info,
        Some("stateset") => MetricKind::StateSet,
        _ => MetricKind::Gauge,
    }
}

fn cadence_of(metadata: &[KeyValue]) -> Option<Cadence> {
    let number = |key: &str| {
        let value = metadata.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()?;
        match value {
            Value::IntValue(number) => Some(*number),
            Value::StringValue(text) => text.parse().ok(),
            _ => None,
        }
    };
    let cadence_ms = number(CADENCE_METADATA)?;
    Some(Cadence::capped(cadence_ms, number(DELAY_METADATA).unwrap_or(0)))
}
