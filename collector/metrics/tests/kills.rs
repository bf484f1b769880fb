//! kill -9 at any moment of flushes, merges, conversions and compactions: nothing is lost, nothing is there twice.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{HOUR_MS, MINUTE_MS, options, range, stamped};
use tenantscope_metrics::MetricStore;
use tenantscope_model::{Labels, Position, Scope, Sink, StampedBatch};

const DIR: &str = "TENANTSCOPE_TEST_KILLED_DIR";
const SERIES: u64 = 12;
const TIMES: u64 = 6 * 60;

/// What the journal has at a position: some series at some time, later ones over earlier ones.
fn batch(position: u64) -> StampedBatch {
    let mixed = position.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let series = (0..3).map(|i| {
        let (number, at) = ((mixed >> (8 * i)) % SERIES, (mixed >> (20 + 7 * i)) % TIMES);
        stamped(labels(number), &[(at as i64 * MINUTE_MS, position as f64)])
    });
    StampedBatch::Metrics { series: series.collect(), metadata: Vec::new() }
}

fn labels(number: u64) -> Labels {
    let (name, host) = (format!("m{}", number % 3), format!("h{number}"));
    Labels::from_pairs([("__name__", name.as_str()), ("tenant", "a"), ("host", host.as_str())])
}

/// The journal: how many batches were acknowledged.
fn journal_length(dir: &Path) -> u64 {
    std::fs::metadata(dir.join("journal")).map_or(0, |meta| meta.len())
}

fn open(dir: &Path) -> std::sync::Arc<MetricStore> {
    let store = MetricStore::open(dir.join("store"), options()).unwrap();
    for position in store.durable().0 + 1..=journal_length(dir) {
        let prepared = store.prepare_replay(batch(position));
        store.apply(prepared, Position(position));
    }
    store
}

/// Run by the test below in a process of its own; ends when it is killed.
#[test]
#[ignore = "a part of the test below"]
fn work_until_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let dir = Path::new(&dir);
    let store = open(dir);
    let mut journal = OpenOptions::new().create(true).append(true).open(dir.join("journal")).unwrap();
    println!("ready");
    let first = journal_length(dir) + 1;
    for position in first.. {
        let prepared = store.prepare(batch(position)).unwrap();
        journal.write_all(b".").unwrap();
        store.apply(prepared, Position(position));
        match position % 40 {
            10 | 30 => store.flush().unwrap(),
            15 => drop(store.merge().unwrap()),
            20 | 35 => drop(store.convert().unwrap()),
            39 => drop(store.compact().unwrap()),
            _ => {}
        }
    }
}

fn check(dir: &Path) {
    let store = open(dir);
    let mut expected = std::collections::BTreeMap::new();
    for position in 1..=journal_length(dir) {
        let StampedBatch::Metrics { series, .. } = batch(position) else { panic!("metrics") };
        for one in series {
            expected.insert((one.labels.clone(), one.samples[0].t_ms), one.samples[0].value as u64);
        }
    }
    let mut got = std::collections::BTreeMap::new();
    for one in range(&store, &Scope::All, &[], 0, 10 * HOUR_MS) {
        for sample in one.samples {
            let before = got.insert((one.labels.clone(), sample.t_ms), sample.value as u64);
            assert_eq!(before, None, "a sample is there twice");
        }
    }
    assert_eq!(got, expected);
    // Everything becomes blocks, and each series and time has one row there.
    store.flush().unwrap();
    while store.convert().unwrap() {}
    assert_eq!(store.stats().parts, 0);
    assert_eq!(store.stats().block_samples as usize, expected.len());
}

#[test]
fn no_kill_loses_or_doubles_a_sample() {
    let rounds: u64 = std::env::var("TENANTSCOPE_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let dir = tempfile::tempdir().unwrap();
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "work_until_killed", "--ignored", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for_ready(child.stdout.take().unwrap());
        std::thread::sleep(Duration::from_millis(60 + round * 137 % 500));
        child.kill().unwrap();
        child.wait().unwrap();
        check(dir.path());
    }
    assert!(journal_length(dir.path()) > 0);
    drop(File::open(dir.path().join("journal")).unwrap());
}

fn wait_for_ready(mut out: impl Read) {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with("ready") {
        assert_eq!(out.read(&mut byte).unwrap(), 1, "the child ended: {text}");
        text.push(char::from(byte[0]));
    }
}
