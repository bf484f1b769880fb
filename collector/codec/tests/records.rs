//! Stamping of resources and series, the journal record, and what forward sends.

#![allow(clippy::unwrap_used)] // the lint's exception for tests does not reach their shared functions

mod shared;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use proptest::prelude::*;
use prost::Message;
use tenantscope_codec::{
    Accumulators, Claim, Decision, DecodeLimits, Origin, OtlpRequest, Record, RecordBody, RecordError, Stamped, decode,
    stamp,
};
use tenantscope_model::{
    Cadence, FamilyMetadata, Histogram, HistogramSample, Labels, METRIC_NAME, Metadata, MetricKind, ResetHint, Sample,
    Signal, StampedBatch, StampedSeries, Starts, stale_nan,
};
use tenantscope_wire::{BatchHeader, BodyForm, Encoding, Name, Positions, ReceivedBody};

use crate::shared::{
    acme, attributes, body, gauge, lines, metadata, metric, metrics_body, open, point, resource, resource_metrics,
    series, stamped, sum,
};

fn spans(resources: &[&[(&str, &str)]]) -> ReceivedBody {
    let one = |pairs: &&[(&str, &str)]| ResourceSpans {
        resource: resource(pairs),
        scope_spans: vec![ScopeSpans {
            spans: vec![Span { name: "s".to_owned(), ..Span::default() }],
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    };
    body(Signal::Spans, &ExportTraceServiceRequest { resource_spans: resources.iter().map(one).collect() })
}

#[test]
fn a_resource_gets_the_stamp_and_keeps_what_it_claimed_aside() {
    let body = spans(&[&[
        ("tenant.id", "other"),
        ("cloud.account.id", "111122223333"),
        ("cloud.provider", "gcp"),
        ("service.name", "api"),
    ]]);
    let claims = decode(&body, &DecodeLimits::default()).unwrap().claims();
    let claim = Claim { tenant: Some("other".into()), account: Some("111122223333".into()), region: None };
    assert_eq!(claims, [claim]);
    let result = stamped(&body, &acme());
    let StampedBatch::Spans(resources) = &result.batch else { panic!("{result:?}") };
    assert_eq!(resources[0].stamp, acme());
    let expected = attributes(&[
        ("service.name", "api"),
        ("tenant.id", "acme"),
        ("exported_tenant.id", "other"),
        ("cloud.account.id", "111122223333"),
        ("cloud.region", "eu-west-1"),
        ("cloud.provider", "aws"),
        ("exported_cloud.provider", "gcp"),
    ]);
    assert_eq!(resources[0].records.resource.as_ref().unwrap().attributes, expected);
    assert_eq!(result.moved_claims, 2);
}

#[test]
fn a_refused_resource_leaves_the_rest_alone() {
    let body = spans(&[&[("tenant.id", "a")], &[("tenant.id", "b")], &[("tenant.id", "c")]]);
    let decoded = decode(&body, &DecodeLimits::default()).unwrap();
    let result = stamp(
        decoded,
        &[Decision::Refuse { reason: "unknown_account" }, Decision::Stamp(acme())],
        Origin::default(),
        &Accumulators::new(0),
    );
    let StampedBatch::Spans(resources) = &result.batch else { panic!("{result:?}") };
    assert_eq!(resources.len(), 1);
    assert_eq!(result.rejected.by_reason().collect::<Vec<_>>(), [("undecided", 1), ("unknown_account", 1)]);
}

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<MetricMetadata>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<LabelPair>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<SampleValue>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct SampleValue {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct MetricMetadata {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    metric_family_name: String,
}

fn write(series: &[&[(&str, &str)]], value: f64, families: &[&str]) -> ReceivedBody {
    let pair = |(name, value): &(&str, &str)| LabelPair { name: (*name).to_owned(), value: (*value).to_owned() };
    let one = |labels: &&[(&str, &str)]| TimeSeries {
        labels: labels.iter().map(pair).collect(),
        samples: vec![SampleValue { value, timestamp: 5 }],
    };
    let family = |name: &&str| MetricMetadata { kind: 1, metric_family_name: (*name).to_owned() };
    let request =
        WriteRequest { timeseries: series.iter().map(one).collect(), metadata: families.iter().map(family).collect() };
    ReceivedBody {
        signal: Signal::Metrics,
        form: BodyForm::RemoteWriteV1,
        encoding: Encoding::Snappy,
        bytes: snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap().into(),
    }
}

#[test]
fn remote_write_is_stamped_by_claim() {
    let body = write(
        &[
            &[(METRIC_NAME, "up"), ("tenant", "other"), ("job", "a")],
            &[(METRIC_NAME, "up"), ("job", "b")],
            &[(METRIC_NAME, "up"), ("tenant", "other"), ("job", "c")],
            &[("job", "no name")],
            &[(METRIC_NAME, "up"), ("job", "x"), ("job", "y")],
        ],
        1.0,
        &["up"],
    );
    let claims = decode(&body, &DecodeLimits::default()).unwrap().claims();
    assert_eq!(claims.len(), 3, "{claims:?}");
    let result = stamped(&body, &acme());
    let tail = r#"region="eu-west-1", tenant="acme"} 1 @5"#;
    assert_eq!(
        lines(&result),
        [
            format!(r#"up{{account_id="111122223333", exported_tenant="other", job="a", {tail}"#),
            format!(r#"up{{account_id="111122223333", exported_tenant="other", job="c", {tail}"#),
            format!(r#"up{{account_id="111122223333", job="b", {tail}"#),
        ]
    );
    let reasons: Vec<_> = result.rejected.by_reason().collect();
    assert_eq!(reasons, [("duplicate_label", 1), ("no_metric_name", 1)]);
    assert_eq!(metadata(&result)[0].metadata.kind, MetricKind::Counter);
}

#[test]
fn staleness_passes_bit_by_bit() {
    let result = stamped(&write(&[&[(METRIC_NAME, "up")]], stale_nan(), &[]), &open("t"));
    assert_eq!(series(&result)[0].samples[0].value.to_bits(), stale_nan().to_bits());
}

fn header() -> BatchHeader {
    BatchHeader {
        agent: Name::try_new("agent-1").unwrap(),
        lane: Name::try_new("metrics").unwrap(),
        epoch: 3,
        sequence: 9,
        positions: Positions::try_new([("logs".to_owned(), 5.into())].into()).unwrap(),
    }
}

fn record(body: ReceivedBody, decisions: Vec<Decision>) -> Record {
    Record {
        received_at_ms: 1000,
        sender: "111122223333".to_owned(),
        from_agent: true,
        latest_ms: None,
        utf8_names: false,
        bounds: tenantscope_codec::Bounds::default(),
        header: Some(header()),
        delivery: None,
        body: RecordBody::Received { decisions, body },
    }
}

#[test]
fn a_record_replays_to_the_same_batch() {
    let delta = metric("c", "", sum(vec![point(0, 2.0, &[])], 1));
    let metrics = vec![delta, metric("g", "", gauge(vec![point(7, 1.0, &[])]))];
    let resources =
        vec![resource_metrics(&[("tenant.id", "x")], "", metrics.clone()), resource_metrics(&[], "", metrics)];
    let body = metrics_body(resources);
    let decisions = vec![Decision::Stamp(acme()), Decision::Refuse { reason: "refused" }];
    let record = record(body.clone(), decisions.clone());
    let accumulators = Accumulators::new(10);
    let live = stamp(decode(&body, &DecodeLimits::default()).unwrap(), &decisions, record.origin(), &accumulators);
    let read = Record::from_bytes(Bytes::from(record.to_bytes())).unwrap();
    assert_eq!(read, record);
    assert_eq!(read.replay(&accumulators).unwrap(), live);
    assert_eq!(series(&live)[0].samples[0].t_ms, 1000);
}

#[test]
fn series_of_our_own_are_a_form_of_their_own() {
    let histogram = Histogram { count: 1.0, reset_hint: ResetHint::Gauge, ..Histogram::default() };
    let series = StampedSeries {
        labels: Labels::from_pairs([(METRIC_NAME, "ALERTS"), ("alertname", "Down")]),
        samples: vec![Sample { t_ms: 5, value: 1.0 }],
        histograms: vec![HistogramSample { t_ms: 6, histogram: histogram.into() }],
        exemplars: Vec::new(),
        starts: Starts { samples_ms: vec![2], histograms_ms: vec![3] },
        cadence: Some(Cadence::capped(60_000, 1000)),
    };
    let metadata = FamilyMetadata {
        tenant: None,
        family: "ALERTS".into(),
        metadata: Metadata { kind: MetricKind::Gauge, unit: "".into(), help: "Alerts".into() },
    };
    let record = Record::new(1, RecordBody::Own { series: vec![series.clone()], metadata: vec![metadata.clone()] });
    let read = Record::from_bytes(Bytes::from(record.to_bytes())).unwrap();
    assert_eq!(read, record);
    let batch = read.replay(&Accumulators::new(0)).unwrap().batch;
    assert_eq!(batch, StampedBatch::Metrics { series: vec![series], metadata: vec![metadata] });
    assert_eq!(read.to_otlp().unwrap().records(), 2);
}

#[test]
fn a_tombstone_has_a_form_of_its_own_in_each_journal() {
    for signal in Signal::ALL {
        let record = Record::new(7, RecordBody::Removal { tenant: acme().tenant, signal });
        let read = Record::from_bytes(Bytes::from(record.to_bytes())).unwrap();
        assert_eq!((&read, read.signal()), (&record, signal));
        assert_eq!(read.replay(&Accumulators::new(0)).unwrap().batch, StampedBatch::empty(signal));
        let request = read.to_otlp().unwrap();
        assert_eq!((request.signal(), request.records()), (signal, 0));
    }
}

#[test]
fn a_removed_tenant_is_left_out_and_the_others_stay() {
    let gauges = || vec![metric("g", "", gauge(vec![point(7, 1.0, &[])]))];
    let body = metrics_body(vec![resource_metrics(&[], "", gauges()), resource_metrics(&[], "", gauges())]);
    let mut record = record(body, vec![Decision::Stamp(acme()), Decision::Stamp(open("t"))]);
    assert!(record.leave_out_tenant(&acme().tenant) && !record.leave_out_tenant(&acme().tenant));
    let tenants = |stamped: &Stamped| -> Vec<String> {
        series(stamped).iter().filter_map(|series| series.labels.get("tenant").map(str::to_owned)).collect()
    };
    assert!(tenants(&record.replay(&Accumulators::new(0)).unwrap()).iter().all(|tenant| tenant == "t"));
    assert_eq!(record.to_otlp().unwrap().records(), 1);
}

#[test]
fn forwarded_otlp_keeps_its_form_and_has_the_stamp() {
    let delta = metric("c", "", sum(vec![point(1, 2.0, &[])], 1));
    let body = metrics_body(vec![
        resource_metrics(&[("tenant.id", "x")], "lib", vec![delta.clone()]),
        resource_metrics(&[], "lib", vec![delta.clone()]),
    ]);
    let record = record(body, vec![Decision::Stamp(acme()), Decision::Refuse { reason: "refused" }]);
    let OtlpRequest::Metrics(request) = record.to_otlp().unwrap() else { panic!("not metrics") };
    let [only] = request.resource_metrics.as_slice() else { panic!("{request:?}") };
    assert_eq!(only.scope_metrics[0].metrics, [delta]);
    let keys: Vec<_> = only.resource.as_ref().unwrap().attributes.iter().map(|a| a.key.as_str()).collect();
    assert_eq!(keys, ["tenant.id", "exported_tenant.id", "cloud.account.id", "cloud.region", "cloud.provider"]);
}

#[test]
fn forwarded_remote_write_becomes_gauges_and_sums() {
    let body = write(&[&[(METRIC_NAME, "up"), ("job", "a")], &[(METRIC_NAME, "hits_total"), ("job", "a")]], 2.0, &[]);
    let OtlpRequest::Metrics(request) = record(body, vec![Decision::Stamp(acme())]).to_otlp().unwrap() else {
        panic!("not metrics")
    };
    let [only] = request.resource_metrics.as_slice() else { panic!("{request:?}") };
    let expected = attributes(&[
        ("tenant.id", "acme"),
        ("cloud.account.id", "111122223333"),
        ("cloud.region", "eu-west-1"),
        ("service.name", "a"),
    ]);
    assert_eq!(only.resource.as_ref().unwrap().attributes, expected);
    let metrics = &only.scope_metrics[0].metrics;
    assert!(matches!(metrics[0].data, Some(Data::Gauge(_))) && metrics[0].name == "up");
    assert!(matches!(&metrics[1].data, Some(Data::Sum(sum)) if sum.is_monotonic) && metrics[1].name == "hits_total");
}

proptest! {
    #[test]
    fn any_record_is_read_back(
        signal in prop::sample::select(Signal::ALL.to_vec()),
        form in prop::sample::select(vec![
            BodyForm::OtlpProtobuf,
            BodyForm::OtlpJson,
            BodyForm::RemoteWriteV1,
            BodyForm::RemoteWriteV2,
        ]),
        encoding in prop::sample::select(vec![Encoding::Identity, Encoding::Gzip, Encoding::Zstd, Encoding::Snappy]),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        places in prop::collection::vec(0..3usize, 0..8),
        received_at_ms: i64,
        latest_ms: Option<i64>,
    ) {
        let decisions = [Decision::Refuse { reason: "refused" }, Decision::Stamp(acme()), Decision::Stamp(open("t"))];
        let decisions = places.into_iter().map(|place| decisions[place].clone()).collect();
        let body = ReceivedBody { signal, form, encoding, bytes: bytes.into() };
        let record = Record { received_at_ms, latest_ms, ..record(body, decisions) };
        prop_assert_eq!(Record::from_bytes(Bytes::from(record.to_bytes())), Ok(record));
    }

    #[test]
    fn random_bytes_are_no_record(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut versioned = vec![1];
        versioned.extend(&bytes);
        for bytes in [bytes, versioned] {
            if let Ok(record) = Record::from_bytes(Bytes::from(bytes)) {
                let _ = record.replay(&Accumulators::new(1));
            }
        }
    }
}

/// A record of version 1 as the first release wrote it, by FORMAT.md.
const VERSION_1_HEX: &str = concat!(
    "0108e807120c313131313232323233333333180122220a076167656e742d3112076d657472696373180320092a0a7b22",
    "6c6f6773223a357d28033001421f0a0461636d65120c3131313132323232333333331a0965752d776573742d314a0201",
    "00522d0a200a170a150a0c736572766963652e6e616d6512050a03617069120512032a01730a090a00120512032a0173",
);

#[test]
fn a_record_of_version_1_is_read() {
    let pair = |at: usize| u8::from_str_radix(&VERSION_1_HEX[at..at + 2], 16).unwrap();
    let bytes: Vec<u8> = (0..VERSION_1_HEX.len()).step_by(2).map(pair).collect();
    let body = spans(&[&[("service.name", "api")], &[]]);
    let expected = record(body, vec![Decision::Stamp(acme()), Decision::Refuse { reason: "refused" }]);
    assert_eq!(Record::from_bytes(Bytes::from(bytes)), Ok(expected.clone()));
    assert_eq!(expected.to_bytes().iter().map(|b| format!("{b:02x}")).collect::<String>(), VERSION_1_HEX);
}

#[test]
fn another_version_is_refused() {
    assert!(matches!(Record::from_bytes(Bytes::from_static(&[2, 0])), Err(RecordError::Version(Some(2)))));
    assert!(matches!(Record::from_bytes(Bytes::new()), Err(RecordError::Version(None))));
}
