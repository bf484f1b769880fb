//! A damaged file, or a decoder that panics on one, does not stop the work on all others.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use support::{Bench, HOUR_MS, MINUTE_MS, options, range, stamped, tenant};
use tenantscope_metrics::{ClassOf, MetricStore, Options, RemovalProgress, Retention, RetentionClass};
use tenantscope_model::{Labels, Position, Scope, Sink};

const DAY_MS: i64 = 24 * HOUR_MS;

fn labels(tenant: &str) -> Labels {
    Labels::from_pairs([("__name__", "up"), ("tenant", tenant)])
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(40);
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn convert_all(store: &MetricStore) {
    while store.convert().unwrap() {}
}

/// The table's files on one day, or on all days.
fn files(dir: &Path, day: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files(&path, day));
        } else if path.extension().is_some_and(|kind| kind == "parquet") && path.to_string_lossy().contains(day) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Flips one bit in the directory of the series index.
fn damage(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.windows(4).rposition(|window| window == [0x28, 0xb5, 0x2f, 0xfd]).unwrap();
    bytes[at + 6] ^= 1;
    fs::write(file, bytes).unwrap();
}

fn values(store: &MetricStore, id: &str, from_ms: i64, to_ms: i64) -> Vec<f64> {
    let found = range(store, &Scope::tenants([tenant(id)]), &[], from_ms, to_ms);
    found.iter().flat_map(|one| one.samples.iter().map(|sample| sample.value)).collect()
}

static NOW_MS: AtomicI64 = AtomicI64::new(20 * DAY_MS);

fn now_ms() -> i64 {
    NOW_MS.load(Ordering::Relaxed)
}

#[test]
fn other_windows_convert_compact_and_expire_beside_a_damaged_file() {
    let retention = Some(Duration::from_secs(30 * 86_400));
    let mut bench = Bench::new(Options { now_ms, retention, ..options() });
    let at = |t_ms: i64| stamped(labels("a"), &[(t_ms, 1.0)]);
    let windows = |day: i64| (0..3).map(move |window| day * DAY_MS + window * 2 * HOUR_MS);
    bench.write(vec![at(0)]);
    windows(5).for_each(|t_ms| bench.write(vec![at(t_ms)]));
    bench.store().flush().unwrap();
    convert_all(bench.store());
    bench.close();
    damage(&files(bench.dir.path(), "day=1970-01-06")[0]);
    bench.reopen();
    // Late data for the damaged file and for its neighbours, and a later day.
    windows(5).for_each(|t_ms| bench.write(vec![at(t_ms + MINUTE_MS)]));
    windows(6).for_each(|t_ms| bench.write(vec![at(t_ms)]));
    bench.store().flush().unwrap();
    NOW_MS.store(31 * DAY_MS, Ordering::Relaxed);
    bench.store().run().unwrap();
    // Of the first day nothing is left; of the damaged one three files; the last one's are one.
    eventually("only what is damaged is left as it was", || {
        let stats = bench.store().stats();
        (stats.parts, stats.blocks) == (1, 4)
    });
    bench.store().stop().unwrap();
    assert_eq!(values(bench.store(), "a", 6 * DAY_MS, 7 * DAY_MS).len(), 3);
}

static PANICS: AtomicBool = AtomicBool::new(false);

#[test]
fn a_panic_in_upkeep_costs_one_window_a_pause() {
    let class_of = ClassOf::new(|tenant| {
        assert!(tenant != "bad" || !PANICS.load(Ordering::Relaxed), "as a decoder on a damaged file");
        None
    });
    let classes = BTreeMap::from([("default".to_owned(), RetentionClass::default())]);
    let mut bench = Bench::new(Options { classes: Retention { classes, class_of }, ..options() });
    bench.write(vec![stamped(labels("bad"), &[(0, 1.0)]), stamped(labels("good"), &[(2 * HOUR_MS, 1.0)])]);
    bench.store().flush().unwrap();
    PANICS.store(true, Ordering::Relaxed);
    bench.store().run().unwrap();
    eventually("the other window is a block", || bench.store().stats().blocks == 1);
    bench.store().stop().unwrap();
    assert_eq!(bench.store().stats().parts, 1);
    PANICS.store(false, Ordering::Relaxed);
    bench.reopen();
    convert_all(bench.store());
    assert_eq!((bench.store().stats().parts, bench.store().stats().blocks), (0, 2));
}

/// A store whose table has a tenant that is to go, beside one that stays.
fn with_goner() -> Bench {
    let mut bench = Bench::new(options());
    bench.write(vec![stamped(labels("goner"), &[(0, 1.0)]), stamped(labels("stayer"), &[(0, 1.0)])]);
    bench.store().flush().unwrap();
    convert_all(bench.store());
    bench.close();
    bench
}

