//! How many series have which labels, counted from postings: no series' labels are made.

use parking_lot::RwLock;
use roaring::RoaringBitmap;
use tenantscope_model::{Cardinality, QueryBudget, SelectError, Tally};

use super::Index;
use super::symbols::Symbol;

/// Values looked at under one lock.
const PIECE: usize = 4096;

/// Counts what the series have; each list has at most `limit` entries.
pub(crate) fn tally(
    index: &RwLock<Index>,
    ids: &RoaringBitmap,
    limit: usize,
    budget: &QueryBudget,
) -> Result<Cardinality, SelectError> {
    let (names, _pin) = {
        let locked = index.read();
        (locked.names.keys().copied().collect::<Vec<Symbol>>(), locked.symbols.pin())
    };
    let mut tally = Tally::new(limit);
    for name in names {
        let counts = counts_of(index, name, ids, budget)?;
        let texts = index.read().symbols.snapshot();
        tally.label(texts.get(name), counts.iter().map(|(value, count)| (texts.get(*value), *count)));
    }
    Ok(tally.finish(ids.len()))
}

/// The values of a label that some of the series have, and how many.
fn counts_of(
    index: &RwLock<Index>,
    name: Symbol,
    ids: &RoaringBitmap,
    budget: &QueryBudget,
) -> Result<Vec<(Symbol, u64)>, SelectError> {
    let mut values = index.read().values_of(name);
    values.sort_unstable();
    values.dedup();
    let mut counts = Vec::new();
    for piece in values.chunks(PIECE) {
        budget.check()?;
        let locked = index.read();
        let each = piece.iter().map(|value| (*value, locked.symbols.postings(name, *value).len_among(ids)));
        counts.extend(each.filter(|(_, count)| *count > 0));
    }
    Ok(counts)
}
