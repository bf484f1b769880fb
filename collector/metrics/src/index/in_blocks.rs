//! Series that blocks in memory hold, and what the index takes for those that nothing else does.

use std::sync::Arc;

use hashbrown::HashMap;
use tenantscope_model::Labels;

use super::{Identity, Index, NumbersSpent, SERIES_BYTES};
use crate::series::{Series, SeriesId};

/// Bytes of an entry of the table: number, entry, and its share of what is free.
const ENTRY_BYTES: usize = 16;

/// Which series sections of blocks hold. Kept apart from the series, of which most are in no section.
#[derive(Debug, Default)]
pub(super) struct InBlocks {
    held: HashMap<SeriesId, Held>,
    /// Of all series that only sections hold.
    alone_bytes: usize,
}

#[derive(Debug, Default, Clone, Copy)]
struct Held {
    sections: u32,
    /// What was counted for the series when it was left to blocks; 0 as long as memory or a part holds it, too.
    alone_bytes: u32,
}

impl InBlocks {
    /// About what the table takes, and the series that nothing else holds.
    pub(super) fn bytes(&self) -> usize {
        self.table_bytes() + self.alone_bytes
    }

    pub(super) fn table_bytes(&self) -> usize {
        self.held.len() * ENTRY_BYTES
    }

    fn holds(&self, id: SeriesId) -> bool {
        self.held.contains_key(&id)
    }

    fn join(&mut self, id: SeriesId) {
        self.held.entry(id).or_default().sections += 1;
    }

    /// One section less holds the series; says whether it was the last.
    fn leave(&mut self, id: SeriesId) -> bool {
        let Some(held) = self.held.get_mut(&id) else { return false };
        held.sections -= 1;
        if held.sections > 0 {
            return false;
        }
        self.alone_bytes -= held.alone_bytes as usize;
        self.held.remove(&id);
        self.held.shrink_to(self.held.len() * 4);
        true
    }

    /// Counts the series with these bytes from now on; with none once something else holds it.
    fn count(&mut self, id: SeriesId, bytes: usize) {
        let Some(held) = self.held.get_mut(&id) else { return };
        self.alone_bytes -= held.alone_bytes as usize;
        held.alone_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.alone_bytes += held.alone_bytes as usize;
    }
}

impl Index {
    /// The series with these labels, made where there is none, which one section more holds from now on.
    pub(crate) fn join_blocks(&mut self, identity: Identity, labels: &Labels) -> Result<Arc<Series>, NumbersSpent> {
        let before = self.len();
        let series = self.take(identity, labels)?;
        self.in_blocks.join(series.id());
        if self.len() > before {
            self.leave_to_blocks(&series);
        }
        Ok(series)
    }

    /// One section less holds the series, which goes if nothing else does.
    pub(crate) fn leave_blocks(&mut self, id: SeriesId) {
        if self.in_blocks.leave(id) {
            self.forget(id);
        }
    }

    /// Neither memory nor a part holds the series, as it seems: it goes, or is left to the sections that hold it.
    pub(crate) fn forget(&mut self, id: SeriesId) {
        let Some(series) = self.get(id).map(Arc::clone) else { return };
        if self.in_blocks.holds(id) {
            self.leave_to_blocks(&series);
        } else if series.remove_if_unused() {
            self.remove(id);
        }
    }

    fn leave_to_blocks(&mut self, series: &Series) {
        if series.leave_to_blocks_if_unused() {
            let bytes = self.bytes_of(series);
            self.in_blocks.count(series.id(), bytes);
        }
    }

    /// These series were written to: they are no longer held by blocks alone.
    pub(crate) fn take_from_blocks(&mut self, ids: &[SeriesId]) {
        for id in ids {
            if !self.get(*id).is_some_and(|series| series.is_in_blocks_alone()) {
                self.in_blocks.count(*id, 0);
            }
        }
    }

    /// About what would go with a series: the strings that only it has, too.
    fn bytes_of(&self, series: &Series) -> usize {
        let own = series.values().iter().map(|value| 10 + self.symbols.bytes_of_last_use(*value));
        SERIES_BYTES + own.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use tenantscope_model::{Sample, StampedSeries};

    use super::super::hash_labels;
    use super::*;

    fn labels(pod: usize) -> Labels {
        Labels::from_pairs([("__name__", "up"), ("pod", &format!("shop-{pod:05}"))])
    }

    /// One section more has the series of these pods.
    fn join(index: &mut Index, pods: std::ops::Range<usize>) -> Vec<Arc<Series>> {
        let identities = index.hasher();
        pods.map(|pod| index.join_blocks(hash_labels(&identities, &labels(pod)), &labels(pod)).unwrap()).collect()
    }

    fn leave(index: &mut Index, series: &[Arc<Series>]) {
        series.iter().for_each(|series| index.leave_blocks(series.id()));
    }

    fn written(pod: usize) -> StampedSeries {
        StampedSeries::of_samples(labels(pod), vec![Sample { t_ms: 1, value: 1.0 }])
    }

    #[test]
    fn series_of_two_sections_count_until_the_last_one_goes() {
        let mut index = Index::default();
        let first = join(&mut index, 0..1000);
        let after_first = index.bytes_of_blocks();
        assert!(after_first > 1000 * SERIES_BYTES);
        let second = join(&mut index, 0..1000);
        assert_eq!(index.bytes_of_blocks(), after_first, "they are there once");
        leave(&mut index, &first);
        assert_eq!((index.len(), index.bytes_of_blocks()), (1000, after_first));
        leave(&mut index, &second);
        assert_eq!((index.len(), index.bytes_of_blocks()), (0, 0));
    }

    #[test]
    fn series_that_are_written_to_are_the_writers_until_memory_and_parts_lose_them() {
        let mut index = Index::default();
        let series = join(&mut index, 0..1000);
        let alone = index.bytes_of_blocks();
        for (pod, series) in series.iter().enumerate().take(400) {
            assert!(series.write(0, &written(pod)).unwrap().was_in_blocks_alone);
            assert!(!series.write(0, &written(pod)).unwrap().was_in_blocks_alone);
            index.take_from_blocks(&[series.id()]);
        }
        let of_writers = index.bytes();
        assert!(index.bytes_of_blocks() < alone * 2 / 3);
        for series in series.iter().take(400) {
            index.forget(series.id());
        }
        assert_eq!(index.bytes(), of_writers, "memory holds them");
        for series in series.iter().take(400) {
            series.freeze(0, &mut Vec::new());
            series.thaw();
            index.forget(series.id());
        }
        assert_eq!(index.len(), 1000);
        assert!(index.bytes_of_blocks().abs_diff(alone) < 100, "one of them alone had the metric's name at first");
        series.iter().take(400).for_each(|series| series.write(1, &written(0)).map(drop).unwrap());
        leave(&mut index, &series);
        assert_eq!((index.len(), index.bytes_of_blocks()), (400, 0));
        index.take_from_blocks(&series.iter().map(|series| series.id()).collect::<Vec<_>>());
        assert_eq!(index.bytes_of_blocks(), 0);
    }
}
