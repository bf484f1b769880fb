//! When a segment goes. The last segment never does: it carries the next position over a restart.

use std::fs;
use std::time::{Duration, SystemTime};

use crate::folder::{SegmentFile, sync_folder};
use crate::telemetry::Telemetry;
use crate::{Shared, cursor};

/// Deletes the segments that every cursor has passed. Without a cursor nothing is deleted.
pub(crate) fn free_passed(shared: &Shared) {
    let Some(passed) = shared.cursors.lock().values().min().copied() else {
        return;
    };
    let mut freed = Vec::new();
    {
        let mut segments = shared.segments.lock();
        while let Some((first, last)) = oldest(&segments) {
            if last > passed {
                break;
            }
            freed.extend(segments.remove(&first).map(|segment| (first, segment)));
        }
    }
    delete(shared, &freed);
}

/// Drops the oldest segment that may go, and moves the cursors that stood in it. False when only the last is left.
pub(crate) fn drop_oldest(shared: &Shared) -> bool {
    let Some((first, last)) = oldest(&shared.segments.lock()) else {
        return false;
    };
    let behind: Vec<(String, u64)> =
        shared.cursors.lock().iter().filter(|(_, at)| **at < last).map(|(n, at)| (n.clone(), *at)).collect();
    let slowest = behind.iter().map(|(_, at)| *at).min();
    let no_cursor = shared.cursors.lock().is_empty();
    for (name, _) in &behind {
        if let Err(error) = cursor::move_forward(shared, name, last) {
            // The segment goes all the same; the reader finds the gap when it gets there.
            tracing::error!(cursor = name, %error, "cursor could not be moved past a dropped segment");
        }
    }
    let lost_from = slowest.map(|at| at.max(first.saturating_sub(1)));
    let lost = match lost_from {
        Some(at) => last.saturating_sub(at),
        None if no_cursor => last.saturating_sub(first.saturating_sub(1)),
        None => 0,
    };
    shared.count_dropped(lost);
    if lost > 0 {
        tracing::warn!(journal = %shared.dir.display(), records = lost, first, last, "dropped the oldest segment");
    }
    let removed = shared.segments.lock().remove(&first);
    delete(shared, &removed.map(|segment| (first, segment)).into_iter().collect::<Vec<_>>());
    true
}

/// Drops the segments, but the last, that were last written before `now - max_age`.
pub(crate) fn drop_aged(shared: &Shared, max_age: Duration, now: SystemTime) {
    loop {
        let aged = {
            let segments = shared.segments.lock();
            let written = segments.values().next().map(|segment| segment.last_written);
            segments.len() > 1 && written.is_some_and(|at| is_older(at, max_age, now))
        };
        if !aged || !drop_oldest(shared) {
            return;
        }
    }
}

/// Whether `at` lies more than `age` before `now`; a clock that went back makes nothing old.
pub(crate) fn is_older(at: SystemTime, age: Duration, now: SystemTime) -> bool {
    now.duration_since(at).is_ok_and(|elapsed| elapsed > age)
}

/// First and last position of the oldest segment, unless it is the only one.
fn oldest(segments: &std::collections::BTreeMap<u64, SegmentFile>) -> Option<(u64, u64)> {
    let mut firsts = segments.keys();
    let first = *firsts.next()?;
    let next = *firsts.next()?;
    Some((first, next.saturating_sub(1)))
}

fn delete(shared: &Shared, segments: &[(u64, SegmentFile)]) {
    if segments.is_empty() {
        return;
    }
    for (first, segment) in segments {
        shared.total_bytes.fetch_sub(segment.bytes, std::sync::atomic::Ordering::AcqRel);
        shared.forget_damage(*first);
        if let Err(error) = fs::remove_file(&segment.path) {
            tracing::error!(segment = %segment.path.display(), %error, "segment could not be deleted");
        }
    }
    // Not needed for safety: a segment that comes back after a crash is freed again at open.
    if let Err(error) = sync_folder(&shared.dir) {
        tracing::warn!(journal = %shared.dir.display(), %error, "folder could not be synced");
    }
    Telemetry::get().set_size(shared.name(), shared.total_bytes());
}
