//! A record as stamped OTLP, for forwarding: the form in which it came, with temporality, scope and exponential form.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tenantscope_model::{Decision, Signal, Stamp, StampedBatch};

use crate::decode::Content;
use crate::{Accumulators, DecodeError, Record, RecordBody, count, resource, series_otlp};

/// A stamped OTLP request.
#[derive(Debug, Clone, PartialEq)]
pub enum OtlpRequest {
    /// Metrics.
    Metrics(ExportMetricsServiceRequest),
    /// Logs.
    Logs(ExportLogsServiceRequest),
    /// Spans.
    Spans(ExportTraceServiceRequest),
}

impl OtlpRequest {
    fn empty(signal: Signal) -> Self {
        match signal {
            Signal::Metrics => Self::Metrics(ExportMetricsServiceRequest::default()),
            Signal::Logs => Self::Logs(ExportLogsServiceRequest::default()),
            Signal::Spans => Self::Spans(ExportTraceServiceRequest::default()),
        }
    }

    /// The signal.
    pub fn signal(&self) -> Signal {
        match self {
            Self::Metrics(_) => Signal::Metrics,
            Self::Logs(_) => Signal::Logs,
            Self::Spans(_) => Signal::Spans,
        }
    }

    /// Data points, log records or spans.
    pub fn records(&self) -> usize {
        match self {
            Self::Metrics(request) => request.resource_metrics.iter().map(count::points_of_resource).sum(),
            Self::Logs(request) => request.resource_logs.iter().map(count::logs_of_resource).sum(),
            Self::Spans(request) => request.resource_spans.iter().map(count::spans_of_resource).sum(),
        }
    }

    /// In protobuf.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Metrics(request) => request.encode_to_vec(),
            Self::Logs(request) => request.encode_to_vec(),
            Self::Spans(request) => request.encode_to_vec(),
        }
    }
}

impl Record {
    /// The record as stamped OTLP, without the resources that were refused. Series become gauges and sums.
    pub fn to_otlp(&self) -> Result<OtlpRequest, DecodeError> {
        let (decisions, body) = match &self.body {
            RecordBody::Received { decisions, body } => (decisions, body),
            RecordBody::Own { .. } => return self.series_to_otlp(),
            RecordBody::Removal { signal, .. } => return Ok(OtlpRequest::empty(*signal)),
        };
        let stamp = |index: usize| match decisions.get(index) {
            Some(Decision::Stamp(stamp)) => Some(stamp),
            Some(Decision::Refuse { .. }) | None => None,
        };
        if !self.bounds.is_empty() && body.signal != Signal::Metrics {
            return self.bounded_to_otlp();
        }
        let request = match self.decoded(body)?.content {
            Content::Metrics(resources) => OtlpRequest::Metrics(ExportMetricsServiceRequest {
                resource_metrics: stamped(resources, stamp, |item| &mut item.resource),
            }),
            Content::Logs(resources) => OtlpRequest::Logs(ExportLogsServiceRequest {
                resource_logs: stamped(resources, stamp, |item| &mut item.resource),
            }),
            Content::Spans(resources) => OtlpRequest::Spans(ExportTraceServiceRequest {
                resource_spans: stamped(resources, stamp, |item| &mut item.resource),
            }),
            Content::Series(_) => return self.series_to_otlp(),
        };
        Ok(request)
    }

    /// Logs and spans without what was past its tenant's bounds.
    fn bounded_to_otlp(&self) -> Result<OtlpRequest, DecodeError> {
        Ok(match self.replay(&Accumulators::new(0))?.batch {
            StampedBatch::Logs(resources) => OtlpRequest::Logs(ExportLogsServiceRequest {
                resource_logs: resources.into_iter().map(|resource| resource.records).collect(),
            }),
            StampedBatch::Spans(resources) => OtlpRequest::Spans(ExportTraceServiceRequest {
                resource_spans: resources.into_iter().map(|resource| resource.records).collect(),
            }),
            StampedBatch::Metrics { .. } => return self.series_to_otlp(),
        })
    }

    fn series_to_otlp(&self) -> Result<OtlpRequest, DecodeError> {
        // Series have no deltas, so nothing accumulates.
        let batch = self.replay(&Accumulators::new(0))?.batch;
        let resource_metrics = match &batch {
            StampedBatch::Metrics { series, metadata } => series_otlp::resources_of(series, metadata),
            StampedBatch::Logs(_) | StampedBatch::Spans(_) => Vec::new(),
        };
        Ok(OtlpRequest::Metrics(ExportMetricsServiceRequest { resource_metrics }))
    }
}

fn stamped<'a, T>(
    resources: Vec<T>,
    stamp: impl Fn(usize) -> Option<&'a Stamp>,
    resource_of: impl Fn(&mut T) -> &mut Option<Resource>,
) -> Vec<T> {
    let restamp = |(index, mut item): (usize, T)| {
        resource::restamp(resource_of(&mut item), stamp(index)?);
        Some(item)
    };
    resources.into_iter().enumerate().filter_map(restamp).collect()
}
