//! How much memory a body takes once it is decoded, known before it is.
//!
//! A message of two bytes becomes a struct of a hundred and more, so that the size of a decompressed body bounds
//! nothing by itself. This walks the encoded form, without allocating, and adds up what the decoder will allocate.

use std::mem::size_of;

use opentelemetry_proto::tonic::common::v1::{AnyValue, EntityRef, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, SummaryDataPoint,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, span};

use crate::loki::{EntryAdapter, StreamAdapter};
use crate::remote_write::{BucketSpan, LabelPair, MetricMetadata, NativeHistogram};

/// A message: its size decoded, and which of its fields are worth a look.
pub(crate) struct Shape {
    bytes: usize,
    fields: &'static [(u64, Field)],
}

enum Field {
    Message(&'static Shape),
    /// Packed numbers, of one byte each at the least and eight once decoded.
    Varints,
}

use Field::{Message, Varints};

/// What the decoder allows, too.
const MAX_DEPTH: usize = 100;
/// An empty string or list in memory.
const EMPTY_BYTES: usize = size_of::<String>();
/// A number in memory.
const NUMBER_BYTES: usize = size_of::<u64>();

/// The decoded size of a body of this shape, in bytes; counting stops once it is over `limit`.
///
/// A body that is malformed counts up to where it is: the decoder gets no further.
pub(crate) fn decoded_bytes(shape: &'static Shape, body: &[u8], limit: usize) -> usize {
    let mut total = 0;
    // Whether the body was walked to its end does not matter here.
    let _ = walk(shape, body, limit, MAX_DEPTH, &mut total);
    total
}

fn walk(shape: &'static Shape, mut rest: &[u8], limit: usize, depth: usize, total: &mut usize) -> Option<()> {
    let deeper = depth.checked_sub(1)?;
    *total = total.saturating_add(shape.bytes);
    while !rest.is_empty() {
        if *total > limit {
            return None;
        }
        let key = varint(&mut rest)?;
        match key & 7 {
            0 => {
                varint(&mut rest)?;
                *total = total.saturating_add(NUMBER_BYTES);
            }
            1 => {
                rest = rest.get(8..)?;
                *total = total.saturating_add(NUMBER_BYTES);
            }
            5 => {
                rest = rest.get(4..)?;
                *total = total.saturating_add(NUMBER_BYTES);
            }
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                let (value, behind) = rest.split_at_checked(length)?;
                rest = behind;
                match shape.fields.iter().find(|(number, _)| *number == key >> 3) {
                    Some((_, Message(inner))) => walk(inner, value, limit, deeper, total)?,
                    Some((_, Varints)) => *total = total.saturating_add(length.saturating_mul(NUMBER_BYTES)),
                    None => *total = total.saturating_add(length.saturating_add(EMPTY_BYTES)),
                }
            }
            // Groups, which none of these messages has, and what is no field at all.
            _ => return None,
        }
    }
    Some(())
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The decoded size of OTLP in JSON, roughly: every object becomes a struct, and text stays as long as it is.
pub(crate) fn decoded_bytes_of_json(json: &[u8]) -> usize {
    /// Between an attribute's value and a span.
    const OBJECT_BYTES: usize = 160;
    let objects = json.iter().filter(|byte| **byte == b'{').count();
    json.len().saturating_add(objects.saturating_mul(OBJECT_BYTES))
}

/// The same of Loki's JSON, where an entry is a list.
pub(crate) fn decoded_bytes_of_loki_json(json: &[u8]) -> usize {
    let parts = json.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
    json.len().saturating_add(parts.saturating_mul(size_of::<EntryAdapter>()))
}

const fn shape<T>(fields: &'static [(u64, Field)]) -> Shape {
    Shape { bytes: size_of::<T>(), fields }
}

/// A message whose memory is part of the message around it.
const fn inline(fields: &'static [(u64, Field)]) -> Shape {
    Shape { bytes: 0, fields }
}

static ANY: Shape = shape::<AnyValue>(&[(5, Message(&ARRAY)), (6, Message(&LIST))]);
static ARRAY: Shape = inline(&[(1, Message(&ANY))]);
static LIST: Shape = inline(&[(1, Message(&KEY_VALUE))]);
static KEY_VALUE: Shape = shape::<KeyValue>(&[(2, Message(&INNER_ANY))]);
static INNER_ANY: Shape = inline(&[(5, Message(&ARRAY)), (6, Message(&LIST))]);
static ENTITY: Shape = shape::<EntityRef>(&[]);
static RESOURCE: Shape = shape::<Resource>(&[(1, Message(&KEY_VALUE)), (3, Message(&ENTITY))]);
static SCOPE: Shape = shape::<InstrumentationScope>(&[(3, Message(&KEY_VALUE))]);

/// `ExportLogsServiceRequest`.
pub(crate) static LOGS: Shape = inline(&[(1, Message(&RESOURCE_LOGS))]);
static RESOURCE_LOGS: Shape = shape::<ResourceLogs>(&[(1, Message(&RESOURCE)), (2, Message(&SCOPE_LOGS))]);
static SCOPE_LOGS: Shape = shape::<ScopeLogs>(&[(1, Message(&SCOPE)), (2, Message(&LOG_RECORD))]);
static LOG_RECORD: Shape = shape::<LogRecord>(&[(5, Message(&INNER_ANY)), (6, Message(&KEY_VALUE))]);

/// `ExportTraceServiceRequest`.
pub(crate) static SPANS: Shape = inline(&[(1, Message(&RESOURCE_SPANS))]);
static RESOURCE_SPANS: Shape = shape::<ResourceSpans>(&[(1, Message(&RESOURCE)), (2, Message(&SCOPE_SPANS))]);
static SCOPE_SPANS: Shape = shape::<ScopeSpans>(&[(1, Message(&SCOPE)), (2, Message(&SPAN))]);
static SPAN: Shape = shape::<Span>(&[(9, Message(&KEY_VALUE)), (11, Message(&SPAN_EVENT)), (13, Message(&SPAN_LINK))]);
static SPAN_EVENT: Shape = shape::<span::Event>(&[(3, Message(&KEY_VALUE))]);
static SPAN_LINK: Shape = shape::<span::Link>(&[(4, Message(&KEY_VALUE))]);

/// `ExportMetricsServiceRequest`.
pub(crate) static METRICS: Shape = inline(&[(1, Message(&RESOURCE_METRICS))]);
static RESOURCE_METRICS: Shape = shape::<ResourceMetrics>(&[(1, Message(&RESOURCE)), (2, Message(&SCOPE_METRICS))]);
static SCOPE_METRICS: Shape = shape::<ScopeMetrics>(&[(1, Message(&SCOPE)), (2, Message(&METRIC))]);
static METRIC: Shape = shape::<Metric>(&[
    (5, Message(&NUMBERS)),
    (7, Message(&NUMBERS)),
    (9, Message(&HISTOGRAMS)),
    (10, Message(&EXPONENTIALS)),
    (11, Message(&SUMMARIES)),
    (12, Message(&KEY_VALUE)),
]);
static NUMBERS: Shape = inline(&[(1, Message(&NUMBER))]);
static NUMBER: Shape = shape::<NumberDataPoint>(&[(5, Message(&EXEMPLAR)), (7, Message(&KEY_VALUE))]);
static HISTOGRAMS: Shape = inline(&[(1, Message(&HISTOGRAM))]);
static HISTOGRAM: Shape = shape::<HistogramDataPoint>(&[(8, Message(&EXEMPLAR)), (9, Message(&KEY_VALUE))]);
static EXPONENTIALS: Shape = inline(&[(1, Message(&EXPONENTIAL))]);
static EXPONENTIAL: Shape = shape::<ExponentialHistogramDataPoint>(&[
    (1, Message(&KEY_VALUE)),
    (8, Message(&BUCKETS)),
    (9, Message(&BUCKETS)),
    (11, Message(&EXEMPLAR)),
]);
static BUCKETS: Shape = inline(&[(2, Varints)]);
static SUMMARIES: Shape = inline(&[(1, Message(&SUMMARY))]);
static SUMMARY: Shape = shape::<SummaryDataPoint>(&[(6, Message(&QUANTILE)), (7, Message(&KEY_VALUE))]);
static QUANTILE: Shape = shape::<[f64; 2]>(&[]);
static EXEMPLAR: Shape = shape::<Exemplar>(&[(7, Message(&KEY_VALUE))]);

/// Remote write's `Histogram`, in both versions.
pub(crate) static NATIVE: Shape =
    shape::<NativeHistogram>(&[(8, Message(&BUCKET_SPAN)), (9, Varints), (11, Message(&BUCKET_SPAN)), (12, Varints)]);
static BUCKET_SPAN: Shape = shape::<BucketSpan>(&[]);
/// Remote write 1.0's `MetricMetadata`.
pub(crate) static METADATA: Shape = shape::<MetricMetadata>(&[]);

/// Loki's `PushRequest`.
pub(crate) static LOKI: Shape = inline(&[(1, Message(&LOKI_STREAM))]);
static LOKI_STREAM: Shape = shape::<StreamAdapter>(&[(2, Message(&LOKI_ENTRY))]);
static LOKI_ENTRY: Shape = shape::<EntryAdapter>(&[(1, Message(&LOKI_TIME)), (3, Message(&LOKI_PAIR))]);
static LOKI_TIME: Shape = inline(&[]);
static LOKI_PAIR: Shape = shape::<LabelPair>(&[]);
