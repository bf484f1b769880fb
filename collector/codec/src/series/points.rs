//! The points of each kind of metric.

use std::iter;
use std::sync::Arc;

use opentelemetry_proto::tonic::metrics::v1::{
    self as otlp, ExponentialHistogramDataPoint, HistogramDataPoint, NumberDataPoint, SummaryDataPoint, exemplar,
    number_data_point,
};
use tenantscope_model::{Exemplar, HistogramSample, Labels, LabelsBuilder, METRIC_NAME, stale_nan};

use super::attributes::{hex, text};
use super::name::label_name;
use super::{MetricContext, PointTime, SeriesBuilder, push_sample, set_start};
use crate::accumulate::{ExplicitTotal, Interval, TotalValue};
use crate::exponential;
use crate::native::float;

/// `DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK`.
const NO_RECORDED_VALUE: u32 = 1;
/// OpenMetrics' limit for the labels of an exemplar, in characters.
const MAX_EXEMPLAR_CHARS: usize = 128;

fn has_no_value(flags: u32) -> bool {
    flags & NO_RECORDED_VALUE != 0
}

impl PointTime {
    fn interval(self) -> Interval {
        Interval { start_ms: self.start_ms, end_ms: self.t_ms }
    }
}

impl SeriesBuilder<'_> {
    pub(super) fn add_numbers(
        &mut self,
        points: &[NumberDataPoint],
        delta: bool,
        context: &MetricContext<'_>,
    ) -> Option<i64> {
        let mut newest_ms = None;
        for point in points {
            let time = self.time_of(point.time_unix_nano, point.start_time_unix_nano, context);
            let Some(mut time) = time else { continue };
            let Some(labels) = self.point_labels(&point.attributes, context) else { continue };
            let labels = labels.build();
            let number = match point.value {
                _ if has_no_value(point.flags) => stale_nan(),
                Some(number_data_point::Value::AsDouble(value)) => value,
                Some(number_data_point::Value::AsInt(value)) => signed_float(value),
                None => {
                    self.rejected.add("no_value", 1);
                    continue;
                }
            };
            let value = if delta && !has_no_value(point.flags) {
                match self.accumulation.add(&labels, time.interval(), TotalValue::Number(number)) {
                    Ok((TotalValue::Number(total), start_ms)) => {
                        time.start_ms = start_ms;
                        total
                    }
                    Ok(_) => number,
                    Err(reason) => {
                        self.rejected.add(reason, 1);
                        continue;
                    }
                }
            } else {
                number
            };
            let series = self.series_mut(labels, context.cadence);
            push_sample(series, time, value);
            // Gauges have none in Prometheus.
            if context.counts {
                series.exemplars.extend(point.exemplars.iter().filter_map(exemplar_of));
            }
            newest_ms = newest_ms.max(Some(time.t_ms));
        }
        newest_ms
    }

    pub(super) fn add_classic(
        &mut self,
        points: &[HistogramDataPoint],
        delta: bool,
        context: &MetricContext<'_>,
    ) -> Option<i64> {
        let mut newest_ms = None;
        for point in points {
            let time = self.time_of(point.time_unix_nano, point.start_time_unix_nano, context);
            let Some(mut time) = time else { continue };
            let Some(base) = self.point_labels(&point.attributes, context) else { continue };
            let Some(mut total) = explicit_of(point) else {
                self.rejected.add("invalid_histogram", 1);
                continue;
            };
            let no_value = has_no_value(point.flags);
            if delta && !no_value {
                let delta = TotalValue::Explicit(total.clone());
                match self.accumulation.add(&base.clone().build(), time.interval(), delta) {
                    Ok((TotalValue::Explicit(accumulated), start_ms)) => {
                        total = accumulated;
                        time.start_ms = start_ms;
                    }
                    Ok(_) => {}
                    Err(reason) => {
                        self.rejected.add(reason, 1);
                        continue;
                    }
                }
            }
            self.add_classic_series(&base, &total, time, no_value, context, &point.exemplars);
            newest_ms = newest_ms.max(Some(time.t_ms));
        }
        newest_ms
    }

    fn add_classic_series(
        &mut self,
        base: &LabelsBuilder,
        total: &ExplicitTotal,
        time: PointTime,
        no_value: bool,
        context: &MetricContext<'_>,
        exemplars: &[otlp::Exemplar],
    ) {
        let value = |number: f64| if no_value { stale_nan() } else { number };
        let mut exemplars = by_value(exemplars.iter().filter_map(exemplar_of)).peekable();
        let mut running = 0u64;
        let (bucket, le): (Arc<str>, Arc<str>) = (format!("{}_bucket", context.name).into(), self.names.shared("le"));
        // The infinite one has a line of its own, whether or not it was written out.
        let finite = total.bounds.iter().copied().zip(&total.counts).filter(|(bound, _)| *bound != f64::INFINITY);
        for (bound, count) in finite.map(|(bound, count)| (bound, *count)) {
            running = running.saturating_add(count);
            let labels = with(base, &bucket, Some((&le, &bound_text(bound))));
            let series = self.series_mut(labels, context.cadence);
            push_sample(series, time, value(float(running)));
            series.exemplars.extend(iter::from_fn(|| exemplars.next_if(|exemplar| exemplar.value <= bound)));
        }
        let labels = with(base, &bucket, Some((&le, "+Inf")));
        let series = self.series_mut(labels, context.cadence);
        push_sample(series, time, value(float(total.count)));
        series.exemplars.extend(exemplars);
        if let Some(sum) = total.sum {
            self.add_suffixed(base, "_sum", (time, value(sum)), context);
        }
        self.add_suffixed(base, "_count", (time, value(float(total.count))), context);
    }

    fn add_suffixed(
        &mut self,
        base: &LabelsBuilder,
        suffix: &str,
        (time, value): (PointTime, f64),
        context: &MetricContext<'_>,
    ) {
        let labels = with(base, &format!("{}{suffix}", context.name).into(), None);
        push_sample(self.series_mut(labels, context.cadence), time, value);
    }

    pub(super) fn add_native(
        &mut self,
        points: &[ExponentialHistogramDataPoint],
        delta: bool,
        context: &MetricContext<'_>,
    ) -> Option<i64> {
        let mut newest_ms = None;
        for point in points {
            let time = self.time_of(point.time_unix_nano, point.start_time_unix_nano, context);
            let Some(mut time) = time else { continue };
            let Some(labels) = self.point_labels(&point.attributes, context) else { continue };
            let labels = labels.build();
            let no_value = has_no_value(point.flags);
            let Some(mut histogram) = exponential::histogram_of(point, no_value) else {
                self.rejected.add("invalid_histogram", 1);
                continue;
            };
            if delta && !no_value {
                match self.accumulation.add(&labels, time.interval(), TotalValue::Native(histogram.clone())) {
                    Ok((TotalValue::Native(total), start_ms)) => {
                        histogram = total;
                        time.start_ms = start_ms;
                    }
                    Ok(_) => {}
                    Err(reason) => {
                        self.rejected.add(reason, 1);
                        continue;
                    }
                }
            }
            let series = self.series_mut(labels, context.cadence);
            series.histograms.push(HistogramSample { t_ms: time.t_ms, histogram: Arc::new(histogram) });
            set_start(&mut series.starts.histograms_ms, series.histograms.len(), time.start_ms);
            series.exemplars.extend(point.exemplars.iter().filter_map(exemplar_of));
            newest_ms = newest_ms.max(Some(time.t_ms));
        }
        newest_ms
    }

    pub(super) fn add_summaries(&mut self, points: &[SummaryDataPoint], context: &MetricContext<'_>) -> Option<i64> {
        let mut newest_ms = None;
        let quantile = self.names.shared("quantile");
        for point in points {
            let time = self.time_of(point.time_unix_nano, point.start_time_unix_nano, context);
            let Some(time) = time else { continue };
            let Some(base) = self.point_labels(&point.attributes, context) else { continue };
            let value = |number: f64| if has_no_value(point.flags) { stale_nan() } else { number };
            for at in &point.quantile_values {
                let labels = with(&base, &context.name, Some((&quantile, &bound_text(at.quantile))));
                // A quantile counts nothing.
                let time = PointTime { start_ms: 0, ..time };
                push_sample(self.series_mut(labels, context.cadence), time, value(at.value));
            }
            self.add_suffixed(&base, "_sum", (time, value(point.sum)), context);
            self.add_suffixed(&base, "_count", (time, value(float(point.count))), context);
            newest_ms = newest_ms.max(Some(time.t_ms));
        }
        newest_ms
    }
}

