//! What was read of files lately, within a number of bytes. What is in use stays, whatever its age.
//!
//! Values may share what lies beside the cache, such as series in the index, and that counts, too; what it is that goes
//! with one of them shows once it went.

use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashMap;

/// Values by key, the least lately used one going first.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Rises with every use.
    clock: u64,
    used_bytes: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: Arc<V>,
    bytes: usize,
    last_used: u64,
}

impl<K: Eq + Hash + Copy, V> Cache<K, V> {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { entries: HashMap::new(), clock: 0, used_bytes: 0, max_bytes }
    }

    pub(super) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    pub(super) fn get(&mut self, key: K) -> Option<Arc<V>> {
        self.clock += 1;
        let entry = self.entries.get_mut(&key)?;
        entry.last_used = self.clock;
        Some(Arc::clone(&entry.value))
    }

    /// Takes a value in, and returns those that went for it.
    pub(super) fn insert(&mut self, key: K, value: Arc<V>, bytes: usize) -> Vec<Arc<V>> {
        self.insert_beside(key, value, bytes, 0)
    }

    /// The same where all values together have so many bytes beside the cache.
    pub(super) fn insert_beside(&mut self, key: K, value: Arc<V>, bytes: usize, beside_bytes: usize) -> Vec<Arc<V>> {
        self.clock += 1;
        self.used_bytes += bytes;
        let replaced = self.entries.insert(key, Entry { value, bytes, last_used: self.clock });
        let mut gone = Vec::new();
        if let Some(replaced) = replaced {
            self.used_bytes -= replaced.bytes;
            gone.push(replaced.value);
        }
        if self.used_bytes + beside_bytes > self.max_bytes {
            gone.append(&mut self.shrink(beside_bytes));
        }
        gone
    }

    /// Makes some more room than is needed, so that not every insertion looks at all entries.
    fn shrink(&mut self, beside_bytes: usize) -> Vec<Arc<V>> {
        // Each value is taken to have its part of what is beside the cache.
        let part = self.used_bytes as f64 / (self.used_bytes + beside_bytes).max(1) as f64;
        let target = ((self.max_bytes - self.max_bytes / 8) as f64 * part) as usize;
        let mut idle: Vec<(u64, K)> = self
            .entries
            .iter()
            .filter(|(_, entry)| Arc::strong_count(&entry.value) == 1)
            .map(|(key, entry)| (entry.last_used, *key))
            .collect();
        idle.sort_unstable_by_key(|(last_used, _)| *last_used);
        let mut gone = Vec::new();
        for (_, key) in idle {
            if self.used_bytes <= target {
                break;
            }
            gone.extend(self.remove(key));
        }
        gone
    }

    fn remove(&mut self, key: K) -> Option<Arc<V>> {
        let entry = self.entries.remove(&key)?;
        self.used_bytes -= entry.bytes;
        Some(entry.value)
    }

    /// Removes everything about keys that are no longer wanted.
    pub(super) fn remove_where(&mut self, unwanted: impl Fn(&K) -> bool) -> Vec<Arc<V>> {
        let keys: Vec<K> = self.entries.keys().filter(|key| unwanted(key)).copied().collect();
        keys.into_iter().filter_map(|key| self.remove(key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_lately_used_goes_unless_it_is_in_use() {
        let mut cache: Cache<u32, u32> = Cache::new(100);
        let held = Arc::new(1);
        cache.insert(1, Arc::clone(&held), 40);
        cache.insert(2, Arc::new(2), 40);
        cache.insert(3, Arc::new(3), 15);
        cache.get(2);
        let gone = cache.insert(4, Arc::new(4), 20);
        assert_eq!(gone.iter().map(|value| **value).collect::<Vec<_>>(), [3, 2]);
        assert!(cache.get(1).is_some() && cache.get(4).is_some());
        assert_eq!(cache.used_bytes(), 60);
    }

    #[test]
    fn what_lies_beside_the_cache_counts_too() {
        let mut cache: Cache<u32, u32> = Cache::new(1000);
        for key in 0..4 {
            assert!(cache.insert_beside(key, Arc::new(key), 100, 600).is_empty());
        }
        let gone = cache.insert_beside(4, Arc::new(4), 100, 700);
        assert_eq!(gone.iter().map(|value| **value).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(cache.used_bytes(), 300);
    }
}
