//! Remote write's series, stamped.

use std::collections::HashSet;
use std::sync::Arc;

use tenantscope_model::{
    Decision, Exemplar, FamilyMetadata, HistogramSample, LabelsBuilder, METRIC_NAME, Metadata, Sample, StampedBatch,
    StampedSeries, TenantId,
};

use crate::claims::SeriesClaims;
use crate::labels::{MAX_LABELS, StampLabels, TOO_MANY_LABELS};
use crate::remote_write::{LabelPair, MetricMetadata, TimeSeries, WriteRequest};
use crate::stamp::{Rejected, Stamped};
use crate::write_metadata::kind_of;
use crate::{count, native, own};

pub(crate) fn stamp<'a>(
    request: WriteRequest,
    claims: &SeriesClaims,
    decision: impl Fn(usize) -> &'a Decision,
) -> Stamped {
    let mut work = Work::default();
    let stamps: Vec<Result<StampLabels, &'static str>> = (0..claims.distinct.len())
        .map(|place| match decision(place) {
            Decision::Stamp(stamp) => Ok(StampLabels::of(stamp)),
            Decision::Refuse { reason } => Err(*reason),
        })
        .collect();
    let mut stamped = Vec::with_capacity(request.timeseries.len());
    for (series, place) in request.timeseries.into_iter().zip(&claims.by_series) {
        match stamps.get(*place) {
            Some(Ok(labels)) => stamped.extend(work.series(series, labels)),
            Some(Err(reason)) => work.rejected.add(reason, count::samples_of_series(&series)),
            None => work.rejected.add("undecided", count::samples_of_series(&series)),
        }
    }
    let tenant = claims.distinct.len().checked_sub(1).and_then(|last| match decision(last) {
        Decision::Stamp(stamp) => Some(stamp.tenant.clone()),
        Decision::Refuse { .. } => None,
    });
    let metadata = tenant.map(|tenant| metadata(request.metadata, &tenant)).unwrap_or_default();
    let batch = StampedBatch::Metrics { series: stamped, metadata };
    Stamped { rejected: work.rejected, moved_claims: work.moved_claims, ..Stamped::whole(batch) }
}

#[derive(Default)]
struct Work {
    /// Label names repeat in every series.
    names: HashSet<Arc<str>>,
    rejected: Rejected,
    moved_claims: u64,
}

impl Work {
    fn series(&mut self, series: TimeSeries, stamp: &StampLabels) -> Option<StampedSeries> {
        let samples = count::samples_of_series(&series);
        let mut labels = match self.labels(series.labels) {
            Ok(labels) => labels,
            Err(reason) => {
                self.rejected.add(reason, samples);
                return None;
            }
        };
        self.moved_claims += stamp.apply(&mut labels);
        let read = |message: &crate::remote_write::NativeHistogram| {
            let histogram = Arc::new(native::from_message(message)?);
            Some(HistogramSample { t_ms: message.timestamp, histogram })
        };
        let histograms: Vec<_> = series.histograms.iter().filter_map(read).collect();
        self.rejected.add("invalid_histogram", series.histograms.len() - histograms.len());
        Some(StampedSeries {
            labels: labels.build(),
            samples: series.samples.iter().map(|s| Sample { t_ms: s.timestamp, value: s.value }).collect(),
            histograms,
            exemplars: series
                .exemplars
                .iter()
                .filter(|e| e.labels.len() <= MAX_LABELS)
                .map(|e| Exemplar { t_ms: e.timestamp, value: e.value, labels: own::labels_of(&e.labels) })
                .collect(),
            starts: Default::default(),
            cadence: None,
        })
    }

    /// Labels that come unsorted are sorted; names are UTF-8 and not empty, none comes twice, and one names the metric.
    fn labels(&mut self, pairs: Vec<LabelPair>) -> Result<LabelsBuilder, &'static str> {
        if pairs.len() > MAX_LABELS {
            return Err(TOO_MANY_LABELS);
        }
        let mut labels = LabelsBuilder::default();
        for pair in pairs {
            if pair.name.is_empty() {
                return Err("empty_label_name");
            }
            if labels.get(&pair.name).is_some() {
                return Err("duplicate_label");
            }
            labels.set(self.name(pair.name), pair.value);
        }
        if labels.get(METRIC_NAME).is_none() { Err("no_metric_name") } else { Ok(labels) }
    }

    fn name(&mut self, name: String) -> Arc<str> {
        if let Some(known) = self.names.get(name.as_str()) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.names.insert(Arc::clone(&name));
        name
    }
}

fn metadata(messages: Vec<MetricMetadata>, tenant: &TenantId) -> Vec<FamilyMetadata> {
    let family = |message: MetricMetadata| FamilyMetadata {
        tenant: Some(tenant.clone()),
        family: message.metric_family_name.into(),
        metadata: Metadata { kind: kind_of(message.kind), unit: message.unit.into(), help: message.help.into() },
    };
    messages.into_iter().map(family).collect()
}
