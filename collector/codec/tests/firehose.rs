//! Deliveries of Firehose: metric streams and log subscriptions.

#![allow(clippy::unwrap_used, clippy::panic)] // the lint's exception for tests does not reach their shared functions

mod shared;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{Summary, SummaryDataPoint};
use prost::Message as _;
use tenantscope_codec::{
    Accumulators, Decision, DecodeError, DecodeLimits, Delivery, Origin, Record, RecordBody, Stamped, decode, stamp,
};
use tenantscope_model::{Signal, StampedBatch};
use tenantscope_wire::{BodyForm, Encoding, ReceivedBody, compress};

use crate::shared::{acme, attribute, attributes, lines, metric, resource_metrics, series};

fn delivery(signal: Signal, records: &[Vec<u8>]) -> ReceivedBody {
    let records: Vec<String> =
        records.iter().map(|record| format!(r#"{{"data":"{}"}}"#, BASE64.encode(record))).collect();
    let json = format!(r#"{{"requestId":"r-1","timestamp":1700000000000,"records":[{}]}}"#, records.join(","));
    ReceivedBody { signal, form: BodyForm::Firehose, encoding: Encoding::Identity, bytes: json.into() }
}

fn gzip(text: &str) -> Vec<u8> {
    compress(Encoding::Gzip, text.as_bytes()).unwrap()
}

fn stamped(body: &ReceivedBody) -> Stamped {
    let decoded = decode(body, &DecodeLimits::default()).unwrap();
    let decisions = vec![Decision::Stamp(acme()); decoded.claims().len()];
    stamp(decoded, &decisions, Origin::default(), &Accumulators::new(0))
}

const LINE: &str = r#"{"metric_stream_name":"s","account_id":"111122223333","region":"eu-west-1",
    "namespace":"AWS/Lambda","metric_name":"Errors","dimensions":{"FunctionName":"checkout"},"timestamp":60000,
    "value":{"max":2.0,"min":0.0,"sum":3.0,"count":4.0,"p99.9":1.5,"TM(10%:90%)":0.5},"unit":"Count"}"#;

fn line() -> Vec<u8> {
    LINE.replace('\n', "").into_bytes()
}

/// The same datapoint as [`LINE`], but for the trimmed mean, which OpenTelemetry's form does not carry.
fn otlp(account: &str) -> ExportMetricsServiceRequest {
    let quantile = |quantile, value| ValueAtQuantile { quantile, value };
    let dimensions = KeyValueList { values: attributes(&[("FunctionName", "checkout")]) };
    let dimensions = KeyValue {
        key: "Dimensions".into(),
        value: Some(AnyValue { value: Some(Value::KvlistValue(dimensions)) }),
        ..KeyValue::default()
    };
    let named = [attribute("Namespace", "AWS/Lambda"), attribute("MetricName", "Errors"), dimensions];
    let point = SummaryDataPoint {
        attributes: named.to_vec(),
        start_time_unix_nano: 60_000_000_000,
        time_unix_nano: 120_000_000_000,
        count: 4,
        sum: 3.0,
        quantile_values: vec![quantile(0.0, 0.0), quantile(0.999, 1.5), quantile(1.0, 2.0)],
        ..SummaryDataPoint::default()
    };
    let summary = Data::Summary(Summary { data_points: vec![point] });
    let resource = [("cloud.provider", "aws"), ("cloud.account.id", account), ("cloud.region", "eu-west-1")];
    let metric = metric("amazonaws.com/AWS/Lambda/Errors", "{Count}", summary);
    ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics(&resource, "", vec![metric])] }
}

fn expected(statistics: &[(&str, f64)]) -> Vec<String> {
    let labels = r#"account_id="111122223333", dimension_FunctionName="checkout", region="eu-west-1", tenant="acme""#;
    let line = |(name, value): &(&str, f64)| format!("aws_lambda_errors_{name}{{{labels}}} {value} @60000");
    statistics.iter().map(line).collect()
}

#[test]
fn a_metric_stream_has_the_series_that_an_agent_would_have_sent() {
    let json = [line(), b"\n".to_vec(), line(), b"\n".to_vec()].concat();
    let twice = stamped(&delivery(Signal::Metrics, &[json]));
    assert_eq!(series(&twice)[0].samples.len(), 2);
    let by_json = stamped(&delivery(Signal::Metrics, &[line()]));
    let all =
        [("average", 0.75), ("maximum", 2.0), ("minimum", 0.0), ("p99_9", 1.5), ("sample_count", 4.0), ("sum", 3.0)];
    let trimmed = ("tm_10_percent_90_percent_", 0.5);
    assert_eq!(lines(&by_json), expected(&[&all[..], &[trimmed]].concat()));
    let mut record = otlp("111122223333").encode_length_delimited_to_vec();
    record.extend(otlp("111122223333").encode_length_delimited_to_vec());
    let by_otlp = stamped(&delivery(Signal::Metrics, &[record[..record.len() / 2].to_vec()]));
    assert_eq!(lines(&by_otlp), expected(&all));
    assert_eq!(series(&stamped(&delivery(Signal::Metrics, &[record])))[0].samples.len(), 2);
    assert_eq!((by_json.rejected.total(), by_json.moved_claims), (0, 0));
}

