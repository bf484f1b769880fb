//! Loki's push requests as logs.

#![allow(clippy::unwrap_used, clippy::panic)] // the lint's exception for tests does not reach their shared functions

mod shared;

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;
use tenantscope_codec::{
    Accumulators, Decision, DecodeError, DecodeLimits, Origin, Record, RecordBody, Stamped, decode, stamp,
};
use tenantscope_model::{Signal, StampedBatch};
use tenantscope_wire::{BodyForm, Encoding, ReceivedBody, compress};

use crate::shared::{acme, open};

/// `logproto.PushRequest`, as the tests send it.
#[derive(Clone, PartialEq, prost::Message)]
struct Push {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<PushStream>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PushStream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<PushEntry>,
    #[prost(uint64, tag = "3")]
    hash: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PushEntry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<PushTime>,
    #[prost(bytes = "vec", tag = "2")]
    line: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Pair>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct PushTime {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

fn entry(seconds: i64, line: &str, metadata: &[(&str, &str)]) -> PushEntry {
    let metadata = metadata.iter().map(|(name, value)| Pair { name: (*name).into(), value: (*value).into() });
    PushEntry { timestamp: Some(PushTime { seconds, nanos: 5 }), line: line.into(), metadata: metadata.collect() }
}

fn protobuf(streams: Vec<(&str, Vec<PushEntry>)>) -> ReceivedBody {
    let stream = |(labels, entries): (&str, _)| PushStream { labels: labels.to_owned(), entries, hash: 7 };
    let message = Push { streams: streams.into_iter().map(stream).collect() }.encode_to_vec();
    let bytes = Bytes::from(snap::raw::Encoder::new().compress_vec(&message).unwrap());
    ReceivedBody { signal: Signal::Logs, form: BodyForm::LokiProtobuf, encoding: Encoding::Snappy, bytes }
}

fn json(text: impl Into<Bytes>) -> ReceivedBody {
    ReceivedBody { signal: Signal::Logs, form: BodyForm::LokiJson, encoding: Encoding::Identity, bytes: text.into() }
}

fn stamped(body: &ReceivedBody, decision: &Decision) -> Stamped {
    let decoded = decode(body, &DecodeLimits::default()).unwrap();
    let decisions = vec![decision.clone(); decoded.claims().len()];
    stamp(decoded, &decisions, Origin::default(), &Accumulators::new(0))
}

fn text(attributes: &[KeyValue]) -> Vec<String> {
    let value = |attribute: &KeyValue| match attribute.value.clone().and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::ArrayValue(list)) => format!("{} of them", list.values.len()),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| format!("{}={}", attribute.key, value(attribute))).collect()
}

/// Each resource's attributes and records.
fn resources(stamped: &Stamped) -> Vec<(Vec<String>, Vec<LogRecord>)> {
    let StampedBatch::Logs(resources) = &stamped.batch else { panic!("{stamped:?}") };
    let read = |resource: &tenantscope_model::StampedResource<_>| {
        let logs: &opentelemetry_proto::tonic::logs::v1::ResourceLogs = &resource.records;
        let records = logs.scope_logs.iter().flat_map(|scope| scope.log_records.clone()).collect();
        (text(&logs.resource.as_ref().unwrap().attributes), records)
    };
    resources.iter().map(read).collect()
}

