//! Remote write at the codec's door, with random series and damaged bodies.

#![allow(clippy::unwrap_used)] // the lint's exception for tests does not reach their shared functions

mod shared;

use proptest::prelude::*;
use prost::Message;
use tenantscope_codec::{Accumulators, Decision, DecodeLimits, Origin, decode, stamp};
use tenantscope_model::{Labels, METRIC_NAME, StampedBatch, StampedSeries};
use tenantscope_wire::BodyForm;

use crate::shared::write::{
    BucketSpan, ExemplarValue, LabelPair, NativeHistogram, Request, SampleValue, SeriesMetadata, Symbols, TimeSeries,
    TimeSeries1, WriteRequest1, body, one_sample, snappy,
};
use crate::shared::{acme, open, series, stamped};

fn label_sets() -> impl Strategy<Value = Vec<Vec<(String, String)>>> {
    let label = ("[a-eé]{1,3}", "[ -~é]{0,6}");
    let labels = prop::collection::btree_map(label.0, label.1, 0..6);
    prop::collection::vec(labels.prop_map(|labels| labels.into_iter().collect()), 0..8)
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        sets in label_sets(),
        points in prop::collection::vec((any::<u64>(), any::<i64>(), any::<i64>()), 1..4),
    ) {
        let mut symbols = Symbols::new();
        let mut sent = Vec::new();
        let mut expected = Vec::new();
        for (i, set) in sets.iter().enumerate() {
            let number = i.to_string();
            let mut labels: Vec<(&str, &str)> = set.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            labels.extend([(METRIC_NAME, "m"), ("number", number.as_str())]);
            let samples = points.iter().map(|(bits, t, s)| SampleValue {
                value: f64::from_bits(*bits),
                timestamp: *t,
                start_timestamp: *s,
            });
            sent.push(TimeSeries {
                labels_refs: symbols.refs(&labels),
                samples: samples.collect(),
                ..TimeSeries::default()
            });
            labels.push(("tenant", "t"));
            expected.push(Labels::from_pairs(labels));
        }
        let result = stamped(&body(symbols, sent), &open("t"));
        let read: Vec<&StampedSeries> = series(&result).iter().collect();
        prop_assert_eq!(read.iter().map(|s| s.labels.clone()).collect::<Vec<_>>(), expected);
        for series in read {
            let samples = series.samples.iter().map(|s| (s.value.to_bits(), s.t_ms));
            prop_assert!(samples.eq(points.iter().map(|(bits, t, _)| (*bits, *t))));
            let starts: Vec<i64> = points.iter().map(|(_, _, s)| *s).collect();
            let known = if starts.iter().all(|s| *s == 0) { Vec::new() } else { starts };
            prop_assert_eq!(&series.starts.samples_ms, &known);
        }
    }

    /// Labels may come in any order, and a sender of version 1.0 may put anything between them.
    #[test]
    fn both_versions_say_the_same(sets in label_sets(), turn in 0..8usize, scattered: bool) {
        let mut symbols = Symbols::new();
        let (mut one, mut two) = (Vec::new(), Vec::new());
        for (i, set) in sets.iter().enumerate() {
            let mut labels = set.clone();
            labels.extend([(METRIC_NAME.to_owned(), "m".to_owned()), ("number".to_owned(), i.to_string())]);
            let places = labels.len();
            labels.rotate_left(turn % places);
            let borrowed: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            two.push(one_sample(symbols.refs(&borrowed)));
            let pairs = labels.iter().map(|(name, value)| LabelPair { name: name.clone(), value: value.clone() });
            let samples = vec![SampleValue { value: 1.0, timestamp: 5, start_timestamp: 0 }];
            let mut message = TimeSeries1 { labels: pairs.collect(), samples }.encode_to_vec();
            if scattered {
                // A label behind the sample: the message read as one that is merged.
                let last = LabelPair { name: "zz".to_owned(), value: "é".to_owned() };
                TimeSeries1 { labels: vec![last], samples: Vec::new() }.encode(&mut message).unwrap();
                two.last_mut().unwrap().labels_refs.extend(symbols.refs(&[("zz", "é")]));
            }
            one.push(TimeSeries1::decode(message.as_slice()).map(|_| message).unwrap());
        }
        let mut request = Vec::new();
        for message in one {
            prost::encoding::encode_key(1, prost::encoding::WireType::LengthDelimited, &mut request);
            prost::encoding::encode_varint(message.len() as u64, &mut request);
            request.extend(message);
        }
        let first = stamped(&snappy(BodyForm::RemoteWriteV1, &request), &acme());
        let second = stamped(&body(symbols, two), &acme());
        prop_assert_eq!(&first, &second);
        prop_assert_eq!(series(&first).len(), sets.len());
        if !sets.is_empty() {
            WriteRequest1::decode(request.as_slice()).unwrap();
        }
    }

    #[test]
    fn damaged_bodies_of_version_1_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let pair = |name: &str, value: &str| LabelPair { name: name.to_owned(), value: value.to_owned() };
        let labels = vec![pair(METRIC_NAME, "up"), pair("tenant", "x"), pair("é", "ü")];
        let samples = vec![SampleValue { value: 1.0, timestamp: 5, start_timestamp: 0 }];
        let mut message = WriteRequest1 { timeseries: vec![TimeSeries1 { labels, samples }; 2] }.encode_to_vec();
        for (index, byte) in changes {
            let at = index.index(message.len());
            message[at] = byte;
        }
        let limits = DecodeLimits { max_decoded_bytes: 1 << 16 };
        if let Ok(decoded) = decode(&snappy(BodyForm::RemoteWriteV1, &message), &limits) {
            let decisions = vec![Decision::Stamp(acme()); decoded.claims().len()];
            let records = decoded.records();
            let result = stamp(decoded, &decisions, Origin::default(), &Accumulators::new(0));
            let kept: usize = series(&result).iter().map(|s| s.samples.len()).sum();
            prop_assert_eq!(records, kept as u64 + result.rejected.total());
            series(&result).iter().for_each(|series| assert_eq!(series.labels.get("tenant"), Some("acme")));
        }
    }

    #[test]
    fn damaged_requests_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        v2: bool,
    ) {
        let mut symbols = Symbols::new();
        let refs = symbols.refs(&[(METRIC_NAME, "up"), ("tenant", "x"), ("é", "ü")]);
        let histogram = NativeHistogram {
            count_int: Some(1),
            positive_spans: vec![BucketSpan { offset: 0, length: 1 }],
            positive_deltas: vec![1],
            ..NativeHistogram::default()
        };
        let exemplars = vec![ExemplarValue { labels_refs: refs.clone(), value: 1.0, timestamp: 1 }];
        let metadata = Some(SeriesMetadata { kind: 1, help_ref: 1, unit_ref: 2 });
        let series = TimeSeries { histograms: vec![histogram], exemplars, metadata, ..one_sample(refs) };
        let mut message = Request { symbols: symbols.0, timeseries: vec![series; 2] }.encode_to_vec();
        for (index, byte) in changes {
            let at = index.index(message.len());
            message[at] = byte;
        }
        let form = if v2 { BodyForm::RemoteWriteV2 } else { BodyForm::RemoteWriteV1 };
        let limits = DecodeLimits { max_decoded_bytes: 1 << 16 };
        if let Ok(decoded) = decode(&snappy(form, &message), &limits) {
            let decisions = vec![Decision::Stamp(acme()); decoded.claims().len()];
            let records = decoded.records();
            let result = stamp(decoded, &decisions, Origin::default(), &Accumulators::new(0));
            let StampedBatch::Metrics { series, .. } = &result.batch else { panic!("no metrics") };
            let kept: usize = series.iter().map(|s| s.samples.len() + s.histograms.len()).sum();
            prop_assert_eq!(records, kept as u64 + result.rejected.total());
            series.iter().for_each(|series| assert_eq!(series.labels.get("tenant"), Some("acme")));
        }
    }
}
