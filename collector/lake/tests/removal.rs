//! Removal of a tenant through the door: from the buffer and from files, with nothing of it left on disk, and nothing
//! else gone.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::*;
use opentelemetry_proto::tonic::trace::v1::Span;
use tenantscope_lake::{Lake, LakeRemoval, Options, TableRemoval, TimeRange, UpTo};
use tenantscope_model::{Position, Scope, Sink};

const SPANS_TRACE: u8 = 7;

fn span_of(id: u8) -> Vec<Span> {
    vec![span(SPANS_TRACE, id, 0, "work", base_ns(), 5)]
}

fn up_to(position: u64) -> UpTo {
    UpTo { logs: Position(position), spans: Position(position) }
}

/// A tenant that goes, whose service names say so, and one that stays: alone and together in files, and in the buffer.
fn fill(lake: &Lake) {
    let base = base_ns();
    put(&lake.logs(), 1, logs("goner", "goner-alone", &[(base, "line of goner")]));
    put(&lake.spans(), 1, spans("goner", "goner-alone", span_of(1)));
    lake.flush().unwrap();
    put(&lake.logs(), 2, logs("goner", "goner-beside", &[(base + 1, "line of goner")]));
    put(&lake.logs(), 3, logs("stayer", "shop", &[(base + 2, "kept"), (base + 3, "kept")]));
    put(&lake.spans(), 2, spans("goner", "goner-beside", span_of(2)));
    put(&lake.spans(), 3, spans("stayer", "shop", span_of(3)));
    lake.flush().unwrap();
    put(&lake.logs(), 4, logs("stayer", "shop", &[(base + 4, "kept alone")]));
    lake.flush().unwrap();
    put(&lake.logs(), 5, logs("goner", "goner-buffered", &[(base + 5, "line of goner")]));
    put(&lake.logs(), 6, logs("zz-last", "shop", &[(base + 6, "kept buffered")]));
    put(&lake.spans(), 4, spans("goner", "goner-buffered", span_of(4)));
}

async fn spans_of(lake: &Lake, scope: &Scope) -> usize {
    let trace = lake.trace(scope, &[SPANS_TRACE; 16], TimeRange::ALL).await.unwrap();
    trace.map_or(0, |trace| trace.resource_spans.iter().flat_map(|of| &of.scope_spans).flat_map(|of| &of.spans).count())
}

async fn holds_what_stays(lake: &Lake) {
    assert_eq!(lines(lake, &Scope::All, "{}").await, ["kept", "kept", "kept alone", "kept buffered"]);
    assert_eq!((spans_of(lake, &Scope::All).await, spans_of(lake, &only("stayer")).await), (1, 1));
}

#[tokio::test]
async fn nothing_of_a_removed_tenant_is_left_on_disk_and_nothing_else_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path());
    fill(&lake);
    assert_ne!(files_with(dir.path(), "goner"), [""; 0]);
    let removal = lake.remove_tenant(&tenant("goner"), up_to(5)).unwrap();
    let LakeRemoval { logs: of_logs, spans: of_spans } = &removal;
    assert_eq!((of_logs.position, of_logs.rows, of_logs.files_rewritten, of_logs.files_deleted), (6, 3, 2, 3));
    assert_eq!((of_spans.position, of_spans.rows, of_spans.files_rewritten, of_spans.files_deleted), (5, 3, 1, 3));
    assert!(of_logs.deleted_bytes > of_logs.written_bytes && of_logs.written_bytes > 0, "{removal:?}");
    let told = serde_json::to_value(&removal).unwrap();
    assert_eq!(told["logs"]["rows"], 3);

    holds_what_stays(&lake).await;
    assert_eq!(files_with(dir.path(), "goner"), [""; 0]);
    drop(lake);
    let lake = open(dir.path());
    holds_what_stays(&lake).await;
    assert_eq!(files_with(dir.path(), "goner"), [""; 0]);
    assert_eq!(lake.logs().durable(), Position(6), "and is not asked to replay");
}

/// What compaction and retention took out of the table waits for queries; its statistics wait in the log.
#[tokio::test]
async fn files_and_log_entries_that_are_dead_already_go_too() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { compact_files: 2, ..options() };
    let lake = Lake::open(dir.path(), JOURNALS, options).unwrap();
    for n in 1..=60 {
        put(&lake.logs(), n, logs("goner", "goner-alone", &[(base_ns() + n as i64, "line of goner")]));
        lake.flush().unwrap();
    }
    put(&lake.logs(), 61, logs("stayer", "shop", &[(base_ns(), "kept")]));
    lake.maintain();
    let removal = lake.remove_tenant(&tenant("goner"), up_to(61)).unwrap();
    assert_eq!((removal.logs.rows, removal.logs.files_deleted), (60, 61), "60 that were merged, and what they became");
    assert_eq!(files_with(dir.path(), "goner"), [""; 0]);
    put(&lake.logs(), 62, logs("stayer", "shop", &[(base_ns() + 1, "later")]));
    lake.flush().unwrap();
    drop(lake);
    assert_eq!(lines(&open(dir.path()), &Scope::All, "{}").await, ["kept", "later"]);
}

