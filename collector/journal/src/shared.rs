use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::folder::SegmentFile;
use crate::segment::{Damage, HEADER_BYTES};
use crate::telemetry::{Telemetry, journal_label};
use crate::{Options, WhenFull};

/// What writer, readers and cursors share. No lock is held while another one is taken, but for `cursor_writes`,
/// which is taken first.
pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) id: u128,
    pub(crate) options: Options,
    /// The segments by first position; only the last one is written to.
    pub(crate) segments: Mutex<BTreeMap<u64, SegmentFile>>,
    /// Durable positions of the cursors, by name.
    pub(crate) cursors: Mutex<BTreeMap<String, u64>>,
    /// Held while a cursor's file is replaced.
    pub(crate) cursor_writes: Mutex<()>,
    pub(crate) end: watch::Sender<u64>,
    pub(crate) total_bytes: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) damaged: AtomicU64,
    pub(crate) lost: AtomicU64,
    /// Damage that was reported already: first position of the segment, and offset.
    reported: Mutex<BTreeSet<(u64, u64)>>,
    name: &'static str,
    /// Keeps other processes out for as long as a handle, reader or cursor lives.
    _lock: File,
}

/// Damaged places that are remembered; past that they may be counted again when they are read again.
const MAX_REPORTED: usize = 4096;

impl Shared {
    pub(crate) fn new(
        dir: PathBuf,
        lock: File,
        id: u128,
        options: Options,
        segments: BTreeMap<u64, SegmentFile>,
        cursors: BTreeMap<String, u64>,
        end: u64,
    ) -> Self {
        let total_bytes = segments.values().map(|segment| segment.bytes).sum();
        Self {
            name: journal_label(&dir),
            dir,
            id,
            options: options.clamped(),
            segments: Mutex::new(segments),
            cursors: Mutex::new(cursors),
            cursor_writes: Mutex::new(()),
            end: watch::Sender::new(end),
            total_bytes: AtomicU64::new(total_bytes),
            dropped: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            reported: Mutex::new(BTreeSet::new()),
            _lock: lock,
        }
    }

    /// The journal's label in metrics.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Lists a new segment; gives the one of that name, whose file it replaced.
    pub(crate) fn list_segment(&self, first: u64, mut segment: SegmentFile) -> Option<SegmentFile> {
        let mut segments = self.segments.lock();
        segment.generation = segments.get(&first).map_or(0, |replaced| replaced.generation + 1);
        segments.insert(first, segment)
    }

    /// The last durable position.
    pub(crate) fn end(&self) -> u64 {
        *self.end.borrow()
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        self.total_bytes.load(Ordering::Acquire)
    }

    /// How old a segment may grow, if old ones may be dropped at all.
    pub(crate) fn drop_age(&self) -> Option<Duration> {
        self.options.max_age.filter(|_| self.options.when_full == WhenFull::DropOldest)
    }

    /// Whether nobody needs anything that is in the journal now.
    pub(crate) fn all_passed(&self) -> bool {
        let end = self.end();
        self.cursors.lock().values().min().is_some_and(|passed| *passed >= end)
    }

    /// Whether so many bytes more keep the journal within `max_bytes`, once passed segments are freed.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        let max_bytes = self.options.max_bytes;
        self.total_bytes() + bytes <= max_bytes || (self.all_passed() && HEADER_BYTES as u64 + bytes <= max_bytes)
    }

    pub(crate) fn count_dropped(&self, records: u64) {
        self.dropped.fetch_add(records, Ordering::Relaxed);
        Telemetry::get().dropped(self.name, records);
    }

    /// Logs and counts a damaged place, the first time that it is met.
    pub(crate) fn report_damage(&self, first: u64, damage: &Damage) {
        let Damage { offset, bytes, .. } = *damage;
        if bytes == 0 {
            return;
        }
        {
            let mut reported = self.reported.lock();
            if reported.contains(&(first, offset)) {
                return;
            }
            if reported.len() < MAX_REPORTED {
                reported.insert((first, offset));
            }
        }
        let lost = damage.lost();
        let records = lost.map_or(0, |(first, last)| last - first + 1);
        self.damaged.fetch_add(bytes, Ordering::Relaxed);
        self.lost.fetch_add(records, Ordering::Relaxed);
        Telemetry::get().damaged(self.name, bytes, records);
        let segment = crate::folder::segment_path(&self.dir, first);
        let (first_lost, last_lost) = lost.unzip();
        tracing::error!(
            segment = %segment.display(), offset, bytes, first_lost, last_lost, "skipped damage in a journal segment"
        );
    }

    pub(crate) fn forget_damage(&self, first: u64) {
        self.reported.lock().retain(|(segment, _)| *segment != first);
    }
}
