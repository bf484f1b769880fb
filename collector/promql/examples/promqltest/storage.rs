//! The store that scripts load into: the collector's own metric store, in a folder that goes with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tempfile::TempDir;
use tenantscope_metrics::{MetricStore, Options};
use tenantscope_model::{
    HistogramSample, Labels, METRIC_NAME, Position, Sample, Sink, Span, Spans, StampedBatch, StampedSeries,
};

use crate::script::Load;
use crate::series::{Point, SeriesLine};

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
            series.extend(converted(load));
        }
        let batch = StampedBatch::Metrics { series, metadata: Vec::new() };
        let prepared = self.store.prepare(batch).map_err(|refusal| refusal.to_string())?;
        self.position += 1;
        self.store.apply(prepared, Position(self.position));
        Ok(())
    }
}

fn stamped(line: &SeriesLine, interval_ms: i64) -> StampedSeries {
    let mut series = StampedSeries {
        labels: line.labels.clone(),
        samples: Vec::new(),
        histograms: Vec::new(),
        exemplars: Vec::new(),
        starts: Default::default(),
        cadence: None,
    };
    for (index, point) in line.points.iter().enumerate() {
        let t_ms = interval_ms * index as i64;
        match point {
            Point::Omitted => {}
            Point::Float(value) => series.samples.push(Sample { t_ms, value: *value }),
            Point::Histogram(histogram) => {
                series.histograms.push(HistogramSample { t_ms, histogram: Arc::new((**histogram).clone()) });
            }
        }
    }
    series
}

/// A classic histogram at one time.
#[derive(Default)]
struct Classic {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// Native histograms with custom bounds from the classic ones.
fn converted(load: &Load) -> Vec<StampedSeries> {
    let mut found: BTreeMap<Labels, BTreeMap<i64, Classic>> = BTreeMap::new();
    for line in &load.series {
        let name = line.labels.metric_name();
        let suffix = ["_bucket", "_count", "_sum"].into_iter().find(|suffix| name.ends_with(suffix));
        let Some(suffix) = suffix else { continue };
        let mut base = line.labels.to_builder();
        base.set(METRIC_NAME, name.trim_end_matches(suffix)).remove("le");
        let le = line.labels.get("le").and_then(crate::series::float);
        let by_time = found.entry(base.build()).or_default();
        for (index, point) in line.points.iter().enumerate() {
            let Point::Float(value) = point else { continue };
            let classic = by_time.entry(load.interval_ms * index as i64).or_default();
            match (suffix, le) {
                ("_bucket", Some(le)) => classic.buckets.push((le, *value)),
                ("_count", _) => classic.count = Some(*value),
                ("_sum", _) => classic.sum = *value,
                _ => {}
            }
        }
    }
    found.into_iter().map(|(labels, by_time)| native(labels, by_time)).collect()
}

fn native(labels: Labels, by_time: BTreeMap<i64, Classic>) -> StampedSeries {
    let one = |(t_ms, mut classic): (i64, Classic)| {
        classic.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let bounds: Vec<f64> = classic.buckets.iter().map(|(le, _)| *le).filter(|le| le.is_finite()).collect();
        let last = classic.buckets.last().map_or(0.0, |(_, count)| *count);
        let total = classic.count.unwrap_or(last);
        let mut counts = Vec::new();
        let mut below = 0.0;
        for (_, cumulative) in classic.buckets.iter().filter(|(le, _)| le.is_finite()) {
            counts.push(cumulative - below);
            below = *cumulative;
        }
        counts.push(total - below);
        let spans = vec![Span { offset: 0, length: counts.len() as u32 }];
        let histogram = tenantscope_model::Histogram {
            schema: -53,
            count: total,
            sum: classic.sum,
            positive: Spans { spans, counts },
            custom_bounds: bounds,
            ..Default::default()
        };
        HistogramSample { t_ms, histogram: Arc::new(histogram) }
    };
    let histograms = by_time.into_iter().map(one).collect();
    StampedSeries {
        labels,
        samples: Vec::new(),
        histograms,
        exemplars: Vec::new(),
        starts: Default::default(),
        cadence: None,
    }
}
