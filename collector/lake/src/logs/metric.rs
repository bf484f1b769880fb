//! Metric queries: lines counted over ranges, at steps.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use futures::future::{BoxFuture, FutureExt};
use tenantscope_model::Scope;

use super::row::{COLUMNS, LABEL_COLUMNS, Row, Rows};
use crate::answer::{LogAnswer, LogRequest, LogSeries, Point, TimeRange};
use crate::logql::{AggregateOp, Arithmetic, Expr, Grouping, Pipeline, RangeExpr, RangeOp, number, value};
use crate::{Lake, QueryError};

/// Series × steps of one query; 16 bytes each.
const MAX_CELLS: usize = 4_000_000;

type LabelSet = BTreeMap<String, String>;
type Series = BTreeMap<LabelSet, Vec<Option<f64>>>;

/// When a query is evaluated.
#[derive(Debug, Clone, Copy)]
struct Steps {
    start_ns: i64,
    step_ns: i64,
    count: usize,
}

enum Evaluated {
    Number(f64),
    Series(Series),
}

impl Lake {
    pub(crate) async fn log_metric(
        &self,
        scope: &Scope,
        expr: &Expr,
        request: &LogRequest<'_>,
    ) -> Result<LogAnswer, QueryError> {
        let steps = self.steps(request)?;
        let evaluated = self.evaluate(scope, expr, steps).await?;
        let at_ms = |index: usize| steps.at(index).div_euclid(1_000_000);
        let series = match evaluated {
            Evaluated::Number(value) if request.step.is_none() => {
                return Ok(LogAnswer::Scalar(Point { t_ms: at_ms(0), value }));
            }
            Evaluated::Number(value) => Series::from([(LabelSet::new(), vec![Some(value); steps.count])]),
            Evaluated::Series(series) => series,
        };
        let series = series.into_iter().map(|(labels, values)| {
            let points = values.into_iter().enumerate();
            let points = points.filter_map(|(index, value)| Some(Point { t_ms: at_ms(index), value: value? }));
            LogSeries { labels, points: points.collect() }
        });
        let series = series.filter(|series| !series.points.is_empty()).collect();
        Ok(if request.step.is_none() { LogAnswer::Vector(series) } else { LogAnswer::Matrix(series) })
    }

    fn steps(&self, request: &LogRequest<'_>) -> Result<Steps, QueryError> {
        let TimeRange { start_ns, end_ns } = request.range;
        let Some(step) = request.step else { return Ok(Steps { start_ns: end_ns, step_ns: 1, count: 1 }) };
        let step_ns = i64::try_from(step.as_nanos()).unwrap_or(i64::MAX);
        if step_ns == 0 || end_ns < start_ns {
            return Err(QueryError::Invalid("the step must be positive and the end not before the start".to_owned()));
        }
        let count =
            usize::try_from(end_ns.abs_diff(start_ns) / step_ns.unsigned_abs()).unwrap_or(usize::MAX).saturating_add(1);
        if count > self.options.max_steps {
            let limit = self.options.max_steps;
            return Err(QueryError::Invalid(format!("exceeded maximum resolution of {limit} points per time series")));
        }
        Ok(Steps { start_ns, step_ns, count })
    }

    fn evaluate<'a>(
        &'a self,
        scope: &'a Scope,
        expr: &'a Expr,
        steps: Steps,
    ) -> BoxFuture<'a, Result<Evaluated, QueryError>> {
        async move {
            match expr {
                Expr::Logs(_) => Err(QueryError::Invalid("lines can't be used as numbers".to_owned())),
                Expr::Number(value) => Ok(Evaluated::Number(*value)),
                Expr::Vector(value) => {
                    Ok(Evaluated::Series(Series::from([(LabelSet::new(), vec![Some(*value); steps.count])])))
                }
                Expr::Range(range) => Ok(Evaluated::Series(self.over_range(scope, range, steps).await?)),
                Expr::Aggregate { op, param, grouping, inner } => match self.evaluate(scope, inner, steps).await? {
                    Evaluated::Number(_) => Err(QueryError::Invalid("a number can't be aggregated".to_owned())),
                    Evaluated::Series(series) => Ok(Evaluated::Series(aggregate(*op, *param, grouping, series))),
                },
                Expr::Binary { op, left, right } => {
                    let left = self.evaluate(scope, left, steps).await?;
                    let right = self.evaluate(scope, right, steps).await?;
                    Ok(combine(*op, left, right))
                }
            }
        }
        .boxed()
    }

    async fn over_range(&self, scope: &Scope, range: &RangeExpr, steps: Steps) -> Result<Series, QueryError> {
        let pipeline = Pipeline::new(&range.selector.stages);
        if needs_unwrap(range.op) != pipeline.unwrapped().is_some() {
            return Err(QueryError::Invalid("this function and unwrap don't go together".to_owned()));
        }
        let last_ns = steps.at(steps.count.saturating_sub(1));
        // A range is open on the left and closed on the right.
        let lines = TimeRange {
            start_ns: steps.start_ns.saturating_sub(range.offset_ns).saturating_sub(range.range_ns).saturating_add(1),
            end_ns: last_ns.saturating_sub(range.offset_ns).saturating_add(1),
        };
        let mut cells = Cells::new(range, steps, self.options.max_series);
        let frame = self.log_rows(scope, &range.selector, lines)?;
        // Counting needs no lines and no attributes where the plan has done all filtering.
        let counts = matches!(range.op, RangeOp::Rate | RangeOp::CountOverTime);
        let is_bare = counts && pipeline.is_only_line_filters();
        let columns = if is_bare { &LABEL_COLUMNS[..] } else { &COLUMNS[..] };
        self.queries
            .for_each(frame.select_columns(columns)?, |rows| {
                for mut row in Rows::new(rows)?.iter() {
                    if is_bare || pipeline.apply(&mut row) {
                        cells.take(&row, pipeline.unwrapped())?;
                    }
                }
                Ok(())
            })
            .await?;
        Ok(cells.finish())
    }
}

