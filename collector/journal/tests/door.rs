//! The journal at its door: order, cursors, limits, and what comes back after a reopen.

#![allow(clippy::unwrap_used)] // helper functions of tests are not recognised as tests

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tenantscope_journal::{AppendError, Journal, OpenError, Options, WhenFull};

fn small(max_bytes: u64, when_full: WhenFull) -> Options {
    Options { segment_max_bytes: 200, max_bytes, max_age: None, when_full }
}

fn read_all(journal: &Journal, after: u64) -> Vec<(u64, Vec<u8>)> {
    let mut reader = journal.reader(after);
    std::iter::from_fn(|| reader.next_record().unwrap()).map(|record| (record.position, record.bytes)).collect()
}

fn append(journal: &Journal, payload: &[u8]) -> Result<u64, AppendError> {
    journal.append_then(payload.to_vec(), |_| {})?.wait()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_appends_get_each_position_once_and_callbacks_run_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    let last = Arc::new(AtomicU64::new(0));
    let tasks = (0..8_u32).map(|task| {
        let (journal, last) = (journal.clone(), Arc::clone(&last));
        tokio::spawn(async move {
            let mut positions = Vec::new();
            for n in 0..50_u32 {
                let (last, called) = (Arc::clone(&last), Arc::clone(&last));
                let in_order = move |position| assert_eq!(last.swap(position, Ordering::SeqCst) + 1, position);
                let payload = format!("{task} {n}").into_bytes();
                let append = journal.append_then(payload, in_order).unwrap();
                let position = append.await.unwrap();
                assert!(called.load(Ordering::SeqCst) >= position, "the callback ran before the answer");
                assert!(journal.end() >= position);
                positions.push(position);
            }
            positions
        })
    });
    let mut positions = Vec::new();
    for task in tasks {
        positions.extend(task.await.unwrap());
    }
    positions.sort_unstable();
    assert_eq!(positions, (1..=400).collect::<Vec<_>>());
    assert_eq!(last.load(Ordering::SeqCst), 400);
    assert_eq!(read_all(&journal, 0).len(), 400);
    assert_eq!(*journal.watch().borrow(), 400);
}

/// From the journal's own metrics.
fn fsyncs_of(journal: &str) -> u64 {
    let families = prometheus::gather();
    let family = families.iter().find(|family| family.name() == "tenantscope_journal_fsyncs_total").unwrap();
    let of_journal = |metric: &&prometheus::proto::Metric| metric.get_label().iter().any(|l| l.value() == journal);
    family.get_metric().iter().filter(of_journal).map(|metric| metric.get_counter().get_value() as u64).sum()
}

#[test]
fn what_waits_for_one_fsync_shares_the_next() {
    let parent = tempfile::tempdir().unwrap();
    // The label of its metrics, which no other test of this program uses.
    let journal = Journal::open(parent.path().join("spool"), Options::default()).unwrap();
    let (entered, has_entered) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let holds_up = move |_| {
        entered.send(()).unwrap();
        may_go_on.recv().unwrap();
    };
    let first = journal.append_then(b"first".to_vec(), holds_up).unwrap();
    has_entered.recv().unwrap();
    let before = fsyncs_of("spool");
    let waiting: Vec<_> = (0..200_u8).map(|n| journal.append_then(vec![n; 50], |_| {}).unwrap()).collect();
    go_on.send(()).unwrap();
    assert_eq!(first.wait().unwrap(), 1);
    for (position, append) in (2..).zip(waiting) {
        assert_eq!(append.wait().unwrap(), position);
    }
    assert_eq!(fsyncs_of("spool") - before, 1);
}

