//! The symbol table: each label string once.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

/// The number of a label string.
pub(crate) type Symbol = u32;

#[derive(Debug)]
struct Entry {
    text: Arc<str>,
    uses: u32,
}

/// Strings by number and numbers by string. A string goes with its last use, and its number is given again.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    entries: Vec<Option<Entry>>,
    free: Vec<Symbol>,
    by_text: HashTable<Symbol>,
    hasher: DefaultHashBuilder,
    bytes: usize,
}

impl Symbols {
    pub(crate) fn text(&self, symbol: Symbol) -> Option<&Arc<str>> {
        self.entries.get(symbol as usize)?.as_ref().map(|entry| &entry.text)
    }

    /// The string's number, with one more use.
    pub(crate) fn take(&mut self, text: &Arc<str>) -> Symbol {
        let hash = self.hasher.hash_one(&**text);
        let entries = &mut self.entries;
        let same = |symbol: &Symbol| matches!(entries.get(*symbol as usize), Some(Some(e)) if e.text == *text);
        if let Some(symbol) = self.by_text.find(hash, same).copied() {
            if let Some(Some(entry)) = entries.get_mut(symbol as usize) {
                entry.uses += 1;
            }
            return symbol;
        }
        let entry = Some(Entry { text: Arc::clone(text), uses: 1 });
        self.bytes += text.len();
        let symbol = self.free.pop().unwrap_or(entries.len() as Symbol);
        match entries.get_mut(symbol as usize) {
            Some(slot) => *slot = entry,
            None => entries.push(entry),
        }
        let hasher = &self.hasher;
        let hash_of = |symbol: &Symbol| match entries.get(*symbol as usize) {
            Some(Some(entry)) => hasher.hash_one(&*entry.text),
            _ => 0,
        };
        self.by_text.insert_unique(hash, symbol, hash_of);
        symbol
    }

    /// One use less.
    pub(crate) fn give_back(&mut self, symbol: Symbol) {
        let Some(slot) = self.entries.get_mut(symbol as usize) else { return };
        let Some(entry) = slot else { return };
        entry.uses = entry.uses.saturating_sub(1);
        if entry.uses > 0 {
            return;
        }
        let hash = self.hasher.hash_one(&*entry.text);
        self.bytes -= entry.text.len();
        *slot = None;
        if let Ok(found) = self.by_text.find_entry(hash, |other| *other == symbol) {
            found.remove();
        }
        self.free.push(symbol);
    }

    /// All strings by number; empty where a number is free.
    pub(crate) fn texts(&self) -> Vec<Option<Arc<str>>> {
        self.entries.iter().map(|entry| entry.as_ref().map(|entry| Arc::clone(&entry.text))).collect()
    }

    /// About how many bytes the table takes.
    pub(crate) fn bytes(&self) -> usize {
        // Per string: entry 24, its counters 16, its place in the hash table 5, allocator 8.
        self.bytes + self.entries.len() * 53
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_lives_as_long_as_its_last_use() {
        let mut symbols = Symbols::default();
        let first = symbols.take(&"a".into());
        assert_eq!(symbols.take(&"a".into()), first);
        symbols.give_back(first);
        assert_eq!(symbols.text(first).map(|text| &**text), Some("a"));
        symbols.give_back(first);
        assert_eq!(symbols.text(first), None);
        assert_eq!(symbols.take(&"b".into()), first);
    }
}