fn line(record: &LogRecord) -> String {
    match record.body.clone().and_then(|body| body.value) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn sorted(texts: &[String]) -> Vec<String> {
    let mut texts = texts.to_vec();
    texts.sort();
    texts
}

const TRACE: &str = "58406520a006649127e371903a2de979";

#[test]
fn labels_and_metadata_go_where_lokis_mapping_of_otlp_takes_them_from() {
    let metadata = [
        ("trace_id", TRACE),
        ("span_id", "6226467e3f845502"),
        ("severity_number", "17"),
        ("observed_timestamp", "9"),
        ("user", "u1"),
        ("flags", "none"),
    ];
    let labels =
        r#"{job="shop/api", service_name="api", k8s_pod_name="api-1", level="warn", log_group="/g", empty=""}"#;
    let body = protobuf(vec![(labels, vec![entry(3, "boom", &metadata), entry(4, "calm", &[])])]);
    let stamped = stamped(&body, &Decision::Stamp(open("t")));
    let [(resource, records)] = &resources(&stamped)[..] else { panic!("{stamped:?}") };
    let expected = [
        "job=shop/api",
        "k8s.pod.name=api-1",
        "aws.log.group.names=1 of them",
        "service.name=api",
        "loki.resource.labels=job",
        "tenant.id=t",
    ];
    assert_eq!(sorted(resource), sorted(&expected.map(str::to_owned)));
    let [boom, calm] = &records[..] else { panic!("{records:?}") };
    assert_eq!((line(boom), boom.time_unix_nano, boom.observed_time_unix_nano), ("boom".to_owned(), 3_000_000_005, 9));
    assert_eq!((boom.trace_id.len(), boom.span_id.len(), boom.severity_number), (16, 8, 17));
    assert_eq!(boom.severity_text, "warn");
    assert_eq!(text(&boom.attributes), ["user=u1", "flags=none"]);
    assert_eq!((line(calm), text(&calm.attributes)), ("calm".to_owned(), Vec::<String>::new()));
    assert_eq!((stamped.rejected.total(), stamped.moved_claims), (0, 0));
}

#[test]
fn json_says_the_same_as_protobuf_in_any_of_its_encodings() {
    let text = r#"{"streams":[{"stream":{"job":"a","n":7},"values":[["3000000005","ä",{"k":"v"}],["4000000005","x"]],
        "hash":1}],"format":"loki"}"#;
    let entries = vec![entry(3, "ä", &[("k", "v")]), entry(4, "x", &[])];
    let expected = decode(&protobuf(vec![(r#"{job="a", n="7"}"#, entries)]), &DecodeLimits::default()).unwrap();
    assert_eq!(decode(&json(text), &DecodeLimits::default()).unwrap(), expected);
    let packed = Bytes::from(compress(Encoding::Gzip, text.as_bytes()).unwrap());
    let packed = ReceivedBody { encoding: Encoding::Gzip, ..json(packed) };
    assert_eq!(decode(&packed, &DecodeLimits::default()).unwrap(), expected);
    assert_eq!((expected.records(), expected.claims().len()), (2, 1));
}

#[test]
fn a_service_is_found_where_loki_looks_for_it() {
    for (labels, service) in [
        (r#"{job="j", app="a"}"#, "service.name=a"),
        (r#"{job="j"}"#, "service.name=j"),
        (r#"{pod="p"}"#, "service.name=unknown_service"),
    ] {
        let stamped = stamped(&protobuf(vec![(labels, vec![entry(1, "x", &[])])]), &Decision::Stamp(open("t")));
        assert!(resources(&stamped)[0].0.contains(&service.to_owned()), "{labels}");
    }
}

#[test]
fn claims_in_labels_never_become_the_stamp() {
    let labels =
        r#"{job="a", tenant="other", account_id="222233334444", region="eu-west-1", cloud_region="us-east-1"}"#;
    let body = protobuf(vec![(labels, vec![entry(1, "x", &[])])]);
    let claims = decode(&body, &DecodeLimits::default()).unwrap().claims();
    assert_eq!(claims[0].tenant.as_deref(), Some("other"));
    assert_eq!(claims[0].account.as_deref(), Some("222233334444"));
    let stamped = stamped(&body, &Decision::Stamp(acme()));
    let (resource, _) = &resources(&stamped)[0];
    for expected in [
        "tenant.id=acme",
        "exported_tenant.id=other",
        "cloud.account.id=111122223333",
        "exported_cloud.account.id=222233334444",
        "cloud.region=eu-west-1",
    ] {
        assert_eq!(resource.iter().filter(|attribute| *attribute == expected).count(), 1, "{expected} in {resource:?}");
    }
    assert_eq!(stamped.moved_claims, 3);
}

#[test]
fn lines_without_labels_are_left_out_and_the_rest_is_taken() {
    let body = protobuf(vec![
        ("{}", vec![entry(1, "x", &[]), entry(2, "y", &[])]),
        (r#"{a="b"}"#, vec![entry(1, "kept", &[])]),
    ]);
    assert_eq!(decode(&body, &DecodeLimits::default()).unwrap().records(), 3);
    let stamped = stamped(&body, &Decision::Stamp(open("t")));
    assert_eq!(stamped.rejected.by_reason().collect::<Vec<_>>(), [("missing_labels", 2)]);
    assert_eq!(resources(&stamped).len(), 1);
}

#[test]
fn what_is_no_push_request_says_so() {
    let wrong = |body: &ReceivedBody| match decode(body, &DecodeLimits::default()) {
        Err(error) => (error.reason(), error.to_string()),
        Ok(decoded) => panic!("{decoded:?}"),
    };
    for (text, what) in [
        (r#"{"streams":[]}"#, "at least one stream"),
        ("{}", "at least one stream"),
        (r#"{"streams":[{"stream":{"a":None}}]}"#, "expected"),
        (r#"{"streams":[{"stream":{"a.b":"c"},"values":[["1","x"]]}]}"#, "could not parse labels"),
        (r#"{"streams":[{"stream":{"a":"b"},"values":[[1,"x"]]}]}"#, "expected a string"),
        (r#"{"streams":[{"stream":{"a":"b"},"values":[["1"]]}]}"#, "a time, a line"),
        (r#"{"streams":[{"stream":{"a":"b"},"values":[["1","x",{},{}]]}]}"#, "a time, a line"),
        (r#"{"streams":[{"stream":{"a":"b"},"values":[["-1","x"]]}]}"#, "no time"),
        (r#"{"streams":[{"stream":{"a":"b"},"values":[["253402300799000000000","x"]]}]}"#, "no time"),
        (r#"{"streams":[],"streams":[]}"#, "duplicate field"),
    ] {
        let (reason, message) = wrong(&json(text.to_owned()));
        assert_eq!(reason, "malformed", "{text}");
        assert!(message.contains(what), "{text}: {message}");
    }
    for seconds in [-62_135_596_800, 253_402_300_799, i64::MIN, i64::MAX] {
        let body = protobuf(vec![(r#"{a="b"}"#, vec![entry(seconds, "x", &[])])]);
        assert!(wrong(&body).1.contains("out of range"), "{seconds}");
    }
    let body = protobuf(vec![("a=b", vec![])]);
    assert!(wrong(&body).1.contains("could not parse labels"));
}

#[test]
fn a_line_need_not_be_utf8_and_the_last_of_equal_labels_counts() {
    let mut odd = entry(1, "", &[]);
    odd.line = vec![b'a', 0xff, b'b'];
    let stamped = stamped(&protobuf(vec![(r#"{x="1", x="2"}"#, vec![odd])]), &Decision::Stamp(open("t")));
    let (resource, records) = &resources(&stamped)[0];
    assert_eq!(line(&records[0]), "a\u{fffd}b");
    assert!(resource.contains(&"x=2".to_owned()) && !resource.contains(&"x=1".to_owned()), "{resource:?}");
}

#[test]
fn labels_that_would_be_copied_too_often_are_refused() {
    let labels: Vec<String> = (0..200).map(|i| format!(r#"l{i}="{}""#, "v".repeat(500))).collect();
    let entries = vec![entry(1, "", &[]); 10_000];
    let limits = DecodeLimits { max_decoded_bytes: 1 << 20 };
    let body = protobuf(vec![(&format!("{{{}}}", labels.join(",")), entries)]);
    assert_eq!(decode(&body, &limits), Err(DecodeError::TooMuchMemory { max_bytes: 4 << 20 }));
    let many =
        format!(r#"{{"streams":[{{"stream":{{"a":"b"}},"values":[{}["1",""]]}}]}}"#, r#"["1",""],"#.repeat(100_000));
    assert_eq!(decode(&json(many), &limits), Err(DecodeError::TooMuchMemory { max_bytes: 4 << 20 }));
}

#[test]
fn a_record_of_a_push_replays_and_forwards_as_stamped_logs() {
    let body = protobuf(vec![(r#"{job="a"}"#, vec![entry(1, "x", &[("k", "v")])])]);
    let decision = Decision::Stamp(acme());
    let record = Record {
        sender: "111122223333".into(),
        ..Record::new(5, RecordBody::Received { decisions: vec![decision.clone()], body: body.clone() })
    };
    let read = Record::from_bytes(record.to_bytes().into()).unwrap();
    assert_eq!(read, record);
    assert_eq!(read.replay(&Accumulators::new(0)).unwrap(), stamped(&body, &decision));
    let otlp = read.to_otlp().unwrap();
    assert_eq!((otlp.signal(), otlp.records()), (Signal::Logs, 1));
}
