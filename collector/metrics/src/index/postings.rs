//! The series that have one label value.

use roaring::RoaringBitmap;

use crate::series::SeriesId;

/// Series up to which a plain list is smaller than a bitmap.
const MAX_FEW: usize = 24;
/// Marks a number of a list, as against that of a series.
const LIST: u32 = 1 << 31;

/// The largest number that a series may have.
pub(crate) const MAX_SERIES_ID: SeriesId = LIST - 1;

/// Where a value's series are: nowhere, it is a single one (most values of wide labels), or in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(u32);

impl Slot {
    pub(crate) const EMPTY: Self = Self(u32::MAX);
}

/// Lists of series, by slot.
#[derive(Debug, Default)]
pub(crate) struct PostingsSlabs {
    lists: Vec<List>,
    free: Vec<u32>,
    /// Bytes on the heap for plain lists; for bitmaps, of what they hold.
    list_bytes: usize,
}

/// Sorted.
#[derive(Debug)]
enum List {
    Few(Vec<SeriesId>),
    Many(RoaringBitmap),
}

/// The series of one slot.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PostingsRef<'a> {
    Empty,
    One(SeriesId),
    Few(&'a [SeriesId]),
    Many(&'a RoaringBitmap),
}

impl PostingsSlabs {
    pub(crate) fn get(&self, slot: Slot) -> PostingsRef<'_> {
        if slot == Slot::EMPTY {
            return PostingsRef::Empty;
        }
        if slot.0 & LIST == 0 {
            return PostingsRef::One(slot.0);
        }
        match self.lists.get((slot.0 & !LIST) as usize) {
            Some(List::Few(ids)) => PostingsRef::Few(ids),
            Some(List::Many(ids)) => PostingsRef::Many(ids),
            None => PostingsRef::Empty,
        }
    }

    /// Adds a series and returns the slot from now on.
    pub(crate) fn insert(&mut self, slot: Slot, id: SeriesId) -> Slot {
        if slot == Slot::EMPTY {
            return Slot(id);
        }
        if slot.0 & LIST == 0 {
            return if slot.0 == id { slot } else { self.add_list(slot.0.min(id), slot.0.max(id)) };
        }
        let Some(list) = self.lists.get_mut((slot.0 & !LIST) as usize) else { return slot };
        match list {
            List::Few(ids) => {
                let Err(at) = ids.binary_search(&id) else { return slot };
                if ids.len() < MAX_FEW {
                    if ids.len() == ids.capacity() {
                        ids.reserve_exact(ids.len());
                        self.list_bytes += ids.len() * 4;
                    }
                    ids.insert(at, id);
                } else {
                    self.list_bytes -= ids.capacity() * 4;
                    let mut many: RoaringBitmap = ids.iter().copied().collect();
                    many.insert(id);
                    self.list_bytes += MANY_BYTES;
                    *list = List::Many(many);
                }
            }
            List::Many(ids) => {
                if ids.insert(id) {
                    self.list_bytes += 2;
                }
            }
        }
        slot
    }

    fn add_list(&mut self, first: SeriesId, second: SeriesId) -> Slot {
        let list = List::Few(vec![first, second]);
        self.list_bytes += 8;
        let number = self.free.pop().unwrap_or(self.lists.len() as u32);
        match self.lists.get_mut(number as usize) {
            Some(slot) => *slot = list,
            None => self.lists.push(list),
        }
        Slot(LIST | number)
    }

    /// Takes a series off and returns the slot from now on.
    pub(crate) fn remove(&mut self, slot: Slot, id: SeriesId) -> Slot {
        if slot == Slot::EMPTY || slot.0 & LIST == 0 {
            return if slot.0 == id { Slot::EMPTY } else { slot };
        }
        let number = slot.0 & !LIST;
        let Some(list) = self.lists.get_mut(number as usize) else { return slot };
        let left = match list {
            List::Few(ids) => {
                ids.retain(|other| *other != id);
                ids.len()
            }
            List::Many(ids) => {
                if ids.remove(id) {
                    self.list_bytes -= 2;
                }
                ids.len() as usize
            }
        };
        if left > 1 {
            return slot;
        }
        let last = match std::mem::replace(list, List::Few(Vec::new())) {
            List::Few(ids) => {
                self.list_bytes -= ids.capacity() * 4;
                ids.first().copied()
            }
            List::Many(ids) => {
                self.list_bytes -= MANY_BYTES - 2 * (MAX_FEW + 1 - left);
                ids.min()
            }
        };
        self.free.push(number);
        last.map_or(Slot::EMPTY, Slot)
    }

    /// About how many bytes all lists take.
    pub(crate) fn bytes(&self) -> usize {
        self.lists.capacity() * size_of::<List>() + self.free.capacity() * 4 + self.list_bytes
    }
}

/// About what a bitmap takes that has just been made.
const MANY_BYTES: usize = 64 + 2 * (MAX_FEW + 1);

impl PostingsRef<'_> {
    pub(crate) fn len(self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::One(_) => 1,
            Self::Few(ids) => ids.len() as u64,
            Self::Many(ids) => ids.len(),
        }
    }

    /// How many of these series it has.
    pub(crate) fn len_among(self, ids: &RoaringBitmap) -> u64 {
        match self {
            Self::Empty => 0,
            Self::One(only) => u64::from(ids.contains(only)),
            Self::Few(few) => few.iter().filter(|id| ids.contains(**id)).count() as u64,
            Self::Many(many) => many.intersection_len(ids),
        }
    }

    pub(crate) fn add_to(self, ids: &mut RoaringBitmap) {
        match self {
            Self::Empty => {}
            Self::One(only) => drop(ids.insert(only)),
            Self::Few(few) => ids.extend(few),
            Self::Many(many) => *ids |= many,
        }
    }

    pub(crate) fn intersects(self, ids: &RoaringBitmap) -> bool {
        match self {
            Self::Empty => false,
            Self::One(only) => ids.contains(only),
            Self::Few(few) => few.iter().any(|id| ids.contains(*id)),
            Self::Many(many) => !many.is_disjoint(ids),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_slot_has_what_was_put_in(steps in prop::collection::vec((any::<bool>(), 0_u32..60), 0..200)) {
            let mut slabs = PostingsSlabs::default();
            let mut slot = Slot::EMPTY;
            let mut expected: BTreeSet<u32> = BTreeSet::new();
            for (add, id) in steps {
                if add {
                    slot = slabs.insert(slot, id);
                    expected.insert(id);
                } else {
                    slot = slabs.remove(slot, id);
                    expected.remove(&id);
                }
                let mut got = RoaringBitmap::new();
                slabs.get(slot).add_to(&mut got);
                prop_assert_eq!(got.iter().collect::<Vec<_>>(), Vec::from_iter(expected.iter().copied()));
                prop_assert_eq!(slabs.get(slot).len(), expected.len() as u64);
                prop_assert_eq!(slot == Slot::EMPTY, expected.is_empty());
            }
        }
    }
}
