//! The values of one label, over millions of series, without holding the lock for long.

use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;
use roaring::RoaringBitmap;

use super::Index;

/// Series or values looked at under one lock.
const PIECE: usize = 4096;

/// The values of a label, in order, that one of the series has.
pub(crate) fn values_among(index: &RwLock<Index>, name: &str, ids: &RoaringBitmap) -> Vec<Arc<str>> {
    let (having, all_values) = {
        let locked = index.read();
        let Some(present) = locked.present(name) else { return Vec::new() };
        (present & ids, locked.value_count(name))
    };
    if (having.len() as usize) < all_values {
        values_of_series(index, name, &having)
    } else {
        values_with_series(index, name, &having)
    }
}

/// Asks each series for its value.
fn values_of_series(index: &RwLock<Index>, name: &str, ids: &RoaringBitmap) -> Vec<Arc<str>> {
    let mut values: Vec<Arc<str>> = Vec::new();
    let mut left = ids.iter();
    while left.len() > 0 {
        let locked = index.read();
        let piece = left.by_ref().take(PIECE).filter_map(|id| locked.value_of(locked.get(id)?, name));
        values.extend(piece.map(Arc::clone));
    }
    values.sort_unstable();
    values.dedup();
    values
}

/// Asks each value for its series.
fn values_with_series(index: &RwLock<Index>, name: &str, ids: &RoaringBitmap) -> Vec<Arc<str>> {
    let mut values: Vec<Arc<str>> = Vec::new();
    let mut from: Option<Arc<str>> = None;
    loop {
        let locked = index.read();
        let bound = from.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let piece = locked.values_from(name, bound, PIECE);
        let Some(last) = piece.last() else { return values };
        from = Some(Arc::clone(last));
        let has_series =
            |value: &Arc<str>| locked.postings(name, value).is_some_and(|postings| postings.intersects(ids));
        values.extend(piece.into_iter().filter(has_series));
    }
}
