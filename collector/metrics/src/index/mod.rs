//! Which series there are, and which have a label.

mod expression;
mod fingerprints;
mod identity;
mod in_blocks;
mod joining;
mod listing;
mod matching;
mod pages;
mod postings;
mod rank;
mod reading;
mod shapes;
mod symbols;
mod tally;
mod texts;
mod values;

use std::sync::Arc;

use hashbrown::{HashMap, HashTable};
use parking_lot::RwLock;
use roaring::RoaringBitmap;
use tenantscope_model::{Fingerprint, Labels, METRIC_NAME, Scope};

pub(crate) use identity::{Identities, Identity, hash_labels};
pub(crate) use joining::JoinError;
pub(crate) use listing::values_among;
pub(crate) use matching::find;
pub(crate) use rank::{LabelRank, LabelTexts};
pub(crate) use shapes::Shape;
pub(crate) use tally::tally;

use self::fingerprints::Fingerprints;
use self::in_blocks::InBlocks;
use self::pages::Pages;
use self::postings::PostingsRef;
use self::shapes::Shapes;
use self::symbols::{Symbol, Symbols};
use self::values::Values;
use crate::series::{Series, SeriesId};

/// The label whose postings are a reader's scope.
pub(crate) const TENANT: &str = "tenant";
/// Strings without uses past which lists are searched for them: a part of all strings, and at least so many.
const MIN_PURGED: usize = 4096;

/// A series' allocation and that of its values, its place by number and by identity.
const SERIES_BYTES: usize = size_of::<Series>() + 16 + 16 + 8 + 12;
/// A name's place, and what the smallest bitmap takes.
const NAME_BYTES: usize = 2 * size_of::<(Symbol, Name)>() + 64;
/// Labels that come or go before what bitmaps take is counted anew, unless there are more names than that.
const MIN_UNCOUNTED: usize = 4096;

/// All series that are in memory, in a live part, or in a block that was read lately.
#[derive(Debug, Default)]
pub(crate) struct Index {
    symbols: Symbols,
    names: HashMap<Symbol, Name>,
    shapes: Shapes,
    series: Pages,
    by_identity: HashTable<Arc<Series>>,
    identities: Identities,
    fingerprints: Fingerprints,
    in_blocks: InBlocks,
    all: RoaringBitmap,
    label_count: usize,
    /// Values over all names.
    value_count: usize,
    /// What the bitmaps of names took when that was counted, and labels that came and went since.
    present_bytes: usize,
    uncounted: usize,
    /// The labels of the series made last: the next one often has the same names.
    last: Option<Arc<Shape>>,
}

/// One label name.
#[derive(Debug, Default)]
struct Name {
    present: RoaringBitmap,
    values: Values,
}

/// The numbers of all series or strings are spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NumbersSpent;

impl Index {
    /// Makes identities without the lock.
    pub(crate) fn hasher(&self) -> Identities {
        self.identities.clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len() as usize
    }

    /// Whether there is a number left for so many new series.
    pub(crate) fn has_numbers(&self, wanted: usize) -> bool {
        self.series.left() > wanted
    }

    /// About how many bytes the index takes for what was written. Asked for often, so nothing is counted here.
    pub(crate) fn bytes(&self) -> usize {
        self.all_bytes().saturating_sub(self.bytes_of_blocks())
    }

    /// About how many bytes it takes for series that only blocks in memory hold: the cache's, not the writers'.
    pub(crate) fn bytes_of_blocks(&self) -> usize {
        self.in_blocks.bytes()
    }

    fn all_bytes(&self) -> usize {
        self.len() * SERIES_BYTES
            + (self.label_count + self.value_count) * 4
            + self.names.len() * NAME_BYTES
            + self.present_bytes
            + self.symbols.bytes()
            + self.shapes.bytes()
            + self.fingerprints.bytes()
            + self.in_blocks.table_bytes()
    }

