use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use prost::Message;
use serde::de::DeserializeOwned;
use tenantscope_model::{Claim, Signal};
use tenantscope_wire::{BodyForm, Encoding, ReceivedBody, Refused};

use crate::claims;
use crate::decompress::decompress;
use crate::footprint::{self, Shape};
use crate::write::{self, WriteBody};
use crate::{Rejected, firehose, loki, otlp_json, resource};

/// What a decoder may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// The largest body once decompressed.
    pub max_decoded_bytes: usize,
}

impl DecodeLimits {
    /// For what was accepted once and is read again from the journal: it was within the limits of its day.
    pub const REPLAY: Self = Self { max_decoded_bytes: 1 << 30 };

    /// What a decoded body may take in memory: telemetry takes two to five times its encoded size.
    pub(crate) fn max_memory_bytes(&self) -> usize {
        self.max_decoded_bytes.saturating_mul(4)
    }

    /// What the series of OTLP metrics may take: a histogram of 15 buckets and ten attributes takes 20 times what it
    /// does as OTLP.
    fn max_series_bytes(&self) -> usize {
        self.max_decoded_bytes.saturating_mul(16)
    }
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { max_decoded_bytes: 64 << 20 }
    }
}

/// Why a body has no meaning. None of these gets better by sending again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Larger than the limit once decompressed.
    #[error("body is over {max_bytes} bytes once decompressed")]
    TooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// Many small parts that take too much memory once decoded.
    #[error("body would take over {max_bytes} bytes of memory once decoded")]
    TooMuchMemory {
        /// The limit: four times that of the decompressed body, for series made of it sixteen times.
        max_bytes: usize,
    },
    /// Not what its encoding says.
    #[error("body does not decompress: {0}")]
    Compression(String),
    /// No message of its form.
    #[error("body is not {form}: {message}")]
    Form {
        /// What it should have been.
        form: &'static str,
        /// What is wrong.
        message: String,
    },
    /// A form that does not carry this signal, or that this release does not know.
    #[error("{0} does not come in this form")]
    Signal(Signal),
}

/// How much of an error is told, in bytes, from its beginning and from its end: it may quote the body.
const TOLD_BYTES: [usize; 2] = [200, 100];

impl DecodeError {
    /// No message of this form; of a long reason its beginning and its end are told.
    pub(crate) fn malformed(form: &'static str, reason: &impl ToString) -> Self {
        let mut message = reason.to_string();
        let [first, last] = TOLD_BYTES;
        if message.len() > first + last {
            let middle = message.floor_char_boundary(first)..message.ceil_char_boundary(message.len() - last);
            message.replace_range(middle, " … ");
        }
        Self::Form { form, message }
    }

    /// A fixed word for a counter's `reason` label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } | Self::TooMuchMemory { .. } => "too_large",
            Self::Compression(_) => "compression",
            Self::Form { .. } => "malformed",
            Self::Signal(_) => "unsupported",
        }
    }
}

impl From<DecodeError> for Refused {
    fn from(error: DecodeError) -> Self {
        let (reason, message) = (error.reason(), error.to_string());
        match error {
            DecodeError::TooLarge { .. } | DecodeError::TooMuchMemory { .. } => Self::too_large(reason, message),
            DecodeError::Compression(_) | DecodeError::Form { .. } => Self::invalid(reason, message),
            DecodeError::Signal(_) => Self::unsupported(reason, message),
        }
    }
}

/// A decoded body, not yet stamped.
#[derive(Debug, Clone)]
pub struct Decoded {
    pub(crate) content: Content,
    /// What of the body has no meaning while the rest has.
    pub(crate) left_out: Rejected,
    delivery_id: Option<String>,
    decompressed_bytes: usize,
}

