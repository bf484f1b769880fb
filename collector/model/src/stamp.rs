use std::sync::Arc;

use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;

use crate::{
    AccountId, Cadence, Exemplar, HistogramSample, Labels, Metadata, Region, Sample, Signal, Starts, TenantId,
};

/// The names that are set on data, overwriting whatever it claimed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The customer.
    pub tenant: TenantId,
    /// The account; absent in open mode only.
    pub account: Option<AccountId>,
    /// The region; absent where the sender named none that it may name.
    pub region: Option<Region>,
}

/// One series of a batch with its new samples.
#[derive(Debug, Clone, PartialEq)]
pub struct StampedSeries {
    /// All labels, the stamped `tenant`, `account_id` and `region` included. Without `tenant` only for our own series.
    pub labels: Labels,
    /// Float samples, in the order in which they came.
    pub samples: Vec<Sample>,
    /// Native histograms, in the order in which they came.
    pub histograms: Vec<HistogramSample>,
    /// When the counting of the samples and histograms began.
    pub starts: Starts,
    /// Exemplars.
    pub exemplars: Vec<Exemplar>,
    /// From agents only.
    pub cadence: Option<Cadence>,
}

impl StampedSeries {
    /// A series of float samples and nothing beside them, as ours are.
    pub fn of_samples(labels: Labels, samples: Vec<Sample>) -> Self {
        let (histograms, exemplars) = (Vec::new(), Vec::new());
        Self { labels, samples, histograms, starts: Starts::default(), exemplars, cadence: None }
    }
}

/// Metadata of a metric family as one tenant's sender gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyMetadata {
    /// Whose it is; `None` for our own series.
    pub tenant: Option<TenantId>,
    /// The family's name as in `__name__` (without `_bucket`, `_sum`, `_count`; with `_total`).
    pub family: Arc<str>,
    /// What it says.
    pub metadata: Metadata,
}

/// An OTLP resource with everything under it, and its stamp (already set in the resource's attributes).
#[derive(Debug, Clone, PartialEq)]
pub struct StampedResource<T> {
    /// Whose it is.
    pub stamp: Stamp,
    /// The resource's records.
    pub records: T,
}

/// What a store takes: one received batch, stamped.
#[derive(Debug, Clone, PartialEq)]
pub enum StampedBatch {
    /// Series with samples, and families' metadata.
    Metrics {
        /// The series.
        series: Vec<StampedSeries>,
        /// What their families say of themselves.
        metadata: Vec<FamilyMetadata>,
    },
    /// Log records.
    Logs(Vec<StampedResource<ResourceLogs>>),
    /// Spans.
    Spans(Vec<StampedResource<ResourceSpans>>),
}

impl StampedBatch {
    /// A batch of nothing.
    pub fn empty(signal: Signal) -> Self {
        match signal {
            Signal::Metrics => Self::Metrics { series: Vec::new(), metadata: Vec::new() },
            Signal::Logs => Self::Logs(Vec::new()),
            Signal::Spans => Self::Spans(Vec::new()),
        }
    }

    /// The signal, and so the journal and the store, of the batch.
    pub fn signal(&self) -> Signal {
        match self {
            Self::Metrics { .. } => Signal::Metrics,
            Self::Logs(_) => Signal::Logs,
            Self::Spans(_) => Signal::Spans,
        }
    }
}
