use std::collections::HashMap;
use std::sync::Arc;

use crate::{Labels, METRIC_NAME};

/// How many series there are, and what makes them many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// All series.
    pub series: u64,
    /// Different pairs of a label's name and value.
    pub label_pairs: u64,
    /// The first and last sample's time, in milliseconds, as far as it is known.
    pub times_ms: Option<(i64, i64)>,
    /// Metric names by series.
    pub by_metric: Vec<Count>,
    /// Label names by different values.
    pub by_label: Vec<Count>,
    /// Label names by the bytes of their values, each of which is kept once.
    pub bytes_by_label: Vec<Count>,
    /// `name=value` by series.
    pub by_pair: Vec<Count>,
}

/// Something, and how often it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// What is counted.
    pub name: Arc<str>,
    /// How many.
    pub count: u64,
}

/// The largest counts, without keeping more than twice as many as are wanted.
#[derive(Debug)]
pub struct Largest {
    wanted: usize,
    counts: Vec<Count>,
}

impl Largest {
    /// So many.
    pub fn new(wanted: usize) -> Self {
        Self { wanted, counts: Vec::new() }
    }

    /// Takes a count in, if it may be among the largest.
    pub fn add(&mut self, count: u64, name: impl FnOnce() -> Arc<str>) {
        if self.wanted == 0 {
            return;
        }
        self.counts.push(Count { name: name(), count });
        if self.counts.len() >= self.wanted.saturating_mul(2).max(64) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.counts.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
        self.counts.truncate(self.wanted);
    }

    /// The largest, from the largest on; equal ones by name.
    pub fn into_counts(mut self) -> Vec<Count> {
        self.cut();
        self.counts
    }
}

impl Cardinality {
    /// Counts what labels say; each list has at most `limit` entries.
    pub fn of<'a>(all: impl IntoIterator<Item = &'a Labels>, limit: usize) -> Self {
        let mut by_label: HashMap<Arc<str>, HashMap<Arc<str>, u64>> = HashMap::new();
        let mut series = 0;
        for labels in all {
            series += 1;
            for label in labels {
                let values = by_label.entry(Arc::clone(&label.name)).or_default();
                *values.entry(Arc::clone(&label.value)).or_default() += 1;
            }
        }
        let mut tally = Tally::new(limit);
        for (name, values) in by_label {
            tally.label(&name, values.iter().map(|(value, count)| (&**value, *count)));
        }
        tally.finish(series)
    }
}

/// Counts labels one after another, for a store that knows the series of each value.
#[derive(Debug)]
pub struct Tally {
    label_pairs: u64,
    by_metric: Largest,
    by_label: Largest,
    bytes_by_label: Largest,
    by_pair: Largest,
}

impl Tally {
    /// Lists of at most `limit` entries.
    pub fn new(limit: usize) -> Self {
        let largest = || Largest::new(limit);
        let [by_metric, by_label, bytes_by_label, by_pair] = [largest(), largest(), largest(), largest()];
        Self { label_pairs: 0, by_metric, by_label, bytes_by_label, by_pair }
    }

    /// A label, its values and how many series have each.
    pub fn label<'a>(&mut self, name: &str, values: impl IntoIterator<Item = (&'a str, u64)>) {
        let (mut different, mut bytes) = (0, 0);
        for (value, count) in values {
            different += 1;
            bytes += value.len() as u64;
            if name == METRIC_NAME {
                self.by_metric.add(count, || value.into());
            }
            self.by_pair.add(count, || format!("{name}={value}").into());
        }
        if different > 0 {
            self.label_pairs += different;
            self.by_label.add(different, || name.into());
            self.bytes_by_label.add(bytes, || name.into());
        }
    }

    /// What was counted.
    pub fn finish(self, series: u64) -> Cardinality {
        Cardinality {
            series,
            label_pairs: self.label_pairs,
            times_ms: None,
            by_metric: self.by_metric.into_counts(),
            by_label: self.by_label.into_counts(),
            bytes_by_label: self.bytes_by_label.into_counts(),
            by_pair: self.by_pair.into_counts(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_names_and_values_are_counted() {
        let labels = |name: &str, shop: &str| Labels::from_pairs([("__name__", name), ("shop", shop)]);
        let all = [labels("orders", "a"), labels("orders", "bb"), labels("carts", "a")];
        let counted = Cardinality::of(&all, 2);
        let listed = |counts: &[Count]| counts.iter().map(|c| format!("{} {}", c.name, c.count)).collect::<Vec<_>>();
        assert_eq!((counted.series, counted.label_pairs), (3, 4));
        assert_eq!(listed(&counted.by_metric), ["orders 2", "carts 1"]);
        assert_eq!(listed(&counted.by_label), ["__name__ 2", "shop 2"]);
        assert_eq!(listed(&counted.bytes_by_label), ["__name__ 11", "shop 3"]);
        assert_eq!(listed(&counted.by_pair), ["__name__=orders 2", "shop=a 2"]);
    }
}