/// Two bodies are the same if they say the same, whatever their form and size were.
impl PartialEq for Decoded {
    fn eq(&self, other: &Self) -> bool {
        (&self.content, &self.left_out) == (&other.content, &other.left_out)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Metrics(Vec<ResourceMetrics>),
    Logs(Vec<ResourceLogs>),
    Spans(Vec<ResourceSpans>),
    Series(Box<WriteBody>),
}

/// Decompresses and decodes a body within the limits.
pub fn decode(body: &ReceivedBody, limits: &DecodeLimits) -> Result<Decoded, DecodeError> {
    let bytes = decompress(body, limits)?;
    let decompressed_bytes = bytes.len();
    let (mut left_out, mut delivery_id) = (Rejected::default(), None);
    let content = match (body.form, body.signal) {
        (BodyForm::OtlpProtobuf, Signal::Metrics) => {
            let request: ExportMetricsServiceRequest = protobuf(bytes, &footprint::METRICS, "OTLP metrics", limits)?;
            Content::Metrics(request.resource_metrics)
        }
        (BodyForm::OtlpProtobuf, Signal::Logs) => {
            let request: ExportLogsServiceRequest = protobuf(bytes, &footprint::LOGS, "OTLP logs", limits)?;
            Content::Logs(request.resource_logs)
        }
        (BodyForm::OtlpProtobuf, Signal::Spans) => {
            let request: ExportTraceServiceRequest = protobuf(bytes, &footprint::SPANS, "OTLP spans", limits)?;
            Content::Spans(request.resource_spans)
        }
        (BodyForm::OtlpJson, Signal::Metrics) => {
            const FORM: &str = "OTLP metrics in JSON";
            let mut request: ExportMetricsServiceRequest = json(&bytes, FORM, limits)?;
            otlp_json::complete(&bytes, &mut request.resource_metrics)
                .map_err(|error| DecodeError::malformed(FORM, &error))?;
            Content::Metrics(request.resource_metrics)
        }
        (BodyForm::OtlpJson, Signal::Logs) => {
            let request: ExportLogsServiceRequest = json(&bytes, "OTLP logs in JSON", limits)?;
            Content::Logs(request.resource_logs)
        }
        (BodyForm::OtlpJson, Signal::Spans) => {
            let request: ExportTraceServiceRequest = json(&bytes, "OTLP spans in JSON", limits)?;
            Content::Spans(request.resource_spans)
        }
        (BodyForm::RemoteWriteV1, Signal::Metrics) => {
            Content::Series(Box::new(write::v1::read(&addressable(bytes)?, limits.max_memory_bytes())?))
        }
        (BodyForm::RemoteWriteV2, Signal::Metrics) => {
            Content::Series(Box::new(write::v2::read(&addressable(bytes)?, limits.max_memory_bytes())?))
        }
        (BodyForm::LokiProtobuf, Signal::Logs) => {
            let request = protobuf(bytes, &footprint::LOKI, loki::FORM, limits)?;
            Content::Logs(loki::from_protobuf(request, limits.max_memory_bytes(), &mut left_out)?)
        }
        (BodyForm::LokiJson, Signal::Logs) => {
            Content::Logs(loki::from_json(&bytes, limits.max_memory_bytes(), &mut left_out)?)
        }
        (BodyForm::Firehose, Signal::Metrics | Signal::Logs) => {
            let (content, id) = firehose::read(&bytes, body.signal, limits, &mut left_out)?;
            delivery_id = Some(id);
            content
        }
        _ => return Err(DecodeError::Signal(body.signal)),
    };
    if let Content::Metrics(resources) = &content {
        check_series(resources, limits)?;
    }
    Ok(Decoded { content, left_out, delivery_id, decompressed_bytes })
}

/// What a scope or a point says once stands in each of its series.
fn check_series(resources: &[ResourceMetrics], limits: &DecodeLimits) -> Result<(), DecodeError> {
    let max_bytes = limits.max_series_bytes();
    let over = crate::series::series_bytes(resources, max_bytes) > max_bytes;
    if over { Err(DecodeError::TooMuchMemory { max_bytes }) } else { Ok(()) }
}

/// Places in a remote write are numbers of 32 bits.
fn addressable(body: Bytes) -> Result<Bytes, DecodeError> {
    let max_bytes = u32::MAX as usize;
    if body.len() > max_bytes { Err(DecodeError::TooLarge { max_bytes }) } else { Ok(body) }
}

/// Prost gives up at 100 levels of nesting.
fn protobuf<M: Message + Default>(
    bytes: Bytes,
    shape: &'static Shape,
    form: &'static str,
    limits: &DecodeLimits,
) -> Result<M, DecodeError> {
    let max_bytes = limits.max_memory_bytes();
    if footprint::decoded_bytes(shape, &bytes, max_bytes) > max_bytes {
        return Err(DecodeError::TooMuchMemory { max_bytes });
    }
    M::decode(bytes).map_err(|error| DecodeError::malformed(form, &error))
}

/// `serde_json` gives up at 128 levels of nesting.
fn json<M: DeserializeOwned>(bytes: &[u8], form: &'static str, limits: &DecodeLimits) -> Result<M, DecodeError> {
    let max_bytes = limits.max_memory_bytes();
    if footprint::decoded_bytes_of_json(bytes) > max_bytes {
        return Err(DecodeError::TooMuchMemory { max_bytes });
    }
    match serde_json::from_slice(bytes) {
        Ok(request) => Ok(request),
        Err(error) => otlp_json::without_unknown_values(bytes).ok_or_else(|| DecodeError::malformed(form, &error)),
    }
}

impl Decoded {
    /// The signal.
    pub fn signal(&self) -> Signal {
        match &self.content {
            Content::Metrics(_) | Content::Series(..) => Signal::Metrics,
            Content::Logs(_) => Signal::Logs,
            Content::Spans(_) => Signal::Spans,
        }
    }

