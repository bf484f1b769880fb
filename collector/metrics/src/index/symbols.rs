//! The symbol table: each label string once, and the series that have it as a label's value.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::NumbersSpent;
use super::postings::{PostingsRef, PostingsSlabs, Slot};
use super::texts::{Texts, stored_bytes};
use crate::series::SeriesId;

/// The number of a label string.
pub(crate) type Symbol = u32;

/// So many uses make a string one that is kept for readers as well, so that they need not copy it.
const SHARED_USES: u32 = 16;
/// Of a string that is not (yet) any label's value.
const NO_HOME: Symbol = Symbol::MAX;

#[derive(Debug, Clone, Copy)]
struct Entry {
    uses: u32,
    /// The name of the first label that had this value: nearly always the only one.
    home: Symbol,
    /// The series that have the value under that name.
    slot: Slot,
}

const UNUSED: Entry = Entry { uses: 0, home: NO_HOME, slot: Slot::EMPTY };

/// Strings by number and numbers by string. A string goes after its last use, and its number is given again once
/// [`Symbols::condemn`] was called and no reader is left that may know it.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    texts: Texts,
    entries: Vec<Entry>,
    by_text: HashTable<Symbol>,
    hasher: DefaultHashBuilder,
    shared: HashMap<Symbol, Arc<str>>,
    /// Postings under other names than the home.
    elsewhere: HashMap<(Symbol, Symbol), Slot>,
    slabs: PostingsSlabs,
    /// Without uses, but perhaps still in a list of values.
    unused: Vec<Symbol>,
    /// In no list any more, but perhaps in the hands of readers that hold the pin.
    condemned: Option<(Vec<Symbol>, Arc<()>)>,
    pin: Arc<()>,
    free: Vec<Symbol>,
}

impl Symbols {
    pub(crate) fn text(&self, symbol: Symbol) -> &str {
        self.texts.get(symbol)
    }

    /// The string for a reader, who may keep it.
    pub(crate) fn shared(&self, symbol: Symbol) -> Arc<str> {
        self.shared.get(&symbol).map_or_else(|| Arc::from(self.text(symbol)), Arc::clone)
    }

    pub(crate) fn find(&self, text: &str) -> Option<Symbol> {
        let hash = self.hasher.hash_one(text);
        self.by_text.find(hash, |symbol| self.texts.get(*symbol) == text).copied()
    }

    /// The string's number, with one more use.
    pub(crate) fn take(&mut self, text: &str) -> Result<Symbol, NumbersSpent> {
        if let Some(symbol) = self.find(text) {
            self.use_again(symbol);
            return Ok(symbol);
        }
        let symbol = match self.free.pop() {
            Some(symbol) => symbol,
            None => u32::try_from(self.entries.len()).ok().filter(|next| *next != NO_HOME).ok_or(NumbersSpent)?,
        };
        if self.texts.put(symbol, text).is_none() {
            return Err(NumbersSpent);
        }
        let entry = Entry { uses: 1, ..UNUSED };
        match self.entries.get_mut(symbol as usize) {
            Some(slot) => *slot = entry,
            None => self.entries.push(entry),
        }
        let Self { by_text, hasher, texts, .. } = self;
        by_text.insert_unique(hasher.hash_one(text), symbol, |symbol| hasher.hash_one(texts.get(*symbol)));
        Ok(symbol)
    }

    /// One use more of a string that is in use.
    pub(crate) fn use_again(&mut self, symbol: Symbol) {
        let Some(entry) = self.entries.get_mut(symbol as usize) else { return };
        entry.uses = entry.uses.saturating_add(1);
        if entry.uses == SHARED_USES {
            self.shared.insert(symbol, Arc::from(self.texts.get(symbol)));
        }
    }

    /// One use less.
    pub(crate) fn give_back(&mut self, symbol: Symbol) {
        let Some(entry) = self.entries.get_mut(symbol as usize) else { return };
        entry.uses = entry.uses.saturating_sub(1);
        if entry.uses + 1 == SHARED_USES {
            self.shared.remove(&symbol);
        }
        if entry.uses > 0 {
            return;
        }
        let hash = self.hasher.hash_one(self.texts.get(symbol));
        if let Ok(found) = self.by_text.find_entry(hash, |other| *other == symbol) {
            found.remove();
        }
        self.unused.push(symbol);
    }

    /// How many strings wait for [`Symbols::condemn`].
    pub(crate) fn unused(&self) -> usize {
        self.unused.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_text.len()
    }

    /// As long as a reader holds this, no number that it found is given to another string.
    pub(crate) fn pin(&self) -> Arc<()> {
        Arc::clone(&self.pin)
    }

    /// Strings without uses go once the readers of now are gone. No list may name them any more.
    pub(crate) fn condemn(&mut self) {
        if self.condemned.is_none() {
            self.condemned = Some((std::mem::take(&mut self.unused), std::mem::take(&mut self.pin)));
        }
    }

    /// Frees the condemned strings, if it is time, and says whether there is none any more.
    pub(crate) fn free_condemned(&mut self) -> bool {
        let Some((condemned, _)) = self.condemned.take_if(|(_, pin)| Arc::strong_count(pin) == 1) else {
            return self.condemned.is_none();
        };
        for symbol in condemned {
            self.texts.remove(symbol);
            if let Some(entry) = self.entries.get_mut(symbol as usize) {
                *entry = UNUSED;
            }
            self.free.push(symbol);
        }
        self.texts.compact();
        true
    }

