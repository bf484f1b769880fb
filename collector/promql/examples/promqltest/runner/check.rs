//! Whether what came is what was expected.

use tenantscope_model::{Histogram, HistogramSample, Labels, ResetHint, Spans, is_stale_nan};
use tenantscope_promql::{Element, PointValue, Series, Value, histogram_buckets};

use super::expectation::Expected;
use super::series::Point;

/// Relative error that is allowed, as in Prometheus's own runner.
const TOLERANCE: f64 = 1e-6;

/// Compares a value; range vectors begin at a time and go by steps.
pub(crate) fn value(expected: &Expected, got: &Value, start_ms: i64, step_ms: i64) -> Result<(), String> {
    let shown = || format!("expected {}\ngot      {}", show_expected(expected), show(got));
    let same = match got {
        Value::Scalar(sample) => expected.scalar.is_some_and(|wanted| close(wanted, sample.value)),
        Value::String { text, .. } => expected.text.as_deref() == Some(&**text),
        Value::Vector(elements) => vector(expected, elements),
        Value::Matrix(series) => !expected.ordered && matrix(expected, series, start_ms, step_ms),
    };
    if same { Ok(()) } else { Err(shown()) }
}

fn close(a: f64, b: f64) -> bool {
    if is_stale_nan(a) || is_stale_nan(b) {
        return is_stale_nan(a) && is_stale_nan(b);
    }
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let difference = (a - b).abs();
    let size = a.abs() + b.abs();
    if a == 0.0 || b == 0.0 || size < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / size.min(f64::MAX) < TOLERANCE
}

fn vector(expected: &Expected, elements: &[Element]) -> bool {
    if expected.scalar.is_some() || expected.text.is_some() || expected.series.len() != elements.len() {
        return false;
    }
    expected.series.iter().enumerate().all(|(at, (labels, points))| {
        let found = elements.iter().position(|element| element.labels == *labels);
        let fits = |element: &Element| match (points.as_slice(), &element.value) {
            ([Point::Float(wanted)], PointValue::Float(value)) => close(*wanted, *value),
            ([Point::Histogram { histogram: wanted, hinted }], PointValue::Histogram(histogram)) => {
                same_histogram(wanted, histogram, *hinted)
            }
            _ => false,
        };
        found.is_some_and(|found| (!expected.ordered || found == at) && fits(&elements[found]))
    })
}

fn matrix(expected: &Expected, series: &[Series], start_ms: i64, step_ms: i64) -> bool {
    if expected.scalar.is_some() || expected.text.is_some() {
        return false;
    }
    let has_points = |points: &[Point]| points.iter().any(|point| *point != Point::Omitted);
    let wanted: Vec<&(Labels, Vec<Point>)> = expected.series.iter().filter(|(_, points)| has_points(points)).collect();
    wanted.len() == series.len()
        && series.windows(2).all(|pair| pair[0].labels < pair[1].labels)
        && wanted.iter().all(|(labels, points)| {
            let found = series.iter().find(|one| one.labels == *labels);
            found.is_some_and(|one| same_points(points, one, start_ms, step_ms))
        })
}

fn same_points(points: &[Point], series: &Series, start_ms: i64, step_ms: i64) -> bool {
    let (mut floats, mut histograms) = (Vec::new(), Vec::new());
    for (index, point) in points.iter().enumerate() {
        let t_ms = start_ms + step_ms * index as i64;
        match point {
            Point::Omitted => {}
            Point::Float(wanted) => floats.push((t_ms, *wanted)),
            Point::Histogram { histogram, hinted } => histograms.push((t_ms, &**histogram, *hinted)),
        }
    }
    let same_float = |((t_ms, wanted), got): (&(i64, f64), &tenantscope_model::Sample)| {
        *t_ms == got.t_ms && close(*wanted, got.value)
    };
    let same = |((t_ms, wanted, hinted), got): (&(i64, &Histogram, bool), &HistogramSample)| {
        *t_ms == got.t_ms && same_histogram(wanted, &got.histogram, *hinted)
    };
    floats.len() == series.floats.len()
        && histograms.len() == series.histograms.len()
        && floats.iter().zip(&series.floats).all(same_float)
        && histograms.iter().zip(&series.histograms).all(same)
}

fn same_histogram(a: &Histogram, b: &Histogram, hinted: bool) -> bool {
    let populated =
        |h: &Histogram| -> Vec<_> { histogram_buckets(h).into_iter().filter(|bucket| bucket.count != 0.0).collect() };
    let (a_buckets, b_buckets) = (populated(a), populated(b));
    let same_bounds = a.custom_bounds.len() == b.custom_bounds.len()
        && a.custom_bounds.iter().zip(&b.custom_bounds).all(|(a, b)| close(*a, *b));
    (!hinted || a.reset_hint == b.reset_hint)
        && a.schema == b.schema
        && close(a.count, b.count)
        && close(a.sum, b.sum)
        && a.zero_threshold == b.zero_threshold
        && close(a.zero_count, b.zero_count)
        && same_bounds
        && a_buckets.len() == b_buckets.len()
        && a_buckets
            .iter()
            .zip(&b_buckets)
            .all(|(a, b)| close(a.lower, b.lower) && close(a.upper, b.upper) && close(a.count, b.count))
}

fn show_histogram(h: &Histogram) -> String {
    let side = |side: &Spans| format!("{:?}@{:?}", side.counts, side.spans.first().map(|span| span.offset));
    let hint = match h.reset_hint {
        ResetHint::Unknown => "unknown",
        ResetHint::CounterReset => "reset",
        ResetHint::NotCounterReset => "not_reset",
        ResetHint::Gauge => "gauge",
    };
    format!(
        "{{{{schema:{} count:{} sum:{} zero:{}@{} buckets:{} negative:{} bounds:{:?} hint:{hint}}}}}",
        h.schema,
        h.count,
        h.sum,
        h.zero_count,
        h.zero_threshold,
        side(&h.positive),
        side(&h.negative),
        h.custom_bounds
    )
}

fn show_expected(expected: &Expected) -> String {
    if let Some(value) = expected.scalar {
        return value.to_string();
    }
    if let Some(text) = &expected.text {
        return format!("{text:?}");
    }
    let point = |point: &Point| match point {
        Point::Omitted => "_".to_owned(),
        Point::Float(value) => value.to_string(),
        Point::Histogram { histogram, .. } => show_histogram(histogram),
    };
    let line = |(labels, points): &(Labels, Vec<Point>)| {
        format!("\n  {labels} {}", points.iter().map(point).collect::<Vec<_>>().join(" "))
    };
    expected.series.iter().map(line).collect()
}

fn show(value: &Value) -> String {
    match value {
        Value::Scalar(sample) => sample.value.to_string(),
        Value::String { text, .. } => format!("{text:?}"),
        Value::Vector(elements) => elements
            .iter()
            .map(|element| match &element.value {
                PointValue::Float(value) => format!("\n  {} {value}", element.labels),
                PointValue::Histogram(histogram) => format!("\n  {} {}", element.labels, show_histogram(histogram)),
            })
            .collect(),
        Value::Matrix(series) => series
            .iter()
            .map(|one| {
                let floats = one.floats.iter().map(|s| format!("{}@{}", s.value, s.t_ms));
                let histograms = one.histograms.iter().map(|s| format!("{}@{}", show_histogram(&s.histogram), s.t_ms));
                format!("\n  {} {}", one.labels, floats.chain(histograms).collect::<Vec<_>>().join(" "))
            })
            .collect(),
    }
}
