//! A flush whose commit happened although it seemed to fail, and more rows before the next try: nothing is written twice.
//!
//! The fsync of the log fails by a library preloaded into the test's own program, which runs once more for it.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::Path;
use std::process::Command;

use common::*;
use tenantscope_model::{Position, Scope, Sink};

const FAULT: &str = "FAULT_FILE";
const DIR: &str = "TENANTSCOPE_TEST_DOUBTFUL_DIR";

#[tokio::test]
async fn flush_with_a_log_that_cannot_be_synced() {
    // Only in the program that has the library.
    let (Some(dir), Some(fault)) = (std::env::var_os(DIR), std::env::var_os(FAULT)) else { return };
    let lake = open(Path::new(&dir));
    put(&lake.logs(), 1, logs("a", "shop", &[(base_ns(), "first")]));
    std::fs::write(&fault, "").unwrap();
    assert!(lake.flush().is_err(), "the fault is at work");
    put(&lake.logs(), 2, logs("a", "shop", &[(base_ns() + 1, "second")]));
    std::fs::remove_file(&fault).unwrap();
    lake.flush().unwrap();
    assert_eq!(lake.logs().durable(), Position(2));
    assert_eq!(lines(&lake, &Scope::All, "{}").await, ["first", "second"]);
}

#[test]
fn rows_of_a_commit_in_doubt_are_not_written_again() {
    let (dir, tools) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../metrics/tests/refuse_log_fsync.c");
    let library = tools.path().join("preloaded.so");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    // Without a C compiler nothing fails.
    if !made.is_ok_and(|status| status.success()) {
        return;
    }
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "flush_with_a_log_that_cannot_be_synced", "--nocapture"])
        .env(DIR, dir.path())
        .env(FAULT, tools.path().join("fault"))
        .env("LD_PRELOAD", &library)
        .output()
        .unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}