#[test]
fn a_request_of_123_bytes_does_not_read_as_json() {
    let mut request = ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics(&[], "", vec![])] };
    while request.encoded_len() < 123 {
        request.resource_metrics[0].schema_url.push('x');
    }
    let record = request.encode_length_delimited_to_vec();
    assert_eq!(record[0], b'{');
    assert_eq!(decode(&delivery(Signal::Metrics, &[record]), &DecodeLimits::default()).unwrap().records(), 0);
}

#[test]
fn accounts_of_one_delivery_are_claims_of_their_own() {
    let other = String::from_utf8(line()).unwrap().replace("111122223333", "222233334444");
    let body =
        delivery(Signal::Metrics, &[line(), other.into_bytes(), otlp("333344445555").encode_length_delimited_to_vec()]);
    let claims = decode(&body, &DecodeLimits::default()).unwrap().claims();
    let accounts: Vec<_> = claims.iter().map(|claim| claim.account.as_deref().unwrap()).collect();
    assert_eq!(accounts, ["111122223333", "222233334444", "333344445555"]);
    assert!(claims.iter().all(|claim| claim.region.as_deref() == Some("eu-west-1")));
    let stamped = stamped(&body);
    assert!(lines(&stamped).iter().all(|line| line.contains(r#"account_id="111122223333""#)), "{stamped:?}");
    assert_eq!(stamped.moved_claims, 2);
}

fn subscription(kind: &str, events: &str) -> String {
    format!(
        r#"{{"messageType":"{kind}","owner":"111122223333","logGroup":"/aws/lambda/checkout","logStream":"s",
        "subscriptionFilters":["f"],"logEvents":[{events}]}}"#
    )
}

const EVENT: &str = r#"{"id":"1","timestamp":1700000000123,"message":"[ERROR] boom é"}"#;

#[test]
fn a_subscription_has_the_records_that_an_agent_would_have_sent() {
    let control =
        r#"{"id":"","timestamp":1,"message":"CWL CONTROL MESSAGE: Checking health of destination Firehose."}"#;
    let data = subscription("DATA_MESSAGE", EVENT);
    let body = delivery(
        Signal::Logs,
        &[gzip(&subscription("CONTROL_MESSAGE", control)), gzip(&data), format!("{data}\n{data}").into_bytes()],
    );
    let mut decoded = decode(&body, &DecodeLimits::default()).unwrap();
    assert_eq!((decoded.records(), decoded.delivery_id()), (3, Some("r-1")));
    decoded.add_attributes(&[("cloud.region".into(), "eu-west-1".into()), ("service.name".into(), "other".into())]);
    let claims = decoded.claims();
    assert_eq!(claims[0].account.as_deref(), Some("111122223333"));
    assert_eq!(claims[0].region.as_deref(), Some("eu-west-1"));
    let stamped = stamp(decoded, &[Decision::Stamp(acme())], Origin::default(), &Accumulators::new(0));
    let StampedBatch::Logs(resources) = &stamped.batch else { panic!("{stamped:?}") };
    let [resource] = &resources[..] else { panic!("{resources:?}") };
    let text = |key: &str| {
        let attributes = &resource.records.resource.as_ref().unwrap().attributes;
        match &attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value {
            Some(Value::StringValue(text)) => Some(text.clone()),
            other => panic!("{key}: {other:?}"),
        }
    };
    assert_eq!(text("service.name").as_deref(), Some("checkout"));
    assert_eq!(text("faas.name").as_deref(), Some("checkout"));
    assert_eq!(text("cloud.region").as_deref(), Some("eu-west-1"));
    let record = &resource.records.scope_logs[0].log_records[0];
    assert_eq!(record.time_unix_nano, 1_700_000_000_123_000_000);
    assert_eq!((record.severity_text.as_str(), record.severity_number), ("ERROR", 17));
    assert_eq!(stamped.rejected.total(), 0);
}

#[test]
fn a_delivery_of_control_messages_alone_is_taken_and_holds_nothing() {
    let control = subscription("CONTROL_MESSAGE", "");
    let decoded = decode(&delivery(Signal::Logs, &[gzip(&control)]), &DecodeLimits::default()).unwrap();
    assert_eq!((decoded.records(), decoded.claims().len()), (0, 0));
    let empty = decode(&delivery(Signal::Logs, &[]), &DecodeLimits::default()).unwrap();
    assert_eq!(empty.records(), 0);
}

#[test]
fn records_without_meaning_are_left_out_and_counted() {
    let odd = b"{\"namespace\":\"AWS/SQS\"}".to_vec();
    let mixed = [&line()[..], b"\n", &odd, b"\n{\"na"].concat();
    let stamped_metrics = stamped(&delivery(Signal::Metrics, &[mixed, vec![0xff; 20], line()]));
    assert_eq!(stamped_metrics.rejected.by_reason().collect::<Vec<_>>(), [("malformed_record", 3)]);
    let data = subscription("DATA_MESSAGE", EVENT);
    let mut cut = gzip(&data);
    cut.truncate(cut.len() / 2);
    let body = delivery(Signal::Logs, &[cut, gzip(&data), b"[]".to_vec(), gzip(&subscription("OTHER", ""))]);
    let stamped_logs = stamped(&body);
    assert_eq!(stamped_logs.rejected.by_reason().collect::<Vec<_>>(), [("malformed_record", 3)]);
    let refused = |body: &ReceivedBody| decode(body, &DecodeLimits::default()).unwrap_err();
    for body in [
        delivery(Signal::Metrics, &[odd]),
        delivery(Signal::Logs, &[b"nothing".to_vec()]),
        ReceivedBody { bytes: Bytes::from_static(br#"{"records":[]}"#), ..delivery(Signal::Logs, &[]) },
        ReceivedBody {
            bytes: Bytes::from_static(br#"{"requestId":"a","requestId":"b"}"#),
            ..delivery(Signal::Logs, &[])
        },
        ReceivedBody {
            bytes: Bytes::from_static(br#"{"requestId":"a","records":[{"data":"*"}]}"#),
            ..delivery(Signal::Logs, &[])
        },
    ] {
        assert_eq!(refused(&body).reason(), "malformed", "{body:?}");
    }
    assert_eq!(refused(&delivery(Signal::Spans, &[line()])).reason(), "unsupported");
}

#[test]
fn bombs_in_records_end_at_the_limit_of_the_whole_delivery() {
    let limits = DecodeLimits { max_decoded_bytes: 1 << 20 };
    let refused = |body: &ReceivedBody| decode(body, &limits).err();
    let too_much = Some(DecodeError::TooMuchMemory { max_bytes: 4 << 20 });
    let zeros = compress(Encoding::Gzip, &vec![b' '; 700 << 10]).unwrap();
    let too_large = Some(DecodeError::TooLarge { max_bytes: 1 << 20 });
    assert_eq!(refused(&delivery(Signal::Logs, &[zeros.clone(), zeros])), too_large);
    let events = vec![r#"{"timestamp":1,"message":""}"#; 30_000].join(",");
    assert_eq!(refused(&delivery(Signal::Logs, &[gzip(&subscription("DATA_MESSAGE", &events))])), too_much);
    let values: Vec<String> = ('a'..='z').map(|name| format!(r#""{name}":1"#)).collect();
    let line = format!(r#"{{"namespace":"n","metric_name":"m","timestamp":1,"value":{{{}}}}}"#, values.join(","));
    assert_eq!(refused(&delivery(Signal::Metrics, &[[&line, "\n"].concat().repeat(3_000).into_bytes()])), too_much);
}

#[test]
fn a_record_of_a_delivery_replays_with_what_came_in_its_headers() {
    let body = delivery(Signal::Logs, &[gzip(&subscription("DATA_MESSAGE", EVENT))]);
    let attributes = vec![("deployment.environment".to_owned(), "production".to_owned())];
    let record = Record {
        sender: "111122223333".into(),
        delivery: Some(Delivery { id: "r-1".into(), attributes: attributes.clone() }),
        ..Record::new(5, RecordBody::Received { decisions: vec![Decision::Stamp(acme())], body: body.clone() })
    };
    let read = Record::from_bytes(record.to_bytes().into()).unwrap();
    assert_eq!(read, record);
    let mut decoded = decode(&body, &DecodeLimits::default()).unwrap();
    decoded.add_attributes(&attributes);
    let expected = stamp(decoded, &[Decision::Stamp(acme())], Origin::default(), &Accumulators::new(0));
    assert_eq!(read.replay(&Accumulators::new(0)).unwrap(), expected);
    assert_eq!(read.to_otlp().unwrap().records(), 1);
    assert!(format!("{:?}", read.to_otlp().unwrap()).contains("production"));
}
