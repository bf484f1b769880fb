//! A commit to the table that fails although it happened: no row is there twice, and no older value comes back.
//!
//! The disk is a library preloaded into the test's own program, which runs once more for each case.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::process::Command;

use support::{Bench, HOUR_MS, MINUTE_MS, options, preloadable, range, stamped};
use tenantscope_metrics::MetricStore;
use tenantscope_model::{Labels, Sample, Scope};

const FAULT: &str = "FAULT_FILE";
const MINUTES: i64 = 30;

fn labels(host: &str) -> Labels {
    Labels::from_pairs([("__name__", "up"), ("tenant", "a"), ("host", host)])
}

fn samples(from_ms: i64, value: f64) -> Vec<(i64, f64)> {
    (0..MINUTES).map(|minute| (from_ms + minute * MINUTE_MS, value)).collect()
}

/// What is read of the first host, and the rows of the table's live files.
fn check(store: &MetricStore, first: &[(i64, f64)], rows: u64) {
    assert_eq!(store.stats().parts, 0);
    assert_eq!(store.stats().block_samples, rows, "each series and time has one row");
    let found = range(store, &Scope::All, &[], i64::MIN, i64::MAX);
    let found = found.iter().find(|one| one.labels.get("host") == Some("h1")).unwrap();
    let first: Vec<Sample> = first.iter().map(|(t_ms, value)| Sample { t_ms: *t_ms, value: *value }).collect();
    assert_eq!(found.samples, first);
}

/// A table with one window, and parts of a later one.
fn begun() -> Bench {
    let mut bench = Bench::new(options());
    bench.write(vec![stamped(labels("h1"), &samples(0, 1.0))]);
    bench.store().flush().unwrap();
    while bench.store().convert().unwrap() {}
    bench.write(vec![stamped(labels("h1"), &samples(4 * HOUR_MS, 1.0)), stamped(labels("h2"), &samples(0, 1.0))]);
    bench.store().flush().unwrap();
    bench
}

#[test]
#[ignore = "run by the test below in a process of its own"]
fn the_log_cannot_be_asked() {
    let Some(fault) = std::env::var_os(FAULT) else { return };
    let mut bench = begun();
    fs::write(&fault, "").unwrap();
    // Late data rewrite the first file; then the later window, whose parts are merged with newer ones meanwhile.
    let _ = bench.store().convert().unwrap_err();
    let _ = bench.store().convert().unwrap_err();
    bench.write(vec![stamped(labels("h1"), &[(0, 1000.0), (4 * HOUR_MS, 1000.0)])]);
    bench.store().flush().unwrap();
    fs::remove_file(&fault).unwrap();
    while bench.store().convert().unwrap() {}
    while bench.store().compact().unwrap() {}
    let mut expected: Vec<(i64, f64)> = samples(0, 1.0).into_iter().chain(samples(4 * HOUR_MS, 1.0)).collect();
    expected[0].1 = 1000.0;
    expected[MINUTES as usize].1 = 1000.0;
    check(bench.store(), &expected, 3 * MINUTES as u64);
    bench.reopen();
    check(bench.store(), &expected, 3 * MINUTES as u64);
}

#[test]
#[ignore = "run by the test below in a process of its own"]
fn the_log_is_asked_at_once() {
    let Some(fault) = std::env::var_os(FAULT) else { return };
    let mut bench = begun();
    fs::write(&fault, "1").unwrap();
    assert!(bench.store().convert().unwrap(), "the commit had happened");
    while bench.store().convert().unwrap() {}
    let expected: Vec<(i64, f64)> = samples(0, 1.0).into_iter().chain(samples(4 * HOUR_MS, 1.0)).collect();
    check(bench.store(), &expected, 3 * MINUTES as u64);
    bench.reopen();
    check(bench.store(), &expected, 3 * MINUTES as u64);
}

#[test]
fn a_commit_that_failed_and_happened_doubles_nothing() {
    let tools = tempfile::tempdir().unwrap();
    // Without a C compiler there is no such disk.
    let Some(library) = preloadable("refuse_log_fsync.c", tools.path()) else { return };
    for case in ["the_log_cannot_be_asked", "the_log_is_asked_at_once"] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", case, "--ignored"])
            .env("LD_PRELOAD", &library)
            .env(FAULT, tools.path().join("fault"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{case}: {}", String::from_utf8_lossy(&output.stdout));
    }
}
