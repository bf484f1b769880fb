//! Functions of a range that need no more than its samples.

use tenantscope_model::{Histogram, Sample};

use crate::ast::{Call, Edges, Expr, ExprKind, Position, ValueType};
use crate::column::{Cell, Cells, Column, Grid, Sink};
use crate::error::EngineError;
use crate::evaluation::Evaluation;
use crate::held::Scalars;
use crate::kahan::{KahanSum, Mean};
use crate::native::{HistogramSum, Incompatible};
use crate::note::{Note, Operation};
use crate::window::Window;
use crate::{changes, quantile, rate, regression, sliding};

/// What a kernel may use besides its window.
pub(crate) struct Context<'a, 'e> {
    pub(crate) evaluation: &'a Evaluation<'e>,
    pub(crate) metric: &'a str,
    /// What notes are about: the function's first argument.
    pub(crate) position: Position,
    /// The scalar arguments at this time.
    pub(crate) scalars: [f64; 2],
}

impl<'a, 'e> Context<'a, 'e> {
    /// Without scalar arguments.
    pub(crate) fn new(evaluation: &'a Evaluation<'e>, metric: &'a str, position: Position) -> Self {
        Self { evaluation, metric, position, scalars: [f64::NAN; 2] }
    }

    pub(crate) fn note(&self, note: Note<'_>) {
        self.evaluation.note(note, self.position);
    }
}

