//! What the disk may do to a journal, and what must still come back.

#![allow(clippy::unwrap_used)] // helper functions of tests are not recognised as tests

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tenantscope_journal::{AppendError, Journal, Options, WhenFull};

const SEGMENT_HEADER_BYTES: usize = 36;
const RECORD_HEADER_BYTES: usize = 16;

fn options() -> Options {
    Options { segment_max_bytes: 400, max_bytes: 1 << 20, max_age: None, when_full: WhenFull::Refuse }
}

fn append(journal: &Journal, payload: &[u8]) -> Result<u64, AppendError> {
    journal.append_then(payload.to_vec(), |_| {})?.wait()
}

fn read_all(journal: &Journal, after: u64) -> BTreeMap<u64, Vec<u8>> {
    let mut reader = journal.reader(after);
    std::iter::from_fn(|| reader.next_record().unwrap()).map(|record| (record.position, record.bytes)).collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "segment"));
    paths.sort();
    paths
}

fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    copy
}

#[test]
fn cut_at_every_byte_of_the_tail_every_whole_record_comes_back_and_appends_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    let payloads: Vec<Vec<u8>> = (0..6_u8).map(|n| vec![n; usize::from(n) * 5]).collect();
    for payload in &payloads {
        append(&journal, payload).unwrap();
    }
    drop(journal);
    let whole = fs::metadata(&segments(dir.path())[0]).unwrap().len();
    for cut in 0..whole {
        let copy = copy_of(dir.path());
        fs::OpenOptions::new().write(true).open(&segments(copy.path())[0]).unwrap().set_len(cut).unwrap();
        let mut end = SEGMENT_HEADER_BYTES as u64;
        let kept = payloads.iter().take_while(|payload| {
            end += (RECORD_HEADER_BYTES + payload.len()) as u64;
            end <= cut
        });
        let mut expected: BTreeMap<u64, Vec<u8>> = (1..).zip(kept.cloned()).collect();
        let journal = Journal::open(copy.path(), Options::default()).unwrap();
        assert_eq!(read_all(&journal, 0), expected, "cut at {cut}");
        let position = append(&journal, b"next").unwrap();
        assert_eq!(position, expected.len() as u64 + 1, "cut at {cut}");
        expected.insert(position, b"next".to_vec());
        drop(journal);
        let journal = Journal::open(copy.path(), Options::default()).unwrap();
        assert_eq!(read_all(&journal, 0), expected, "reopened after a cut at {cut}");
        assert_eq!(journal.damaged_bytes(), 0);
    }
}

#[test]
fn a_flipped_byte_costs_its_own_record_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    for n in 1..=5_u8 {
        append(&journal, &[n; 20]).unwrap();
    }
    drop(journal);
    let record_bytes = RECORD_HEADER_BYTES + 20;
    for offset in 0..SEGMENT_HEADER_BYTES + 4 * record_bytes {
        let copy = copy_of(dir.path());
        let path = &segments(copy.path())[0];
        let mut bytes = fs::read(path).unwrap();
        bytes[offset] ^= 0x40;
        fs::write(path, bytes).unwrap();
        let journal = Journal::open(copy.path(), Options::default()).unwrap();
        let lost =
            offset.checked_sub(SEGMENT_HEADER_BYTES).map(|in_records| in_records as u64 / record_bytes as u64 + 1);
        let expected: Vec<u64> = (1..=5).filter(|position| Some(*position) != lost).collect();
        assert_eq!(read_all(&journal, 0).into_keys().collect::<Vec<_>>(), expected, "byte {offset}");
        let damaged = if lost.is_some() { record_bytes as u64 } else { 0 };
        assert_eq!(journal.damaged_bytes(), damaged, "byte {offset}, counted once");
        assert_eq!(append(&journal, b"next").unwrap(), 6);
    }
}

/// Every byte of every segment, in turn: what is not hit is read, cursors and appends go on, and the loss is told.
#[test]
fn one_wrong_byte_anywhere_costs_the_record_that_it_hits_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options { segment_max_bytes: 110, ..options() };
    let journal = Journal::open(dir.path(), options()).unwrap();
    let payloads: BTreeMap<u64, Vec<u8>> = (1..=8).map(|n: u64| (n, vec![n as u8; n as usize])).collect();
    for payload in payloads.values() {
        append(&journal, payload).unwrap();
    }
    drop(journal);
    let paths = segments(dir.path());
    assert!(paths.len() >= 3, "{paths:?}");
    for (number, path) in paths.iter().enumerate() {
        let before = fs::read(path).unwrap();
        for offset in 0..before.len() {
            let hit = records_at(&before, offset, offset + 1);
            let is_tail = number + 1 == paths.len() && hit.first() == payloads.keys().next_back();
            for wrong in [before[offset] ^ 0x40, 0xff] {
                let copy = copy_of(dir.path());
                let mut content = before.clone();
                if std::mem::replace(&mut content[offset], wrong) == wrong {
                    continue;
                }
                fs::write(copy.path().join(path.file_name().unwrap()), content).unwrap();
                let journal = Journal::open(copy.path(), options()).unwrap();
                let mut expected = payloads.clone();
                hit.iter().for_each(|position| drop(expected.remove(position)));
                let place = format!("{wrong:#x} at {offset} of {}", path.display());
                assert_eq!(read_all(&journal, 0), expected, "{place}");
                // The last record of all can't be told from a torn tail.
                let lost = if is_tail { 0 } else { hit.len() as u64 };
                assert_eq!((journal.lost(), journal.damaged_bytes() > 0), (lost, lost > 0), "{place}");
                // The rest costs several fsyncs each time.
                if offset % 4 != 0 {
                    continue;
                }
                let cursor = journal.cursor("reader", 0).unwrap();
                cursor.advance(5).unwrap();
                let next = append(&journal, b"next").unwrap();
                assert_eq!(next, if is_tail { 8 } else { 9 }, "{place}");
                drop((cursor, journal));
                let journal = Journal::open(copy.path(), options()).unwrap();
                assert_eq!(read_all(&journal, 5).pop_last(), Some((next, b"next".to_vec())), "{place}");
            }
        }
    }
}

