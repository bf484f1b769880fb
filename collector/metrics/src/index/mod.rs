//! Which series there are, and which have a label.

mod matching;
mod pages;
mod postings;
mod rank;
mod symbols;
mod values;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};
use roaring::RoaringBitmap;
use tenantscope_model::{Label, Labels, METRIC_NAME, Scope};

pub(crate) use matching::find;
pub(crate) use rank::LabelRank;
pub(crate) use values::values_among;

use self::pages::Pages;
use self::postings::Postings;
use self::symbols::Symbols;
use crate::series::{Series, SeriesId};

/// The label whose postings are a reader's scope.
pub(crate) const TENANT: &str = "tenant";
/// Bytes that a series takes apart from its labels: itself, its place by number, by hash and in all postings.
const SERIES_BYTES: usize = 160;
/// Bytes for each label of a series: two symbols and its part of the postings.
const LABEL_BYTES: usize = 16;

/// All series that are in memory or in a live part.
#[derive(Debug, Default)]
pub(crate) struct Index {
    symbols: Symbols,
    names: BTreeMap<Arc<str>, LabelIndex>,
    series: Pages,
    by_labels: HashTable<SeriesId>,
    hasher: DefaultHashBuilder,
    all: RoaringBitmap,
    label_count: usize,
    value_count: usize,
}

/// One label name.
#[derive(Debug, Default)]
struct LabelIndex {
    present: RoaringBitmap,
    values: BTreeMap<Arc<str>, Postings>,
}

/// The numbers of all series are spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NumbersSpent;

impl Index {
    /// A hasher that outlives a lock, so that labels are hashed before it is taken.
    pub(crate) fn hasher(&self) -> DefaultHashBuilder {
        self.hasher.clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len() as usize
    }

    /// Whether there is a number left for a new series.
    pub(crate) fn has_numbers(&self, wanted: usize) -> bool {
        self.series.next_id().is_some_and(|next| (SeriesId::MAX - next) as usize > wanted)
    }

    /// About how many bytes the index takes.
    pub(crate) fn bytes(&self) -> usize {
        self.len() * SERIES_BYTES + self.label_count * LABEL_BYTES + self.value_count * 48 + self.symbols.bytes()
    }

    pub(crate) fn get(&self, id: SeriesId) -> Option<&Arc<Series>> {
        self.series.get(id)
    }

    pub(crate) fn lookup(&self, hash: u64, labels: &Labels) -> Option<&Arc<Series>> {
        let same = |id: &SeriesId| self.series.get(*id).is_some_and(|series| self.has_labels(series, labels));
        self.by_labels.find(hash, same).and_then(|id| self.series.get(*id))
    }

    fn has_labels(&self, series: &Series, labels: &Labels) -> bool {
        let text = |symbol| self.symbols.text(symbol).map(|text| &**text);
        series.labels().len() == labels.len()
            && series
                .labels()
                .iter()
                .zip(labels)
                .all(|((name, value), label)| text(*value) == Some(&*label.value) && text(*name) == Some(&*label.name))
    }

    /// The series with these labels, made where there is none.
    pub(crate) fn take(&mut self, hash: u64, labels: &Labels) -> Result<Arc<Series>, NumbersSpent> {
        if let Some(series) = self.lookup(hash, labels) {
            return Ok(Arc::clone(series));
        }
        let id = self.series.next_id().ok_or(NumbersSpent)?;
        let symbols = labels.iter().map(|label| self.add_label(id, label)).collect();
        let series = Arc::new(Series::new(id, hash, symbols));
        self.label_count += labels.len();
        self.all.insert(id);
        self.series.insert(Arc::clone(&series));
        let all = &self.series;
        self.by_labels.insert_unique(hash, id, |id| all.get(*id).map_or(0, |series| series.hash()));
        Ok(series)
    }

    fn add_label(&mut self, id: SeriesId, label: &Label) -> (u32, u32) {
        let name = self.symbols.take(&label.name);
        let value = self.symbols.take(&label.value);
        if !self.names.contains_key(&*label.name) {
            let shared = self.symbols.text(name).unwrap_or(&label.name);
            self.names.insert(Arc::clone(shared), LabelIndex::default());
        }
        if let Some(index) = self.names.get_mut(&*label.name) {
            index.present.insert(id);
            match index.values.get_mut(&*label.value) {
                Some(postings) => postings.insert(id),
                None => {
                    let shared = self.symbols.text(value).unwrap_or(&label.value);
                    index.values.insert(Arc::clone(shared), Postings::One(id));
                    self.value_count += 1;
                }
            }
        }
        (name, value)
    }

