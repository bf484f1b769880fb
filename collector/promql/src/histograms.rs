//! The functions of classic and native histograms.

use std::collections::HashMap;

use tenantscope_model::{Histogram, Labels};

use crate::ast::{Call, Expr, Position};
use crate::column::{Cell, Column, Grid, Sink, merge_same_labels};
use crate::error::EngineError;
use crate::evaluation::Evaluation;
use crate::float_text::open_metrics;
use crate::held::{Collected, Scalars};
use crate::note::Note;
use crate::pace::HISTOGRAM_WORK;
use crate::quantile::{self, ClassicBucket};

/// A classic histogram: its buckets' series, by upper bound.
struct Classic {
    labels: Labels,
    buckets: Vec<(f64, usize)>,
}

/// What a function computes of each histogram; the step chooses the scalar arguments.
trait Measure {
    fn native(&self, step: usize, histogram: &Histogram, metric: &str) -> f64;
    fn classic(&self, step: usize, buckets: Vec<ClassicBucket>, metric: &str) -> f64;
}

struct Quantile<'a, 'e> {
    evaluation: &'a Evaluation<'e>,
    q: Scalars<'a>,
    grid: Grid,
    /// Where the histograms stand in the query.
    position: Position,
}

impl Measure for Quantile<'_, '_> {
    fn native(&self, step: usize, histogram: &Histogram, metric: &str) -> f64 {
        let q = self.q.get(step).copied().unwrap_or(f64::NAN);
        quantile::of_native(q, histogram, metric, &mut |note| self.evaluation.note(note, self.position))
    }

    fn classic(&self, step: usize, buckets: Vec<ClassicBucket>, metric: &str) -> f64 {
        let q = self.q.get(step).copied().unwrap_or(f64::NAN);
        let (value, forced) = quantile::of_classic(q, buckets, self.grid.at(step));
        if let Some(forced) = forced {
            self.evaluation.note(Note::ForcedMonotonicity { metric, forced }, self.position);
        }
        value
    }
}

struct Fraction<'a, 'e> {
    evaluation: &'a Evaluation<'e>,
    lower: Scalars<'a>,
    upper: Scalars<'a>,
    position: Position,
}

impl Measure for Fraction<'_, '_> {
    fn native(&self, step: usize, histogram: &Histogram, metric: &str) -> f64 {
        let at = |values: &[f64]| values.get(step).copied().unwrap_or(f64::NAN);
        let (lower, upper) = (at(&self.lower), at(&self.upper));
        let note = &mut |note: Note<'_>| self.evaluation.note(note, self.position);
        quantile::native_fraction(lower, upper, histogram, metric, note)
    }

    fn classic(&self, step: usize, buckets: Vec<ClassicBucket>, _: &str) -> f64 {
        let at = |values: &[f64]| values.get(step).copied().unwrap_or(f64::NAN);
        quantile::classic_fraction(at(&self.lower), at(&self.upper), buckets)
    }
}

