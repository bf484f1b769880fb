//! Remote write's messages as the specification's `.proto` files have them, and bodies made of them.

use prost::Message;
use tenantscope_codec::Stamped;
use tenantscope_model::Signal;
use tenantscope_wire::{BodyForm, Encoding, ReceivedBody};

#[derive(Clone, PartialEq, Message)]
pub struct Request {
    #[prost(string, repeated, tag = "4")]
    pub symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    pub timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<SampleValue>,
    #[prost(message, repeated, tag = "3")]
    pub histograms: Vec<NativeHistogram>,
    #[prost(message, repeated, tag = "4")]
    pub exemplars: Vec<ExemplarValue>,
    #[prost(message, optional, tag = "5")]
    pub metadata: Option<SeriesMetadata>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct SampleValue {
    #[prost(double, tag = "1")]
    pub value: f64,
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
    #[prost(int64, tag = "3")]
    pub start_timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct ExemplarValue {
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    #[prost(double, tag = "2")]
    pub value: f64,
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct SeriesMetadata {
    #[prost(int32, tag = "1")]
    pub kind: i32,
    #[prost(uint32, tag = "3")]
    pub help_ref: u32,
    #[prost(uint32, tag = "4")]
    pub unit_ref: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct NativeHistogram {
    #[prost(uint64, optional, tag = "1")]
    pub count_int: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub count_float: Option<f64>,
    #[prost(double, tag = "3")]
    pub sum: f64,
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    #[prost(uint64, optional, tag = "6")]
    pub zero_count_int: Option<u64>,
    #[prost(double, optional, tag = "7")]
    pub zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "12")]
    pub positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    pub positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    pub reset_hint: i32,
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    pub custom_values: Vec<f64>,
    #[prost(int64, tag = "17")]
    pub start_timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct BucketSpan {
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

/// `prometheus.WriteRequest`, as far as the tests write it.
#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest1 {
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries1>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries1 {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<LabelPair>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<SampleValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LabelPair {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

/// Writes texts once each, the empty one first.
pub struct Symbols(pub Vec<String>);

impl Symbols {
    pub fn new() -> Self {
        Self(vec![String::new()])
    }

    pub fn of(&mut self, text: &str) -> u32 {
        let known = self.0.iter().position(|symbol| symbol == text);
        known.unwrap_or_else(|| {
            self.0.push(text.to_owned());
            self.0.len() - 1
        }) as u32
    }

    pub fn refs(&mut self, labels: &[(&str, &str)]) -> Vec<u32> {
        labels.iter().flat_map(|(name, value)| [self.of(name), self.of(value)]).collect()
    }
}

pub fn snappy(form: BodyForm, message: &[u8]) -> ReceivedBody {
    let bytes = snap::raw::Encoder::new().compress_vec(message).unwrap().into();
    ReceivedBody { signal: Signal::Metrics, form, encoding: Encoding::Snappy, bytes }
}

pub fn body(symbols: Symbols, timeseries: Vec<TimeSeries>) -> ReceivedBody {
    snappy(BodyForm::RemoteWriteV2, &Request { symbols: symbols.0, timeseries }.encode_to_vec())
}

pub fn one_sample(labels_refs: Vec<u32>) -> TimeSeries {
    let samples = vec![SampleValue { value: 1.0, timestamp: 5, start_timestamp: 0 }];
    TimeSeries { labels_refs, samples, ..TimeSeries::default() }
}

pub fn reasons(stamped: &Stamped) -> Vec<(&'static str, u64)> {
    stamped.rejected.by_reason().collect()
}