    /// Forgets a series. Its number is not given again.
    pub(crate) fn remove(&mut self, id: SeriesId) {
        let Some(series) = self.series.remove(id) else { return };
        if let Ok(entry) = self.by_labels.find_entry(series.hash(), |other| *other == id) {
            entry.remove();
        }
        self.all.remove(id);
        self.label_count -= series.labels().len();
        for (name, value) in series.labels() {
            self.remove_label(id, *name, *value);
            self.symbols.give_back(*value);
            self.symbols.give_back(*name);
        }
    }

    fn remove_label(&mut self, id: SeriesId, name: u32, value: u32) {
        let (Some(name), Some(value)) = (self.symbols.text(name), self.symbols.text(value)) else { return };
        let Some(index) = self.names.get_mut(&**name) else { return };
        index.present.remove(id);
        if index.values.get_mut(&**value).is_some_and(|postings| postings.remove(id)) {
            index.values.remove(&**value);
            self.value_count -= 1;
        }
        if index.values.is_empty() {
            self.names.remove(&**name);
        }
    }

    /// The series that a scope allows: where every selection begins.
    fn within(&self, scope: &Scope) -> RoaringBitmap {
        match scope {
            Scope::All => self.all.clone(),
            Scope::Tenants(tenants) => {
                let mut ids = RoaringBitmap::new();
                tenants.iter().for_each(|tenant| self.add_value(TENANT, tenant.as_str(), &mut ids));
                ids
            }
        }
    }

    fn postings(&self, name: &str, value: &str) -> Option<&Postings> {
        self.names.get(name)?.values.get(value)
    }

    fn add_value(&self, name: &str, value: &str, ids: &mut RoaringBitmap) {
        if let Some(postings) = self.postings(name, value) {
            postings.add_to(ids);
        }
    }

    fn present(&self, name: &str) -> Option<&RoaringBitmap> {
        self.names.get(name).map(|index| &index.present)
    }

    fn value_count(&self, name: &str) -> usize {
        self.names.get(name).map_or(0, |index| index.values.len())
    }

    /// Up to `limit` values of a label from `from` on, in order.
    fn values_from(&self, name: &str, from: Bound<&str>, limit: usize) -> Vec<Arc<str>> {
        let Some(index) = self.names.get(name) else { return Vec::new() };
        index.values.range::<str, _>((from, Bound::Unbounded)).take(limit).map(|(value, _)| Arc::clone(value)).collect()
    }

    /// The names of labels, in order, that one of the series has.
    pub(crate) fn names_among(&self, ids: &RoaringBitmap) -> Vec<Arc<str>> {
        let among = self.names.iter().filter(|(_, index)| !index.present.is_disjoint(ids));
        among.map(|(name, _)| Arc::clone(name)).collect()
    }

    /// A series' value of a label.
    fn value_of(&self, series: &Series, name: &str) -> Option<&Arc<str>> {
        let is_name = |symbol| self.symbols.text(symbol).is_some_and(|text| &**text == name);
        let (_, value) = series.labels().iter().find(|(symbol, _)| is_name(*symbol))?;
        self.symbols.text(*value)
    }

    /// A label's name or value by its symbol.
    pub(crate) fn text(&self, symbol: u32) -> &str {
        self.symbols.text(symbol).map(|text| &**text).unwrap_or_default()
    }

    /// A series' labels as text.
    pub(crate) fn labels_of(&self, series: &Series) -> Labels {
        let text = |symbol| self.symbols.text(symbol).cloned().unwrap_or_default();
        let labels =
            series.labels().iter().map(|(name, value)| Label { name: text(*name), value: text(*value) }).collect();
        // A series was made of valid labels, so this never falls back.
        Labels::try_new(labels).unwrap_or_default()
    }

    /// The names of the metrics that the series are of; empty for series without one.
    pub(crate) fn metrics_of(&self, ids: &[SeriesId]) -> std::collections::HashSet<Arc<str>> {
        let series = ids.iter().filter_map(|id| self.get(*id));
        series.map(|series| self.value_of(series, METRIC_NAME).map(Arc::clone).unwrap_or_default()).collect()
    }

    /// What orders series by their labels, without the lock.
    pub(crate) fn rank(&self) -> LabelRank {
        LabelRank::new(self.symbols.texts())
    }
}

/// The hash of labels, in whichever form they are.
pub(crate) fn hash_labels(hasher: &DefaultHashBuilder, labels: &Labels) -> u64 {
    let mut state = hasher.build_hasher();
    for label in labels {
        label.name.hash(&mut state);
        label.value.hash(&mut state);
    }
    state.finish()
}