    /// All values that the name has or had as the first one, by rising number, which is how their texts lie in memory;
    /// then those that it shares with other names.
    pub(crate) fn values_of(&self, name: Symbol) -> Vec<Symbol> {
        let own = (0..).zip(&self.entries).filter(|(_, entry)| entry.home == name && entry.slot != Slot::EMPTY);
        let others = self.elsewhere.keys().filter(|(other, _)| *other == name).map(|(_, value)| *value);
        own.map(|(symbol, _)| symbol).chain(others).collect()
    }

    fn slot(&self, name: Symbol, value: Symbol) -> Slot {
        match self.entries.get(value as usize) {
            Some(entry) if entry.home == name => entry.slot,
            _ => self.elsewhere.get(&(name, value)).copied().unwrap_or(Slot::EMPTY),
        }
    }

    /// The series that have the value under the name.
    pub(crate) fn postings(&self, name: Symbol, value: Symbol) -> PostingsRef<'_> {
        self.slabs.get(self.slot(name, value))
    }

    /// Adds a series to those that have the value under the name, and says whether it is the first.
    pub(crate) fn post(&mut self, name: Symbol, value: Symbol, id: SeriesId) -> bool {
        let Some(entry) = self.entries.get_mut(value as usize) else { return false };
        if entry.home == NO_HOME {
            entry.home = name;
        }
        let slot = match entry.home == name {
            true => &mut entry.slot,
            false => self.elsewhere.entry((name, value)).or_insert(Slot::EMPTY),
        };
        let first = *slot == Slot::EMPTY;
        *slot = self.slabs.insert(*slot, id);
        first
    }

    /// Takes a series off, and says whether it was the last.
    pub(crate) fn unpost(&mut self, name: Symbol, value: Symbol, id: SeriesId) -> bool {
        let left = self.slabs.remove(self.slot(name, value), id);
        match self.entries.get_mut(value as usize) {
            Some(entry) if entry.home == name => entry.slot = left,
            _ if left == Slot::EMPTY => drop(self.elsewhere.remove(&(name, value))),
            _ => drop(self.elsewhere.insert((name, value), left)),
        }
        left == Slot::EMPTY
    }

    /// All strings, without the lock.
    pub(crate) fn snapshot(&self) -> Texts {
        self.texts.clone()
    }

    /// About how many bytes go with a string's last use; none where it has more.
    pub(crate) fn bytes_of_last_use(&self, symbol: Symbol) -> usize {
        match self.entries.get(symbol as usize) {
            // Beside its text and entry it has a place there and one in the table by text.
            Some(entry) if entry.uses == 1 => stored_bytes(self.text(symbol)) + size_of::<Entry>() + 4 + 8,
            _ => 0,
        }
    }

    /// About how many bytes the table and the postings take.
    pub(crate) fn bytes(&self) -> usize {
        let entries =
            self.entries.capacity() * size_of::<Entry>() + (self.free.capacity() + self.unused.capacity()) * 4;
        let tables = self.by_text.capacity() * 5 * 8 / 7 + self.shared.len() * 80 + self.elsewhere.capacity() * 16;
        self.texts.bytes() + entries + tables + self.slabs.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_lives_as_long_as_its_last_use() {
        let mut symbols = Symbols::default();
        let first = symbols.take("a").unwrap();
        assert_eq!(symbols.take("a"), Ok(first));
        symbols.give_back(first);
        assert_eq!(symbols.text(first), "a");
        symbols.give_back(first);
        assert_eq!(symbols.find("a"), None);
        assert_ne!(symbols.take("b"), Ok(first));
        let reader = symbols.pin();
        symbols.condemn();
        assert!(!symbols.free_condemned());
        assert_eq!(symbols.text(first), "a");
        drop(reader);
        assert!(symbols.free_condemned());
        assert_eq!(symbols.text(first), "");
        assert_eq!(symbols.take("c"), Ok(first));
    }

    #[test]
    fn a_string_of_many_uses_is_shared_with_readers() {
        let mut symbols = Symbols::default();
        let symbol = (0..SHARED_USES).map(|_| symbols.take("a").unwrap()).last().unwrap();
        assert!(Arc::ptr_eq(&symbols.shared(symbol), &symbols.shared(symbol)));
        symbols.give_back(symbol);
        assert!(!Arc::ptr_eq(&symbols.shared(symbol), &symbols.shared(symbol)));
    }

    #[test]
    fn a_value_of_two_names_has_the_series_of_each() {
        let mut symbols = Symbols::default();
        let [pod, host, value] = ["pod", "host", "x"].map(|text| symbols.take(text).unwrap());
        assert!(symbols.post(pod, value, 1) && symbols.post(host, value, 2) && !symbols.post(pod, value, 3));
        assert_eq!(symbols.postings(pod, value).len(), 2);
        assert_eq!(symbols.postings(host, value).len(), 1);
        assert!(!symbols.unpost(pod, value, 1) && symbols.unpost(pod, value, 3) && symbols.unpost(host, value, 2));
        assert_eq!(symbols.postings(host, value).len(), 0);
    }
}
