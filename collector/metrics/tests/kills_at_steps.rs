//! kill -9 before each durable step of a tenant's removal and of retention: the store opens, has what is to be kept,
//! and ends by itself what was begun.
//!
//! The steps are counted by a library preloaded into the test's own program, which runs once more for each of them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::{HOUR_MS, MINUTE_MS, always, copy_folder, files_with, options, preloadable, range, stamped, tenant};
use tenantscope_metrics::{BlockOptions, ClassOf, MetricStore, OpenError, Options, Retention, RetentionClass};
use tenantscope_model::{
    FamilyMetadata, Labels, Metadata, MetadataRequest, MetricKind, Position, Scope, Select, Sink, StampedBatch,
    StampedSeries,
};

const DIR: &str = "TENANTSCOPE_TEST_KILLED_DIR";
const DAY_MS: i64 = 24 * HOUR_MS;
/// Programs that run at a time: each waits for the disk, and for the store's own upkeep, most of the time.
const AT_ONCE: usize = 6;
/// More than any of the works has.
const MAX_STEPS: usize = 400;
const SIGKILL: i32 = 9;
/// How long something may take that takes seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is read of a series, by tenant and host.
type Answer = BTreeMap<(String, String), Vec<(i64, f64)>>;

fn series(tenant: &str, host: &str, samples: &[(i64, f64)]) -> StampedSeries {
    stamped(Labels::from_pairs([("__name__", "up"), ("tenant", tenant), ("host", host)]), samples)
}

fn answer(store: &MetricStore) -> Answer {
    let all = range(store, &Scope::All, &[], i64::MIN, i64::MAX);
    let label = |labels: &Labels, name: &str| labels.get(name).unwrap().to_owned();
    all.into_iter()
        .map(|one| {
            let samples = one.samples.iter().map(|sample| (sample.t_ms, sample.value)).collect();
            ((label(&one.labels, "tenant"), label(&one.labels, "host")), samples)
        })
        .collect()
}