/// From low to high as the bounds are, so that each is looked at once; those of equal value in their order, NaN last.
fn by_value(exemplars: impl Iterator<Item = Exemplar>) -> impl Iterator<Item = Exemplar> {
    let mut sorted: Vec<Exemplar> = exemplars.collect();
    sorted.sort_by(|a, b| a.value.is_nan().cmp(&b.value.is_nan()).then(a.value.total_cmp(&b.value)));
    sorted.into_iter()
}

/// The labels under another metric name, with one label more.
fn with(base: &LabelsBuilder, name: &Arc<str>, more: Option<(&Arc<str>, &str)>) -> Labels {
    let mut labels = base.clone();
    labels.set(METRIC_NAME, Arc::clone(name));
    if let Some((label, value)) = more {
        labels.set(Arc::clone(label), value);
    }
    labels.build()
}

/// Integers above 2^53 lose their last digits, as in Prometheus.
#[allow(clippy::cast_precision_loss)]
fn signed_float(value: i64) -> f64 {
    value as f64
}

/// A point's own buckets; `None` where bounds and counts do not fit, or the bounds do not rise.
fn explicit_of(point: &HistogramDataPoint) -> Option<ExplicitTotal> {
    let fits = point.bucket_counts.len() == point.explicit_bounds.len() + 1;
    let is_empty = point.bucket_counts.is_empty() && point.explicit_bounds.is_empty();
    let rises = point.explicit_bounds.windows(2).all(|pair| pair.first() < pair.last());
    if !(fits || is_empty) || !rises || point.explicit_bounds.iter().any(|bound| bound.is_nan()) {
        return None;
    }
    Some(ExplicitTotal {
        bounds: point.explicit_bounds.clone(),
        counts: point.bucket_counts.clone(),
        count: point.count,
        sum: point.sum,
    })
}

