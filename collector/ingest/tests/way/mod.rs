//! The way in between real journals and the tests' store, and what is sent on it.

// Each test program uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use http::HeaderMap;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use tenantscope_ingest::{Intake, Limits, Stores};
use tenantscope_journal::Options;
use tenantscope_model::{Signal, TimeSpan};
use tenantscope_tenancy::{Identity, IdentityConfig, Registry, RegistryConfig};
use tenantscope_wire::{
    Accepted, BatchHeader, BodyForm, Encoding, Name, Peer, Positions, Receive as _, ReceivedBody, Refused,
};

use crate::kept::Kept;

pub(crate) struct Setup {
    pub(crate) intake: Arc<Intake>,
    pub(crate) metrics: Arc<Kept>,
    pub(crate) logs: Arc<Kept>,
    pub(crate) spans: Arc<Kept>,
    pub(crate) registry: Option<Arc<Registry>>,
}

pub(crate) fn open_with(
    dir: &Path,
    identity: Identity,
    registry: Option<Arc<Registry>>,
    metrics: Kept,
    logs: Kept,
) -> Setup {
    let (metrics, logs, spans) = (Arc::new(metrics), Arc::new(logs), Arc::new(Kept::default()));
    let stores = Stores::new(Arc::clone(&metrics), Arc::clone(&logs), Arc::clone(&spans));
    let options = Options { segment_max_bytes: 1 << 20, max_bytes: 16 << 20, ..Options::default() };
    let limits = Limits { own_series_interval: TimeSpan::from_secs(3600), ..Limits::default() };
    let intake = Intake::open(dir, &stores, Arc::new(identity), registry.clone(), limits, &options).unwrap();
    Setup { intake: Arc::new(intake), metrics, logs, spans, registry }
}

pub(crate) fn open(dir: &Path) -> Setup {
    open_with(dir, Identity::open(), None, Kept::default(), Kept::default())
}

pub(crate) fn strict(dir: &Path) -> Setup {
    let tenants = r#"tenants: [{id: acme, accounts: ["111122223333"]}, {id: beta, accounts: ["222233334444"]}]"#;
    std::fs::write(dir.join("tenants.yaml"), tenants).unwrap();
    for token in ["acme", "both"] {
        std::fs::write(dir.join(token), format!("{token}-token")).unwrap();
    }
    let config: IdentityConfig = serde_saphyr::from_str(
        r#"tokens: [{name: acme, token_file: acme, accounts: ["111122223333"]}, {name: both, token_file: both, accounts: ["111122223333", "222233334444"]}]"#,
    )
    .unwrap();
    let registry = RegistryConfig::of_file("tenants.yaml");
    let registry = Arc::new(Registry::open(&registry, dir).unwrap());
    let identity = Identity::try_new(&config, Arc::clone(&registry), dir, dir).unwrap();
    open_with(&dir.join("ingest"), identity, Some(registry), Kept::default(), Kept::default())
}

pub(crate) fn peer() -> Peer {
    Peer::new("127.0.0.1:1".parse().unwrap(), false)
}

pub(crate) fn header(epoch: u64, sequence: u64) -> Option<BatchHeader> {
    let positions = BTreeMap::from([("group".to_owned(), sequence.into())]);
    Some(BatchHeader {
        agent: Name::try_new("agent-1").unwrap(),
        lane: Name::try_new("lane-1").unwrap(),
        epoch,
        sequence,
        positions: Positions::try_new(positions).unwrap(),
    })
}

pub(crate) fn resource(account: Option<&str>) -> Option<Resource> {
    let attribute = |account: &str| KeyValue {
        key: "cloud.account.id".into(),
        value: Some(AnyValue { value: Some(Value::StringValue(account.into())) }),
        ..KeyValue::default()
    };
    Some(Resource { attributes: account.into_iter().map(attribute).collect(), ..Resource::default() })
}

pub(crate) fn logs(lines: &[(Option<&str>, &str)]) -> ReceivedBody {
    let resource_logs = lines.iter().map(|(account, line)| {
        let body = Some(AnyValue { value: Some(Value::StringValue((*line).into())) });
        let log_records = vec![LogRecord { body, time_unix_nano: 1, ..LogRecord::default() }];
        let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
        ResourceLogs { resource: resource(*account), scope_logs, ..ResourceLogs::default() }
    });
    let request = ExportLogsServiceRequest { resource_logs: resource_logs.collect() };
    received(Signal::Logs, request.encode_to_vec())
}

pub(crate) fn delta(t_s: u64, value: f64) -> ReceivedBody {
    named_delta("requests", t_s, value)
}

pub(crate) fn named_delta(name: &str, t_s: u64, value: f64) -> ReceivedBody {
    let point = NumberDataPoint {
        time_unix_nano: t_s * 1_000_000_000,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    };
    let sum = Sum {
        data_points: vec![point],
        aggregation_temporality: AggregationTemporality::Delta as i32,
        is_monotonic: true,
    };
    let metric = Metric { name: name.into(), data: Some(Data::Sum(sum)), ..Metric::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    let resource_metrics =
        vec![ResourceMetrics { resource: resource(None), scope_metrics, ..ResourceMetrics::default() }];
    received(Signal::Metrics, ExportMetricsServiceRequest { resource_metrics }.encode_to_vec())
}

pub(crate) fn received(signal: Signal, bytes: Vec<u8>) -> ReceivedBody {
    ReceivedBody { signal, form: BodyForm::OtlpProtobuf, encoding: Encoding::Identity, bytes: bytes.into() }
}

pub(crate) async fn send_as(
    intake: &Intake,
    headers: &HeaderMap,
    body: ReceivedBody,
    header: Option<BatchHeader>,
) -> Result<Accepted, Refused> {
    let sender = intake.authorize(headers, peer()).await?;
    let reserved = intake.reserve(&sender, body.signal, Some(body.bytes.len()))?;
    intake.receive(sender, body, header, reserved.permit).await
}

pub(crate) async fn send(
    intake: &Intake,
    body: ReceivedBody,
    header: Option<BatchHeader>,
) -> Result<Accepted, Refused> {
    send_as(intake, &HeaderMap::new(), body, header).await
}

pub(crate) fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    headers
}
