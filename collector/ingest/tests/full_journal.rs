//! A journal at its bound: what senders are told, what it costs them, and who makes room.

// The lints' exception for tests does not reach helpers of a test crate.
#![allow(clippy::unwrap_used, clippy::panic)]

mod kept;
mod way;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kept::Kept;
use parking_lot::Mutex;
use tenantscope_ingest::{Intake, Limits, Stores};
use tenantscope_journal::Options;
use tenantscope_model::{Signal, TimeSpan};
use tenantscope_tenancy::{Identity, Quota};
use tenantscope_wire::RefusedKind;

use way::{Setup, logs, open, open_with, send};

#[tokio::test]
async fn a_full_journal_refuses_until_the_store_caught_up() {
    let dir = tempfile::tempdir().unwrap();
    let setup = open(dir.path());
    let large = "x".repeat(1 << 20);
    let mut sent = 0;
    let refused = loop {
        match send(&setup.intake, logs(&[(None, &large)]), None).await {
            Ok(_) => sent += 1,
            Err(refused) => break refused,
        }
        assert!(sent < 100, "the journal has a bound");
    };
    assert_eq!((refused.kind, refused.reason), (RefusedKind::Unavailable, "journal_full"));
    setup.intake.upkeep().await;
    *setup.logs.durable.lock() = sent;
    setup.intake.upkeep().await;
    send(&setup.intake, logs(&[(None, &large)]), None).await.unwrap();
}

#[tokio::test]
async fn what_the_journal_refuses_costs_nothing_of_the_quota() {
    let dir = tempfile::tempdir().unwrap();
    let setup = open(dir.path());
    let large = "x".repeat(1 << 20);
    let (mut sent, mut refusals) = (0, 0);
    while refusals < 3 {
        match send(&setup.intake, logs(&[(None, &large)]), None).await {
            Ok(_) => (sent, refusals) = (sent + 1, 0),
            Err(_) => refusals += 1,
        }
        assert!(sent < 100, "the journal has a bound");
    }
    let (rate, burst) = (Some(tenantscope_model::Bytes(1)), Some(tenantscope_model::Bytes(1)));
    let tenant = Quota { log_bytes_per_second: rate, log_burst_bytes: burst, ..Quota::default() };
    setup.intake.reload(&Limits { tenant, ..Limits::default() });
    for _ in 0..3 {
        let refused = send(&setup.intake, logs(&[(None, &large)]), None).await.unwrap_err();
        assert_eq!(refused.reason, "journal_full");
    }
    setup.intake.upkeep().await;
    *setup.logs.durable.lock() = sent;
    setup.intake.upkeep().await;
    send(&setup.intake, logs(&[(None, &large)]), None).await.unwrap();
    let refused = send(&setup.intake, logs(&[(None, &large)]), None).await.unwrap_err();
    assert_eq!((refused.kind, refused.reason), (RefusedKind::Throttled, "log_bytes_per_second"));
}

/// Sends four journals' worth; what is refused comes again, as senders do it.
async fn send_many(setup: &Setup, large: &str) {
    let until = tokio::time::Instant::now() + Duration::from_secs(120);
    let mut sent = 0;
    while sent < 64 {
        match send(&setup.intake, logs(&[(None, large)]), None).await {
            Ok(_) => sent += 1,
            Err(refused) => {
                assert_eq!(refused.reason, "journal_full");
                assert!(tokio::time::Instant::now() < until, "{sent} were taken, and no more");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// Cursors and states are left alone for as long as a test may take.
fn open_unattended(dir: &Path) -> Setup {
    let [metrics, logs, spans] = [(); 3].map(|()| Arc::new(Kept::default()));
    let stores = Stores::new(Arc::clone(&metrics), Arc::clone(&logs), Arc::clone(&spans));
    let options = Options { segment_max_bytes: 1 << 20, max_bytes: 16 << 20, ..Options::default() };
    let never = TimeSpan::from_secs(86_400);
    let limits =
        Limits { own_series_interval: never, cursor_interval: never, state_interval: never, ..Limits::default() };
    let intake = Intake::open(dir, &stores, Arc::new(Identity::open()), None, limits, &options).unwrap();
    Setup { intake: Arc::new(intake), metrics, logs, spans, registry: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_nears_its_bound_has_the_store_flush_and_takes_on() {
    let dir = tempfile::tempdir().unwrap();
    let setup = open_unattended(dir.path());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(Arc::clone(&setup.intake).run(async move { stopped.await.unwrap_or(()) }));
    let large = "x".repeat(1 << 20);
    for _ in 0..7 {
        send(&setup.intake, logs(&[(None, &large)]), None).await.unwrap();
    }
    assert_eq!(*setup.logs.asked_flushes.lock(), 0, "half of the bound is free");
    send_many(&setup, &large).await;
    drop(stop);
    running.await.unwrap();
    assert_eq!(*setup.metrics.asked_flushes.lock(), 0, "its journal is empty");
    let sent = setup.logs.positions().len();
    assert_eq!(sent, 7 + 64);
    drop(setup);
    let durable = Kept { durable: Mutex::new(sent as u64), ..Kept::default() };
    let again = open_with(dir.path(), Identity::open(), None, Kept::default(), durable);
    send(&again.intake, logs(&[(None, "on")]), None).await.unwrap();
    assert_eq!(again.logs.positions(), [sent as u64 + 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_holds_nothing_back_is_not_asked_to_flush() {
    let dir = tempfile::tempdir().unwrap();
    let setup = open_unattended(dir.path());
    let target = setup.intake.journal(Signal::Logs).cursor("target", 0).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(Arc::clone(&setup.intake).run(async move { stopped.await.unwrap_or(()) }));
    let large = "x".repeat(1 << 20);
    let (mut sent, mut refusals) = (0_usize, 0);
    // Room for the record that was written last is given back a moment after its answer.
    while refusals < 3 {
        match send(&setup.intake, logs(&[(None, &large)]), None).await {
            Ok(_) => (sent, refusals) = (sent + 1, 0),
            Err(refused) => {
                assert_eq!(refused.reason, "journal_full");
                refusals += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    // Whatever was asked for at first is soon done; then senders that come again ask for nothing.
    while setup.logs.durable.lock().ne(&(sent as u64)) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let asked = *setup.logs.asked_flushes.lock();
    for _ in 0..20 {
        send(&setup.intake, logs(&[(None, &large)]), None).await.unwrap_err();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(*setup.logs.asked_flushes.lock(), asked);
    target.advance(sent as u64).unwrap();
    send(&setup.intake, logs(&[(None, &large)]), None).await.unwrap();
    drop(stop);
    running.await.unwrap();
}
