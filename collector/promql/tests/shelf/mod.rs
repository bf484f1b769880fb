//! A store in memory that tests fill and only read samples from.
#![allow(dead_code, unreachable_pub, reason = "a module of several test programs, each of which uses a part of it")]

use std::sync::Arc;

use tenantscope_model::{
    Exemplar, Families, Labels, Lookback, MetadataRequest, Sample, Scope, Select, SelectError, SelectRequest,
    SelectedSeries, SeriesRequest,
};

/// Series by their labels, read within the scope.
#[derive(Default)]
pub struct Shelf(Vec<SelectedSeries>);

impl Shelf {
    pub fn of(mut series: Vec<SelectedSeries>) -> Self {
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Self(series)
    }

    pub fn with(self, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Self {
        let mut all = self.0;
        all.push(SelectedSeries {
            labels: Labels::from_pairs(labels.iter().copied()),
            lookback_ms: 0,
            samples: samples.iter().map(|&(t_ms, value)| Sample { t_ms, value }).collect(),
            histograms: Vec::new(),
            starts: Default::default(),
        });
        Self::of(all)
    }
}

impl Select for Shelf {
    fn select(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<Vec<SelectedSeries>, SelectError> {
        let lookback_ms = match request.lookback {
            Lookback::Range => 0,
            Lookback::Widened(ms) | Lookback::Fixed(ms) => ms,
        };
        // What is looked back for is open on its left.
        let after_ms = request.from_ms.saturating_sub(lookback_ms.max(1));
        let is_wanted = |t_ms: i64| t_ms > after_ms && t_ms <= request.to_ms;
        let mut found = Vec::new();
        for SelectedSeries { labels, samples, histograms, .. } in &self.0 {
            let matched = request.matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or("")));
            if !matched || !scope.allows_text(labels.get("tenant").unwrap_or("")) {
                continue;
            }
            let samples: Vec<Sample> = samples.iter().copied().filter(|sample| is_wanted(sample.t_ms)).collect();
            let histograms: Vec<_> = histograms.iter().filter(|sample| is_wanted(sample.t_ms)).cloned().collect();
            request.budget.charge(samples.len() + histograms.len())?;
            if !samples.is_empty() || !histograms.is_empty() {
                let (labels, starts) = (labels.clone(), Default::default());
                found.push(SelectedSeries { labels, lookback_ms, samples, histograms, starts });
            }
        }
        Ok(found)
    }

    fn series(&self, _: &Scope, _: &SeriesRequest<'_>) -> Result<Vec<Labels>, SelectError> {
        Ok(Vec::new())
    }

    fn label_names(&self, _: &Scope, _: &SeriesRequest<'_>) -> Result<Vec<Arc<str>>, SelectError> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &Scope, _: &str, _: &SeriesRequest<'_>) -> Result<Vec<Arc<str>>, SelectError> {
        Ok(Vec::new())
    }

    fn metadata(&self, _: &Scope, _: &MetadataRequest<'_>) -> Result<Families, SelectError> {
        Ok(Vec::new())
    }

    fn exemplars(&self, _: &Scope, _: &SeriesRequest<'_>) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
        Ok(Vec::new())
    }
}