    /// What its resources say of themselves, one claim for each resource in order.
    ///
    /// Remote write has no resources: there each distinct claim of its series is one, in order of first appearance,
    /// and metadata that comes beside them belongs to a last, empty one.
    pub fn claims(&self) -> Vec<Claim> {
        match &self.content {
            Content::Metrics(resources) => resources.iter().map(|r| claims::of_resource(r.resource.as_ref())).collect(),
            Content::Logs(resources) => resources.iter().map(|r| claims::of_resource(r.resource.as_ref())).collect(),
            Content::Spans(resources) => resources.iter().map(|r| claims::of_resource(r.resource.as_ref())).collect(),
            Content::Series(body) => body.claims.clone(),
        }
    }

    /// Data points, log records or spans, those that the decoder left out among them.
    pub fn records(&self) -> u64 {
        let count: usize = match &self.content {
            Content::Metrics(resources) => resources.iter().map(crate::count::points_of_resource).sum(),
            Content::Logs(resources) => resources.iter().map(crate::count::logs_of_resource).sum(),
            Content::Spans(resources) => resources.iter().map(crate::count::spans_of_resource).sum(),
            Content::Series(body) => body.records,
        };
        u64::try_from(count).unwrap_or(u64::MAX).saturating_add(self.left_out.total())
    }

    /// The id that a delivery of Firehose gives itself; its header must say the same.
    pub fn delivery_id(&self) -> Option<&str> {
        self.delivery_id.as_deref()
    }

    /// Gives each resource what came beside its delivery's body, where it does not say that itself.
    pub fn add_attributes(&mut self, attributes: &[(String, String)]) {
        if attributes.is_empty() {
            return;
        }
        let add = |resource: &mut Option<Resource>| resource::add_missing(resource, attributes);
        match &mut self.content {
            Content::Metrics(resources) => resources.iter_mut().for_each(|item| add(&mut item.resource)),
            Content::Logs(resources) => resources.iter_mut().for_each(|item| add(&mut item.resource)),
            Content::Spans(resources) => resources.iter_mut().for_each(|item| add(&mut item.resource)),
            Content::Series(_) => {}
        }
    }

    /// The body's size once decompressed; decoded it takes up to four times that.
    pub fn decompressed_bytes(&self) -> usize {
        self.decompressed_bytes
    }

    /// Whether a metric of it has delta temporality, so that batches like it must be stamped one after another.
    pub fn has_deltas(&self) -> bool {
        match &self.content {
            Content::Metrics(resources) => resources.iter().any(crate::count::has_deltas),
            _ => false,
        }
    }
}

/// Whether a body in this form and encoding can be decoded at all.
pub fn is_known(form: BodyForm, encoding: Encoding) -> bool {
    match form {
        BodyForm::RemoteWriteV1 | BodyForm::RemoteWriteV2 => encoding == Encoding::Snappy,
        BodyForm::LokiProtobuf => encoding == Encoding::Snappy,
        BodyForm::OtlpProtobuf | BodyForm::OtlpJson => encoding != Encoding::Snappy,
        BodyForm::LokiJson | BodyForm::Firehose => matches!(encoding, Encoding::Identity | Encoding::Gzip),
        _ => false,
    }
}
