//! The values of one label name.

use std::sync::Arc;

use super::symbols::{Symbol, Symbols};
use super::texts::Texts;

/// New values up to which the list is not put in order anew.
const MAX_UNORDERED: usize = 1024;

/// The values' symbols. Values that no series has any more stay until [`Values::purge`].
#[derive(Debug, Default)]
pub(crate) struct Values {
    /// In the order of the texts.
    ordered: Arc<Vec<Symbol>>,
    /// That came since, in the order in which they came.
    new: Vec<Symbol>,
    live: usize,
    /// Rises when values leave.
    purges: u32,
}

/// Values to be put in order without a lock.
#[derive(Debug)]
pub(crate) struct Unordered {
    name: Symbol,
    ordered: Arc<Vec<Symbol>>,
    new: Vec<Symbol>,
    purges: u32,
}

impl Values {
    pub(crate) fn add(&mut self, value: Symbol) {
        self.new.push(value);
        self.live += 1;
    }

    /// One value less has series.
    pub(crate) fn retire(&mut self) {
        self.live -= 1;
    }

    /// How many values have series.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    pub(crate) fn has_retired(&self) -> bool {
        self.live < self.ordered.len() + self.new.len()
    }

    /// All values, in no order; some may have no series, and one may come twice.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Symbol> {
        self.ordered.iter().chain(&self.new).copied()
    }

    /// The values that start with a prefix, likewise.
    pub(crate) fn with_prefix(&self, prefix: &str, symbols: &Symbols) -> Vec<Symbol> {
        let text = |symbol: &Symbol| symbols.text(*symbol);
        let start = self.ordered.partition_point(|symbol| text(symbol) < prefix);
        let rest = self.ordered.get(start..).unwrap_or_default();
        let end = rest.partition_point(|symbol| text(symbol).starts_with(prefix));
        let new = self.new.iter().filter(|symbol| text(symbol).starts_with(prefix));
        rest.iter().take(end).chain(new).copied().collect()
    }

    /// Takes out the values that do not stay.
    pub(crate) fn purge(&mut self, mut stays: impl FnMut(Symbol) -> bool) {
        self.purges = self.purges.wrapping_add(1);
        Arc::make_mut(&mut self.ordered).retain(|symbol| stays(*symbol));
        self.new.retain(|symbol| stays(*symbol));
    }

    /// What is worth putting in order.
    pub(crate) fn unordered(&self, name: Symbol) -> Option<Unordered> {
        let worth = self.new.len() > MAX_UNORDERED.max(self.ordered.len() / 16);
        let Self { ordered, new, purges, .. } = self;
        worth.then(|| Unordered { name, ordered: Arc::clone(ordered), new: new.clone(), purges: *purges })
    }

    /// Takes what was put in order, unless values have left since.
    pub(crate) fn take_ordered(&mut self, done: Unordered) {
        if self.purges == done.purges {
            self.ordered = done.ordered;
            self.new.drain(..done.new.len().min(self.new.len()));
            self.new.shrink_to_fit();
        }
    }
}

impl Unordered {
    pub(crate) fn name(&self) -> Symbol {
        self.name
    }

    /// Puts the new values among the others.
    pub(crate) fn order(mut self, texts: &Texts) -> Self {
        let mut new = self.new.clone();
        new.sort_unstable_by(|a, b| texts.get(*a).cmp(texts.get(*b)));
        let mut merged: Vec<Symbol> = Vec::with_capacity(self.ordered.len() + new.len());
        let mut rest = &self.ordered[..];
        for value in new {
            let before = rest.partition_point(|other| texts.get(*other) < texts.get(value));
            let (smaller, larger) = rest.split_at(before);
            merged.extend_from_slice(smaller);
            rest = larger;
            // A value that was without series and has some again is there already.
            if rest.first() != Some(&value) && merged.last() != Some(&value) {
                merged.push(value);
            }
        }
        merged.extend_from_slice(rest);
        self.ordered = Arc::new(merged);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_finds_ordered_and_new_values() {
        let mut symbols = Symbols::default();
        let mut values = Values::default();
        let texts: Vec<String> = (0..3000).rev().map(|i| format!("web-{i:04}")).chain(["a".to_owned()]).collect();
        let given: Vec<Symbol> = texts.iter().map(|text| symbols.take(text).unwrap()).collect();
        given.iter().for_each(|symbol| values.add(*symbol));
        let mut done = values.unordered(0).unwrap().order(&symbols.snapshot());
        done.name = 1;
        values.take_ordered(done);
        assert!(values.unordered(0).is_none() && values.new.is_empty());
        let late = symbols.take("web-10").unwrap();
        values.add(late);
        let found = values.with_prefix("web-10", &symbols);
        assert_eq!(found.len(), 101);
        assert!(found.contains(&late) && !found.contains(given.last().unwrap()));
        assert_eq!(values.iter().count(), 3002);
    }
}
