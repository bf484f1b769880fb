//! `io.prometheus.client.MetricFamily`, as far as federation writes it.

use super::exposition::cumulative;

/// Metrics of one name.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MetricFamily {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    /// 3: untyped, 4: histogram, 5: gauge histogram.
    #[prost(int32, optional, tag = "3")]
    pub(super) r#type: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    pub(super) metric: Vec<Metric>,
}

/// One series.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Metric {
    #[prost(message, repeated, tag = "1")]
    pub(super) label: Vec<LabelPair>,
    #[prost(message, optional, tag = "5")]
    pub(super) untyped: Option<Untyped>,
    #[prost(int64, optional, tag = "6")]
    pub(super) timestamp_ms: Option<i64>,
    #[prost(message, optional, tag = "7")]
    pub(super) histogram: Option<Histogram>,
}

/// A label.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LabelPair {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(super) value: Option<String>,
}

/// A float.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Untyped {
    #[prost(double, optional, tag = "1")]
    pub(super) value: Option<f64>,
}

/// A classic or native histogram.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Histogram {
    #[prost(double, optional, tag = "2")]
    pub(super) sample_sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    pub(super) bucket: Vec<Bucket>,
    #[prost(double, optional, tag = "4")]
    pub(super) sample_count_float: Option<f64>,
    #[prost(sint32, optional, tag = "5")]
    pub(super) schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    pub(super) zero_threshold: Option<f64>,
    #[prost(double, optional, tag = "8")]
    pub(super) zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "9")]
    pub(super) negative_span: Vec<BucketSpan>,
    #[prost(double, repeated, packed = "false", tag = "11")]
    pub(super) negative_count: Vec<f64>,
    #[prost(message, repeated, tag = "12")]
    pub(super) positive_span: Vec<BucketSpan>,
    #[prost(double, repeated, packed = "false", tag = "14")]
    pub(super) positive_count: Vec<f64>,
}

/// A classic bucket.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Bucket {
    #[prost(double, optional, tag = "2")]
    pub(super) upper_bound: Option<f64>,
    #[prost(double, optional, tag = "4")]
    pub(super) cumulative_count_float: Option<f64>,
}

/// Consecutive native buckets.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct BucketSpan {
    #[prost(sint32, optional, tag = "1")]
    pub(super) offset: Option<i32>,
    #[prost(uint32, optional, tag = "2")]
    pub(super) length: Option<u32>,
}

impl From<&tenantscope_model::Histogram> for Histogram {
    fn from(histogram: &tenantscope_model::Histogram) -> Self {
        let sums =
            Self { sample_sum: Some(histogram.sum), sample_count_float: Some(histogram.count), ..Self::default() };
        if !histogram.custom_bounds.is_empty() {
            let bucket = |(bound, count)| Bucket { upper_bound: Some(bound), cumulative_count_float: Some(count) };
            return Self { bucket: cumulative(histogram).map(bucket).collect(), ..sums };
        }
        let spans = |side: &tenantscope_model::Spans| {
            side.spans.iter().map(|span| BucketSpan { offset: Some(span.offset), length: Some(span.length) }).collect()
        };
        Self {
            schema: Some(histogram.schema),
            zero_threshold: Some(histogram.zero_threshold),
            zero_count_float: Some(histogram.zero_count),
            negative_span: spans(&histogram.negative),
            negative_count: histogram.negative.counts.clone(),
            positive_span: spans(&histogram.positive),
            positive_count: histogram.positive.counts.clone(),
            ..sums
        }
    }
}