fn needs_unwrap(op: RangeOp) -> bool {
    matches!(op, RangeOp::SumOverTime | RangeOp::AvgOverTime | RangeOp::MinOverTime | RangeOp::MaxOverTime)
}

impl Steps {
    fn at(self, index: usize) -> i64 {
        self.start_ns.saturating_add(self.step_ns.saturating_mul(i64::try_from(index).unwrap_or(i64::MAX)))
    }

    /// The steps whose range `(t - range, t]` has this time.
    fn having(self, time_ns: i64, range_ns: i64) -> std::ops::Range<usize> {
        let ceiling = |distance: i64| {
            let steps = distance.div_euclid(self.step_ns) + i64::from(distance.rem_euclid(self.step_ns) != 0);
            usize::try_from(steps.max(0)).unwrap_or(usize::MAX).min(self.count)
        };
        let from_start = time_ns.saturating_sub(self.start_ns);
        ceiling(from_start)..ceiling(from_start.saturating_add(range_ns))
    }
}

/// What a step of a series has seen.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    value: f64,
    lines: u32,
}

struct Cells<'a> {
    range: &'a RangeExpr,
    steps: Steps,
    max_series: usize,
    series: HashMap<LabelSet, Vec<Cell>>,
}

impl<'a> Cells<'a> {
    fn new(range: &'a RangeExpr, steps: Steps, max_series: usize) -> Self {
        let max_series = max_series.min(MAX_CELLS / steps.count.max(1)).max(1);
        Self { range, steps, max_series, series: HashMap::new() }
    }

    fn take(&mut self, row: &Row, unwrapped: Option<&str>) -> Result<(), QueryError> {
        let value = match (self.range.op, unwrapped) {
            (RangeOp::BytesRate | RangeOp::BytesOverTime, _) => row.line.len() as f64,
            (_, Some(label)) => match number(value(row, label)) {
                Some(value) => value,
                None => return Ok(()),
            },
            _ => 1.0,
        };
        let labels = match unwrapped {
            Some(label) if row.labels.contains_key(label) => {
                let mut labels = row.labels.clone();
                labels.remove(label);
                Cow::Owned(labels)
            }
            _ => Cow::Borrowed(&row.labels),
        };
        if !self.series.contains_key(labels.as_ref()) {
            if self.series.len() >= self.max_series {
                let limit = self.max_series;
                return Err(QueryError::Limit(format!(
                    "maximum number of series ({limit}) reached for a single query"
                )));
            }
            self.series.insert(labels.clone().into_owned(), vec![Cell::default(); self.steps.count]);
        }
        let steps = self.steps.having(row.time_ns.saturating_add(self.range.offset_ns), self.range.range_ns);
        let cells = self.series.get_mut(labels.as_ref());
        for cell in cells.and_then(|cells| cells.get_mut(steps)).into_iter().flatten() {
            cell.value = match self.range.op {
                RangeOp::MinOverTime if cell.lines > 0 => cell.value.min(value),
                RangeOp::MaxOverTime if cell.lines > 0 => cell.value.max(value),
                RangeOp::MinOverTime | RangeOp::MaxOverTime => value,
                _ => cell.value + value,
            };
            cell.lines = cell.lines.saturating_add(1);
        }
        Ok(())
    }

