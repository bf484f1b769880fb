//! The way in at its door, with real journals; only the store is the test's own, which is what the seam is for.

// The lints' exception for tests does not reach helpers of a test crate.
#![allow(clippy::unwrap_used, clippy::panic)]

mod kept;
mod way;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use kept::Kept;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use parking_lot::Mutex;
use prost::Message as _;
use tenantscope_ingest::Limits;
use tenantscope_model::{Bytes, Refusal, Reporting as _, Scope, Signal, TimeSpan};
use tenantscope_tenancy::{Identity, Quota};
use tenantscope_wire::{AgentMode, Identify as _, IdentityRequest, Name, ProofOfAccount, Receive as _, RefusedKind};

use way::{bearer, delta, header, logs, named_delta, open, open_with, peer, received, resource, send, send_as, strict};

#[tokio::test]
async fn what_was_acknowledged_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    for line in ["a", "b", "c"] {
        send(&first.intake, logs(&[(None, line)]), None).await.unwrap();
    }
    assert_eq!(first.logs.lines(), ["a", "b", "c"]);
    drop(first);
    let again = open(dir.path());
    assert_eq!(again.logs.lines(), ["a", "b", "c"]);
    assert_eq!(again.logs.positions(), [1, 2, 3]);
    send(&again.intake, logs(&[(None, "d")]), None).await.unwrap();
    assert_eq!(again.logs.positions(), [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_batch_with_an_identity_is_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    send(&first.intake, logs(&[(None, "1")]), header(1, 1)).await.unwrap();
    send(&first.intake, logs(&[(None, "1")]), header(1, 1)).await.unwrap();
    send(&first.intake, logs(&[(None, "5")]), header(1, 5)).await.unwrap();
    send(&first.intake, logs(&[(None, "4")]), header(1, 4)).await.unwrap();
    assert_eq!(first.logs.lines(), ["1", "5"]);
    send(&first.intake, logs(&[(None, "new spool")]), header(2, 1)).await.unwrap();
    let old = send(&first.intake, logs(&[(None, "late")]), header(1, 9)).await.unwrap_err();
    assert_eq!((old.kind, old.reason), (RefusedKind::Invalid, "old_epoch"));
    drop(first);

    let again = open(dir.path());
    send(&again.intake, logs(&[(None, "new spool")]), header(2, 1)).await.unwrap();
    assert!(send(&again.intake, logs(&[(None, "late")]), header(1, 9)).await.is_err());
    assert_eq!(again.logs.lines(), ["1", "5", "new spool"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn resends_at_the_same_time_are_stored_once_and_all_are_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let setup = open(dir.path());
    let sends = (0..20).map(|_| send(&setup.intake, logs(&[(None, "once")]), header(1, 1)));
    for answer in futures::future::join_all(sends).await {
        answer.unwrap();
    }
    assert_eq!(setup.logs.lines(), ["once"]);
}

#[tokio::test]
async fn a_refusal_is_not_durable_and_does_not_advance_the_lane() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let busy = Refusal::Unavailable { reason: "store_memory", retry_after: Duration::from_secs(1) };
    *first.logs.refuse.lock() = Some(busy);
    let refused = send(&first.intake, logs(&[(None, "1")]), header(1, 1)).await.unwrap_err();
    assert_eq!((refused.kind, refused.reason), (RefusedKind::Unavailable, "store_memory"));
    assert!(refused.retry_after.is_some());
    let broken = received(Signal::Logs, b"\xff\xff not otlp".to_vec());
    assert_eq!(send(&first.intake, broken, header(1, 2)).await.unwrap_err().kind, RefusedKind::Invalid);
    *first.logs.refuse.lock() = None;
    assert_eq!(first.intake.journal(Signal::Logs).end(), 0);
    send(&first.intake, logs(&[(None, "1")]), header(1, 1)).await.unwrap();
    drop(first);
    assert_eq!(open(dir.path()).logs.lines(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_applied_in_journal_order_whoever_waits() {
    let dir = tempfile::tempdir().unwrap();
    let setup = open(dir.path());
    let sends = (0..200).map(|i| {
        let intake = Arc::clone(&setup.intake);
        tokio::spawn(async move { send(&intake, logs(&[(None, &i.to_string())]), None).await })
    });
    for answer in futures::future::join_all(sends).await {
        answer.unwrap().unwrap();
    }
    assert_eq!(setup.logs.positions(), (1..=200).collect::<Vec<u64>>());
    let lines = setup.logs.lines();
    drop(setup);
    assert_eq!(open(dir.path()).logs.lines(), lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_fsync_covers_all_batches_that_wait() {
    let dir = tempfile::tempdir().unwrap();
    let setup = open(dir.path());
    let span = Span { name: "x".repeat(10_000), ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: resource(None), scope_spans, ..ResourceSpans::default() }];
    let body = received(Signal::Spans, ExportTraceServiceRequest { resource_spans }.encode_to_vec());
    let sends = (0..500).map(|_| {
        let (intake, body) = (Arc::clone(&setup.intake), body.clone());
        tokio::spawn(async move { send(&intake, body, None).await })
    });
    for answer in futures::future::join_all(sends).await {
        answer.unwrap().unwrap();
    }
    // No other test of this program writes spans.
    let fsyncs = fsyncs_of("spans");
    assert!((1..400).contains(&fsyncs), "{fsyncs} fsyncs for 500 batches");
}

/// From the journal's own metrics.
fn fsyncs_of(journal: &str) -> u64 {
    let families = prometheus::gather();
    let family = families.iter().find(|family| family.name() == "tenantscope_journal_fsync_seconds").unwrap();
    let of_journal = |metric: &&prometheus::proto::Metric| metric.get_label().iter().any(|l| l.value() == journal);
    family.get_metric().iter().filter(of_journal).map(|metric| metric.get_histogram().get_sample_count()).sum()
}

#[tokio::test]
async fn a_sender_that_goes_away_leaves_nothing_half_done() {
    let dir = tempfile::tempdir().unwrap();
    let setup = open(dir.path());
    for sequence in 1..20 {
        let sending = send(&setup.intake, logs(&[(None, &sequence.to_string())]), header(1, sequence));
        // Dropped after so many polls, wherever it is then.
        tokio::time::timeout(Duration::from_micros(sequence * 50), sending).await.ok();
        send(&setup.intake, logs(&[(None, &sequence.to_string())]), header(1, sequence)).await.unwrap();
    }
    assert_eq!(setup.logs.lines(), (1..20).map(|sequence| sequence.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn running_totals_and_lanes_come_back_from_state_and_journal() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    for t_s in 1..=3 {
        send(&first.intake, delta(t_s, 10.0), header(1, t_s)).await.unwrap();
    }
    assert_eq!(first.metrics.values("requests_total"), [10.0, 20.0, 30.0]);
    first.intake.upkeep().await;
    *first.metrics.durable.lock() = 3;
    first.intake.upkeep().await;
    send(&first.intake, delta(4, 10.0), header(1, 4)).await.unwrap();
    drop(first);

    // The store's files hold up to 3: only 4 is applied again, upon the totals of 3.
    let durable = Kept { durable: Mutex::new(3), ..Kept::default() };
    let again = open_with(dir.path(), Identity::open(), None, durable, Kept::default());
    assert_eq!(again.metrics.positions(), [4]);
    send(&again.intake, delta(4, 10.0), header(1, 4)).await.unwrap();
    send(&again.intake, delta(5, 2.0), header(1, 5)).await.unwrap();
    assert_eq!(again.metrics.values("requests_total"), [40.0, 42.0]);
}

#[tokio::test]
async fn a_state_ahead_of_the_store_is_not_used_for_what_the_store_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    for t_s in 1..=3 {
        send(&first.intake, delta(t_s, 10.0), None).await.unwrap();
        first.intake.upkeep().await;
    }
    drop(first);
    let again = open(dir.path());
    assert_eq!(again.metrics.values("requests_total"), [10.0, 20.0, 30.0]);
    let durable = Kept { durable: Mutex::new(2), ..Kept::default() };
    drop(again);
    let again = open_with(dir.path(), Identity::open(), None, durable, Kept::default());
    assert_eq!(again.metrics.values("requests_total"), [30.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sends_few_deltas_does_not_wait_for_all_of_another_s() {
    const MANY: u64 = 1000;
    let dir = tempfile::tempdir().unwrap();
    let setup = open(dir.path());
    let of = |tenant: &str| HeaderMap::from_iter([("x-scope-orgid".parse().unwrap(), tenant.parse().unwrap())]);
    let mut flood = tokio::task::JoinSet::new();
    for i in 0..MANY {
        let (intake, bully) = (Arc::clone(&setup.intake), of("bully"));
        flood.spawn(
            async move { send_as(&intake, &bully, named_delta(&format!("d{i}"), 10, 1.0), None).await.unwrap() },
        );
    }
    for t_s in 1..=20 {
        send_as(&setup.intake, &of("other"), delta(t_s, 1.0), None).await.unwrap();
    }
    let others_end = setup.intake.journal(Signal::Metrics).end();
    assert!(others_end < MANY / 2, "{others_end} of {MANY} came first");
    flood.shutdown().await;
}

#[tokio::test]
async fn a_refused_delta_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let setup = open(dir.path());
    send(&setup.intake, delta(1, 1.0), None).await.unwrap();
    *setup.metrics.refuse.lock() =
        Some(Refusal::Unavailable { reason: "store_memory", retry_after: Duration::from_secs(1) });
    send(&setup.intake, delta(2, 1.0), None).await.unwrap_err();
    *setup.metrics.refuse.lock() = None;
    send(&setup.intake, delta(2, 1.0), None).await.unwrap();
    assert_eq!(setup.metrics.values("requests_total"), [1.0, 2.0]);
}

#[tokio::test]
async fn a_refused_resource_is_told_and_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let setup = strict(dir.path());
    let batch = logs(&[(Some("111122223333"), "mine"), (Some("999999999999"), "not mine"), (None, "whose")]);
    let accepted = send_as(&setup.intake, &bearer("both-token"), batch, None).await.unwrap();
    assert_eq!(accepted.rejected, 2);
    assert!(accepted.message.contains("foreign_account: 1") && accepted.message.contains("no_account: 1"));
    assert_eq!(setup.logs.lines(), ["mine"]);
    // A sender that goes on by itself must not stop at what can never be taken.
    let nothing = send_as(&setup.intake, &bearer("both-token"), logs(&[(None, "whose")]), None).await.unwrap();
    assert_eq!((nothing.rejected, nothing.message.as_str()), (1, "no_account: 1"));
    assert_eq!(setup.intake.journal(Signal::Logs).end(), 1);
    send_as(&setup.intake, &bearer("both-token"), logs(&[(None, "whose")]), header(1, 1)).await.unwrap();
    send_as(&setup.intake, &bearer("both-token"), logs(&[(None, "whose")]), header(1, 1)).await.unwrap();
    assert_eq!(setup.intake.journal(Signal::Logs).end(), 2, "the lane moved, once");
    assert_eq!(setup.logs.lines(), ["mine"]);
    let refused = send(&setup.intake, logs(&[(None, "x")]), None).await.unwrap_err();
    assert_eq!(refused.kind, RefusedKind::Unauthenticated);

    let seen = setup.intake.seen(&Scope::All);
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].tenant.as_str(), seen[0].signal), ("acme", Signal::Logs));
    assert!(setup.intake.seen(&Scope::none()).is_empty());
}

#[tokio::test]
async fn an_agent_without_a_spool_goes_on_where_the_last_one_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let request = |wants_epoch| IdentityRequest {
        agent: Name::try_new("agent-1").unwrap(),
        mode: AgentMode::Run,
        version: "0.1.0".into(),
        proof: ProofOfAccount::Token { token: "acme-token".into() },
        wants_epoch,
        document_version: None,
        documents: None,
    };
    let first = strict(dir.path());
    let answer = first.intake.identify(request(true), peer()).await.unwrap();
    let epoch = answer.epoch.unwrap();
    assert_eq!(answer.tenant.unwrap().as_str(), "acme");
    assert!(answer.positions.is_empty());
    send_as(&first.intake, &bearer(&answer.token), logs(&[(None, "a")]), header(epoch, 7)).await.unwrap();
    let mut other = header(epoch, 8).unwrap();
    other.agent = Name::try_new("agent-2").unwrap();
    let refused = send_as(&first.intake, &bearer(&answer.token), logs(&[(None, "b")]), Some(other)).await;
    assert_eq!(refused.unwrap_err().reason, "other_agent");
    drop(first);

    let again = strict(dir.path());
    // The token of before the restart still holds, until a newer start of the agent is given its epoch.
    let old_token = bearer(&answer.token);
    let with_old_token = |sequence| send_as(&again.intake, &old_token, logs(&[(None, "c")]), header(epoch, sequence));
    with_old_token(8).await.unwrap();
    let next = again.intake.identify(request(true), peer()).await.unwrap();
    assert!(next.epoch.unwrap() > epoch);
    assert_eq!(next.positions, BTreeMap::from([("group".to_owned(), 8.into())]));
    assert_eq!(again.intake.identify(request(false), peer()).await.unwrap().epoch, None);
    assert_eq!(with_old_token(9).await.unwrap_err().reason, "old_epoch");
}

#[tokio::test]
async fn a_token_that_holds_asks_what_to_go_by_and_gets_no_other_token() {
    let dir = tempfile::tempdir().unwrap();
    let setup = strict(dir.path());
    let request = |proof| IdentityRequest {
        agent: Name::try_new("agent-1").unwrap(),
        mode: AgentMode::Run,
        version: "0.1.0".into(),
        proof,
        wants_epoch: false,
        document_version: None,
        documents: None,
    };
    let static_token = ProofOfAccount::Token { token: "acme-token".into() };
    let given = setup.intake.identify(request(static_token), peer()).await.unwrap().token;
    let asked = setup.intake.identify(request(ProofOfAccount::Held { token: given }), peer()).await.unwrap();
    assert_eq!((asked.token.as_str(), asked.valid_for_ms, asked.epoch), ("", 0, None));
    assert_eq!(asked.tenant.unwrap().as_str(), "acme");
    for wrong in ["acme-token", "ts1.e30.AAAA"] {
        let refused = setup.intake.identify(request(ProofOfAccount::Held { token: wrong.into() }), peer()).await;
        assert_eq!(refused.unwrap_err().kind, RefusedKind::Unauthenticated, "{wrong}");
    }
}

#[tokio::test]
async fn our_own_series_go_the_same_way() {
    let dir = tempfile::tempdir().unwrap();
    let setup = strict(dir.path());
    let stop = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(Arc::clone(&setup.intake).run(async move { stop.1.await.unwrap_or(()) }));
    while setup.metrics.positions().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(stop.0);
    running.await.unwrap();
    assert_eq!(setup.metrics.values("tenantscope_tenant_info"), [1.0, 1.0]);
    assert!(setup.intake.seen(&Scope::All).is_empty(), "our own series are nobody's report");
    drop(setup);
    assert_eq!(strict(dir.path()).metrics.values("tenantscope_tenant_info"), [1.0, 1.0]);
}

#[tokio::test]
async fn a_tenant_can_see_what_became_of_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let setup = strict(dir.path());
    let two = logs(&[(None, "a"), (None, "b")]);
    send_as(&setup.intake, &bearer("acme-token"), two, None).await.unwrap();
    let broken = received(Signal::Logs, b"\xff\xff not otlp".to_vec());
    send_as(&setup.intake, &bearer("acme-token"), broken, None).await.unwrap_err();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(Arc::clone(&setup.intake).run(async move { stopped.await.unwrap_or(()) }));
    while setup.metrics.values("tenantscope_tenant_refused_batches_total").is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(stop);
    running.await.unwrap();
    // From 0 on, so that the increase is told, and once more at the end.
    assert_eq!(setup.metrics.values("tenantscope_tenant_records_total")[..2], [0.0, 2.0]);
    assert_eq!(setup.metrics.values("tenantscope_tenant_refused_batches_total")[..2], [0.0, 1.0]);
    assert_eq!(setup.metrics.values("tenantscope_tenant_records_total").last(), Some(&2.0));
}

#[tokio::test]
async fn a_tenant_over_its_quota_is_told_when_to_come_again_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let setup = open(dir.path());
    let tenant = Quota { active_series: Some(1), ..Quota::default() };
    setup.intake.reload(&Limits { tenant, ..Limits::default() });
    let other = |name: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("x-scope-orgid", name.parse().unwrap());
        headers
    };
    send_as(&setup.intake, &other("a"), delta(1, 1.0), header(1, 1)).await.unwrap();
    let renamed = named_delta("other", 2, 1.0);
    let refused = send_as(&setup.intake, &other("a"), renamed.clone(), header(1, 2)).await.unwrap_err();
    assert_eq!((refused.kind, refused.reason), (RefusedKind::Throttled, "active_series"));
    assert!(refused.retry_after.is_some());
    send_as(&setup.intake, &other("b"), renamed.clone(), None).await.unwrap();
    setup.intake.reload(&Limits::default());
    send_as(&setup.intake, &other("a"), renamed, header(1, 2)).await.unwrap();
}

#[tokio::test]
async fn other_bounds_hold_for_who_comes_next_and_what_is_under_way_goes_by_those_it_came_with() {
    let dir = tempfile::tempdir().unwrap();
    let setup = open(dir.path());
    let sender = setup.intake.authorize(&HeaderMap::new(), peer()).await.unwrap();
    let body = || logs(&[(None, "a line of some length")]);
    let bytes = body().bytes.len();
    let reserve = |declared_bytes| setup.intake.reserve(&sender, Signal::Logs, declared_bytes);
    let reason = |declared_bytes| reserve(declared_bytes).unwrap_err().reason;
    let under_way = reserve(Some(bytes)).unwrap();

    let (max_body_bytes, max_in_flight_bytes) = (Bytes(bytes as u64 - 1), Bytes(bytes as u64));
    let low = Limits { max_body_bytes, max_in_flight_bytes, max_decoded_bytes: Bytes(16), ..Limits::default() };
    setup.intake.reload(&low);
    assert_eq!(reason(Some(bytes)), "body_too_large");
    assert_eq!(reason(Some(1)), "in_flight", "what came before the reload has all that may be under way");
    let came_before = setup.intake.authorize(&HeaderMap::new(), peer()).await.unwrap();
    setup.intake.receive(came_before, body(), None, under_way.permit).await.unwrap();
    assert_eq!(setup.logs.lines(), ["a line of some length"], "it is larger than what is decoded now");
    assert_eq!(reserve(None).unwrap().max_bytes, bytes - 1, "and its room is free again");
    let over_decoded = send(&setup.intake, logs(&[(None, "a line")]), None).await.unwrap_err();
    assert_eq!((over_decoded.kind, over_decoded.reason), (RefusedKind::TooLarge, "too_large"));

    setup.intake.reload(&Limits::default());
    send(&setup.intake, body(), None).await.unwrap();
    assert_eq!(setup.logs.lines().len(), 2);
}

#[tokio::test]
async fn how_far_ahead_points_may_be_and_how_much_is_decoded_may_change_between_two_batches() {
    let dir = tempfile::tempdir().unwrap();
    let setup = open(dir.path());
    let ahead = |seconds: u64| named_delta(&"n".repeat(2000), now_s() + 3600 + seconds, 1.0);
    assert_eq!(send(&setup.intake, ahead(0), None).await.unwrap().rejected, 1);
    let max_decoded_bytes = Bytes(ahead(0).bytes.len() as u64);
    setup.intake.reload(&Limits { max_ahead: TimeSpan::from_secs(0), max_decoded_bytes, ..Limits::default() });
    // A batch with deltas waits for room beside others: one of the largest size has all of it.
    for seconds in [10, 20] {
        let accepted = tokio::time::timeout(Duration::from_secs(30), send(&setup.intake, ahead(seconds), None)).await;
        assert_eq!(accepted.unwrap().unwrap().stored, 1);
    }
    setup.intake.reload(&Limits::default());
    assert_eq!(send(&setup.intake, ahead(30), None).await.unwrap().rejected, 1);
}

fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}
