use std::fs::OpenOptions;

use super::*;
use crate::{Journal, Options};

fn pending(payload: &[u8]) -> (Pending, oneshot::Receiver<Result<u64, AppendError>>) {
    let (answer, receiver) = oneshot::channel();
    (Pending { payload: payload.to_vec(), on_durable: Box::new(|_| {}), answer }, receiver)
}

fn commit(committer: &mut Committer, payload: &[u8]) -> Result<u64, AppendError> {
    let (pending, mut receiver) = pending(payload);
    committer.commit(vec![pending]);
    receiver.try_recv().unwrap()
}

fn payloads(journal: &Journal) -> Vec<(u64, Vec<u8>)> {
    let mut reader = journal.reader(0);
    std::iter::from_fn(|| reader.next_record().unwrap()).map(|record| (record.position, record.bytes)).collect()
}

/// A committer beside the journal's own, whose files a test can exchange.
fn committer(journal: &Journal) -> Committer {
    Committer::open(Arc::clone(&journal.shared), true).unwrap()
}

#[test]
fn a_failed_fsync_is_an_error_and_the_next_append_goes_to_a_new_segment() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    let mut committer = committer(&journal);
    assert_eq!(commit(&mut committer, b"one").unwrap(), 1);
    // /dev/null takes every write and refuses to fsync.
    committer.active.as_mut().unwrap().file = OpenOptions::new().write(true).open("/dev/null").unwrap();
    assert!(matches!(commit(&mut committer, b"lost"), Err(AppendError::Io(_))));
    assert_eq!(journal.end(), 1);
    assert_eq!(commit(&mut committer, b"two").unwrap(), 2);
    assert_eq!(payloads(&journal), [(1, b"one".to_vec()), (2, b"two".to_vec())]);
    assert_eq!(journal.shared.segments.lock().len(), 2);
}

#[test]
fn bytes_of_a_failed_write_that_could_not_be_cut_are_never_read() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    let mut committer = committer(&journal);
    assert_eq!(commit(&mut committer, b"one").unwrap(), 1);
    let first_segment = journal.shared.segments.lock().values().next().unwrap().path.clone();
    committer.active.as_mut().unwrap().file = OpenOptions::new().write(true).open("/dev/null").unwrap();
    assert!(commit(&mut committer, b"lost").is_err());
    let mut torn = Vec::new();
    encode_record(&mut torn, journal.id(), 2, b"never acknowledged");
    let mut file = OpenOptions::new().append(true).open(first_segment).unwrap();
    file.write_all(&torn).unwrap();
    assert_eq!(commit(&mut committer, b"two").unwrap(), 2);
    let expected = [(1, b"one".to_vec()), (2, b"two".to_vec())];
    assert_eq!(payloads(&journal), expected);
    drop((committer, journal));
    let reopened = Journal::open(dir.path(), Options::default()).unwrap();
    assert_eq!(payloads(&reopened), expected);
}

#[test]
fn a_write_that_the_disk_refuses_fails_the_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    let mut committer = committer(&journal);
    assert_eq!(commit(&mut committer, b"one").unwrap(), 1);
    // /dev/full answers every write with "no space left on device".
    committer.active.as_mut().unwrap().file = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (first, mut first_answer) = pending(b"two");
    let (second, mut second_answer) = pending(b"three");
    committer.commit(vec![first, second]);
    assert!(first_answer.try_recv().unwrap().is_err());
    assert!(second_answer.try_recv().unwrap().is_err());
    assert_eq!(commit(&mut committer, b"two again").unwrap(), 2);
}

#[test]
fn a_disk_that_takes_nothing_is_refused_until_it_works_again() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("journal");
    let journal = Journal::open(&dir, Options::default()).unwrap();
    let mut committer = committer(&journal);
    assert_eq!(commit(&mut committer, b"one").unwrap(), 1);
    committer.active.as_mut().unwrap().file = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let away = parent.path().join("away");
    fs::rename(&dir, &away).unwrap();
    for _ in 0..3 {
        assert!(
            matches!(commit(&mut committer, b"two"), Err(AppendError::Io(_))),
            "not even a new segment can be made"
        );
        assert_eq!(journal.end(), 1);
    }
    fs::rename(&away, &dir).unwrap();
    assert_eq!(payloads(&journal), [(1, b"one".to_vec())], "what was acknowledged can be read meanwhile");
    assert_eq!(commit(&mut committer, b"two").unwrap(), 2);
    drop((committer, journal));
    let reopened = Journal::open(&dir, Options::default()).unwrap();
    assert_eq!(payloads(&reopened), [(1, b"one".to_vec()), (2, b"two".to_vec())]);
}

#[test]
fn a_reader_of_an_empty_segment_goes_on_in_the_file_that_replaced_it() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    let mut committer = committer(&journal);
    assert_eq!(commit(&mut committer, b"one").unwrap(), 1);
    let mut early = journal.reader(0);
    let mut late = journal.reader(0);
    let next = |reader: &mut crate::Reader| reader.next_record().unwrap().map(|record| record.position);
    committer.begin_segment().unwrap();
    for reader in [&mut early, &mut late] {
        assert_eq!((next(reader), next(reader)), (Some(1), None));
    }
    // The disk is full when the first record is to go into the new segment.
    committer.active.as_mut().unwrap().file = OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert!(commit(&mut committer, b"lost").is_err());
    assert_eq!(commit(&mut committer, b"two").unwrap(), 2);
    assert_eq!((next(&mut early), next(&mut early)), (Some(2), None));
    // Another reader looks when the journal has gone on to the next segment already.
    committer.begin_segment().unwrap();
    assert_eq!(commit(&mut committer, b"three").unwrap(), 3);
    assert_eq!((next(&mut late), next(&mut late), next(&mut late)), (Some(2), Some(3), None));
    assert_eq!((next(&mut early), journal.damaged_bytes()), (Some(3), 0));
}

#[test]
fn old_segments_go_by_age_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let max_age = Duration::from_secs(3600);
    let options = Options { max_age: Some(max_age), when_full: WhenFull::DropOldest, ..Options::default() };
    let journal = Journal::open(dir.path(), options).unwrap();
    let cursor = journal.cursor("uplink", 0).unwrap();
    let mut committer = committer(&journal);
    assert_eq!(commit(&mut committer, b"one").unwrap(), 1);
    assert_eq!(commit(&mut committer, b"two").unwrap(), 2);
    committer.enforce_age(SystemTime::now() + max_age / 2);
    assert_eq!(commit(&mut committer, b"three").unwrap(), 3);
    assert_eq!(journal.dropped(), 0);
    journal.shared.segments.lock().values_mut().next().unwrap().last_written -= max_age * 2;
    committer.enforce_age(SystemTime::now());
    assert_eq!((journal.dropped(), journal.first(), cursor.position()), (2, 3, 2));
}
