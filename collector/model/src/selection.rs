use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::{HistogramSample, Labels, METRIC_NAME, Sample, SelectError, SelectedSeries, Starts};

/// Which of a series' labels are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelSet<'a> {
    /// Only these.
    Only(&'a [Arc<str>]),
    /// All but these and the metric name.
    Without(&'a [Arc<str>]),
}

impl LabelSet<'_> {
    /// Whether a label of this name is looked at.
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::Only(names) => names.iter().any(|other| **other == *name),
            Self::Without(names) => name != METRIC_NAME && !names.iter().any(|other| **other == *name),
        }
    }

    /// The part of the labels that is looked at.
    pub fn of(&self, labels: &Labels) -> Labels {
        match self {
            Self::Only([]) => Labels::default(),
            _ => labels.filter(|label| self.contains(&label.name)),
        }
    }
}

/// Series put together by a part of their labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeriesGroups {
    /// For each series of the selection, by its place, the number of its group.
    pub of: Vec<u32>,
    /// For each group what its series have in common, in the order in which the groups first occur.
    pub labels: Vec<Labels>,
}

/// Numbers the groups of series, one series after the other.
#[derive(Debug, Default)]
pub struct SeriesGrouping {
    by_labels: HashMap<Labels, u32>,
    groups: SeriesGroups,
}

impl SeriesGrouping {
    /// The number of the group with these labels.
    pub fn number(&mut self, labels: Labels) -> u32 {
        if let Some(number) = self.by_labels.get(&labels) {
            return *number;
        }
        let number = u32::try_from(self.groups.labels.len()).unwrap_or(u32::MAX);
        self.groups.labels.push(labels.clone());
        self.by_labels.insert(labels, number);
        number
    }

    /// The number of the group of series that have nothing in common but that they were found.
    pub fn number_of_all(&mut self) -> u32 {
        if self.groups.labels.is_empty() { self.number(Labels::default()) } else { 0 }
    }

    /// Says in which group the next series is.
    pub fn push(&mut self, number: u32) {
        self.groups.of.push(number);
    }

    /// The groups.
    pub fn finish(self) -> SeriesGroups {
        self.groups
    }
}

/// One series on its way past a scan. Samples are in time order, one for each time, the newest write of each.
#[derive(Debug, Clone, Copy)]
pub struct SeriesView<'a> {
    /// Which series of the selection it is.
    pub place: usize,
    /// The lookback that holds for this series, in milliseconds; 0 for a range selector.
    pub lookback_ms: i64,
    /// Float samples in `(from_ms - lookback, to_ms]`; with a range selector in `[from_ms, to_ms]`.
    pub samples: &'a [Sample],
    /// Native histograms in the same time.
    pub histograms: &'a [HistogramSample],
    /// When the counting of the samples and histograms began.
    pub starts: &'a Starts,
}

/// A run through some series of a selection. What a view shows lives until the next is asked for.
pub trait SeriesScan: Send {
    /// The next series that has samples, by rising place; `None` at the end.
    fn next(&mut self) -> Result<Option<SeriesView<'_>>, SelectError>;
}

/// The series that a selector found, each with a place of its own from 0 on. Their samples are read by scans, of which
/// several may run at once, and their labels are made for those that still matter in the end.
///
/// A series is found by its labels, so it may turn out to have no samples in the time that was asked for.
pub trait Selection: Send + Sync {
    /// How many series were found.
    fn len(&self) -> usize;

    /// Whether none was found.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts the series in the order of their labels. Before that they are in any order, which stays the same as long as
    /// no series comes or goes.
    fn sort(&mut self) -> Result<(), SelectError>;

    /// The labels of the series at these places, in the order of the places.
    fn labels(&self, places: &[usize]) -> Result<Vec<Labels>, SelectError>;

    /// Puts the series together by a part of their labels.
    fn groups(&self, by: LabelSet<'_>) -> Result<SeriesGroups, SelectError>;

    /// Reads the samples of the series at these places.
    fn scan(&self, places: Range<usize>) -> Box<dyn SeriesScan + '_>;
}

/// A selection that holds everything in memory, sorted by labels.
#[derive(Debug)]
pub(crate) struct Held(pub(crate) Vec<SelectedSeries>);

struct HeldScan<'a> {
    place: usize,
    left: std::slice::Iter<'a, SelectedSeries>,
}

impl SeriesScan for HeldScan<'_> {
    fn next(&mut self) -> Result<Option<SeriesView<'_>>, SelectError> {
        let Some(series) = self.left.next() else { return Ok(None) };
        self.place += 1;
        Ok(Some(SeriesView {
            place: self.place - 1,
            lookback_ms: series.lookback_ms,
            samples: &series.samples,
            histograms: &series.histograms,
            starts: &series.starts,
        }))
    }
}

impl Selection for Held {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn sort(&mut self) -> Result<(), SelectError> {
        Ok(())
    }

    fn labels(&self, places: &[usize]) -> Result<Vec<Labels>, SelectError> {
        let labels = |place: &usize| self.0.get(*place).map(|series| series.labels.clone()).unwrap_or_default();
        Ok(places.iter().map(labels).collect())
    }

    fn groups(&self, by: LabelSet<'_>) -> Result<SeriesGroups, SelectError> {
        let mut grouping = SeriesGrouping::default();
        for series in &self.0 {
            let number = grouping.number(by.of(&series.labels));
            grouping.push(number);
        }
        Ok(grouping.finish())
    }

    fn scan(&self, places: Range<usize>) -> Box<dyn SeriesScan + '_> {
        let place = places.start;
        Box::new(HeldScan { place, left: self.0.get(places).unwrap_or_default().iter() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> Held {
        let series = |instance: &str, value: f64| SelectedSeries {
            labels: Labels::from_pairs([(METRIC_NAME, "up"), ("instance", instance), ("job", "a")]),
            lookback_ms: 0,
            samples: vec![Sample { t_ms: 1, value }],
            histograms: Vec::new(),
            starts: Starts::default(),
        };
        Held(vec![series("x", 1.0), series("y", 2.0), series("z", 3.0)])
    }

    #[test]
    fn a_scan_shows_the_series_at_its_places() {
        let held = held();
        let mut scan = held.scan(1..3);
        let mut seen = Vec::new();
        while let Some(view) = scan.next().unwrap() {
            seen.push((view.place, view.samples[0].value));
        }
        assert_eq!(seen, [(1, 2.0), (2, 3.0)]);
    }

    #[test]
    fn series_are_grouped_by_the_labels_that_count() {
        let held = held();
        let names: [Arc<str>; 1] = ["instance".into()];
        let without = held.groups(LabelSet::Without(&names)).unwrap();
        assert_eq!((without.of, without.labels), (vec![0, 0, 0], vec![Labels::from_pairs([("job", "a")])]));
        assert_eq!(held.groups(LabelSet::Only(&names)).unwrap().of, [0, 1, 2]);
        assert_eq!(held.groups(LabelSet::Only(&[])).unwrap().labels, [Labels::default()]);
    }
}
