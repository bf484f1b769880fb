//! Remote write 2.0 at the codec's door, against messages written by the specification's `.proto` file.

#![allow(clippy::unwrap_used)] // the lint's exception for tests does not reach their shared functions

mod shared;

use bytes::Bytes;
use prost::Message;
use tenantscope_codec::{
    Accumulators, Decision, DecodeError, DecodeLimits, Origin, OtlpRequest, Record, RecordBody, Stamped, decode, stamp,
};
use tenantscope_model::{Histogram, Labels, METRIC_NAME, MetricKind, ResetHint, Sample, Span, Spans};
use tenantscope_wire::BodyForm;

use crate::shared::write::{
    BucketSpan, ExemplarValue, NativeHistogram, Request, SampleValue, SeriesMetadata, Symbols, TimeSeries, body,
    one_sample, reasons, snappy,
};
use crate::shared::{acme, metadata, open, series, stamped, stamped_with};

#[test]
fn everything_that_the_message_has_arrives() {
    let mut symbols = Symbols::new();
    let counter = TimeSeries {
        labels_refs: symbols.refs(&[(METRIC_NAME, "hits_total"), ("job", "a")]),
        samples: vec![
            SampleValue { value: 1.0, timestamp: 1_000, start_timestamp: 0 },
            SampleValue { value: 2.0, timestamp: 2_000, start_timestamp: 500 },
        ],
        exemplars: vec![ExemplarValue {
            labels_refs: symbols.refs(&[("trace_id", "0102")]),
            value: 2.0,
            timestamp: 1_500,
        }],
        metadata: Some(SeriesMetadata { kind: 1, help_ref: symbols.of("Hits."), unit_ref: 0 }),
        ..TimeSeries::default()
    };
    let whole = NativeHistogram {
        count_int: Some(6),
        sum: 18.4,
        schema: 1,
        zero_threshold: 0.001,
        zero_count_int: Some(1),
        positive_spans: vec![BucketSpan { offset: -2, length: 1 }, BucketSpan { offset: 1, length: 2 }],
        positive_deltas: vec![2, -1, 1],
        reset_hint: 2,
        timestamp: 3_000,
        start_timestamp: 700,
        ..NativeHistogram::default()
    };
    let custom = NativeHistogram {
        count_float: Some(2.5),
        sum: 1.0,
        schema: -53,
        positive_spans: vec![BucketSpan { offset: 0, length: 3 }],
        positive_counts: vec![0.5, 1.0, 1.0],
        custom_values: vec![0.1, 1.0],
        reset_hint: 3,
        timestamp: 4_000,
        ..NativeHistogram::default()
    };
    let latency = TimeSeries {
        labels_refs: symbols.refs(&[(METRIC_NAME, "latency_seconds"), ("job", "a")]),
        histograms: vec![whole, custom],
        metadata: Some(SeriesMetadata { kind: 3, help_ref: 0, unit_ref: symbols.of("seconds") }),
        ..TimeSeries::default()
    };
    let result = stamped(&body(symbols, vec![counter, latency]), &open("t"));
    assert_eq!(reasons(&result), []);
    let [hits, latency] = series(&result) else { panic!("{result:?}") };
    assert_eq!(hits.labels.to_string(), r#"hits_total{__type__="counter", job="a", tenant="t"}"#);
    assert_eq!(hits.samples, [Sample { t_ms: 1_000, value: 1.0 }, Sample { t_ms: 2_000, value: 2.0 }]);
    assert_eq!(hits.starts.samples_ms, [0, 500]);
    assert_eq!(hits.exemplars[0].labels, Labels::from_pairs([("trace_id", "0102")]));
    assert_eq!((hits.exemplars[0].t_ms, hits.exemplars[0].value), (1_500, 2.0));
    let expected = r#"latency_seconds{__type__="histogram", __unit__="seconds", job="a", tenant="t"}"#;
    assert_eq!((latency.labels.to_string().as_str(), &*latency.starts.histograms_ms), (expected, [700, 0].as_slice()));
    let spans = vec![Span { offset: -2, length: 1 }, Span { offset: 1, length: 2 }];
    let expected = Histogram {
        schema: 1,
        zero_threshold: 0.001,
        zero_count: 1.0,
        count: 6.0,
        sum: 18.4,
        positive: Spans { spans, counts: vec![2.0, 1.0, 2.0] },
        reset_hint: ResetHint::NotCounterReset,
        ..Histogram::default()
    };
    assert_eq!(*latency.histograms[0].histogram, expected);
    let custom = &latency.histograms[1].histogram;
    assert_eq!((custom.reset_hint, custom.custom_bounds.as_slice()), (ResetHint::Gauge, [0.1, 1.0].as_slice()));
    let said: Vec<_> = metadata(&result).iter().map(|m| (&*m.family, m.metadata.kind, &*m.metadata.help)).collect();
    assert_eq!(said, [("hits_total", MetricKind::Counter, "Hits."), ("latency_seconds", MetricKind::Histogram, "")]);
}

#[test]
fn a_family_is_told_of_once_however_many_series_tell_of_it() {
    let mut symbols = Symbols::new();
    let help_ref = symbols.of("Latency.");
    let names = ["l_bucket", "l_sum", "l_count", "l_bucket"];
    let series = names.into_iter().enumerate().map(|(i, name)| TimeSeries {
        metadata: Some(SeriesMetadata { kind: 3, help_ref, unit_ref: 0 }),
        ..one_sample(symbols.refs(&[(METRIC_NAME, name), ("i", &i.to_string())]))
    });
    let series = series.collect();
    let result = stamped(&body(symbols, series), &open("t"));
    let families: Vec<_> = metadata(&result).iter().map(|m| &*m.family).collect();
    assert_eq!(families, ["l"]);
}

#[test]
fn the_type_and_unit_that_metadata_tells_are_labels_in_the_place_of_sent_ones() {
    let sent = [(METRIC_NAME, "m"), ("__type__", "gauge"), ("__unit__", "bytes"), ("a", "b")];
    for (kind, unit, expected) in [
        (0, "", r#"m{__type__="gauge", __unit__="bytes", a="b", tenant="t"}"#),
        (1, "", r#"m{__type__="counter", a="b", tenant="t"}"#),
        (0, "seconds", r#"m{__unit__="seconds", a="b", tenant="t"}"#),
        (4, "seconds", r#"m{__type__="gaugehistogram", __unit__="seconds", a="b", tenant="t"}"#),
        (7, "", r#"m{__type__="stateset", a="b", tenant="t"}"#),
        (99, "", r#"m{__type__="gauge", __unit__="bytes", a="b", tenant="t"}"#),
    ] {
        let mut symbols = Symbols::new();
        let metadata = Some(SeriesMetadata { kind, help_ref: 0, unit_ref: symbols.of(unit) });
        let told = TimeSeries { metadata, ..one_sample(symbols.refs(&sent)) };
        let silent = one_sample(symbols.refs(&sent));
        let result = stamped(&body(symbols, vec![told, silent]), &open("t"));
        let [told, silent] = series(&result) else { panic!("{result:?}") };
        assert_eq!(told.labels.to_string(), expected);
        let is_same = told.labels.fingerprint() == silent.labels.fingerprint();
        assert_eq!(is_same, told.labels.to_string() == silent.labels.to_string());
    }
}

#[test]
fn every_kind_of_metric_has_its_name() {
    let kinds = ["unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"];
    for (number, name) in (0..).zip(kinds) {
        let mut symbols = Symbols::new();
        let metadata = Some(SeriesMetadata { kind: number, help_ref: symbols.of("Help."), unit_ref: 0 });
        let told = TimeSeries { metadata, ..one_sample(symbols.refs(&[(METRIC_NAME, "m")])) };
        let result = stamped(&body(symbols, vec![told]), &open("t"));
        assert_eq!(metadata_kinds(&result), [name]);
    }
}

fn metadata_kinds(result: &Stamped) -> Vec<String> {
    metadata(result).iter().map(|family| family.metadata.kind.to_string()).collect()
}

#[test]
fn what_is_wrong_with_one_series_costs_no_other() {
    let mut symbols = Symbols::new();
    let good = symbols.refs(&[("job", "a"), (METRIC_NAME, "up"), ("empty", "")]);
    let beyond = vec![good[0], good[1], 999, 1_000];
    let twice = symbols.refs(&[(METRIC_NAME, "up"), ("b", "1"), ("a", "1"), ("b", "2")]);
    let unnamed = symbols.refs(&[("job", "a")]);
    let nameless = symbols.refs(&[("", "x"), (METRIC_NAME, "up")]);
    let mut wide = symbols.refs(&[(METRIC_NAME, "up")]);
    wide.extend((0..256).flat_map(|i| symbols.refs(&[(&format!("l{i:03}"), "x")])));
    let no_such_help = SeriesMetadata { kind: 1, help_ref: 9_999, unit_ref: 0 };
    let wrong = NativeHistogram {
        count_int: Some(7),
        positive_spans: vec![BucketSpan { offset: 0, length: 1 }],
        positive_deltas: vec![1],
        ..NativeHistogram::default()
    };
    let exemplar = ExemplarValue { labels_refs: vec![999, 0], value: 1.0, timestamp: 1 };
    let all = vec![
        one_sample(beyond),
        one_sample(good[..3].to_vec()),
        one_sample(twice),
        one_sample(unnamed),
        one_sample(nameless),
        one_sample(wide),
        one_sample(Vec::new()),
        TimeSeries { metadata: Some(no_such_help), ..one_sample(good.clone()) },
        TimeSeries { labels_refs: good.clone(), ..TimeSeries::default() },
        TimeSeries { histograms: vec![wrong], exemplars: vec![exemplar], ..one_sample(good) },
    ];
    let received = body(symbols, all);
    let decoded = decode(&received, &DecodeLimits::default()).unwrap();
    let records = decoded.records();
    let result = stamped(&received, &open("t"));
    assert_eq!(
        reasons(&result),
        [
            ("duplicate_label", 1),
            ("empty_label_name", 1),
            ("invalid_exemplar", 1),
            ("invalid_histogram", 1),
            ("no_metric_name", 2),
            ("no_samples", 1),
            ("odd_label_refs", 1),
            ("symbol_out_of_range", 2),
            ("too_many_labels", 1),
        ]
    );
    let [only] = series(&result) else { panic!("{result:?}") };
    assert_eq!(only.labels.to_string(), r#"up{job="a", tenant="t"}"#, "sorted, and without what is empty");
    assert_eq!(records, result.rejected.total() + 1);
}

#[test]
fn histograms_that_nobody_can_have_observed_are_left_out() {
    let custom = NativeHistogram {
        count_float: Some(1.0),
        schema: -53,
        positive_spans: vec![BucketSpan { offset: 0, length: 1 }],
        positive_counts: vec![1.0],
        custom_values: vec![1.0, 2.0],
        ..NativeHistogram::default()
    };
    let plain = NativeHistogram { schema: 0, custom_values: Vec::new(), ..custom.clone() };
    let two = |offset| vec![BucketSpan { offset: 0, length: 1 }, BucketSpan { offset, length: 1 }];
    let wrong = [
        NativeHistogram { schema: -5, ..plain.clone() },
        NativeHistogram { schema: 53, ..plain.clone() },
        NativeHistogram { positive_counts: vec![-1.0], ..plain.clone() },
        NativeHistogram { positive_counts: Vec::new(), ..plain.clone() },
        NativeHistogram { count_float: Some(-1.0), ..plain.clone() },
        NativeHistogram { positive_spans: two(-1), positive_counts: vec![1.0, 1.0], ..plain.clone() },
        NativeHistogram { custom_values: vec![1.0], ..plain.clone() },
        NativeHistogram { custom_values: vec![2.0, 1.0], ..custom.clone() },
        NativeHistogram { custom_values: vec![1.0, f64::INFINITY], ..custom.clone() },
        NativeHistogram { custom_values: vec![f64::NAN], ..custom.clone() },
        NativeHistogram { positive_spans: vec![BucketSpan { offset: 3, length: 1 }], ..custom.clone() },
        NativeHistogram { zero_count_float: Some(1.0), ..custom.clone() },
        NativeHistogram { zero_threshold: 0.1, ..custom.clone() },
    ];
    let count = wrong.len() as u64;
    let finest = NativeHistogram {
        schema: 10,
        positive_spans: vec![BucketSpan { offset: 1, length: 5 }],
        positive_counts: vec![1.0; 5],
        count_float: Some(5.0),
        ..plain.clone()
    };
    let mut symbols = Symbols::new();
    let histograms = wrong.into_iter().chain([plain, custom, finest]).collect();
    let labels_refs = symbols.refs(&[(METRIC_NAME, "h")]);
    let result =
        stamped(&body(symbols, vec![TimeSeries { labels_refs, histograms, ..Default::default() }]), &open("t"));
    assert_eq!(reasons(&result), [("invalid_histogram", count)]);
    let coarser = &series(&result)[0].histograms[2].histogram;
    assert_eq!((coarser.schema, &*coarser.positive.counts), (8, [4.0, 1.0].as_slice()));
}

#[test]
fn a_known_series_is_known_by_its_fingerprint_under_its_own_stamp_only() {
    let labels = [(METRIC_NAME, "up"), ("job", "a")];
    let fingerprint_of = |labels: &[(&str, &str)], stamp, more: &[&str]| {
        let mut symbols = Symbols::new();
        for text in more {
            symbols.of(text);
        }
        let refs = symbols.refs(labels);
        let result = stamped(&body(symbols, vec![one_sample(refs)]), &stamp);
        series(&result)[0].labels.fingerprint().unwrap()
    };
    let known = fingerprint_of(&labels, open("t"), &[]);
    assert_eq!(fingerprint_of(&labels, open("t"), &["other", "symbols"]), known);
    assert_ne!(fingerprint_of(&labels, open("u"), &[]), known);
    assert_ne!(fingerprint_of(&labels, acme(), &[]), known);
    assert_ne!(fingerprint_of(&[(METRIC_NAME, "up"), ("jo", "ba")], open("t"), &[]), known);
}

#[test]
fn claims_are_stamped_in_version_2_as_in_version_1() {
    let mut symbols = Symbols::new();
    let claiming = symbols.refs(&[(METRIC_NAME, "up"), ("tenant", "other")]);
    let silent = symbols.refs(&[(METRIC_NAME, "up")]);
    let received = body(symbols, vec![one_sample(claiming), one_sample(silent)]);
    let decoded = decode(&received, &DecodeLimits::default()).unwrap();
    assert_eq!(decoded.claims().iter().map(|c| c.tenant.as_deref()).collect::<Vec<_>>(), [Some("other"), None]);
    let decisions = [Decision::Stamp(acme()), Decision::Refuse { reason: "no" }];
    let result = stamp(decoded, &decisions, Origin::default(), &Accumulators::new(0));
    let [only] = series(&result) else { panic!("{result:?}") };
    assert_eq!(only.labels.get("exported_tenant"), Some("other"));
    assert_eq!((only.labels.get("tenant"), result.moved_claims, reasons(&result)), (Some("acme"), 1, vec![("no", 1)]));
}

#[test]
fn points_too_far_ahead_are_left_out_with_their_starts() {
    let mut symbols = Symbols::new();
    let sample = |timestamp, start_timestamp| SampleValue { value: 1.0, timestamp, start_timestamp };
    let labels_refs = symbols.refs(&[(METRIC_NAME, "c")]);
    let samples = vec![sample(10, 1), sample(99, 2), sample(20, 3)];
    let received = body(symbols, vec![TimeSeries { labels_refs, samples, ..TimeSeries::default() }]);
    let origin = Origin { latest_ms: Some(50), ..Origin::default() };
    let result = stamped_with(&received, &open("t"), origin, &Accumulators::new(0));
    assert_eq!(reasons(&result), [("too_far_ahead", 1)]);
    assert_eq!(series(&result)[0].starts.samples_ms, [1, 3]);
}

#[test]
fn a_body_of_the_other_version_is_told_apart() {
    let mut symbols = Symbols::new();
    let refs = symbols.refs(&[(METRIC_NAME, "up")]);
    let two = Request { symbols: symbols.0, timeseries: vec![one_sample(refs)] }.encode_to_vec();
    let one = [0x0a, 0x00];
    for (form, message) in [(BodyForm::RemoteWriteV1, two.as_slice()), (BodyForm::RemoteWriteV2, &one)] {
        let error = decode(&snappy(form, message), &DecodeLimits::default()).unwrap_err();
        assert!(matches!(error, DecodeError::Form { .. }) && error.to_string().contains("fields of"), "{error}");
    }
}

#[test]
fn a_million_empty_series_take_no_memory_and_a_million_symbols_are_bounded() {
    let limits = DecodeLimits { max_decoded_bytes: 4 << 20 };
    for (form, field) in [(BodyForm::RemoteWriteV1, 0x0a), (BodyForm::RemoteWriteV2, 0x2a)] {
        let received = snappy(form, &[field, 0].repeat(1_000_000));
        let decoded = decode(&received, &limits).unwrap();
        let result = stamp(decoded, &[], Origin::default(), &Accumulators::new(0));
        assert!(series(&result).is_empty());
    }
    let bomb = snappy(BodyForm::RemoteWriteV2, &[0x22, 0].repeat(1_000_000));
    assert_eq!(decode(&bomb, &limits), Err(DecodeError::TooMuchMemory { max_bytes: 16 << 20 }));
    let mut symbols = Symbols::new();
    let long = "x".repeat(1 << 20);
    let refs = symbols.refs(&[(METRIC_NAME, "up"), ("long", &long)]);
    let bomb = body(symbols, vec![one_sample(refs); 100]);
    assert_eq!(
        decode(&bomb, &limits),
        Err(DecodeError::TooMuchMemory { max_bytes: 16 << 20 }),
        "one text, many labels"
    );
    let mut symbols = Symbols::new();
    let metadata = Some(SeriesMetadata { kind: 1, help_ref: symbols.of(&long), unit_ref: 0 });
    let series =
        (0..100).map(|i| TimeSeries { metadata, ..one_sample(symbols.refs(&[(METRIC_NAME, &format!("m{i}"))])) });
    let series = series.collect();
    let bomb = body(symbols, series);
    assert_eq!(decode(&bomb, &limits), Err(DecodeError::TooMuchMemory { max_bytes: 16 << 20 }), "one text, many helps");
    let samples = [0x12, 0].repeat(500_000);
    let mut series = vec![0x0a];
    prost::encoding::encode_varint(samples.len() as u64, &mut series);
    series.extend(samples);
    let bomb = snappy(BodyForm::RemoteWriteV1, &series);
    assert_eq!(decode(&bomb, &limits), Err(DecodeError::TooMuchMemory { max_bytes: 16 << 20 }));
}

#[test]
fn starts_and_gauge_histograms_go_on_as_otlp() {
    let mut symbols = Symbols::new();
    let counter = TimeSeries {
        labels_refs: symbols.refs(&[(METRIC_NAME, "hits_total")]),
        samples: vec![SampleValue { value: 2.0, timestamp: 2_000, start_timestamp: 500 }],
        exemplars: vec![ExemplarValue {
            labels_refs: symbols.refs(&[("trace_id", "0af7651916cd43dd8448eb211c80319c"), ("user", "x")]),
            value: 2.0,
            timestamp: 1_500,
        }],
        ..TimeSeries::default()
    };
    let custom = NativeHistogram {
        count_float: Some(2.0),
        schema: -53,
        positive_spans: vec![BucketSpan { offset: 1, length: 2 }],
        positive_counts: vec![1.0, 1.0],
        custom_values: vec![0.1, 1.0],
        reset_hint: 3,
        timestamp: 4_000,
        ..NativeHistogram::default()
    };
    let gauge = TimeSeries {
        labels_refs: symbols.refs(&[(METRIC_NAME, "sizes")]),
        histograms: vec![custom],
        ..TimeSeries::default()
    };
    let (decisions, body) = (vec![Decision::Stamp(open("t"))], body(symbols, vec![counter, gauge]));
    let record = Record::new(1, RecordBody::Received { decisions, body });
    let read = Record::from_bytes(Bytes::from(record.to_bytes())).unwrap();
    let OtlpRequest::Metrics(request) = read.to_otlp().unwrap() else { panic!("no metrics") };
    let text = format!("{request:?}");
    assert!(
        text.contains("start_time_unix_nano: 500000000") && text.contains("filtered_attributes: [KeyValue"),
        "{text}"
    );
    assert!(text.contains("bucket_counts: [0, 1, 1]") && text.contains("aggregation_temporality: Delta"), "{text}");
}
