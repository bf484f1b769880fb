//! How far back an instant selector must look, at most, because of series' cadences. Each series has its own look-back, but
//! which blocks may hold a series has to be known before the series are.
//!
//! What memory and parts hold counts as long as they hold it. Of what became blocks there is a record by day in `MANIFEST`,
//! which counts for readers whom its look-back reaches, and goes with the day's last block. So what one sender claims of
//! its series costs readers of that time, and no others.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::block::BlockFile;
use crate::columns::TimeRange;
use crate::part::Part;
use crate::store::{Applied, MetricStore};

const DAY_MS: i64 = 86_400_000;
/// Past so many records the oldest become one.
const MAX_RECORDS: usize = 1024;

/// How far back blocks of some days have to be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlockLookback {
    /// First time of the days.
    pub(crate) from_ms: i64,
    /// First time after them.
    pub(crate) until_ms: i64,
    /// Over the cadences of the series that their blocks may hold.
    pub(crate) lookback_ms: i64,
}

/// What readers go by.
#[derive(Debug, Default)]
pub(crate) struct Lookbacks {
    /// Over the cadences of the series that memory and parts hold. Changed by who holds `Applied`'s lock.
    live_ms: AtomicI64,
    /// As in `MANIFEST`.
    blocks: RwLock<Arc<Vec<BlockLookback>>>,
}

impl Lookbacks {
    pub(crate) fn new(parts: &[Arc<Part>], blocks: &[BlockLookback]) -> Self {
        let live_ms = AtomicI64::new(widest_of(parts));
        Self { live_ms, blocks: RwLock::new(Arc::new(blocks.to_vec())) }
    }

    pub(crate) fn live_ms(&self) -> i64 {
        self.live_ms.load(Ordering::Acquire)
    }

    /// A series that is about to be written has this look-back. The caller holds `Applied`'s lock.
    pub(crate) fn raise_live(&self, lookback_ms: i64) {
        self.live_ms.fetch_max(lookback_ms, Ordering::AcqRel);
    }

    pub(crate) fn set_blocks(&self, records: &[BlockLookback]) {
        let mut blocks = self.blocks.write();
        if **blocks != *records {
            *blocks = Arc::new(records.to_vec());
        }
    }
}

impl MetricStore {
    /// How far back a reader of a range looks for series, at most, whatever their cadences are.
    pub(crate) fn widest_lookback_ms(&self, range: TimeRange, lookback_ms: i64) -> i64 {
        let reach = |record: &&BlockLookback| {
            record.from_ms <= range.max_ms && record.until_ms.saturating_add(record.lookback_ms) > range.min_ms
        };
        let records = Arc::clone(&self.lookbacks.blocks.read());
        let of_blocks = records.iter().filter(reach).map(|record| record.lookback_ms).max().unwrap_or(0);
        lookback_ms.max(of_blocks).max(self.lookbacks.live_ms())
    }

    /// Something may have left memory or parts: what is left counts.
    pub(crate) fn recount_lookback(&self) {
        let applied = self.applied.lock();
        self.recount_lookback_of(&applied);
    }

    /// What a flush has written leaves memory.
    pub(crate) fn forget_frozen_lookback(&self) {
        let mut applied = self.applied.lock();
        applied.frozen_lookback_ms = 0;
        self.recount_lookback_of(&applied);
    }

    fn recount_lookback_of(&self, applied: &Applied) {
        let in_memory = applied.lookback_ms.max(applied.frozen_lookback_ms);
        self.lookbacks.live_ms.store(in_memory.max(widest_of(&self.parts())), Ordering::Release);
    }
}

fn widest_of(parts: &[Arc<Part>]) -> i64 {
    parts.iter().map(|part| part.lookback_ms()).max().unwrap_or(0)
}

/// The blocks of these windows may hold series with a look-back.
pub(crate) fn raise(records: &mut Vec<BlockLookback>, windows_ms: impl Iterator<Item = i64>, lookback_ms: i64) {
    for window_ms in windows_ms.filter(|_| lookback_ms > 0) {
        let from_ms = window_ms.div_euclid(DAY_MS).saturating_mul(DAY_MS);
        let until_ms = from_ms.saturating_add(DAY_MS);
        let is_known = |record: &BlockLookback| {
            record.from_ms <= from_ms && until_ms <= record.until_ms && record.lookback_ms >= lookback_ms
        };
        if !records.iter().any(is_known) {
            records.retain(|record| (record.from_ms, record.until_ms) != (from_ms, until_ms));
            records.push(BlockLookback { from_ms, until_ms, lookback_ms });
        }
    }
    records.sort_by_key(|record| (record.from_ms, record.until_ms));
    // Days that follow each other mostly have the same.
    records.dedup_by(|next, record| {
        let goes_on = record.until_ms == next.from_ms && record.lookback_ms == next.lookback_ms;
        if goes_on {
            record.until_ms = next.until_ms;
        }
        goes_on
    });
    while records.len() > MAX_RECORDS {
        let oldest = records.remove(0);
        if let Some(next) = records.first_mut() {
            next.from_ms = oldest.from_ms;
            next.until_ms = next.until_ms.max(oldest.until_ms);
            next.lookback_ms = next.lookback_ms.max(oldest.lookback_ms);
        }
    }
}

/// Drops the records of days that have no block any more.
pub(crate) fn retain_of(records: &mut Vec<BlockLookback>, blocks: &[Arc<BlockFile>]) {
    retain_overlapping(records, |range| blocks.iter().any(|file| file.range().overlaps(range)));
}

fn retain_overlapping(records: &mut Vec<BlockLookback>, is_held: impl Fn(TimeRange) -> bool) {
    records.retain(|record| is_held(TimeRange { min_ms: record.from_ms, max_ms: record.until_ms.saturating_sub(1) }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(from_day: i64, until_day: i64, lookback_ms: i64) -> BlockLookback {
        BlockLookback { from_ms: from_day * DAY_MS, until_ms: until_day * DAY_MS, lookback_ms }
    }

    #[test]
    fn days_of_one_look_back_are_one_record_and_a_wider_day_is_its_own() {
        let mut records = Vec::new();
        for day in [0, 1, 2] {
            raise(&mut records, [day * DAY_MS + 7_200_000].into_iter(), 600);
        }
        assert_eq!(records, [record(0, 3, 600)]);
        raise(&mut records, [DAY_MS].into_iter(), 900);
        raise(&mut records, [DAY_MS].into_iter(), 500);
        raise(&mut records, [5 * DAY_MS].into_iter(), 0);
        assert_eq!(records, [record(0, 3, 600), record(1, 2, 900)]);
    }

    #[test]
    fn a_day_without_blocks_is_forgotten() {
        let mut records = vec![record(0, 3, 600), record(5, 6, 900)];
        retain_overlapping(&mut records, |range| {
            range.overlaps(TimeRange { min_ms: 2 * DAY_MS, max_ms: 5 * DAY_MS - 1 })
        });
        assert_eq!(records, [record(0, 3, 600)]);
    }

    #[test]
    fn there_are_never_more_records_than_so_many() {
        let mut records = Vec::new();
        let days = 0..MAX_RECORDS as i64 + 10;
        // Every other day, so that none follows the one before.
        days.clone().for_each(|day| raise(&mut records, [2 * day * DAY_MS].into_iter(), 600 + day));
        assert_eq!(records.len(), MAX_RECORDS);
        assert_eq!(records.first(), Some(&record(0, 2 * 10 + 1, 610)));
    }
}
