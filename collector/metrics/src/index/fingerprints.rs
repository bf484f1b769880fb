//! Series by what their senders' texts look like, so that labels need not be made to find them.

use hashbrown::HashTable;
use tenantscope_model::Fingerprint;

use crate::series::SeriesId;

/// Entries beyond those that the series need, before the table is cleaned.
const SPARE: usize = 1 << 16;

/// 96 bits of a fingerprint, which is by chance as good as none alike, and its series.
#[derive(Debug, Clone, Copy)]
struct Known {
    low: u64,
    high: u32,
    id: SeriesId,
}

/// What is known of senders. It may be forgotten at any time.
#[derive(Debug, Default)]
pub(crate) struct Fingerprints(HashTable<Known>);

fn halves(fingerprint: Fingerprint) -> (u64, u32) {
    (fingerprint.0 as u64, (fingerprint.0 >> 64) as u32)
}

impl Fingerprints {
    /// The number of a series that perhaps is not there any more.
    pub(crate) fn find(&self, fingerprint: Fingerprint) -> Option<SeriesId> {
        let (low, high) = halves(fingerprint);
        self.0.find(low, |known| (known.low, known.high) == (low, high)).map(|known| known.id)
    }

    /// Takes one in. With more than a few for each of `series`, those of series that are gone leave; if that is not
    /// enough, all do.
    pub(crate) fn insert(
        &mut self,
        fingerprint: Fingerprint,
        id: SeriesId,
        series: usize,
        lives: impl Fn(SeriesId) -> bool,
    ) {
        if self.0.len() > series + series / 2 + SPARE {
            self.0.retain(|known| lives(known.id));
            if self.0.len() > series + series / 4 + SPARE {
                self.0.clear();
            }
        }
        let (low, high) = halves(fingerprint);
        match self.0.find_mut(low, |known| (known.low, known.high) == (low, high)) {
            Some(known) => known.id = id,
            None => drop(self.0.insert_unique(low, Known { low, high, id }, |known| known.low)),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.capacity() * 8 / 7 * (size_of::<Known>() + 1)
    }
}
