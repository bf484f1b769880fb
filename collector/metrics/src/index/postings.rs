//! The series that have one label value.

use roaring::RoaringBitmap;

use crate::series::SeriesId;

/// Most values of wide labels belong to a single series, which needs no bitmap.
#[derive(Debug)]
pub(crate) enum Postings {
    One(SeriesId),
    Many(Box<RoaringBitmap>),
}

impl Postings {
    pub(crate) fn insert(&mut self, id: SeriesId) {
        match self {
            Self::One(only) if *only == id => {}
            Self::One(only) => *self = Self::Many(Box::new(RoaringBitmap::from_iter([*only, id]))),
            Self::Many(ids) => drop(ids.insert(id)),
        }
    }

    /// Removes a series and says whether none is left.
    pub(crate) fn remove(&mut self, id: SeriesId) -> bool {
        match self {
            Self::One(only) => *only == id,
            Self::Many(ids) => {
                ids.remove(id);
                ids.is_empty()
            }
        }
    }

    pub(crate) fn add_to(&self, ids: &mut RoaringBitmap) {
        match self {
            Self::One(only) => drop(ids.insert(*only)),
            Self::Many(many) => *ids |= &**many,
        }
    }

    pub(crate) fn remove_from(&self, ids: &mut RoaringBitmap) {
        match self {
            Self::One(only) => drop(ids.remove(*only)),
            Self::Many(many) => *ids -= &**many,
        }
    }

    pub(crate) fn intersects(&self, ids: &RoaringBitmap) -> bool {
        match self {
            Self::One(only) => ids.contains(*only),
            Self::Many(many) => !many.is_disjoint(ids),
        }
    }
}
