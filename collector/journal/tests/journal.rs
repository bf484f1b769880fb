//! What a journal promises, through its door.

#![allow(clippy::unwrap_used)] // helper functions of tests are not recognised as tests

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use proptest::prelude::*;
use tenantscope_journal::{AppendError, Journal, Options, WhenFull};

fn small() -> Options {
    Options { segment_max_bytes: 200, ..Options::default() }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

fn append(journal: &Journal, record: &[u8]) -> u64 {
    runtime().block_on(journal.append(record.to_vec())).unwrap()
}

fn read_all(journal: &Journal, after: u64) -> Vec<(u64, Vec<u8>)> {
    let mut reader = journal.reader(after);
    std::iter::from_fn(|| reader.next_record().unwrap()).map(|r| (r.position, r.bytes)).collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "segment")).collect();
    segments.sort();
    segments
}

#[test]
fn positions_go_on_after_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), small()).unwrap();
    let id = journal.id();
    for n in 1..=20u8 {
        assert_eq!(append(&journal, &[n; 30]), u64::from(n));
    }
    drop(journal);
    let journal = Journal::open(dir.path(), small()).unwrap();
    assert_eq!((journal.id(), journal.end()), (id, 20));
    assert_eq!(append(&journal, b"next"), 21);
    let read = read_all(&journal, 18);
    assert_eq!(read, [(19, vec![19; 30]), (20, vec![20; 30]), (21, b"next".to_vec())]);
}

#[test]
fn callbacks_run_in_journal_order_before_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let appends: Vec<_> = (0..200u32)
        .map(|n| {
            let seen = Arc::clone(&seen);
            journal.append_then(n.to_le_bytes().to_vec(), move |position| seen.lock().push(position)).unwrap()
        })
        .collect();
    for (n, append) in appends.into_iter().enumerate() {
        let position = runtime().block_on(append).unwrap();
        assert_eq!(position, n as u64 + 1);
        assert!(seen.lock().len() > n);
    }
    assert!(seen.lock().is_sorted());
}

#[test]
fn a_tail_torn_at_any_byte_loses_only_the_torn_record() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    append(&journal, b"first");
    append(&journal, b"second");
    drop(journal);
    let path = segments(dir.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    let second_begins = whole.len() - 16 - b"second".len();
    for length in second_begins..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let journal = Journal::open(dir.path(), Options::default()).unwrap();
        assert_eq!(read_all(&journal, 0), [(1, b"first".to_vec())]);
        assert_eq!(append(&journal, b"again"), 2);
        assert_eq!(read_all(&journal, 1), [(2, b"again".to_vec())]);
        drop(journal);
    }
}

#[test]
fn a_damaged_middle_is_reported_and_costs_nothing_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    for n in 1..=5u8 {
        append(&journal, &[n; 40]);
    }
    drop(journal);
    let path = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[36 + 2 * 56 + 20] ^= 0xff; // in the third record's payload
    fs::write(&path, bytes).unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    let positions: Vec<u64> = read_all(&journal, 0).into_iter().map(|(position, _)| position).collect();
    assert_eq!(positions, [1, 2, 4, 5]);
    assert!(journal.damaged_bytes() >= 56);
    assert_eq!(append(&journal, b"more"), 6);
}

#[test]
fn segments_go_when_every_cursor_has_passed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), small()).unwrap();
    let store = journal.cursor("store", 0).unwrap();
    let forward = journal.cursor("forward.metrics", 0).unwrap();
    for n in 1..=30u8 {
        append(&journal, &[n; 50]);
    }
    store.advance(25).unwrap();
    assert_eq!(journal.first(), 1);
    forward.advance(20).unwrap();
    assert!(journal.first() > 1 && journal.first() <= 21);
    drop((store, forward));
    drop(journal);
    let journal = Journal::open(dir.path(), small()).unwrap();
    assert_eq!(journal.cursor("store", 0).unwrap().position(), 25);
    let first = journal.first();
    journal.cursor("forward.metrics", 0).unwrap().remove().unwrap();
    assert!(journal.first() > first);
    assert_eq!(read_all(&journal, 25).len(), 5);
}

#[test]
fn a_full_journal_refuses_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Options { max_bytes: 1000, ..small() }).unwrap();
    let store = journal.cursor("store", 0).unwrap();
    let refused = loop {
        if let Err(error) = runtime().block_on(journal.append(vec![0; 100])) {
            break error;
        }
    };
    assert!(matches!(refused, AppendError::Full { max_bytes: 1000 }));
    let end = journal.end();
    store.advance(end).unwrap();
    assert_eq!(append(&journal, b"room again"), end + 1);
}

#[test]
fn a_spool_drops_the_oldest_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { max_bytes: 1000, when_full: WhenFull::DropOldest, ..small() };
    let journal = Journal::open(dir.path(), options).unwrap();
    let uplink = journal.cursor("uplink", 0).unwrap();
    for n in 1..=40u8 {
        append(&journal, &[n; 50]);
    }
    append(&journal, b"last"); // the writer looks at its size after each batch, so the one before has been dealt with
    assert!(journal.dropped() > 0);
    let read = read_all(&journal, uplink.position());
    assert_eq!(read.first().unwrap().0, uplink.position() + 1);
    assert_eq!(journal.dropped(), uplink.position());
    assert_eq!(read.last().unwrap().1, b"last");
}

#[test]
fn another_journals_segment_is_refused() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for dir in [&a, &b] {
        append(&Journal::open(dir.path(), small()).unwrap(), b"x");
    }
    fs::copy(&segments(a.path())[0], &segments(b.path())[0]).unwrap();
    let error = Journal::open(b.path(), small()).err().unwrap();
    assert!(error.to_string().contains("another journal"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn what_was_appended_is_read_after_any_reopens(
        rounds in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 0..8), 1..5),
        from in 0u64..20,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut expected = Vec::new();
        for round in &rounds {
            let journal = Journal::open(dir.path(), small()).unwrap();
            for record in round {
                let position = append(&journal, record);
                expected.push((position, record.clone()));
            }
            let wanted: Vec<_> = expected.iter().filter(|(position, _)| *position > from).cloned().collect();
            prop_assert_eq!(read_all(&journal, from), wanted);
        }
    }
}