#[test]
fn a_record_inside_a_payload_is_not_taken_for_one_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    append(&journal, b"first").unwrap();
    drop(journal);
    let other = tempfile::tempdir().unwrap();
    let theirs = Journal::open(other.path(), Options::default()).unwrap();
    append(&theirs, b"first").unwrap();
    append(&theirs, b"forged").unwrap();
    drop(theirs);
    let forged = fs::read(&segments(other.path())[0]).unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    append(&journal, &forged[SEGMENT_HEADER_BYTES..]).unwrap();
    append(&journal, b"third").unwrap();
    drop(journal);
    let path = &segments(dir.path())[0];
    let mut bytes = fs::read(path).unwrap();
    bytes[SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES + 5] ^= 1; // the second record's length
    fs::write(path, bytes).unwrap();
    let journal = Journal::open(dir.path(), Options::default()).unwrap();
    assert_eq!(read_all(&journal, 0).into_values().collect::<Vec<_>>(), [b"first".to_vec(), b"third".to_vec()]);
}

#[test]
fn a_file_of_another_version_or_journal_stops_the_open() {
    let dir = tempfile::tempdir().unwrap();
    drop(Journal::open(dir.path(), Options::default()).map(|journal| append(&journal, b"x")).unwrap());
    let copy = copy_of(dir.path());
    fs::write(copy.path().join("id"), "00000000000000000000000000000001\n").unwrap();
    let error = Journal::open(copy.path(), Options::default()).err().unwrap().to_string();
    assert!(error.contains("another journal"), "{error}");
}

/// One thing that happens to a journal.
#[derive(Debug, Clone)]
enum Step {
    Append(Vec<u8>),
    Reopen,
    Advance(u64),
    /// Closes, overwrites bytes of a segment, and opens again.
    Damage {
        segment: prop::sample::Index,
        offset: prop::sample::Index,
        bytes: Vec<u8>,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..120).prop_map(Step::Append),
        1 => Just(Step::Reopen),
        1 => (0..60_u64).prop_map(Step::Advance),
        1 => (any::<prop::sample::Index>(), any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..30))
            .prop_map(|(segment, offset, bytes)| Step::Damage { segment, offset, bytes }),
    ]
}

/// The positions of the records that lie in those bytes of a segment, as `FORMAT.md` describes it.
fn records_at(segment: &[u8], from: usize, to: usize) -> Vec<u64> {
    let mut offset = SEGMENT_HEADER_BYTES;
    let mut touched = Vec::new();
    while let Some(header) = segment.get(offset..offset + RECORD_HEADER_BYTES) {
        let length = u32::from_le_bytes(header[..4].try_into().unwrap()) as usize;
        let end = offset + RECORD_HEADER_BYTES + length;
        if from < end && to > offset {
            touched.push(u64::from_le_bytes(header[8..].try_into().unwrap()));
        }
        offset = end;
    }
    touched
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_happens_reads_return_what_was_acknowledged_but_for_what_was_damaged(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path(), options()).unwrap();
        let mut model: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let mut damaged_once = false;
        let mut passed = 0;
        journal.cursor("reader", 0).unwrap();
        for step in steps {
            match step {
                Step::Append(payload) => {
                    let position = append(&journal, &payload).unwrap();
                    prop_assert!(model.last_key_value().is_none_or(|(last, _)| position > *last));
                    prop_assert!(position > passed);
                    model.insert(position, payload);
                }
                Step::Reopen => {
                    drop(journal);
                    journal = Journal::open(dir.path(), options()).unwrap();
                }
                Step::Advance(to) => {
                    let to = to.min(journal.end());
                    journal.cursor("reader", 0).unwrap().advance(to).unwrap();
                    passed = passed.max(to);
                }
                // Damage upon damage would need the model to know what a resync finds; one place at a time is enough.
                Step::Damage { .. } if damaged_once => {}
                Step::Damage { segment, offset, bytes } => {
                    let paths = segments(dir.path());
                    if paths.is_empty() { continue; }
                    drop(journal);
                    let path = segment.get(&paths);
                    let mut content = fs::read(path).unwrap();
                    let from = offset.index(content.len());
                    let to = (from + bytes.len()).min(content.len());
                    let before = content.clone();
                    content[from..to].copy_from_slice(&bytes[..to - from]);
                    let header_hit = from < SEGMENT_HEADER_BYTES;
                    if content != before && !header_hit {
                        damaged_once = true;
                        for position in records_at(&before, from, to) {
                            model.remove(&position);
                        }
                        fs::write(path, content).unwrap();
                    }
                    journal = Journal::open(dir.path(), options()).unwrap();
                }
            }
            let read = read_all(&journal, passed);
            let expected: BTreeMap<_, _> = model.range(passed + 1..).map(|(p, b)| (*p, b.clone())).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
