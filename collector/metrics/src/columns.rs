//! The samples of one series in time order, one for each time, and how a newer layer lies over an older one.

use tenantscope_model::{HistogramSample, Sample};

/// Times from `min_ms` to `max_ms`, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeRange {
    pub(crate) min_ms: i64,
    pub(crate) max_ms: i64,
}

impl TimeRange {
    pub(crate) const ALL: Self = Self { min_ms: i64::MIN, max_ms: i64::MAX };
    /// Overlaps nothing; grows by [`TimeRange::include`].
    pub(crate) const EMPTY: Self = Self { min_ms: i64::MAX, max_ms: i64::MIN };

    pub(crate) fn overlaps(&self, other: Self) -> bool {
        self.min_ms <= other.max_ms && other.min_ms <= self.max_ms
    }

    pub(crate) fn contains(&self, t_ms: i64) -> bool {
        (self.min_ms..=self.max_ms).contains(&t_ms)
    }

    pub(crate) fn include(&mut self, t_ms: i64) {
        self.min_ms = self.min_ms.min(t_ms);
        self.max_ms = self.max_ms.max(t_ms);
    }

    pub(crate) fn include_range(&mut self, other: Self) {
        self.min_ms = self.min_ms.min(other.min_ms);
        self.max_ms = self.max_ms.max(other.max_ms);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.min_ms > self.max_ms
    }
}

/// Something that stands at a time.
pub(crate) trait Timed {
    fn t_ms(&self) -> i64;
}

impl Timed for Sample {
    fn t_ms(&self) -> i64 {
        self.t_ms
    }
}

impl Timed for HistogramSample {
    fn t_ms(&self) -> i64 {
        self.t_ms
    }
}

/// Floats and histograms of one series. Each rises strictly in time, and no time is in both.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Columns {
    pub(crate) samples: Vec<Sample>,
    pub(crate) histograms: Vec<HistogramSample>,
}

impl Columns {
    pub(crate) fn len(&self) -> usize {
        self.samples.len() + self.histograms.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lays newer samples over these: at one time the newer one stays, whatever its kind.
    pub(crate) fn overlay(&mut self, newer: Self) {
        if newer.is_empty() {
            return;
        }
        if !self.histograms.is_empty() {
            remove_times(&mut self.histograms, &newer.samples);
        }
        if !newer.histograms.is_empty() {
            remove_times(&mut self.samples, &newer.histograms);
        }
        overlay(&mut self.samples, newer.samples);
        overlay(&mut self.histograms, newer.histograms);
    }

    pub(crate) fn time_range(&self) -> TimeRange {
        let mut range = TimeRange::EMPTY;
        let floats = [self.samples.first(), self.samples.last()];
        floats.into_iter().flatten().for_each(|sample| range.include(sample.t_ms));
        let histograms = [self.histograms.first(), self.histograms.last()];
        histograms.into_iter().flatten().for_each(|sample| range.include(sample.t_ms));
        range
    }

    /// Splits off what stands at or after `t_ms`.
    pub(crate) fn split_off(&mut self, t_ms: i64) -> Self {
        let samples = self.samples.split_off(self.samples.partition_point(|sample| sample.t_ms < t_ms));
        let histograms = self.histograms.split_off(self.histograms.partition_point(|sample| sample.t_ms < t_ms));
        Self { samples, histograms }
    }
}

fn remove_times<T: Timed, U: Timed>(from: &mut Vec<T>, times: &[U]) {
    from.retain(|item| times.binary_search_by_key(&item.t_ms(), Timed::t_ms).is_err());
}

fn overlay<T: Timed + Clone>(base: &mut Vec<T>, mut newer: Vec<T>) {
    let (Some(first), Some(last)) = (newer.first(), base.last()) else {
        if base.is_empty() {
            *base = newer;
        }
        return;
    };
    if last.t_ms() < first.t_ms() {
        base.append(&mut newer);
        return;
    }
    let keep = base.partition_point(|item| item.t_ms() < first.t_ms());
    let mut old = base.split_off(keep).into_iter().peekable();
    for item in newer {
        while let Some(before) = old.next_if(|old| old.t_ms() < item.t_ms()) {
            base.push(before);
        }
        let _replaced = old.next_if(|old| old.t_ms() == item.t_ms());
        base.push(item);
    }
    base.extend(old);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn columns(points: &BTreeMap<i64, (bool, i32)>) -> Columns {
        let mut columns = Columns::default();
        for (t_ms, (is_float, value)) in points {
            if *is_float {
                columns.samples.push(Sample { t_ms: *t_ms, value: f64::from(*value) });
            } else {
                let histogram = tenantscope_model::Histogram { sum: f64::from(*value), ..Default::default() };
                columns.histograms.push(HistogramSample { t_ms: *t_ms, histogram: Arc::new(histogram) });
            }
        }
        columns
    }

    proptest! {
        #[test]
        fn the_newer_layer_wins_at_each_time(
            old in prop::collection::btree_map(0_i64..40, (any::<bool>(), 0..100_i32), 0..30),
            new in prop::collection::btree_map(0_i64..40, (any::<bool>(), 100..200_i32), 0..30),
        ) {
            let mut expected = old.clone();
            expected.extend(new.iter().map(|(t, v)| (*t, *v)));
            let mut got = columns(&old);
            got.overlay(columns(&new));
            prop_assert_eq!(got, columns(&expected));
        }
    }
}
