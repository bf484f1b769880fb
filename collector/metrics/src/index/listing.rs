//! The values of one label, over millions of series, without holding the lock for long.

use std::sync::Arc;

use hashbrown::HashSet;
use parking_lot::RwLock;
use roaring::RoaringBitmap;
use tenantscope_model::{QueryBudget, SelectError};

use super::Index;
use super::symbols::Symbol;

/// Series or values looked at under one lock.
const PIECE: usize = 4096;

/// The values of a label, in order, that one of the series has; the first `limit` of them. Memory is taken from the
/// budget while they are gathered.
pub(crate) fn values_among(
    index: &RwLock<Index>,
    name: &str,
    ids: &RoaringBitmap,
    limit: usize,
    budget: &QueryBudget,
) -> Result<Vec<Arc<str>>, SelectError> {
    let (name, having, all_values, _pin) = {
        let locked = index.read();
        let Some((symbol, known)) = locked.name(name) else { return Ok(Vec::new()) };
        (symbol, &known.present & ids, known.values.len(), locked.symbols.pin())
    };
    let mut found = match (having.len() as usize) < all_values {
        true => values_of_series(index, name, &having),
        false => values_with_series(index, name, &having),
    };
    if limit < found.len() {
        let texts = index.read().symbols.snapshot();
        found.select_nth_unstable_by(limit, |a, b| texts.get(*a).cmp(texts.get(*b)));
        found.truncate(limit);
    }
    let mut values: Vec<Arc<str>> = Vec::new();
    let mut taken_bytes = 0;
    for piece in found.chunks(PIECE) {
        budget.check()?;
        let locked = index.read();
        let first = values.len();
        values.extend(piece.iter().map(|value| locked.symbols.shared(*value)));
        drop(locked);
        let bytes = values.iter().skip(first).map(|value| value.len() + 4 * size_of::<usize>()).sum();
        budget.take_bytes(bytes)?;
        taken_bytes += bytes;
    }
    values.sort_unstable();
    values.dedup();
    budget.give_back_bytes(taken_bytes);
    Ok(values)
}

/// Asks each series for its value.
fn values_of_series(index: &RwLock<Index>, name: Symbol, ids: &RoaringBitmap) -> Vec<Symbol> {
    let mut values: HashSet<Symbol> = HashSet::new();
    let mut left = ids.iter();
    while left.len() > 0 {
        let locked = index.read();
        values.extend(left.by_ref().take(PIECE).filter_map(|id| locked.get(id)?.value(name)));
    }
    values.into_iter().collect()
}

/// Asks each value for its series.
fn values_with_series(index: &RwLock<Index>, name: Symbol, ids: &RoaringBitmap) -> Vec<Symbol> {
    let mut values = index.read().values_of(name);
    let mut kept = 0;
    let mut at = 0;
    while at < values.len() {
        let locked = index.read();
        for _ in 0..PIECE {
            let Some(value) = values.get(at).copied() else { break };
            at += 1;
            if locked.symbols.postings(name, value).intersects(ids) {
                if let Some(slot) = values.get_mut(kept) {
                    *slot = value;
                }
                kept += 1;
            }
        }
    }
    values.truncate(kept);
    values
}