#[test]
fn a_reopened_journal_has_its_id_records_and_cursors_and_goes_on_counting() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    let id = journal.id();
    let cursor = journal.cursor("store", 0).unwrap();
    assert_eq!((append(&journal, b"a").unwrap(), append(&journal, b"").unwrap()), (1, 2));
    cursor.advance(1).unwrap();
    drop((cursor, journal));

    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    assert_eq!((journal.id(), journal.end(), journal.first()), (id, 2, 1));
    assert_eq!(journal.cursor("store", 0).unwrap().position(), 1);
    assert_eq!(append(&journal, b"c").unwrap(), 3);
    assert_eq!(read_all(&journal, 1), [(2, vec![]), (3, b"c".to_vec())]);
}

#[test]
fn a_new_folder_is_its_owners_alone_and_anothers_mode_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let (new, shared) = (dir.path().join("new"), dir.path().join("shared"));
    std::fs::create_dir(&shared).unwrap();
    std::fs::set_permissions(&shared, Permissions::from_mode(0o750)).unwrap();
    for folder in [&new, &shared] {
        drop(Journal::open(folder, Options::default()).unwrap());
    }
    assert_eq!((mode(&new), mode(&shared)), (0o700, 0o750));
}

#[test]
fn only_one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    assert!(matches!(Journal::open(dir.path(), Options::default()), Err(OpenError::InUse { .. })));
    drop(journal);
    assert!(Journal::open(dir.path(), Options::default()).is_ok());
}

#[test]
fn a_segment_goes_when_every_cursor_has_passed_it() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), small(100_000, WhenFull::Refuse)).unwrap();
    for _ in 0..10 {
        append(&journal, &[7; 100]).unwrap(); // one record fits into a segment of 200 bytes
    }
    assert_eq!(journal.first(), 1, "without a cursor nothing goes");
    let (fast, slow) = (journal.cursor("fast", 0).unwrap(), journal.cursor("slow", 0).unwrap());
    fast.advance(10).unwrap();
    assert_eq!(journal.first(), 1);
    slow.advance(4).unwrap();
    assert_eq!(journal.first(), 5);
    slow.advance(2).unwrap();
    assert_eq!(slow.position(), 4, "a cursor does not move back");
    slow.remove().unwrap();
    assert_eq!(journal.first(), 10, "the last segment stays");
    assert_eq!(journal.cursor_names(), ["fast"]);
    assert_eq!(append(&journal, b"next").unwrap(), 11);
}

#[test]
fn a_full_journal_refuses_until_its_cursor_moves() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), small(1000, WhenFull::Refuse)).unwrap();
    let cursor = journal.cursor("store", 0).unwrap();
    let stored = (0..50).take_while(|_| append(&journal, &[1; 100]).is_ok()).count() as u64;
    assert!((5..10).contains(&stored), "{stored}");
    assert!(matches!(append(&journal, &[1; 100]), Err(AppendError::Full { max_bytes: 1000 })));
    assert_eq!((journal.end(), journal.dropped()), (stored, 0));
    assert!(journal.bytes() <= 1000);
    cursor.advance(stored).unwrap();
    assert_eq!(append(&journal, &[1; 800]).unwrap(), stored + 1, "what was passed makes room for a large record");
    assert!(matches!(append(&journal, &[1; 5000]), Err(AppendError::TooLarge { .. })));
}

#[test]
fn a_full_journal_that_drops_moves_its_cursor_and_counts_what_the_cursor_never_saw() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), small(1000, WhenFull::DropOldest)).unwrap();
    let cursor = journal.cursor("uplink", 0).unwrap();
    append(&journal, &[0; 100]).unwrap();
    append(&journal, &[0; 100]).unwrap();
    cursor.advance(1).unwrap();
    for _ in 2..40 {
        append(&journal, &[0; 100]).unwrap();
        assert!(journal.bytes() <= 1000 + 36, "{}", journal.bytes());
    }
    assert_eq!(journal.end(), 40);
    let left = read_all(&journal, 0).len() as u64;
    assert_eq!(journal.dropped(), 40 - left - 1, "the first record was passed, so it was not lost");
    assert_eq!(cursor.position() + 1, journal.first());
    drop((cursor, journal));
    let journal = Journal::open(dir.path(), small(1000, WhenFull::DropOldest)).unwrap();
    assert_eq!(read_all(&journal, 0).len() as u64, left);
    assert_eq!(journal.cursor("uplink", 0).unwrap().position() + 1, journal.first());
}

