//! The samples of one series in time order, one for each time, and how a newer layer lies over an older one.

use tenantscope_model::{HistogramSample, Sample, Starts};

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

impl<T: Timed> Timed for (T, i64) {
    fn t_ms(&self) -> i64 {
        self.0.t_ms()
    }
}

/// Floats and histograms of one series. Each rises strictly in time, and no time is in both.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Columns {
    pub(crate) samples: Vec<Sample>,
    pub(crate) histograms: Vec<HistogramSample>,
    /// A list is empty where none of its starts is known.
    pub(crate) starts: Starts,
}

impl Columns {
    pub(crate) fn len(&self) -> usize {
        self.samples.len() + self.histograms.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lays newer samples over these: at one time the newer one stays, whatever its kind and whether or not it has a
    /// start.
    pub(crate) fn overlay(&mut self, newer: Self) {
        if newer.is_empty() {
            return;
        }
        if !self.histograms.is_empty() && !newer.samples.is_empty() {
            remove_times(&mut self.histograms, &mut self.starts.histograms_ms, &newer.samples);
        }
        if !self.samples.is_empty() && !newer.histograms.is_empty() {
            remove_times(&mut self.samples, &mut self.starts.samples_ms, &newer.histograms);
        }
        overlay(&mut self.samples, &mut self.starts.samples_ms, newer.samples, newer.starts.samples_ms);
        overlay(&mut self.histograms, &mut self.starts.histograms_ms, newer.histograms, newer.starts.histograms_ms);
    }

    /// Lays newer samples over these, and empties them without giving up their memory where that is possible.
    pub(crate) fn lay_over(&mut self, newer: &mut Self) {
        let only_floats = newer.histograms.is_empty() && newer.starts.samples_ms.is_empty();
        let plain = self.histograms.is_empty() && self.starts.samples_ms.is_empty();
        if self.is_empty() {
            std::mem::swap(self, newer);
        } else if only_floats && plain && follows(&self.samples, &newer.samples) {
            self.samples.append(&mut newer.samples);
        } else {
            self.overlay(std::mem::take(newer));
        }
    }

    /// Empties the lists and keeps their memory.
    pub(crate) fn clear(&mut self) {
        self.samples.clear();
        self.histograms.clear();
        self.starts.samples_ms.clear();
        self.starts.histograms_ms.clear();
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        let histograms = self.histograms.iter().map(|sample| crate::head::histogram_bytes(&sample.histogram));
        let starts = self.starts.samples_ms.capacity() + self.starts.histograms_ms.capacity();
        self.samples.capacity() * size_of::<Sample>() + histograms.sum::<usize>() + starts * size_of::<i64>()
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
        let (samples, samples_ms) = split_off(&mut self.samples, &mut self.starts.samples_ms, t_ms);
        let (histograms, histograms_ms) = split_off(&mut self.histograms, &mut self.starts.histograms_ms, t_ms);
        Self { samples, histograms, starts: Starts { samples_ms, histograms_ms } }
    }
}

/// Whether all of the newer ones are later.
fn follows(samples: &[Sample], newer: &[Sample]) -> bool {
    let ends = samples.last().zip(newer.first());
    ends.is_none_or(|(last, first)| last.t_ms < first.t_ms)
}

/// Empties a list in which no start is known.
pub(crate) fn tidy_starts(starts_ms: &mut Vec<i64>) {
    if starts_ms.iter().all(|start_ms| *start_ms == 0) {
        starts_ms.clear();
    }
}

fn split_off<T: Timed>(items: &mut Vec<T>, starts_ms: &mut Vec<i64>, t_ms: i64) -> (Vec<T>, Vec<i64>) {
    let at = items.partition_point(|item| item.t_ms() < t_ms);
    let mut later_ms = if starts_ms.is_empty() { Vec::new() } else { starts_ms.split_off(at) };
    tidy_starts(starts_ms);
    tidy_starts(&mut later_ms);
    (items.split_off(at), later_ms)
}

fn remove_times<T: Timed, U: Timed>(from: &mut Vec<T>, starts_ms: &mut Vec<i64>, times: &[U]) {
    let stays = |item: &T| times.binary_search_by_key(&item.t_ms(), Timed::t_ms).is_err();
    if !starts_ms.is_empty() {
        let mut items = from.iter();
        starts_ms.retain(|_| items.next().is_none_or(stays));
        tidy_starts(starts_ms);
    }
    from.retain(stays);
}

fn overlay<T: Timed>(base: &mut Vec<T>, base_ms: &mut Vec<i64>, newer: Vec<T>, newer_ms: Vec<i64>) {
    if newer.is_empty() {
        return;
    }
    if base_ms.is_empty() && newer_ms.is_empty() {
        return overlay_items(base, newer);
    }
    let mut paired = with_starts(std::mem::take(base), std::mem::take(base_ms));
    overlay_items(&mut paired, with_starts(newer, newer_ms));
    (*base, *base_ms) = paired.into_iter().unzip();
    tidy_starts(base_ms);
}

/// Each item with its start.
fn with_starts<T>(items: Vec<T>, starts_ms: Vec<i64>) -> Vec<(T, i64)> {
    items.into_iter().zip(starts_ms.into_iter().chain(std::iter::repeat(0))).collect()
}

fn overlay_items<T: Timed>(base: &mut Vec<T>, mut newer: Vec<T>) {
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

    /// Whether a float, its value or sum, its start.
    type Point = (bool, i32, i64);

    fn columns(points: &BTreeMap<i64, Point>) -> Columns {
        let mut columns = Columns::default();
        for (t_ms, (is_float, value, start_ms)) in points {
            if *is_float {
                columns.samples.push(Sample { t_ms: *t_ms, value: f64::from(*value) });
                columns.starts.samples_ms.push(*start_ms);
            } else {
                let histogram = tenantscope_model::Histogram { sum: f64::from(*value), ..Default::default() };
                columns.histograms.push(HistogramSample { t_ms: *t_ms, histogram: Arc::new(histogram) });
                columns.starts.histograms_ms.push(*start_ms);
            }
        }
        tidy_starts(&mut columns.starts.samples_ms);
        tidy_starts(&mut columns.starts.histograms_ms);
        columns
    }

    fn points(values: std::ops::Range<i32>) -> impl Strategy<Value = BTreeMap<i64, Point>> {
        let start_ms = prop_oneof![4 => Just(0), 1 => 1_i64..9];
        prop::collection::btree_map(0_i64..40, (any::<bool>(), values, start_ms), 0..30)
    }

    proptest! {
        #[test]
        fn the_newer_layer_wins_at_each_time(old in points(0..100), new in points(100..200)) {
            let mut expected = old.clone();
            expected.extend(new.iter().map(|(t, v)| (*t, *v)));
            let mut got = columns(&old);
            got.overlay(columns(&new));
            prop_assert_eq!(got, columns(&expected));
        }

        #[test]
        fn what_is_split_is_whole(given in points(0..100), at_ms in -1_i64..41) {
            let mut before = columns(&given);
            let after = before.split_off(at_ms);
            let later: BTreeMap<i64, Point> = given.range(at_ms..).map(|(t, v)| (*t, *v)).collect();
            prop_assert_eq!(&after, &columns(&later));
            before.overlay(after);
            prop_assert_eq!(before, columns(&given));
        }
    }
}
