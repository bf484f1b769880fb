//! `load_with_nhcb`: native histograms with custom buckets from classic ones.

use std::collections::BTreeMap;

use tenantscope_model::{Histogram, Labels, METRIC_NAME, Span, Spans};

use super::loading::{Load, LoadedSeries};
use super::series::{Point, float};

/// A classic histogram at one time.
#[derive(Default)]
struct Classic {
    /// Cumulative counts by upper bound, from the lowest.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

impl Classic {
    fn set_bucket(&mut self, bound: f64, count: f64) {
        let at = self.buckets.partition_point(|(known, _)| *known < bound);
        if self.buckets.get(at).is_none_or(|(known, _)| *known != bound) {
            self.buckets.insert(at, (bound, count));
        }
    }

    fn into_native(mut self) -> Result<Histogram, String> {
        let highest = self.buckets.last().map(|(_, count)| *count);
        let count = self.count.or(highest).unwrap_or(0.0);
        if self.buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        if self.buckets.last().is_some_and(|(_, of_all)| *of_all != count) {
            return Err(format!("a classic histogram's count {count} is not that of its last bucket"));
        }
        let mut below = 0.0;
        let mut counts = Vec::new();
        for (bound, cumulative) in &self.buckets {
            if *cumulative < below {
                return Err(format!("a classic histogram's counts fall at {bound}"));
            }
            counts.push(cumulative - below);
            below = *cumulative;
        }
        let spans = vec![Span { offset: 0, length: counts.len() as u32 }];
        Ok(Histogram {
            schema: -53,
            count,
            sum: self.sum,
            positive: Spans { spans, counts },
            custom_bounds: self.buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite()).collect(),
            ..Histogram::default()
        })
    }
}

/// What a classic histogram's series is, by its name's end.
enum Part {
    Bucket(f64),
    Count,
    Sum,
}

fn part(labels: &Labels) -> Option<(&str, Part)> {
    let name = labels.metric_name();
    if let Some(base) = name.strip_suffix("_bucket") {
        let bound = float(labels.get("le")?).filter(|bound| !bound.is_nan())?;
        return Some((base, Part::Bucket(bound)));
    }
    let sum = name.strip_suffix("_sum").map(|base| (base, Part::Sum));
    sum.or_else(|| name.strip_suffix("_count").map(|base| (base, Part::Count)))
}

/// The native histograms of a load's classic ones.
pub(crate) fn converted(load: &Load) -> Result<Vec<LoadedSeries>, String> {
    let mut found: BTreeMap<Labels, BTreeMap<usize, Classic>> = BTreeMap::new();
    for line in &load.series {
        let Some((base, part)) = part(&line.labels) else { continue };
        let mut labels = line.labels.to_builder();
        labels.set(METRIC_NAME, base).remove("le");
        let by_time = found.entry(labels.build()).or_default();
        for (index, point) in line.points.iter().enumerate() {
            let Point::Float(value) = point else { continue };
            let classic = by_time.entry(index).or_default();
            match part {
                Part::Bucket(bound) => classic.set_bucket(bound, *value),
                Part::Count => classic.count = Some(*value),
                Part::Sum => classic.sum = *value,
            }
        }
    }
    found.into_iter().map(|(labels, by_time)| series(labels, by_time)).collect()
}

fn series(labels: Labels, by_time: BTreeMap<usize, Classic>) -> Result<LoadedSeries, String> {
    let mut points = Vec::new();
    for (index, classic) in by_time {
        points.resize(index, Point::Omitted);
        points.push(Point::Histogram { histogram: Box::new(classic.into_native()?), hinted: false });
    }
    Ok(LoadedSeries { labels, points, starts_ms: Vec::new() })
}
