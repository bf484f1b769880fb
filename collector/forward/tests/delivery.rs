//! Forwarding to a real OTLP server in this process, over real ports.

#![allow(clippy::unwrap_used, clippy::panic)] // helper functions of tests are not recognised as tests

mod server;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;
use server::{Server, Verdict};
use tenantscope_codec::{Decision, Record, RecordBody};
use tenantscope_forward::{Forwarder, Journals, Options, TargetConfig};
use tenantscope_journal::{Journal, Options as JournalOptions, WhenFull};
use tenantscope_model::{
    AccountId, Labels, METRIC_NAME, Position, RemovedTenants, Sample, Signal, Stamp, StampedSeries, TenantId,
};
use tenantscope_wire::{BodyForm, Encoding, Name, ReceivedBody};
use tokio::sync::watch;

const SEGMENT_BYTES: u64 = 4 << 10;

fn open(dir: &Path) -> Journals {
    let options = JournalOptions {
        segment_max_bytes: SEGMENT_BYTES,
        max_bytes: 1 << 20,
        max_age: None,
        when_full: WhenFull::Refuse,
    };
    let open = |name: &str| Journal::open(dir.join(name), options.clone()).unwrap();
    Journals { metrics: open("metrics"), logs: open("logs"), spans: open("spans") }
}

fn targets(kind: &str, address: &str, more: &str) -> Vec<TargetConfig> {
    serde_saphyr::from_str(&format!("[{{name: other, kind: {kind}, url: \"http://{address}\"{more}}}]")).unwrap()
}

fn options(dir: &Path) -> Options {
    removing(dir, &watch::Sender::default())
}

fn removing(dir: &Path, removed: &watch::Sender<Arc<RemovedTenants>>) -> Options {
    Options { node: Name::try_new("here").unwrap(), base: dir.to_path_buf(), removed: removed.subscribe() }
}

/// A record of one log line that claims another tenant than it was stamped with.
fn log_record(line: &str) -> Vec<u8> {
    log_record_of(&[("acme", line)])
}

/// A record of a line of each of these tenants.
fn log_record_of(lines: &[(&str, &str)]) -> Vec<u8> {
    let resource = |line: &str| {
        let body = Some(AnyValue { value: Some(Value::StringValue(line.to_owned())) });
        let log_records = vec![LogRecord { body, ..LogRecord::default() }];
        let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
        ResourceLogs { scope_logs, ..ResourceLogs::default() }
    };
    let request = ExportLogsServiceRequest { resource_logs: lines.iter().map(|(_, line)| resource(line)).collect() };
    let body = ReceivedBody {
        signal: Signal::Logs,
        form: BodyForm::OtlpProtobuf,
        encoding: Encoding::Identity,
        bytes: request.encode_to_vec().into(),
    };
    let decision = |(tenant, _): &(&str, &str)| {
        Decision::Stamp(Stamp {
            tenant: TenantId::try_new(tenant).unwrap(),
            account: Some(AccountId::try_new("111122223333").unwrap()),
            region: None,
        })
    };
    record(RecordBody::Received { decisions: lines.iter().map(decision).collect(), body })
}

fn record(body: RecordBody) -> Vec<u8> {
    Record::new(0, body).to_bytes()
}