#[test]
fn a_position_that_a_cursor_has_passed_is_never_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    let cursor = journal.cursor("store", 0).unwrap();
    for _ in 0..3 {
        append(&journal, b"x").unwrap();
    }
    cursor.advance(3).unwrap();
    drop((cursor, journal));
    for entry in std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().ends_with(".segment") {
            std::fs::OpenOptions::new().write(true).open(entry.path()).unwrap().set_len(40).unwrap();
        }
    }
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    assert_eq!((journal.end(), append(&journal, b"y").unwrap()), (3, 4));
    assert_eq!(read_all(&journal, 0), [(4, b"y".to_vec())]);
}

#[test]
fn names_that_are_no_file_names_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    for wrong in ["", "a/b", "..", ".hidden", "x.tmp", &"n".repeat(101)] {
        assert!(journal.cursor(wrong, 0).is_err(), "{wrong:?}");
    }
    let (a, b) = (journal.cursor("to.a", 1).unwrap(), journal.cursor("to.b", 2).unwrap());
    assert_eq!((a.position(), b.position()), (1, 2));
}

#[test]
fn a_reader_goes_on_when_more_was_appended() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), small(100_000, WhenFull::Refuse)).unwrap();
    let mut reader = journal.reader(0);
    assert_eq!(reader.next_record().unwrap(), None);
    for n in 1..=20_u64 {
        append(&journal, &[0; 60]).unwrap();
        assert_eq!(reader.next_record().unwrap().map(|record| record.position), Some(n));
        assert_eq!(reader.next_record().unwrap(), None);
    }
}

#[test]
fn the_backlog_is_known_in_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), small(100_000, WhenFull::Refuse)).unwrap();
    for _ in 0..10 {
        append(&journal, &[0; 148]).unwrap(); // with headers, a segment of 200 bytes each
    }
    assert_eq!((journal.bytes_after(0), journal.bytes_after(7), journal.bytes_after(10)), (2000, 600, 0));
    assert_eq!((journal.position_before_last(650), journal.position_before_last(1 << 30)), (7, 0));
}

#[test]
fn a_journal_whose_last_handle_goes_in_a_callback_closes() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    let held = journal.clone();
    let append = journal.append_then(b"x".to_vec(), move |_| drop(held)).unwrap();
    drop(journal);
    assert_eq!(append.wait().unwrap(), 1);
}

#[test]
fn a_cut_lets_go_of_what_all_have_passed_however_little_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    let cursor = journal.cursor("c", 0).unwrap();
    append(&journal, b"a").unwrap();
    append(&journal, b"b").unwrap();
    cursor.advance(2).unwrap();
    assert_eq!(journal.first(), 1, "the last segment stays, whoever has passed it");
    journal.cut_behind(2);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while journal.first() < 3 && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(journal.first(), 3);
    journal.cut_behind(2);
    assert_eq!(append(&journal, b"c").unwrap(), 3);
    // Whoever asks again and again for what is closed already gets no segment for each time.
    for payload in [b"d", b"e"] {
        journal.cut_behind(2);
        append(&journal, payload).unwrap();
    }
    let segments = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(segments.filter(|name| name.to_string_lossy().ends_with(".segment")).count(), 1);
    assert_eq!(journal.slowest_cursor(), Some(("c".to_owned(), 2)));
    drop((journal, cursor));
    let again = Journal::open(dir.path(), Options::default()).unwrap();
    assert_eq!((again.first(), again.end(), read_all(&again, 0).len()), (3, 5, 3));
}
