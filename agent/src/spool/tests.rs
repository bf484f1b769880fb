use bytes::Bytes;
use tenantscope_wire::{BodyForm, Encoding};

use super::*;

fn config(dir: &std::path::Path) -> config::Spool {
    config::Spool { dir: dir.to_path_buf(), max_bytes: config::Bytes(1 << 20), max_age: None }
}

fn batch(signal: Signal, text: &'static str) -> Batch {
    Batch {
        signal,
        form: BodyForm::OtlpProtobuf,
        encoding: Encoding::Identity,
        items: 1,
        body: Bytes::from_static(text.as_bytes()),
    }
}

fn step(source: &str, at_ms: i64, floor_ms: i64) -> Move {
    Move { source: source.to_owned(), position_ms: at_ms, floor_ms, seen: vec![Key::of(at_ms, &[source])] }
}

#[tokio::test]
async fn positions_come_back_from_records_and_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    {
        let spool = Spool::open(&config(dir.path())).unwrap();
        assert_eq!(spool.epoch(), None);
        spool.append(&batch(Signal::Logs, "a"), &[step("logs/x", 10, 0)]).await.unwrap();
        spool.checkpoint().unwrap();
        spool.append(&batch(Signal::Logs, "b"), &[step("logs/x", 20, 5), step("logs/y", 7, 0)]).await.unwrap();
        spool.set_epoch(42).unwrap();
    }
    let spool = Spool::open(&config(dir.path())).unwrap();
    assert_eq!(spool.epoch(), Some(42));
    assert_eq!(spool.position_ms("logs/x"), Some(20));
    assert_eq!(spool.floor_ms("logs/x"), Some(5));
    assert_eq!(spool.position_ms("logs/y"), Some(7));
    assert!(spool.has_seen("logs/x", Key::of(10, &["logs/x"])));
    assert!(spool.has_seen("logs/x", Key::of(20, &["logs/x"])));
    assert!(!spool.has_seen("logs/x", Key::of(21, &["logs/x"])));
}

#[tokio::test]
async fn a_lane_has_its_own_signal_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    {
        let spool = Spool::open(&config(dir.path())).unwrap();
        for (signal, text) in [(Signal::Logs, "l1"), (Signal::Metrics, "m1"), (Signal::Logs, "l2")] {
            spool.append(&batch(signal, text), &[]).await.unwrap();
        }
        let mut lane = spool.lane(Signal::Logs).unwrap();
        let first = lane.next_batch().unwrap().unwrap();
        assert_eq!((first.sequence, &first.batch.body[..]), (1, &b"l1"[..]));
        lane.done(first.sequence).unwrap();
    }
    let spool = Spool::open(&config(dir.path())).unwrap();
    let mut lane = spool.lane(Signal::Logs).unwrap();
    let second = lane.next_batch().unwrap().unwrap();
    assert_eq!((second.sequence, &second.batch.body[..]), (3, &b"l2"[..]));
    assert!(lane.next_batch().unwrap().is_none());
    assert_eq!(spool.lane(Signal::Metrics).unwrap().next_batch().unwrap().unwrap().sequence, 2);
}

#[tokio::test]
async fn half_of_the_spool_is_kept_for_what_cannot_be_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(&config(dir.path())).unwrap();
    let large = Batch { body: Bytes::from(vec![7; 300 << 10]), ..batch(Signal::Logs, "") };
    spool.append_repeatable(&large, &[]).await.unwrap();
    assert!(!spool.is_half_full());
    spool.append_repeatable(&large, &[]).await.unwrap();
    assert!(spool.is_half_full());
    let waits = tokio::time::timeout(Duration::from_millis(300), spool.append_repeatable(&large, &[])).await;
    assert!(waits.is_err());
    spool.append(&large, &[]).await.unwrap();
}

#[tokio::test]
async fn the_collectors_positions_count_only_where_there_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(&config(dir.path())).unwrap();
    spool.append(&batch(Signal::Logs, "a"), &[step("logs/x", 10, 0)]).await.unwrap();
    spool.adopt(&BTreeMap::from([("logs/x".to_owned(), 5.into()), ("logs/y".to_owned(), 6.into())]));
    assert_eq!(spool.position_ms("logs/x"), Some(10));
    assert_eq!((spool.position_ms("logs/y"), spool.floor_ms("logs/y")), (Some(6), Some(7)));
}