    /// So many labels came or went.
    fn count_present(&mut self, labels: usize) {
        self.uncounted += labels;
        if self.uncounted >= MIN_UNCOUNTED.max(self.names.len()) {
            self.uncounted = 0;
            self.present_bytes = self.names.values().map(|name| name.present.serialized_size()).sum();
        }
    }

    pub(crate) fn get(&self, id: SeriesId) -> Option<&Arc<Series>> {
        self.series.get(id)
    }

    pub(crate) fn lookup(&self, identity: Identity) -> Option<&Arc<Series>> {
        self.by_identity.find(identity.hash, |series| series.identity() == identity)
    }

    /// The series whose labels a sender writes so, if that is known.
    pub(crate) fn known(&self, fingerprint: Fingerprint) -> Option<&Arc<Series>> {
        self.series.get(self.fingerprints.find(fingerprint)?)
    }

    /// Remembers how a sender writes a series.
    pub(crate) fn remember(&mut self, fingerprint: Fingerprint, id: SeriesId) {
        let series = &self.series;
        self.fingerprints.insert(fingerprint, id, self.all.len() as usize, |id| series.get(id).is_some());
    }

    /// The series with these labels, made where there is none.
    pub(crate) fn take(&mut self, identity: Identity, labels: &Labels) -> Result<Arc<Series>, NumbersSpent> {
        if let Some(series) = self.lookup(identity) {
            return Ok(Arc::clone(series));
        }
        let shape = self.shape_of(labels)?;
        let values = labels.iter().map(|label| self.symbols.take(&label.value)).collect::<Result<Box<[_]>, _>>()?;
        self.insert(identity, shape, values)
    }

    fn shape_of(&mut self, labels: &Labels) -> Result<Arc<Shape>, NumbersSpent> {
        let same = |shape: &Shape| {
            let names = shape.names().iter().map(|symbol| self.symbols.text(*symbol));
            names.eq(labels.iter().map(|label| &*label.name))
        };
        if let Some(last) = self.last.as_ref().filter(|last| same(last)) {
            return Ok(Arc::clone(last));
        }
        let names = labels.iter().map(|label| self.symbols.take(&label.name)).collect::<Result<Vec<_>, _>>()?;
        let (shape, is_new) = self.shapes.take(&names);
        if !is_new {
            names.iter().for_each(|name| self.symbols.give_back(*name));
        }
        self.last = Some(Arc::clone(&shape));
        Ok(shape)
    }

    /// Puts a new series in, whose values are already counted as used.
    fn insert(
        &mut self,
        identity: Identity,
        shape: Arc<Shape>,
        values: Box<[Symbol]>,
    ) -> Result<Arc<Series>, NumbersSpent> {
        let Some(id) = self.series.next_id() else {
            values.iter().for_each(|value| self.symbols.give_back(*value));
            return Err(NumbersSpent);
        };
        for (name, value) in shape.names().iter().zip(&values) {
            let first = self.symbols.post(*name, *value, id);
            let name = self.names.entry(*name).or_default();
            name.present.insert(id);
            if first {
                name.values.add(*value);
                self.value_count += 1;
            }
        }
        self.label_count += values.len();
        self.count_present(values.len());
        self.all.insert(id);
        let series = Arc::new(Series::new(id, identity, shape, values));
        self.series.insert(Arc::clone(&series));
        self.by_identity.insert_unique(identity.hash, Arc::clone(&series), |series| series.identity().hash);
        Ok(series)
    }

    /// Forgets a series. Its number is not given again.
    pub(crate) fn remove(&mut self, id: SeriesId) {
        let Some(series) = self.series.remove(id) else { return };
        if let Ok(entry) = self.by_identity.find_entry(series.identity().hash, |other| other.id() == id) {
            entry.remove();
        }
        self.all.remove(id);
        for (name, value) in series.labels() {
            self.label_count -= 1;
            let last = self.symbols.unpost(name, value, id);
            self.symbols.give_back(value);
            let Some(known) = self.names.get_mut(&name) else { continue };
            known.present.remove(id);
            if last {
                known.values.retire();
                self.value_count -= 1;
            }
            if known.present.is_empty() {
                self.names.remove(&name);
            }
        }
        self.count_present(series.values().len());
    }

