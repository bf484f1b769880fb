//! Series of our own making as bytes: remote write's series with the tenant beside the family's metadata.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tenantscope_model::{
    Cadence, Exemplar, FamilyMetadata, HistogramSample, Labels, Metadata, Sample, StampedSeries, Starts, TenantId,
};

use crate::native;
use crate::remote_write::{ExemplarValue, LabelPair, MetricMetadata, SampleValue, TimeSeries};
use crate::write_metadata::{kind_number, kind_of};

#[derive(Clone, PartialEq, Message)]
struct OwnMessage {
    #[prost(message, repeated, tag = "1")]
    series: Vec<OwnSeries>,
    #[prost(message, repeated, tag = "2")]
    metadata: Vec<OwnMetadata>,
}

#[derive(Clone, PartialEq, Message)]
struct OwnSeries {
    #[prost(message, optional, tag = "1")]
    series: Option<TimeSeries>,
    #[prost(message, optional, tag = "2")]
    cadence: Option<OwnCadence>,
    /// As long as the samples, or empty.
    #[prost(int64, repeated, tag = "3")]
    sample_starts_ms: Vec<i64>,
    /// As long as the histograms, or empty.
    #[prost(int64, repeated, tag = "4")]
    histogram_starts_ms: Vec<i64>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct OwnCadence {
    #[prost(int64, tag = "1")]
    cadence_ms: i64,
    #[prost(int64, tag = "2")]
    delay_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
struct OwnMetadata {
    #[prost(message, optional, tag = "1")]
    metadata: Option<MetricMetadata>,
    /// Empty for none.
    #[prost(string, tag = "2")]
    tenant: String,
}

pub(crate) fn encode(series: &[StampedSeries], metadata: &[FamilyMetadata]) -> Vec<u8> {
    let own = |series: &StampedSeries| OwnSeries {
        series: Some(series_message(series)),
        cadence: series.cadence.map(|c| OwnCadence { cadence_ms: c.cadence_ms, delay_ms: c.delay_ms }),
        sample_starts_ms: series.starts.samples_ms.clone(),
        histogram_starts_ms: series.starts.histograms_ms.clone(),
    };
    let family = |family: &FamilyMetadata| OwnMetadata {
        metadata: Some(MetricMetadata {
            kind: kind_number(family.metadata.kind),
            metric_family_name: family.family.to_string(),
            help: family.metadata.help.to_string(),
            unit: family.metadata.unit.to_string(),
        }),
        tenant: family.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    let message =
        OwnMessage { series: series.iter().map(own).collect(), metadata: metadata.iter().map(family).collect() };
    message.encode_to_vec()
}

fn series_message(series: &StampedSeries) -> TimeSeries {
    TimeSeries {
        labels: label_pairs(&series.labels),
        samples: series.samples.iter().map(|s| SampleValue { value: s.value, timestamp: s.t_ms }).collect(),
        exemplars: series
            .exemplars
            .iter()
            .map(|e| ExemplarValue { labels: label_pairs(&e.labels), value: e.value, timestamp: e.t_ms })
            .collect(),
        histograms: series.histograms.iter().map(|h| native::to_message(&h.histogram, h.t_ms)).collect(),
    }
}

fn label_pairs(labels: &Labels) -> Vec<LabelPair> {
    labels.iter().map(|label| LabelPair { name: label.name.to_string(), value: label.value.to_string() }).collect()
}

pub(crate) fn decode(bytes: Bytes) -> Result<(Vec<StampedSeries>, Vec<FamilyMetadata>), String> {
    let message = OwnMessage::decode(bytes).map_err(|error| error.to_string())?;
    let series = message.series.into_iter().map(series_of).collect::<Result<_, _>>()?;
    let metadata = message.metadata.into_iter().map(family_of).collect::<Result<_, _>>()?;
    Ok((series, metadata))
}

fn series_of(own: OwnSeries) -> Result<StampedSeries, String> {
    let series = own.series.unwrap_or_default();
    let fits = |starts_ms: &[i64], points: usize| starts_ms.is_empty() || starts_ms.len() == points;
    if !fits(&own.sample_starts_ms, series.samples.len()) || !fits(&own.histogram_starts_ms, series.histograms.len()) {
        return Err("a series' starts and points differ in number".to_owned());
    }
    let histogram = |message: &crate::remote_write::NativeHistogram| {
        let histogram = native::from_message(message).ok_or("a histogram's spans and counts differ")?;
        Ok::<_, String>(HistogramSample { t_ms: message.timestamp, histogram: Arc::new(histogram) })
    };
    Ok(StampedSeries {
        labels: labels_of(&series.labels),
        samples: series.samples.iter().map(|s| Sample { t_ms: s.timestamp, value: s.value }).collect(),
        histograms: series.histograms.iter().map(histogram).collect::<Result<_, _>>()?,
        exemplars: series
            .exemplars
            .iter()
            .map(|e| Exemplar { t_ms: e.timestamp, value: e.value, labels: labels_of(&e.labels) })
            .collect(),
        starts: Starts { samples_ms: own.sample_starts_ms, histograms_ms: own.histogram_starts_ms },
        cadence: own.cadence.map(|c| Cadence::capped(c.cadence_ms, c.delay_ms)),
    })
}

pub(crate) fn labels_of(pairs: &[LabelPair]) -> Labels {
    Labels::from_pairs(pairs.iter().map(|pair| (pair.name.as_str(), pair.value.as_str())))
}

fn family_of(own: OwnMetadata) -> Result<FamilyMetadata, String> {
    let metadata = own.metadata.unwrap_or_default();
    let tenant = match own.tenant.as_str() {
        "" => None,
        text => Some(TenantId::try_new(text).map_err(|error| error.to_string())?),
    };
    Ok(FamilyMetadata {
        tenant,
        family: metadata.metric_family_name.into(),
        metadata: Metadata { kind: kind_of(metadata.kind), unit: metadata.unit.into(), help: metadata.help.into() },
    })
}