    fn finish(self) -> Series {
        let seconds = self.range.range_ns as f64 / 1e9;
        let value = |cell: Cell| {
            let value = match self.range.op {
                RangeOp::Rate | RangeOp::BytesRate => cell.value / seconds,
                RangeOp::AvgOverTime => cell.value / f64::from(cell.lines),
                _ => cell.value,
            };
            (cell.lines > 0).then_some(value)
        };
        let series = self.series.into_iter();
        series.map(|(labels, cells)| (labels, cells.into_iter().map(value).collect())).collect()
    }
}

fn grouped(labels: &LabelSet, grouping: &Grouping) -> LabelSet {
    let keeps = |name: &String| match grouping {
        Grouping::By(names) => names.contains(name),
        Grouping::Without(names) => !names.contains(name),
    };
    labels.iter().filter(|(name, _)| keeps(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn aggregate(op: AggregateOp, param: Option<usize>, grouping: &Grouping, series: Series) -> Series {
    if let AggregateOp::TopK | AggregateOp::BottomK = op {
        return extreme(op, param.unwrap_or(1), grouping, series);
    }
    let mut groups: BTreeMap<LabelSet, Vec<Vec<Option<f64>>>> = BTreeMap::new();
    for (labels, values) in series {
        groups.entry(grouped(&labels, grouping)).or_default().push(values);
    }
    let merged = groups.into_iter().map(|(labels, members)| {
        let steps = members.first().map_or(0, Vec::len);
        let at = |step: usize| members.iter().filter_map(move |values| values.get(step).copied().flatten());
        let values = (0..steps).map(|step| fold(op, at(step))).collect();
        (labels, values)
    });
    merged.collect()
}

fn fold(op: AggregateOp, values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut min, mut max, mut count) = (0.0, f64::INFINITY, f64::NEG_INFINITY, 0_u32);
    for value in values {
        sum += value;
        min = f64::min(min, value);
        max = f64::max(max, value);
        count += 1;
    }
    let value = match op {
        AggregateOp::Avg => sum / f64::from(count),
        AggregateOp::Min => min,
        AggregateOp::Max => max,
        AggregateOp::Count => f64::from(count),
        AggregateOp::Sum | AggregateOp::TopK | AggregateOp::BottomK => sum,
    };
    (count > 0).then_some(value)
}

/// At each step the k greatest (or smallest) series of each group.
fn extreme(op: AggregateOp, k: usize, grouping: &Grouping, series: Series) -> Series {
    let steps = series.values().next().map_or(0, Vec::len);
    let members: Vec<(LabelSet, LabelSet, Vec<Option<f64>>)> =
        series.into_iter().map(|(labels, values)| (grouped(&labels, grouping), labels, values)).collect();
    // Without any label named, the whole is one group, as in Prometheus.
    let whole = matches!(grouping, Grouping::Without(names) if names.is_empty());
    let mut kept: Series = Series::new();
    for step in 0..steps {
        let mut groups: BTreeMap<&LabelSet, Vec<(f64, &LabelSet)>> = BTreeMap::new();
        let empty = LabelSet::new();
        for (group, labels, values) in &members {
            if let Some(value) = values.get(step).copied().flatten() {
                groups.entry(if whole { &empty } else { group }).or_default().push((value, labels));
            }
        }
        for mut ranked in groups.into_values() {
            ranked.sort_by(|left, right| {
                let order = left.0.partial_cmp(&right.0).unwrap_or(Ordering::Equal);
                if op == AggregateOp::TopK { order.reverse() } else { order }
            });
            for (value, labels) in ranked.into_iter().take(k) {
                let values = kept.entry(labels.clone()).or_insert_with(|| vec![None; steps]);
                if let Some(slot) = values.get_mut(step) {
                    *slot = Some(value);
                }
            }
        }
    }
    kept
}

/// Series are matched by all of their labels.
fn combine(op: Arithmetic, left: Evaluated, right: Evaluated) -> Evaluated {
    let each = |series: Series, apply: &dyn Fn(f64) -> f64| {
        let applied = |values: Vec<Option<f64>>| values.into_iter().map(|value| value.map(apply)).collect();
        Evaluated::Series(series.into_iter().map(|(labels, values)| (labels, applied(values))).collect())
    };
    match (left, right) {
        (Evaluated::Number(left), Evaluated::Number(right)) => Evaluated::Number(op.apply(left, right)),
        (Evaluated::Series(series), Evaluated::Number(right)) => each(series, &|left| op.apply(left, right)),
        (Evaluated::Number(left), Evaluated::Series(series)) => each(series, &|right| op.apply(left, right)),
        (Evaluated::Series(left), Evaluated::Series(right)) => {
            let matched = left.into_iter().filter_map(|(labels, left)| {
                let pairs = left.into_iter().zip(right.get(&labels)?);
                let values = pairs.map(|(left, right)| Some(op.apply(left?, (*right)?))).collect();
                Some((labels, values))
            });
            Evaluated::Series(matched.collect())
        }
    }
}