    /// Gives back what removed series have left behind, once that is much.
    pub(crate) fn purge(&mut self) {
        let all_freed = self.symbols.free_condemned();
        if !all_freed || self.symbols.unused() < MIN_PURGED.max(self.symbols.len() / 8) {
            return;
        }
        self.last = None;
        for symbol in self.shapes.purge() {
            self.symbols.give_back(symbol);
        }
        let symbols = &self.symbols;
        for (name, known) in self.names.iter_mut().filter(|(_, known)| known.values.has_retired()) {
            known.values.purge(|value| symbols.postings(*name, value).len() > 0);
        }
        self.symbols.condemn();
        self.symbols.free_condemned();
        self.by_identity.shrink_to(self.all.len() as usize * 2, |series| series.identity().hash);
    }

    /// The series that a scope allows: where every selection begins.
    fn within(&self, scope: &Scope) -> RoaringBitmap {
        match scope {
            Scope::All => self.all.clone(),
            Scope::Tenants(tenants) => {
                let mut ids = RoaringBitmap::new();
                tenants.iter().for_each(|tenant| self.postings(TENANT, tenant.as_str()).add_to(&mut ids));
                ids
            }
        }
    }

    fn name(&self, name: &str) -> Option<(Symbol, &Name)> {
        let symbol = self.symbols.find(name)?;
        self.names.get(&symbol).map(|known| (symbol, known))
    }

    fn postings(&self, name: &str, value: &str) -> PostingsRef<'_> {
        match (self.symbols.find(name), self.symbols.find(value)) {
            (Some(name), Some(value)) => self.symbols.postings(name, value),
            _ => PostingsRef::Empty,
        }
    }

    /// All values of a name; some may have no series.
    fn values_of(&self, name: Symbol) -> Vec<Symbol> {
        match self.names.get(&name) {
            // A scan of all strings is faster than jumps between many of them.
            Some(known) if known.values.len() > self.symbols.len() / 8 => self.symbols.values_of(name),
            Some(known) => known.values.iter().collect(),
            None => Vec::new(),
        }
    }

    /// The names of labels, in order, that one of the series has.
    pub(crate) fn names_among(&self, ids: &RoaringBitmap) -> Vec<Arc<str>> {
        let among = self.names.iter().filter(|(_, known)| !known.present.is_disjoint(ids));
        let mut names: Vec<Arc<str>> = among.map(|(name, _)| self.symbols.shared(*name)).collect();
        names.sort_unstable();
        names
    }

    /// A series' labels as text.
    pub(crate) fn labels_of(&self, series: &Series) -> Labels {
        self.labels(series.labels())
    }

    /// The names of the metrics that the series are of; empty for series without one.
    pub(crate) fn metrics_of(&self, ids: &[SeriesId]) -> std::collections::HashSet<Arc<str>> {
        let name = self.symbols.find(METRIC_NAME);
        let series = ids.iter().filter_map(|id| self.get(*id));
        let metric = |series: &Arc<Series>| name.and_then(|name| series.value(name));
        series.map(|series| metric(series).map(|value| self.symbols.shared(value)).unwrap_or_default()).collect()
    }

    /// What orders series by their labels, without the lock.
    pub(crate) fn rank(&self) -> LabelRank {
        LabelRank::new(self.symbols.snapshot())
    }

    /// What writes series into parts, without the lock.
    pub(crate) fn texts(&self) -> LabelTexts {
        let texts = self.symbols.snapshot();
        LabelTexts::new(texts, self.symbols.find(METRIC_NAME), self.symbols.find(TENANT))
    }
}