/// Opens a store. A program that another thread starts at this moment has the lock of one that was just closed until the
/// program begins.
fn open(dir: &Path, options: &Options) -> Arc<MetricStore> {
    let begun = Instant::now();
    loop {
        match MetricStore::open(dir, options.clone()) {
            Err(OpenError::Locked { .. }) if begun.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
            opened => return opened.unwrap(),
        }
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "still not so: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Kills a piece of work before its first durable step, its second and so on, until it comes to its end. Each time it
/// begins on a new copy of a folder, which is looked at afterwards.
fn kill_before_each_step(work: &str, begun: &Path, look_at: impl Fn(&Path, usize) + Sync) {
    let tools = tempfile::tempdir().unwrap();
    // Without a C compiler nobody counts the steps.
    let Some(library) = preloadable("die_before_step.c", tools.path()) else { return };
    let next = AtomicUsize::new(1);
    thread::scope(|scope| {
        let worker = || {
            loop {
                let step = next.fetch_add(1, Ordering::Relaxed);
                assert!(step < MAX_STEPS, "{work} never comes to its end");
                let dir = tempfile::tempdir().unwrap();
                copy_folder(begun, dir.path());
                let ended = run_until(work, dir.path(), &library, step);
                assert!(ended.success() || ended.signal() == Some(SIGKILL), "{work} before step {step}: {ended}");
                look_at(dir.path(), step);
                if ended.success() {
                    assert!(step > 10, "{work} has steps");
                    return;
                }
            }
        };
        (0..AT_ONCE).for_each(|_| drop(scope.spawn(worker)));
    });
}

fn run_until(work: &str, dir: &Path, library: &Path, step: usize) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", work, "--ignored"])
        .env(DIR, dir)
        .env("LD_PRELOAD", library)
        .env("DIE_BEFORE_STEP", step.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
}

// Removal: a tenant that goes and one that stays, in blocks and parts, together and apart, and in memory.

fn four(from_ms: i64) -> Vec<(i64, f64)> {
    (0..4).map(|minute| (from_ms + minute * MINUTE_MS, minute as f64)).collect()
}

fn of_both(from_ms: i64) -> Vec<StampedSeries> {
    vec![
        series("goner", "same-host", &four(from_ms)),
        series("goner", "old-host", &four(from_ms)),
        series("stayer", "h", &four(from_ms)),
    ]
}

/// What the journal has, from its first position on.
fn journal() -> Vec<StampedBatch> {
    let family = |id: &str| {
        let metadata = Metadata { kind: MetricKind::Gauge, unit: "".into(), help: format!("of {id}").into() };
        FamilyMetadata { tenant: Some(tenant(id)), family: "up".into(), metadata }
    };
    let parts = [
        of_both(6 * DAY_MS),
        vec![series("goner", "old-host", &four(6 * DAY_MS + 4 * HOUR_MS))],
        vec![series("stayer", "h", &four(6 * DAY_MS + 8 * HOUR_MS))],
    ];
    let batches = [
        of_both(0),
        vec![series("goner", "old-host", &four(2 * DAY_MS))],
        vec![series("stayer", "h", &four(4 * DAY_MS))],
        parts.concat(),
        of_both(8 * DAY_MS),
    ];
    batches
        .map(|series| StampedBatch::Metrics { series, metadata: vec![family("goner"), family("stayer")] })
        .into_iter()
        .collect()
}

fn journal_end() -> Position {
    Position(journal().len() as u64)
}

/// All of a tenant in the journal.
fn journalled(tenant: &str) -> Answer {
    let mut all = Answer::new();
    for batch in journal() {
        let StampedBatch::Metrics { series, .. } = batch else { panic!("metrics") };
        for one in series.iter().filter(|one| one.labels.get("tenant") == Some(tenant)) {
            let host = one.labels.get("host").unwrap().to_owned();
            let samples = one.samples.iter().map(|sample| (sample.t_ms, sample.value));
            all.entry((tenant.to_owned(), host)).or_default().extend(samples);
        }
    }
    all
}

/// What comes of a tenant of the same name after the removal, over the times of the one that goes and behind them.
fn newcomer() -> StampedSeries {
    let at = [0, 6 * DAY_MS, 8 * DAY_MS, 9 * DAY_MS];
    series("goner", "same-host", &at.map(|t_ms| (t_ms, 7.0)))
}

fn open_with_journal(dir: &Path) -> Arc<MetricStore> {
    let store = open(dir, &options());
    for (position, batch) in (1..).zip(journal()).skip(store.durable().0 as usize) {
        store.apply(store.prepare_replay(batch), Position(position));
    }
    store
}

fn begin_removal(dir: &Path) {
    let store = open(dir, &options());
    for (position, batch) in (1..).zip(journal()) {
        store.apply(store.prepare(batch).unwrap(), Position(position));
        match position {
            1..=3 => {
                store.flush().unwrap();
                while store.convert().unwrap() {}
            }
            4 => store.flush().unwrap(),
            _ => {}
        }
    }
    let stats = store.stats();
    assert_eq!((stats.blocks, stats.parts), (3, 3));
}

#[test]
#[ignore = "run by the test below in a process of its own"]
fn remove_a_tenant() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let removal = open_with_journal(Path::new(&dir)).remove_tenant(&tenant("goner"), journal_end()).unwrap();
    assert_eq!((removal.blocks, removal.parts), (2, 3), "{removal:?}");
}

fn end_removal(dir: &Path, step: usize) {
    let manifest = || fs::read_to_string(dir.join("MANIFEST")).unwrap();
    let was_in_force = manifest().contains("goner");
    let store = open_with_journal(dir);
    let found = answer(&store);
    let has_all = |of: Answer| of.iter().all(|(key, samples)| found.get(key) == Some(samples));
    assert!(has_all(journalled("stayer")), "before step {step}: {found:?}");
    if !was_in_force {
        assert!(has_all(journalled("goner")), "before step {step}: {found:?}");
        store.remove_tenant(&tenant("goner"), journal_end()).unwrap();
    }
    let batch = StampedBatch::Metrics { series: vec![newcomer()], metadata: Vec::new() };
    store.apply(store.prepare(batch).unwrap(), Position(journal_end().0 + 1));
    if step.is_multiple_of(2) {
        // What is left of the one that goes meets the newcomer in the same files.
        store.flush().unwrap();
        while store.convert().unwrap() {}
    }
    store.run().unwrap();
    wait_until("the removal is done", || !manifest().contains("\"pending\": true"));
    store.stop().unwrap();

    let mut expected = journalled("stayer");
    let samples = newcomer().samples.iter().map(|sample| (sample.t_ms, sample.value)).collect();
    expected.insert(("goner".to_owned(), "same-host".to_owned()), samples);
    assert_eq!(answer(&store), expected, "before step {step}");
    drop(store);
    let store = open(dir, &options());
    assert_eq!(answer(&store), expected, "before step {step}, after another start");
    let families = |id: &str| {
        let request = MetadataRequest { family: None, limit: 10, budget: always(&[]).budget };
        store.metadata(&Scope::tenants([tenant(id)]), &request).unwrap().len()
    };
    assert_eq!((families("goner"), families("stayer")), (0, 1), "before step {step}");
    assert_eq!(files_with(dir, "old-host"), [""; 0], "before step {step}");
}

#[test]
fn a_removal_that_is_killed_before_any_step_is_ended_and_takes_nothing_else() {
    let begun = tempfile::tempdir().unwrap();
    begin_removal(begun.path());
    assert_ne!(files_with(begun.path(), "old-host"), [""; 0]);
    kill_before_each_step("remove_a_tenant", begun.path(), end_removal);
}

// Retention: parts and blocks that are too old, a class that has too many bytes, and what each class keeps.

/// Where the bytes stand that the class `tiny` may have.
fn max_bytes_path(dir: &Path) -> PathBuf {
    dir.join("max_bytes")
}

fn retention_options(dir: &Path, now_ms: fn() -> i64) -> Options {
    let days = |days: u64, max_bytes| RetentionClass { keep: Some(Duration::from_secs(days * 86_400)), max_bytes };
    let max_bytes = fs::read_to_string(max_bytes_path(dir)).ok().map(|bytes| bytes.parse().unwrap());
    let classes = BTreeMap::from([
        ("default".to_owned(), days(30, None)),
        ("gold".to_owned(), days(60, None)),
        ("tiny".to_owned(), days(60, max_bytes)),
    ]);
    let classes = Retention { classes, class_of: ClassOf::new(|tenant| Some(tenant.to_owned())) };
    let blocks = BlockOptions { removed_grace: Duration::ZERO, ..options().blocks };
    Options { now_ms, classes, blocks, ..options() }
}

fn at_day_60() -> i64 {
    60 * DAY_MS
}

fn at_day_95() -> i64 {
    95 * DAY_MS
}

/// Where retention is at work. No more windows become blocks, so that what it has to do stays the same.
fn open_at_day_100(dir: &Path) -> Arc<MetricStore> {
    let mut options = retention_options(dir, || 100 * DAY_MS);
    options.blocks.enabled = false;
    open(&dir.join("store"), &options)
}

fn on_day(tenant: &str, day: i64) -> StampedSeries {
    series(tenant, "h", &four(day * DAY_MS))
}

fn begin_retention(dir: &Path) {
    let write = |now_ms: fn() -> i64, position: u64, series: Vec<StampedSeries>| {
        let store = open(&dir.join("store"), &retention_options(dir, now_ms));
        let batch = StampedBatch::Metrics { series, metadata: Vec::new() };
        store.apply(store.prepare(batch).unwrap(), Position(position));
        store.flush().unwrap();
        store
    };
    let store = write(at_day_60, 1, vec![on_day("gold", 50), on_day("silver", 50)]);
    while store.convert().unwrap() {}
    drop(store);
    let store = write(at_day_95, 2, vec![on_day("silver", 80), on_day("tiny", 80), on_day("tiny", 90)]);
    while store.convert().unwrap() {}
    drop(store);
    let store = write(at_day_60, 3, vec![on_day("gold", 1), on_day("gold", 99), on_day("silver", 99)]);
    let stats = store.stats();
    assert_eq!((stats.blocks, stats.parts), (5, 2));
    // One byte less than its two files have.
    let of_tiny: u64 = files_below(dir, ".parquet")
        .iter()
        .filter(|path| path.to_string_lossy().contains("tiny"))
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    fs::write(max_bytes_path(dir), (of_tiny - 1).to_string()).unwrap();
}

fn files_below(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files_below(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// Whether there are files of what lives, and no others.
fn is_tidy(dir: &Path, store: &MetricStore) -> bool {
    let stats = store.stats();
    (files_below(dir, ".part").len(), files_below(dir, ".parquet").len()) == (stats.parts, stats.blocks)
}

fn kept_at_day_100() -> Answer {
    let kept = [("gold", [50, 99].as_slice()), ("silver", &[80, 99]), ("tiny", &[90])];
    kept.map(|(tenant, days)| {
        let samples = days.iter().flat_map(|day| four(day * DAY_MS)).collect();
        ((tenant.to_owned(), "h".to_owned()), samples)
    })
    .into()
}

#[test]
#[ignore = "run by the test below in a process of its own"]
fn expire() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let dir = Path::new(&dir);
    let store = open_at_day_100(dir);
    store.expire().unwrap();
    store.run().unwrap();
    wait_until("dead files are gone", || is_tidy(dir, &store));
    store.stop().unwrap();
    assert_eq!(answer(&store), kept_at_day_100());
}

fn end_retention(dir: &Path, step: usize) {
    let store = open_at_day_100(dir);
    let found = answer(&store);
    for (key, kept) in kept_at_day_100() {
        let samples = found.get(&key).map(Vec::as_slice).unwrap_or_default();
        let has = kept.iter().all(|sample| samples.contains(sample));
        assert!(has, "before step {step}: {key:?} has {samples:?}");
    }
    store.run().unwrap();
    let is_done = || answer(&store) == kept_at_day_100() && is_tidy(dir, &store);
    wait_until("what is past retention is gone, and nothing else", is_done);
    store.stop().unwrap();
    drop(store);
    assert_eq!(answer(&open_at_day_100(dir)), kept_at_day_100(), "before step {step}, after another start");
}

#[test]
fn retention_that_is_killed_before_any_step_is_ended_and_takes_nothing_else() {
    let begun = tempfile::tempdir().unwrap();
    begin_retention(begun.path());
    kill_before_each_step("expire", begun.path(), end_retention);
}