/// From a window to a value.
pub(crate) type Kernel = fn(&Context<'_, '_>, &Window<'_>) -> Cell;

/// The kernel of a function.
pub(crate) fn kernel(name: &str) -> Option<Kernel> {
    Some(match name {
        "rate" => rate::rate,
        "increase" => rate::increase,
        "delta" => rate::delta,
        "irate" => changes::irate,
        "idelta" => changes::idelta,
        "resets" => changes::resets,
        "changes" => changes::changes,
        "deriv" => regression::deriv,
        "predict_linear" => regression::predict_linear,
        "double_exponential_smoothing" => regression::double_exponential_smoothing,
        "sum_over_time" => sum,
        "avg_over_time" => avg,
        "min_over_time" => |c, w| best(c, w, |new, best| new < best || best.is_nan()).map_or(Cell::Empty, value),
        "max_over_time" => |c, w| best(c, w, |new, best| new > best || best.is_nan()).map_or(Cell::Empty, value),
        "ts_of_min_over_time" => |c, w| best(c, w, |new, best| new <= best || best.is_nan()).map_or(Cell::Empty, time),
        "ts_of_max_over_time" => |c, w| best(c, w, |new, best| new >= best || best.is_nan()).map_or(Cell::Empty, time),
        "count_over_time" => |_, w| Cell::Float((w.floats.len() + w.histograms.len()) as f64),
        "present_over_time" => |_, _| Cell::Float(1.0),
        "first_over_time" => |_, w| first(w).1,
        "ts_of_first_over_time" => |_, w| Cell::Float(first(w).0 as f64 / 1000.0),
        "last_over_time" => |_, w| last(w).1,
        "ts_of_last_over_time" => |_, w| Cell::Float(last(w).0 as f64 / 1000.0),
        "quantile_over_time" => quantile_over_time,
        "mad_over_time" => mad,
        "stdvar_over_time" => |c, w| variance(c, w).map_or(Cell::Empty, Cell::Float),
        "stddev_over_time" => |c, w| variance(c, w).map_or(Cell::Empty, |v| Cell::Float(v.sqrt())),
        _ => return None,
    })
}

impl Evaluation<'_> {
    pub(crate) fn over_time(
        &self,
        call: &Call,
        kernel: Kernel,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EngineError> {
        let name = call.function.name;
        let mut scalars: Vec<Scalars<'_>> = Vec::new();
        for argument in call.arguments.iter().filter(|a| a.value_type() == ValueType::Scalar) {
            scalars.push(self.scalars(argument, grid)?);
        }
        let is_range = |a: &&Expr| a.value_type() == ValueType::Matrix;
        let Some(range) = call.arguments.iter().find(is_range) else {
            return Err(EngineError::execution(format!("{name} needs a range vector")));
        };
        check_edges(name, range)?;
        let position = call.arguments.first().map_or_else(Position::default, noted_position);
        let keeps_name = matches!(name, "last_over_time" | "first_over_time");
        let expects_counter = matches!(name, "rate" | "increase");
        let sliding = sliding::sliding(name, grid.count);
        self.range_series(range, grid, &mut |series, frames| {
            check_factors(name, &scalars)?;
            let metric = series.labels.metric_name();
            let mut context = Context::new(self, metric, position);
            let pace = self.pace();
            let floats = sliding.and_then(|sliding| sliding.floats(series, frames, &pace)).map(Cells::Floats);
            let cells = floats.unwrap_or_else(|| {
                series.slide(frames, &pace, |window| {
                    for (slot, values) in context.scalars.iter_mut().zip(&scalars) {
                        *slot = values.get(window.step).copied().unwrap_or(f64::NAN);
                    }
                    kernel(&context, window)
                })
            });
            pace.ended()?;
            if expects_counter && !is_counter_name(metric) && cells.has_floats() {
                self.note(Note::PossibleNonCounter(metric), position);
            }
            let labels = std::mem::take(&mut series.labels);
            let column = Column { labels, drop_name: series.drop_name || !keeps_name, cells };
            if column.has_values() { sink(column) } else { Ok(()) }
        })
    }
}

/// Where notes about an argument point: Prometheus knows no place of a subquery's samples.
fn noted_position(argument: &Expr) -> Position {
    let argument = argument.unparenthesized();
    if matches!(argument.kind, ExprKind::Subquery(_)) { Position::default() } else { argument.position }
}

/// Refuses functions that would take the samples beyond a range's edges for samples within it.
pub(crate) fn check_edges(name: &str, range: &Expr) -> Result<(), EngineError> {
    let ExprKind::Matrix(matrix) = &range.unparenthesized().kind else { return Ok(()) };
    let (edges, allowed): (&str, &[&str]) = match matrix.selector.edges {
        Edges::Plain => return Ok(()),
        Edges::Anchored => ("anchored", &["changes", "delta", "increase", "rate", "resets"]),
        Edges::Smoothed => ("smoothed", &["delta", "increase", "rate"]),
    };
    if allowed.contains(&name) {
        return Ok(());
    }
    let allowed = allowed.join(", ");
    Err(EngineError::execution(format!("{edges} modifier can only be used with: {allowed} - not with {name}")))
}

fn check_factors(name: &str, scalars: &[Scalars<'_>]) -> Result<(), EngineError> {
    if name != "double_exponential_smoothing" {
        return Ok(());
    }
    for (values, (what, letters)) in scalars.iter().zip([("smoothing", "sf"), ("trend", "tf")]) {
        if let Some(wrong) = values.iter().find(|v| **v <= 0.0 || **v >= 1.0) {
            return Err(EngineError::execution(format!(
                "invalid {what} factor. Expected: 0 < {letters} < 1, got: {wrong:.6}"
            )));
        }
    }
    Ok(())
}

fn is_counter_name(name: &str) -> bool {
    name.is_empty() || ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix))
}

fn value(sample: Sample) -> Cell {
    Cell::Float(sample.value)
}

fn time(sample: Sample) -> Cell {
    Cell::Float(sample.t_ms as f64 / 1000.0)
}

/// Whether there are floats; notes histograms beside them, which the function leaves out.
pub(crate) fn only_floats<'w>(context: &Context<'_, '_>, window: &Window<'w>) -> Option<&'w [Sample]> {
    if window.floats.is_empty() {
        return None;
    }
    if !window.histograms.is_empty() {
        context.note(Note::HistogramIgnoredInMixedRange(context.metric));
    }
    Some(window.floats)
}

/// Whether the window holds both floats and histograms, noted.
pub(crate) fn is_mixed(context: &Context<'_, '_>, window: &Window<'_>) -> bool {
    let mixed = !window.floats.is_empty() && !window.histograms.is_empty();
    if mixed {
        context.note(Note::MixedFloatsHistograms(context.metric));
    }
    mixed
}

fn sum(context: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    if is_mixed(context, window) {
        return Cell::Empty;
    }
    if window.floats.is_empty() {
        return histogram_sum(context, window, HistogramSum::add).map_or(Cell::Empty, |sum| Cell::histogram(sum.sum()));
    }
    let mut sum = KahanSum::default();
    for sample in window.floats {
        sum.add(sample.value);
    }
    Cell::Float(sum.value())
}

