//! A store in memory for tests: what `Select` promises, over a map.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tenantscope_model::{
    Exemplar, Labels, Lookback, Matcher, Metadata, MetadataRequest, Sample, Scope, Select, SelectError, SelectRequest,
    SelectedSeries, SeriesRequest, StampedSeries,
};

/// Series and their samples by time.
#[derive(Default)]
pub(crate) struct Memory(Mutex<BTreeMap<Labels, BTreeMap<i64, f64>>>);

impl Memory {
    /// Adds samples; the newest write of a time wins.
    pub(crate) fn add(&self, labels: &Labels, samples: impl IntoIterator<Item = Sample>) {
        let mut held = self.0.lock();
        let series = held.entry(labels.clone()).or_default();
        series.extend(samples.into_iter().map(|sample| (sample.t_ms, sample.value)));
    }

    /// Adds what rules made.
    #[allow(dead_code, reason = "not every test has rules write here")]
    pub(crate) fn write(&self, series: &[StampedSeries]) {
        for one in series {
            self.add(&one.labels, one.samples.iter().copied());
        }
    }
}

impl Select for Memory {
    fn select(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<Vec<SelectedSeries>, SelectError> {
        let (back_ms, lookback_ms) = match request.lookback {
            Lookback::Range => (0, 0),
            Lookback::Widened(ms) | Lookback::Fixed(ms) => (ms - 1, ms),
        };
        let held = self.0.lock();
        let fits = |labels: &Labels| {
            scope.allows_text(labels.get("tenant").unwrap_or(""))
                && request.matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
        };
        let series = held.iter().filter(|(labels, _)| fits(labels)).map(|(labels, samples)| SelectedSeries {
            labels: labels.clone(),
            lookback_ms,
            samples: samples
                .range(request.from_ms - back_ms..=request.to_ms)
                .map(|(t_ms, value)| Sample { t_ms: *t_ms, value: *value })
                .collect(),
            histograms: Vec::new(),
            starts: Default::default(),
        });
        Ok(series.filter(|series| !series.samples.is_empty()).collect())
    }

    fn series(&self, _: &Scope, _: &SeriesRequest<'_>) -> Result<Vec<Labels>, SelectError> {
        Ok(self.0.lock().keys().cloned().collect())
    }

    fn label_names(&self, _: &Scope, _: &SeriesRequest<'_>) -> Result<Vec<Arc<str>>, SelectError> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &Scope, name: &str, request: &SeriesRequest<'_>) -> Result<Vec<Arc<str>>, SelectError> {
        let held = self.0.lock();
        let fits = |labels: &&Labels| {
            let fulfils = |set: &Vec<Matcher>| set.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or("")));
            request.matcher_sets.iter().any(fulfils)
        };
        let values = held.keys().filter(fits).filter_map(|labels| labels.get(name));
        Ok(values.collect::<BTreeSet<_>>().into_iter().map(Arc::from).collect())
    }

    fn metadata(&self, _: &Scope, _: &MetadataRequest<'_>) -> Result<Vec<(Arc<str>, Vec<Metadata>)>, SelectError> {
        Ok(Vec::new())
    }

    fn exemplars(&self, _: &Scope, _: &SeriesRequest<'_>) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
        Ok(Vec::new())
    }
}