async fn append_lines(journals: &Journals, numbers: std::ops::Range<u32>) {
    for number in numbers {
        journals.logs.append(log_record(&format!("line {number:05} {}", "x".repeat(80)))).await.unwrap();
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1200 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("never came true: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missing_after_the_target_was_away_for_longer_than_a_segment_and_we_restarted() {
    for kind in ["otlp_grpc", "otlp_http"] {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(None).await;
        let address = server.address;
        let journals = open(dir.path());
        let forwarder =
            Forwarder::start(targets(kind, &address.to_string(), ""), journals.clone(), options(dir.path()));
        let forwarder = forwarder.await.unwrap();
        append_lines(&journals, 0..50).await;
        eventually("the first lines are there", || server.received.lines().len() == 50).await;

        let received = server.stop().await;
        append_lines(&journals, 50..200).await;
        assert!(journals.logs.bytes() > 3 * SEGMENT_BYTES);
        forwarder.stop().await;
        drop(journals);

        let journals = open(dir.path());
        let server = Server::start_with(Some(address), received).await;
        let forwarder =
            Forwarder::start(targets(kind, &address.to_string(), ""), journals.clone(), options(dir.path()));
        let forwarder = forwarder.await.unwrap();
        append_lines(&journals, 200..220).await;
        eventually("all lines are there", || server.received.distinct_lines().len() == 220).await;
        forwarder.stop().await;

        let lines = server.received.lines();
        assert!(lines.len() <= 221, "{kind}: only the batch in flight may repeat, but {} came", lines.len());
        assert_eq!(server.received.tenants(), BTreeSet::from(["acme".to_owned()]));
        let stored_once = server.received.stored_once();
        assert_eq!(stored_once.len(), 220, "{kind}: a receiver that keeps the highest sequence stores each line once");
        let cursor = journals.logs.cursor("forward.other", 0).unwrap();
        assert_eq!(cursor.position(), 220);
        assert!(journals.logs.first() > 1, "what was sent is freed");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_sent_again_when_asked_and_left_out_when_refused_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(None).await;
    let journals = open(dir.path());
    let targets = targets("otlp_grpc", &server.address.to_string(), "");
    let forwarder = Forwarder::start(targets, journals.clone(), options(dir.path())).await.unwrap();
    server.received.answer_next([Verdict::Unavailable, Verdict::Throttled, Verdict::Take, Verdict::Invalid]);
    append_lines(&journals, 0..3).await;
    eventually("the third line is there", || server.received.lines().len() == 2).await;
    forwarder.stop().await;
    assert_eq!(server.received.sequences(), [1, 3], "the second was refused for good");
    assert_eq!(server.received.attempts(), 5);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_is_refused_makes_the_batch_wait_for_the_next_token() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "an old token\n").unwrap();
    let server = Server::start(None).await;
    server.received.require_token("a new token");
    let journals = open(dir.path());
    let targets = targets("otlp_http", &server.address.to_string(), ", token_file: token");
    let forwarder = Forwarder::start(targets, journals.clone(), options(dir.path())).await.unwrap();
    append_lines(&journals, 0..1).await;
    eventually("the old token was tried", || server.received.unauthorized() > 0).await;
    std::fs::write(dir.path().join("token"), "a new token\n").unwrap();
    eventually("the line is there", || server.received.lines().len() == 1).await;
    forwarder.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_away_too_long_skips_ahead_and_never_fills_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(None).await;
    let (address, received) = (server.address, server.stop().await);
    let journals = open(dir.path());
    let targets = targets("otlp_grpc", &address.to_string(), ", max_bytes: 20KiB");
    let forwarder = Forwarder::start(targets, journals.clone(), options(dir.path())).await.unwrap();
    append_lines(&journals, 0..600).await;
    let cursor = journals.logs.cursor("forward.other", 0).unwrap();
    eventually("the cursor moved", || journals.logs.bytes_after(cursor.position()) <= 20 << 10).await;
    let skipped_to = cursor.position();
    assert!(skipped_to > 400, "{skipped_to}");
    let server = Server::start_with(Some(address), received).await;
    eventually("the newest is there", || server.received.sequences().last() == Some(&600)).await;
    assert!(server.received.sequences().first().is_some_and(|first| *first > skipped_to / 2));
    forwarder.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_target_starts_at_the_end_and_a_removed_one_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(None).await;
    let journals = open(dir.path());
    append_lines(&journals, 0..5).await;
    let configured = targets("otlp_grpc", &server.address.to_string(), ", signals: [logs]");
    let forwarder = Forwarder::start(configured, journals.clone(), options(dir.path())).await.unwrap();
    append_lines(&journals, 5..6).await;
    eventually("the new line is there", || !server.received.lines().is_empty()).await;
    forwarder.stop().await;
    assert_eq!(server.received.sequences(), [6]);
    assert_eq!(journals.logs.cursor_names(), ["forward.other"]);
    assert!(journals.metrics.cursor_names().is_empty(), "a signal that is not wanted has no cursor");
    let forwarder = Forwarder::start(Vec::new(), journals.clone(), options(dir.path())).await.unwrap();
    assert!(journals.logs.cursor_names().is_empty());
    forwarder.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_without_a_tenant_and_unreadable_records_stay_here() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(None).await;
    let journals = open(dir.path());
    let targets = targets("otlp_grpc", &server.address.to_string(), "");
    let forwarder = Forwarder::start(targets, journals.clone(), options(dir.path())).await.unwrap();
    let series = |labels: &[(&str, &str)]| StampedSeries {
        labels: Labels::from_pairs(labels.iter().copied()),
        samples: vec![Sample { t_ms: 1_000, value: 1.0 }],
        histograms: Vec::new(),
        exemplars: Vec::new(),
        starts: Default::default(),
        cadence: None,
    };
    let fleet = series(&[(METRIC_NAME, "fleet:errors")]);
    let acme = series(&[(METRIC_NAME, "tenant:errors"), ("tenant", "acme")]);
    let own = |series: Vec<StampedSeries>| record(RecordBody::Own { series, metadata: Vec::new() });
    journals.metrics.append(own(vec![fleet.clone()])).await.unwrap();
    journals.metrics.append(b"no record".to_vec()).await.unwrap();
    journals.metrics.append(own(vec![fleet, acme])).await.unwrap();
    eventually("the tenant's series is there", || !server.received.metrics().is_empty()).await;
    forwarder.stop().await;
    assert_eq!(server.received.metrics(), ["tenant:errors"]);
    assert_eq!(server.received.sequences(), [3]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_comes_back_at_an_old_cursor_gets_nothing_of_a_tenant_that_was_removed_meanwhile() {
    for kind in ["otlp_grpc", "otlp_http"] {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(None).await;
        let (address, received) = (server.address, server.stop().await);
        let (journals, removed) = (open(dir.path()), watch::Sender::default());
        let start = || {
            Forwarder::start(targets(kind, &address.to_string(), ""), journals.clone(), removing(dir.path(), &removed))
        };
        let forwarder = start().await.unwrap();
        // The first of them is tried again and again before the tenant is removed.
        for line in ["1", "2"] {
            journals.logs.append(log_record_of(&[("gone", &format!("gone {line}")), ("acme", line)])).await.unwrap();
        }
        journals.logs.append(log_record_of(&[("gone", "gone alone")])).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let gone = TenantId::try_new("gone").unwrap();
        let stone = record(RecordBody::Removal { tenant: gone.clone(), signal: Signal::Logs });
        let position = journals.logs.append(stone).await.unwrap();
        let mut list = RemovedTenants::default();
        list.add(gone, Signal::Logs, Position(position));
        removed.send_replace(Arc::new(list));
        journals.logs.append(log_record_of(&[("gone", "another of that name"), ("acme", "3")])).await.unwrap();

        let server = Server::start_with(Some(address), received).await;
        eventually("what is left is there", || server.received.lines().len() >= 4).await;
        forwarder.stop().await;
        assert_eq!(server.received.lines(), ["1", "2", "another of that name", "3"], "{kind}");
        assert_eq!(journals.logs.cursor("forward.other", 0).unwrap().position(), 5);
        server.stop().await;
    }
}
