//! A disk that does not give back a piece of a segment: the journal opens, and what lies elsewhere is read.
//!
//! The disk is a library preloaded into the test's own program, which runs once more for each case.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test fails by panicking")]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use tenantscope_journal::{Journal, Options};

const DIR: &str = "TENANTSCOPE_TEST_UNREADABLE_DIR";
const RECORD_BYTES: usize = 1000;
/// Of a record in a segment.
const STRIDE: usize = 16 + RECORD_BYTES;
const RECORDS: u64 = 40;
const RECORDS_IN_SEGMENT: u64 = 20;

fn options() -> Options {
    Options { segment_max_bytes: (36 + RECORDS_IN_SEGMENT as usize * STRIDE) as u64, ..Options::default() }
}

fn append(journal: &Journal, number: u64) -> u64 {
    journal.append_then(vec![number as u8; RECORD_BYTES], |_| {}).unwrap().wait().unwrap()
}

/// Run by the tests below in a process of its own; says what it could read and where the next record went.
#[test]
#[ignore = "a part of the tests below"]
fn open_and_read() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let journal = Journal::open(dir, options()).unwrap();
    let mut reader = journal.reader(0);
    let mut read = Vec::new();
    while let Some(record) = reader.next_record().unwrap() {
        assert_eq!(record.bytes, [record.position as u8; RECORD_BYTES]);
        read.push(record.position.to_string());
    }
    let next = append(&journal, 7);
    println!("read {} damaged {} next {next}", read.join(","), journal.damaged_bytes());
}

/// Positions that were read, whether damage was counted, and the next position.
fn read_without(dir: &Path, library: &Path, segment: u64, bytes: Range<usize>) -> (Vec<u64>, bool, u64) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "open_and_read", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .env("LD_PRELOAD", library)
        .env("UNREADABLE_NAME", format!("{segment:020}.segment"))
        .env("UNREADABLE_FROM", bytes.start.to_string())
        .env("UNREADABLE_TO", bytes.end.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let said = text.lines().find_map(|line| line.split_once("read ").map(|(_, said)| said));
    let words: Vec<&str> = said.unwrap_or_else(|| panic!("{text}")).split(' ').collect();
    let read = words[0].split(',').map(|position| position.parse().unwrap()).collect();
    (read, words[2] != "0", words[4].parse().unwrap())
}

fn library(dir: &Path) -> Option<PathBuf> {
    let (source, library) =
        (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/unreadable.c"), dir.join("unreadable.so"));
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    made.is_ok_and(|status| status.success()).then_some(library)
}

fn all_but(lost: &[u64]) -> Vec<u64> {
    (1..=RECORDS).filter(|position| !lost.contains(position)).collect()
}

#[test]
fn an_unreadable_piece_costs_what_lies_in_it() {
    let tools = tempfile::tempdir().unwrap();
    // Without a C compiler there is no such disk.
    let Some(library) = library(tools.path()) else { return };
    let at = |record: usize| 36 + record * STRIDE;
    // A block of 4,096 bytes has four records of these, and a piece of two more.
    let cases = [
        ("a header", 1, 0..36, vec![], 41),
        ("the first block of a segment", 21, 0..4096, vec![21, 22, 23, 24, 25], 41),
        ("the middle of a closed segment", 1, at(9)..at(10), vec![9, 10, 11, 12, 13], 41),
        ("the middle of the last segment", 21, at(9)..at(10), vec![29, 30, 31, 32, 33], 41),
    ];
    for (place, segment, bytes, lost, next) in cases {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path(), options()).unwrap();
        (1..=RECORDS).for_each(|number| assert_eq!(append(&journal, number), number));
        drop(journal);
        let got = read_without(dir.path(), &library, segment, bytes);
        assert_eq!((got.1, got.2), (!lost.is_empty(), next), "{place}");
        let missing: Vec<u64> = all_but(&got.0);
        assert!(missing.iter().all(|position| lost.contains(position)), "{place}: {missing:?} are missing");
        assert_eq!(missing.is_empty(), lost.is_empty(), "{place}");
    }
}

#[test]
fn positions_in_an_unreadable_tail_are_not_given_again() {
    let tools = tempfile::tempdir().unwrap();
    let Some(library) = library(tools.path()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), options()).unwrap();
    (1..=RECORDS).for_each(|number| assert_eq!(append(&journal, number), number));
    drop(journal);
    let (read, is_damaged, next) = read_without(dir.path(), &library, 21, 36 + 18 * STRIDE..1 << 30);
    assert!(is_damaged && read.len() >= 34, "{read:?}");
    assert!(next > RECORDS, "{next}");
    // The disk is well again: what was there is there still, and what came since.
    let journal = Journal::open(dir.path(), options()).unwrap();
    let mut reader = journal.reader(0);
    let positions: Vec<u64> = std::iter::from_fn(|| reader.next_record().unwrap()).map(|r| r.position).collect();
    assert_eq!(positions, (1..=RECORDS).chain([next]).collect::<Vec<_>>());
}
