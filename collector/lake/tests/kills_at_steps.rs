//! kill -9 before each durable step of a tenant's removal: the lake opens, has what is to be kept, and ends by itself what
//! was begun.
//!
//! The steps are counted by a library preloaded into the test's own program, which runs once more for each of them.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use tenantscope_lake::{Lake, TimeRange, UpTo};
use tenantscope_model::{Position, Scope, Sink, StampedBatch};

const DIR: &str = "TENANTSCOPE_TEST_KILLED_DIR";
/// Programs that run at a time: each waits for the disk most of the time.
const AT_ONCE: usize = 4;
/// More than a removal has.
const MAX_STEPS: usize = 400;
const SIGKILL: i32 = 9;
/// How long something may take that takes seconds.
const PATIENCE: Duration = Duration::from_secs(120);
const LINE: &str = "line of goner";

/// Both journals, from their first position on; times are those of the day, so that nothing is past retention.
fn journal(signal: &str, position: u64) -> StampedBatch {
    let tenant = if position.is_multiple_of(2) { "goner" } else { "stayer" };
    let service = format!("{tenant}-x");
    match signal {
        "logs" => logs(tenant, &service, &[(base_ns(), if tenant == "goner" { LINE } else { "kept" })]),
        _ => spans(tenant, &service, vec![span(7, position as u8, 0, "work", base_ns(), 5)]),
    }
}

const JOURNAL_END: u64 = 6;
/// Up to here it is in files.
const FLUSHED: [u64; 2] = [2, 4];

fn up_to() -> UpTo {
    UpTo { logs: Position(JOURNAL_END), spans: Position(JOURNAL_END) }
}

fn replay(lake: &Lake) {
    for (signal, store) in [("logs", lake.logs()), ("spans", lake.spans())] {
        for position in store.durable().0 + 1..=JOURNAL_END {
            store.apply(store.prepare_replay(journal(signal, position)), Position(position));
        }
    }
}

fn begin(dir: &Path) {
    let lake = open(dir);
    for position in 1..=FLUSHED[1] {
        for (signal, store) in [("logs", lake.logs()), ("spans", lake.spans())] {
            put(&store, position, journal(signal, position));
        }
        if FLUSHED.contains(&position) {
            lake.flush().unwrap();
        }
    }
    lake.close();
}

#[test]
fn remove_a_tenant() {
    // Only in the program that is killed.
    let Some(dir) = std::env::var_os(DIR) else { return };
    let lake = open(Path::new(&dir));
    replay(&lake);
    let removal = lake.remove_tenant(&tenant("goner"), up_to()).unwrap();
    assert_eq!((removal.logs.rows, removal.spans.rows), (3, 3), "{removal:?}");
    std::mem::forget(lake);
}

async fn spans_of(lake: &Lake, id: &str) -> usize {
    let trace = lake.trace(&only(id), &[7; 16], TimeRange::ALL).await.unwrap();
    trace.map_or(0, |trace| trace.resource_spans.iter().flat_map(|of| &of.scope_spans).flat_map(|of| &of.spans).count())
}

fn is_pending(dir: &Path) -> bool {
    let note = |signal: &str| std::fs::read_to_string(dir.join(format!("{signal}.removals"))).unwrap_or_default();
    note("logs").contains("pending") || note("spans").contains("pending")
}

async fn look_at(dir: &Path, step: usize) {
    let was_begun = is_pending(dir);
    let lake = open(dir);
    if was_begun {
        // Nobody calls again.
        let begun = Instant::now();
        while is_pending(dir) {
            assert!(begun.elapsed() < PATIENCE, "before step {step}: it does not go on by itself");
            thread::sleep(Duration::from_millis(10));
        }
    }
    replay(&lake);
    assert_eq!(lines(&lake, &only("stayer"), "{}").await, ["kept"; 3], "before step {step}");
    assert_eq!(spans_of(&lake, "stayer").await, 3, "before step {step}");
    // As the server does for each removal in its record.
    lake.remove_tenant(&tenant("goner"), up_to()).unwrap();
    put(&lake.logs(), JOURNAL_END + 1, logs("stayer", "shop", &[(base_ns(), "later")]));
    put(&lake.spans(), JOURNAL_END + 1, journal("spans", 1));
    lake.close();
    drop(lake);
    assert_eq!(files_with(dir, "goner"), [""; 0], "before step {step}");
    let lake = open(dir);
    let found = lines(&lake, &Scope::All, "{}").await;
    assert_eq!((found.len(), found.iter().filter(|line| *line == "kept").count()), (4, 3), "before step {step}");
    assert_eq!((spans_of(&lake, "goner").await, spans_of(&lake, "stayer").await), (0, 3), "before step {step}");
}

#[test]
fn a_removal_that_is_killed_before_any_step_is_ended_and_takes_nothing_else() {
    let begun = tempfile::tempdir().unwrap();
    begin(begun.path());
    assert_ne!(files_with(begun.path(), "goner"), [""; 0]);
    let tools = tempfile::tempdir().unwrap();
    // Without a C compiler nobody counts the steps.
    let Some(library) = preloadable(tools.path()) else { return };
    let next = AtomicUsize::new(1);
    thread::scope(|scope| {
        let worker = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            loop {
                let step = next.fetch_add(1, Ordering::Relaxed);
                assert!(step < MAX_STEPS, "it never comes to its end");
                let dir = tempfile::tempdir().unwrap();
                copy_folder(begun.path(), dir.path());
                let ended = run_until(dir.path(), &library, step);
                assert!(ended.success() || ended.signal() == Some(SIGKILL), "before step {step}: {ended}");
                runtime.block_on(look_at(dir.path(), step));
                if ended.success() {
                    assert!(step > 20, "it has steps");
                    return;
                }
            }
        };
        (0..AT_ONCE).for_each(|_| drop(scope.spawn(worker)));
    });
}

fn run_until(dir: &Path, library: &Path, step: usize) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "remove_a_tenant"])
        .env(DIR, dir)
        .env("LD_PRELOAD", library)
        .env("DIE_BEFORE_STEP", step.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
}

/// The library with which the metric store's removal is killed, too.
fn preloadable(dir: &Path) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../metrics/tests/die_before_step.c");
    let library = dir.join("preloaded.so");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    made.is_ok_and(|status| status.success()).then_some(library)
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            let _ = std::fs::copy(&path, &target).unwrap();
        }
    }
}