/// The tenant comes back while its removal is pending: into the same window and into a later one.
fn come_back(bench: &mut Bench) {
    bench.write(vec![stamped(labels("goner"), &[(MINUTE_MS, 2.0), (8 * HOUR_MS, 2.0)])]);
    bench.store().flush().unwrap();
    bench.write(vec![stamped(labels("goner"), &[(2 * MINUTE_MS, 3.0), (9 * HOUR_MS, 3.0)])]);
    assert_eq!(values(bench.store(), "goner", 8 * HOUR_MS, 10 * HOUR_MS), [2.0, 3.0]);
}

fn check_only_the_new_one_is_left(bench: &mut Bench) {
    eventually("the removal ended", || values(bench.store(), "goner", 0, HOUR_MS) == [2.0, 3.0]);
    bench.store().stop().unwrap();
    bench.reopen();
    convert_all(bench.store());
    assert_eq!(bench.store().stats().parts, 0);
    assert_eq!(values(bench.store(), "goner", 0, 10 * HOUR_MS), [2.0, 3.0, 2.0, 3.0]);
    assert_eq!(values(bench.store(), "stayer", 0, HOUR_MS), [1.0]);
}

#[test]
fn a_removal_that_a_damaged_file_holds_up_takes_nothing_that_came_since() {
    let mut bench = with_goner();
    let file = files(bench.dir.path(), "day=1970-01-01")[0].clone();
    let sound = fs::read(&file).unwrap();
    damage(&file);
    bench.reopen();
    let progress = |bench: &Bench, up_to| bench.store().removal_progress(&tenant("goner"), Position(up_to));
    assert_eq!(progress(&bench, 1), RemovalProgress::NotBegun);
    let _ = bench.store().remove_tenant(&tenant("goner"), Position(1)).unwrap_err();
    assert_eq!(progress(&bench, 1), RemovalProgress::InForce);
    assert_eq!(progress(&bench, 1_000), RemovalProgress::NotBegun, "not so far");
    come_back(&mut bench);
    bench.store().run().unwrap();
    eventually("the later window is a block", || bench.store().stats().blocks == 2);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(values(bench.store(), "goner", 8 * HOUR_MS, 10 * HOUR_MS), [2.0, 3.0], "removals were tried again");
    bench.store().stop().unwrap();
    bench.close();
    fs::write(&file, sound).unwrap();
    bench.reopen();
    bench.store().run().unwrap();
    check_only_the_new_one_is_left(&mut bench);
    assert_eq!(progress(&bench, 1), RemovalProgress::Done);
}

#[test]
fn a_removal_that_waits_for_the_table_takes_nothing_that_came_since() {
    let mut bench = with_goner();
    let (blocks, away) = (bench.dir.path().join("blocks"), bench.dir.path().join("away"));
    fs::rename(&blocks, &away).unwrap();
    fs::write(&blocks, "no folder").unwrap();
    bench.reopen();
    let _ = bench.store().remove_tenant(&tenant("goner"), Position(0)).unwrap_err();
    come_back(&mut bench);
    bench.store().run().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    fs::remove_file(&blocks).unwrap();
    fs::rename(&away, &blocks).unwrap();
    eventually("the table is there again", || bench.store().stats().blocks > 0);
    check_only_the_new_one_is_left(&mut bench);
}

#[test]
fn what_is_applied_during_a_removal_is_before_or_after_its_position() {
    const BATCHES: u64 = 400;
    let bench = Bench::new(options());
    let store = bench.store();
    let write = |position: u64| {
        let series = vec![stamped(labels("goner"), &[(position as i64, position as f64)])];
        let batch = tenantscope_model::StampedBatch::Metrics { series, metadata: Vec::new() };
        let prepared = store.prepare(batch).unwrap();
        store.apply(prepared, Position(position));
    };
    (1..=10).for_each(write);
    let removed = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for position in 11..=BATCHES {
                write(position);
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        std::thread::sleep(Duration::from_millis(10));
        let removed = store.remove_tenant(&tenant("goner"), Position(0)).unwrap();
        writer.join().unwrap();
        removed
    });
    let expected: Vec<f64> = (removed.position + 1..=BATCHES).map(|position| position as f64).collect();
    assert!(removed.position >= 10 && !expected.is_empty());
    assert_eq!(values(store, "goner", 0, HOUR_MS), expected);
    assert_eq!(removed.samples, removed.position);
}
