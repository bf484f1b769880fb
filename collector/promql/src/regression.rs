//! Lines through a series' samples.

use tenantscope_model::Sample;

use crate::column::Cell;
use crate::kahan::KahanSum;
use crate::over_time::{Context, only_floats};
use crate::window::Window;

/// Slope each second, and value at a time, of the line that fits best.
fn regression(floats: &[Sample], at_ms: i64) -> (f64, f64) {
    let first = floats.first().map_or(f64::NAN, |sample| sample.value);
    if floats.iter().all(|sample| sample.value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let [mut x, mut y, mut xy, mut xx] = [KahanSum::default(); 4];
    for sample in floats {
        let dx = (sample.t_ms - at_ms) as f64 / 1000.0;
        x.add(dx);
        y.add(sample.value);
        xy.add(dx * sample.value);
        xx.add(dx * dx);
    }
    let count = floats.len() as f64;
    let [x, y, xy, xx] = [x, y, xy, xx].map(|sum| sum.sum + sum.lost);
    let slope = (xy - x * y / count) / (xx - x * x / count);
    (slope, y / count - slope * x / count)
}

/// At least two floats; notes histograms beside them.
fn two_floats<'w>(context: &Context<'_, '_>, window: &Window<'w>) -> Option<&'w [Sample]> {
    only_floats(context, window).filter(|floats| floats.len() >= 2)
}

pub(crate) fn deriv(context: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    let Some(floats) = two_floats(context, window) else { return Cell::Empty };
    // Relative to a time nearby: large times would cost precision.
    let near_ms = floats.first().map_or(0, |sample| sample.t_ms);
    Cell::Float(regression(floats, near_ms).0)
}

pub(crate) fn predict_linear(context: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    let Some(floats) = two_floats(context, window) else { return Cell::Empty };
    let (slope, now) = regression(floats, window.at_ms);
    let [ahead, _] = context.scalars;
    Cell::Float(slope * ahead + now)
}

pub(crate) fn double_exponential_smoothing(context: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    let Some(floats) = two_floats(context, window) else { return Cell::Empty };
    let [smoothing, trend_factor] = context.scalars;
    let [first, second, ..] = floats else { return Cell::Empty };
    let mut before = 0.0;
    let mut smoothed = first.value;
    let mut trend = second.value - first.value;
    for (index, sample) in floats.iter().skip(1).enumerate() {
        if index > 0 {
            trend = trend_factor * (smoothed - before) + (1.0 - trend_factor) * trend;
        }
        let next = smoothing * sample.value + (1.0 - smoothing) * (smoothed + trend);
        (before, smoothed) = (smoothed, next);
    }
    Cell::Float(smoothed)
}