/// Puts the values of those labels in order that got many new ones. The lock is held for moments.
pub(crate) fn order_values(index: &RwLock<Index>) {
    let names: Vec<Symbol> = index.read().names.keys().copied().collect();
    for name in names {
        let (unordered, texts) = {
            let locked = index.read();
            let Some(unordered) = locked.names.get(&name).and_then(|known| known.values.unordered(name)) else {
                continue;
            };
            (unordered, locked.symbols.snapshot())
        };
        let ordered = unordered.order(&texts);
        if let Some(known) = index.write().names.get_mut(&ordered.name()) {
            known.values.take_ordered(ordered);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    use tenantscope_model::QueryBudget;

    use super::*;

    fn series_of(round: usize, number: usize) -> Labels {
        let pod = format!("pod-{round}-{number}");
        Labels::from_pairs([(METRIC_NAME, "up"), ("pod", &pod), ("instance", &pod), ("job", "shop")])
    }

    proptest! {
        #[test]
        fn what_is_counted_on_the_way_is_what_there_is(
            steps in prop::collection::vec((any::<bool>(), 0_usize..12, 0_usize..4), 0..200),
        ) {
            let mut index = Index::default();
            let identities = index.hasher();
            for (take, number, other) in steps {
                let name = format!("name_{other}");
                let labels = Labels::from_pairs([("pod", number.to_string().as_str()), (&name, "x")]);
                let identity = hash_labels(&identities, &labels);
                let known = index.lookup(identity).map(|series| series.id());
                match (take, known) {
                    (true, _) => drop(index.take(identity, &labels).unwrap()),
                    (false, Some(id)) => index.remove(id),
                    (false, None) => {}
                }
            }
            let values: usize = index.names.values().map(|name| name.values.len()).sum();
            let labels: u64 = index.names.values().map(|name| name.present.len()).sum();
            prop_assert_eq!((index.value_count, index.label_count as u64), (values, labels));
            prop_assert_eq!(index.shapes.bytes(), index.shapes.counted_bytes());
            index.count_present(usize::MAX / 2);
            let present: usize = index.names.values().map(|name| name.present.serialized_size()).sum();
            prop_assert_eq!(index.present_bytes, present);
        }
    }

    #[test]
    fn series_that_are_replaced_do_not_fill_memory() {
        let mut index = Index::default();
        let identities = index.hasher();
        let mut alive: Vec<Vec<Arc<Series>>> = Vec::new();
        let mut largest_bytes = 0;
        for round in 0..40 {
            let labels = (0..1500).map(|number| series_of(round, number));
            alive.push(labels.map(|labels| index.take(hash_labels(&identities, &labels), &labels).unwrap()).collect());
            if round >= 3 {
                let gone = alive.remove(0);
                gone.iter().for_each(|series| index.remove(series.id()));
                drop(gone);
                index.purge();
            }
            if round < 10 {
                largest_bytes = index.bytes().max(largest_bytes);
            }
        }
        assert_eq!(index.len(), 4500);
        // Tables double at a moment that depends on how keys hash; what leaked would be several times as much.
        assert!(index.bytes() <= largest_bytes * 3 / 2, "{} of {largest_bytes}", index.bytes());
        let index = RwLock::new(index);
        order_values(&index);
        let all = index.read().all.clone();
        let enough = QueryBudget::new(Instant::now() + Duration::from_secs(60), 0);
        let pods = values_among(&index, "pod", &all, usize::MAX, &enough).unwrap();
        assert_eq!(pods.len(), 4500);
        assert_eq!(values_among(&index, "pod", &all, 7, &enough).unwrap(), pods[..7]);
        assert!(pods.is_sorted() && pods.iter().all(|pod| pod.starts_with("pod-3")));
        for series in alive.iter().flatten() {
            let labels = index.read().labels_of(series);
            assert_eq!(
                index.read().lookup(hash_labels(&identities, &labels)).map(|found| found.id()),
                Some(series.id())
            );
        }
    }
}