#[tokio::test]
async fn a_later_tenant_of_the_same_name_keeps_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path());
    fill(&lake);
    assert!(!lake.is_removal_in_force(&tenant("goner"), up_to(6)));
    lake.remove_tenant(&tenant("goner"), up_to(6)).unwrap();
    let in_force = |position| lake.is_removal_in_force(&tenant("goner"), up_to(position));
    assert!(in_force(6) && !in_force(7));
    put(&lake.logs(), 7, logs("goner", "shop", &[(base_ns(), "of the newcomer")]));
    for flushed in [false, true] {
        if flushed {
            lake.flush().unwrap();
        }
        // As a start that finds the removal in its record does.
        let again = lake.remove_tenant(&tenant("goner"), up_to(6)).unwrap();
        assert_eq!(again.logs, TableRemoval { position: 6, ..TableRemoval::default() });
        assert_eq!(lines(&lake, &only("goner"), "{}").await, ["of the newcomer"]);
    }
    drop(lake);
    let lake = open(dir.path());
    lake.remove_tenant(&tenant("goner"), up_to(6)).unwrap();
    assert_eq!(lines(&lake, &only("goner"), "{}").await, ["of the newcomer"]);
    assert_eq!(lake.remove_tenant(&tenant("goner"), up_to(7)).unwrap().logs.rows, 1);
    assert!(lines(&lake, &only("goner"), "{}").await.is_empty());
}

#[tokio::test]
async fn a_replay_does_not_bring_a_removed_tenant_back() {
    let dir = tempfile::tempdir().unwrap();
    let base = base_ns();
    let journal = |position: u64| match position {
        1 | 3 | 5 => logs("goner", "goner-replayed", &[(base + position as i64, "line of goner")]),
        _ => logs("stayer", "shop", &[(base + position as i64, "kept")]),
    };
    let replay = |lake: &Lake, from: u64, to: u64| {
        for position in from..=to {
            lake.logs().apply(lake.logs().prepare_replay(journal(position)), Position(position));
        }
    };
    let lake = open(dir.path());
    replay(&lake, 1, 2);
    // Asked for at a start, before the replay, up to a position that the lake has not seen.
    lake.remove_tenant(&tenant("goner"), up_to(4)).unwrap();
    replay(&lake, 3, 3);
    // As kill -9 leaves it.
    std::mem::forget(lake);
    let lake = open(dir.path());
    replay(&lake, 3, 5);
    assert_eq!(lines(&lake, &only("goner"), "{}").await, ["line of goner"], "behind the position it is another tenant");
    assert_eq!(lines(&lake, &only("stayer"), "{}").await, ["kept", "kept"]);
    lake.flush().unwrap();
    lake.remove_tenant(&tenant("goner"), up_to(5)).unwrap();
    assert_eq!(files_with(dir.path(), "goner"), [""; 0], "the note about it is gone as well");
}

#[tokio::test]
async fn flushes_and_compactions_beside_a_removal_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { compact_files: 2, removed_grace: Duration::ZERO, ..options() };
    let lake = Lake::open(dir.path(), JOURNALS, options).unwrap();
    let base = base_ns();
    for n in 1..=20 {
        let batch = if n % 2 == 0 { "goner" } else { "stayer" };
        put(&lake.logs(), n, logs(batch, &format!("{batch}-x"), &[(base + n as i64, "before")]));
        if n % 5 == 0 {
            lake.flush().unwrap();
        }
    }
    std::thread::scope(|scope| {
        let removal = scope.spawn(|| lake.remove_tenant(&tenant("goner"), up_to(20)).unwrap());
        for n in 21..=60 {
            put(&lake.logs(), n, logs("stayer", "stayer-x", &[(base + n as i64, "beside")]));
            lake.flush().unwrap();
            lake.maintain();
        }
        assert_eq!(removal.join().unwrap().logs.rows, 10);
    });
    assert_eq!(lines(&lake, &Scope::All, "{}").await.len(), 50);
    assert_eq!(files_with(dir.path(), "goner"), [""; 0]);
}