type AddHistogram = fn(&mut HistogramSum, &Histogram) -> Result<bool, Incompatible>;

fn histogram_sum(context: &Context<'_, '_>, window: &Window<'_>, add: AddHistogram) -> Option<HistogramSum> {
    let (first, rest) = window.histograms.split_first()?;
    let mut sum = HistogramSum::of(&first.histogram);
    for sample in rest {
        match add(&mut sum, &sample.histogram) {
            Ok(true) => context.note(Note::BoundsReconciled(Operation::Aggregation)),
            Ok(false) => {}
            Err(Incompatible) => {
                context.note(Note::MixedExponentialCustom(context.metric));
                return None;
            }
        }
    }
    if sum.collided() {
        context.note(Note::ResetsCollided(Operation::Aggregation));
    }
    Some(sum)
}

fn avg(context: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    if is_mixed(context, window) {
        return Cell::Empty;
    }
    let Some((first, rest)) = window.floats.split_first() else {
        return histogram_sum(context, window, HistogramSum::add_to_mean)
            .map_or(Cell::Empty, |sum| Cell::histogram(sum.mean()));
    };
    let mut mean = Mean::of(first.value);
    for sample in rest {
        mean.add(sample.value);
    }
    Cell::Float(mean.value())
}

fn best(context: &Context<'_, '_>, window: &Window<'_>, better: fn(f64, f64) -> bool) -> Option<Sample> {
    let floats = only_floats(context, window)?;
    let mut best = *floats.first()?;
    for sample in floats {
        if better(sample.value, best.value) {
            best = *sample;
        }
    }
    Some(best)
}

fn first(window: &Window<'_>) -> (i64, Cell) {
    match (window.floats.first(), window.histograms.first()) {
        (Some(f), Some(h)) if h.t_ms <= f.t_ms => (h.t_ms, Cell::Histogram(h.histogram.clone())),
        (Some(f), _) => (f.t_ms, Cell::Float(f.value)),
        (None, Some(h)) => (h.t_ms, Cell::Histogram(h.histogram.clone())),
        (None, None) => (0, Cell::Empty),
    }
}

fn last(window: &Window<'_>) -> (i64, Cell) {
    match (window.floats.last(), window.histograms.last()) {
        (Some(f), Some(h)) if h.t_ms >= f.t_ms => (h.t_ms, Cell::Histogram(h.histogram.clone())),
        (Some(f), _) => (f.t_ms, Cell::Float(f.value)),
        (None, Some(h)) => (h.t_ms, Cell::Histogram(h.histogram.clone())),
        (None, None) => (0, Cell::Empty),
    }
}

fn values(floats: &[Sample]) -> Vec<f64> {
    floats.iter().map(|sample| sample.value).collect()
}

fn quantile_over_time(context: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    let Some(floats) = only_floats(context, window) else { return Cell::Empty };
    let [q, _] = context.scalars;
    if !(0.0..=1.0).contains(&q) {
        context.note(Note::InvalidQuantile(q));
    }
    Cell::Float(quantile::of_values(q, &values(floats)))
}

fn mad(context: &Context<'_, '_>, window: &Window<'_>) -> Cell {
    let Some(floats) = only_floats(context, window) else { return Cell::Empty };
    let mut values = values(floats);
    if values.iter().any(|value| value.is_nan()) {
        return Cell::Float(f64::NAN);
    }
    let median = quantile::of_values(0.5, &values);
    for value in &mut values {
        *value = (*value - median).abs();
    }
    Cell::Float(quantile::of_values(0.5, &values))
}

fn variance(context: &Context<'_, '_>, window: &Window<'_>) -> Option<f64> {
    let floats = only_floats(context, window)?;
    let (mut mean, mut squares) = (KahanSum::default(), KahanSum::default());
    let mut count = 0.0;
    for sample in floats {
        count += 1.0;
        let delta = sample.value - (mean.sum + mean.lost);
        mean.add(delta / count);
        squares.add(delta * (sample.value - (mean.sum + mean.lost)));
    }
    Some((squares.sum + squares.lost) / count)
}