impl Evaluation<'_> {
    pub(crate) fn histogram_function(&self, call: &Call, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        let scalars = |index: usize| self.scalars(self.argument(call, index)?, grid);
        match call.function.name {
            "histogram_quantile" => {
                let histograms = self.argument(call, 1)?;
                let measure = self.quantile(self.argument(call, 0)?, histograms, grid)?;
                let columns = self.collect(histograms, grid)?;
                self.measure(&columns.columns, &measure, measure.position, grid)?.hand_on(sink)
            }
            "histogram_quantiles" => self.quantiles(call, grid, sink),
            "histogram_fraction" => {
                let histograms = self.argument(call, 2)?;
                let position = histograms.unparenthesized().position;
                let measure = Fraction { evaluation: self, lower: scalars(0)?, upper: scalars(1)?, position };
                let columns = self.collect(histograms, grid)?;
                self.measure(&columns.columns, &measure, position, grid)?.hand_on(sink)
            }
            name => {
                let function: fn(&Histogram) -> f64 = match name {
                    "histogram_count" => |h| h.count,
                    "histogram_sum" => |h| h.sum,
                    "histogram_avg" => |h| h.sum / h.count,
                    "histogram_stdvar" => quantile::native_variance,
                    "histogram_stddev" => |h| quantile::native_variance(h).sqrt(),
                    _ => return Err(EngineError::execution(format!("function {name} is not implemented"))),
                };
                self.columns(self.argument(call, 0)?, grid, &mut |mut column| {
                    column.drop_name = true;
                    column.cells = column.cells.map(|_, cell| match cell {
                        Cell::Histogram(histogram) => Cell::Float(function(&histogram)),
                        Cell::Empty | Cell::Float(_) => Cell::Empty,
                    });
                    if column.has_values() { sink(column) } else { Ok(()) }
                })
            }
        }
    }

    fn quantile(&self, argument: &Expr, histograms: &Expr, grid: &Grid) -> Result<Quantile<'_, '_>, EngineError> {
        let q = self.scalars(argument, grid)?;
        for outside in q.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
            self.note(Note::InvalidQuantile(*outside), argument.unparenthesized().position);
        }
        Ok(Quantile { evaluation: self, q, grid: *grid, position: histograms.unparenthesized().position })
    }

    fn quantiles(&self, call: &Call, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        let label = self.text(call.arguments.get(1))?;
        let histograms = self.argument(call, 0)?;
        let Collected { columns, held: mut held_texts } = self.collect(histograms, grid)?;
        held_texts.grow(grid.count.saturating_mul(2 * size_of::<String>()))?;
        for argument in call.arguments.iter().skip(2) {
            let measure = self.quantile(argument, histograms, grid)?;
            let texts: Vec<String> = measure.q.iter().map(|q| open_metrics(*q)).collect();
            let mut distinct: Vec<&String> = texts.iter().collect();
            distinct.sort_unstable();
            distinct.dedup();
            let Collected { columns: measured, held: _held } =
                self.measure(&columns, &measure, measure.position, grid)?;
            for column in measured {
                for text in &distinct {
                    let mut builder = column.labels.to_builder();
                    builder.set(label, text.as_str());
                    let at_its_steps = |(cell, of): (Cell, &String)| if of == *text { cell } else { Cell::Empty };
                    let cells = column.cells.iter().zip(&texts).map(at_its_steps).collect();
                    sink(Column { labels: builder.build(), drop_name: column.drop_name, cells })?;
                }
            }
        }
        Ok(())
    }

    fn measure(
        &self,
        columns: &[Column],
        measure: &dyn Measure,
        position: Position,
        grid: &Grid,
    ) -> Result<Collected<'_>, EngineError> {
        let classics = self.classics(columns, position);
        let classic_index: HashMap<&Labels, usize> =
            classics.iter().enumerate().map(|(at, classic)| (&classic.labels, at)).collect();
        let mut outputs = Collected::new(self.budget.hold());
        let pace = self.pace();
        let mut natives: HashMap<&Labels, &Column> = HashMap::new();
        for column in columns.iter().filter(|column| column.cells.has_histograms()) {
            self.budget.check()?;
            natives.insert(&column.labels, column);
            let classic = classic_index.get(&column.labels).and_then(|&at| classics.get(at));
            let one = |(step, cell): (usize, Cell)| match cell {
                Cell::Histogram(histogram) if pace.goes_on(HISTOGRAM_WORK) => {
                    let metric = column.labels.metric_name();
                    if classic.is_some_and(|classic| !buckets_at(classic, columns, step).is_empty()) {
                        self.note(Note::MixedClassicNative(metric), position);
                        return Cell::Empty;
                    }
                    Cell::Float(measure.native(step, &histogram, metric))
                }
                Cell::Empty | Cell::Float(_) | Cell::Histogram(_) => Cell::Empty,
            };
            let cells = column.cells.iter().enumerate().map(one).collect();
            pace.ended()?;
            outputs.push(Column { labels: column.labels.clone(), drop_name: true, cells })?;
        }
        for classic in &classics {
            self.budget.check()?;
            let native = natives.get(&classic.labels);
            let one = |step: usize| {
                let is_native = |column: &&Column| matches!(column.cells.get(step), Cell::Histogram(_));
                if !pace.goes_on(classic.buckets.len()) {
                    return Cell::Empty;
                }
                let buckets = buckets_at(classic, columns, step);
                if buckets.is_empty() || native.is_some_and(is_native) {
                    return Cell::Empty;
                }
                Cell::Float(measure.classic(step, buckets, classic.labels.metric_name()))
            };
            let cells = (0..grid.count).map(one).collect();
            pace.ended()?;
            outputs.push(Column { labels: classic.labels.clone(), drop_name: true, cells })?;
        }
        outputs.columns.retain(Column::has_values);
        outputs.with(merge_same_labels)
    }

    /// The classic histograms among the columns: those that agree in all labels but `le`.
    fn classics(&self, columns: &[Column], position: Position) -> Vec<Classic> {
        let mut index: HashMap<Labels, usize> = HashMap::new();
        let mut classics: Vec<Classic> = Vec::new();
        for (at, column) in columns.iter().enumerate() {
            if !column.cells.has_floats() {
                continue;
            }
            let le = column.labels.get("le").unwrap_or("");
            let Some(upper) = parse_bound(le) else {
                self.note(Note::BadBucketLabel { metric: column.labels.metric_name(), le }, position);
                continue;
            };
            let labels = column.labels.filter(|label| &*label.name != "le");
            let at_classic = *index.entry(labels.clone()).or_insert_with(|| {
                classics.push(Classic { labels, buckets: Vec::new() });
                classics.len() - 1
            });
            if let Some(classic) = classics.get_mut(at_classic) {
                classic.buckets.push((upper, at));
            }
        }
        classics
    }
}

fn buckets_at(classic: &Classic, columns: &[Column], step: usize) -> Vec<ClassicBucket> {
    let one = |&(upper, at): &(f64, usize)| {
        let count = columns.get(at)?.cells.float(step)?;
        Some(ClassicBucket { upper, count })
    };
    classic.buckets.iter().filter_map(one).collect()
}

/// A bound as Go reads floats.
fn parse_bound(le: &str) -> Option<f64> {
    match le {
        "" => None,
        "+Inf" | "Inf" | "+inf" | "inf" => Some(f64::INFINITY),
        "-Inf" | "-inf" => Some(f64::NEG_INFINITY),
        _ => le.parse().ok(),
    }
}