/// As Prometheus writes `le` and `quantile`.
fn bound_text(bound: f64) -> String {
    if bound == f64::INFINITY { "+Inf".to_owned() } else { bound.to_string() }
}

/// Reads an exemplar; trace and span id stay when the other attributes are too long.
fn exemplar_of(exemplar: &otlp::Exemplar) -> Option<Exemplar> {
    let value = match exemplar.value? {
        exemplar::Value::AsDouble(value) => value,
        exemplar::Value::AsInt(value) => signed_float(value),
    };
    let mut labels = LabelsBuilder::default();
    let mut chars = 0;
    let mut add = |name: &str, value: &str| {
        let more = name.chars().count() + value.chars().count();
        // The first of equal names counts: no attribute takes the ids' place.
        if !value.is_empty() && chars + more <= MAX_EXEMPLAR_CHARS && labels.get(name).is_none() {
            chars += more;
            labels.set(name, value);
        }
    };
    add("trace_id", &hex(&exemplar.trace_id));
    add("span_id", &hex(&exemplar.span_id));
    for attribute in &exemplar.filtered_attributes {
        add(&label_name(&attribute.key), &text(attribute));
    }
    let t_ms = i64::try_from(exemplar.time_unix_nano / 1_000_000).ok()?;
    Some(Exemplar { t_ms, value, labels: labels.build() })
}
