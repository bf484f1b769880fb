//! The store that scripts load into: the collector's own metric store, in a folder that goes with it.

use std::sync::Arc;

use tempfile::TempDir;
use tenantscope_metrics::{MetricStore, Options};
use tenantscope_model::{HistogramSample, Position, Sample, Sink, StampedBatch, StampedSeries, Starts};
use tenantscope_promql::settle_hints;

use super::custom_buckets;
use super::loading::{Load, LoadedSeries};
use super::series::Point;

/// A store and its folder.
pub(crate) struct Storage {
    pub(crate) store: Arc<MetricStore>,
    position: u64,
    _folder: TempDir,
}

impl Storage {
    /// An empty store.
    pub(crate) fn new() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let options = Options { retention: None, future_max: None, ..Options::default() };
        let store = MetricStore::open(folder.path(), options).map_err(|error| error.to_string())?;
        Ok(Self { store, position: 0, _folder: folder })
    }

    /// Loads series.
    pub(crate) fn load(&mut self, load: &Load) -> Result<(), String> {
        let mut series: Vec<StampedSeries> = load.series.iter().map(|line| stamped(line, load.interval_ms)).collect();
        if load.with_nhcb {
            series.extend(custom_buckets::converted(load)?.iter().map(|line| stamped(line, load.interval_ms)));
        }
        let batch = StampedBatch::Metrics { series, metadata: Vec::new() };
        let prepared = self.store.prepare(batch).map_err(|refusal| refusal.to_string())?;
        self.position += 1;
        self.store.apply(prepared, Position(self.position));
        Ok(())
    }
}

fn stamped(line: &LoadedSeries, interval_ms: i64) -> StampedSeries {
    let (mut samples, mut histograms, mut starts) = (Vec::new(), Vec::new(), Starts::default());
    for (index, point) in line.points.iter().enumerate() {
        let t_ms = interval_ms * index as i64;
        let start_ms = line.starts_ms.get(index).copied().flatten().map_or(0, |start| t_ms + start);
        match point {
            Point::Omitted => {}
            Point::Float(value) => {
                samples.push(Sample { t_ms, value: *value });
                starts.samples_ms.push(start_ms);
            }
            Point::Histogram { histogram, .. } => {
                histograms.push(HistogramSample { t_ms, histogram: Arc::new((**histogram).clone()) });
                starts.histograms_ms.push(start_ms);
            }
        }
    }
    // What Prometheus's own store says of histograms when they are read.
    settle_hints(&samples, &mut histograms);
    if line.starts_ms.is_empty() {
        starts = Starts::default();
    }
    StampedSeries { labels: line.labels.clone(), samples, histograms, exemplars: Vec::new(), starts, cadence: None }
}
