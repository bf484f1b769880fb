//! Aggregations. Those that fold values hold one accumulator for each group and time, never the series themselves.

use std::collections::HashMap;

use tenantscope_model::{Labels, METRIC_NAME};

use crate::ast::{Aggregate, AggregateOp, Expr, Grouping, Position};
use crate::column::{Cell, Cells, Column, Grid, Sink};
use crate::error::EngineError;
use crate::evaluation::Evaluation;
use crate::held::Collected;
use crate::native;
use crate::note::Note;
use crate::pace::HISTOGRAM_WORK;

/// The labels of the group to which a series belongs.
pub(crate) fn group_labels(grouping: &Grouping, labels: &Labels) -> Labels {
    match grouping {
        Grouping::By(names) if names.is_empty() => Labels::default(),
        Grouping::By(names) => labels.filter(|label| names.contains(&label.name)),
        Grouping::Without(names) => labels.filter(|label| &*label.name != METRIC_NAME && !names.contains(&label.name)),
    }
}

/// Groups in the order in which they appear.
pub(crate) struct Groups<T> {
    index: HashMap<Labels, usize>,
    groups: Vec<(Labels, bool, T)>,
}

impl<T> Groups<T> {
    pub(crate) fn new() -> Self {
        Self { index: HashMap::new(), groups: Vec::new() }
    }

    pub(crate) fn entry(&mut self, labels: Labels, drop_name: bool, new: impl FnOnce() -> T) -> Option<&mut T> {
        let groups = &mut self.groups;
        let at = *self.index.entry(labels).or_insert_with_key(|labels| {
            groups.push((labels.clone(), false, new()));
            groups.len() - 1
        });
        let group = groups.get_mut(at)?;
        group.1 |= drop_name;
        Some(&mut group.2)
    }

    pub(crate) fn len(&self) -> usize {
        self.groups.len()
    }

    pub(crate) fn into_iter(self) -> impl Iterator<Item = (Labels, T)> {
        self.groups.into_iter().map(|(labels, _, group)| (labels, group))
    }
}

impl Evaluation<'_> {
    pub(crate) fn aggregate(
        &self,
        aggregate: &Aggregate,
        position: Position,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EngineError> {
        match aggregate.op {
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio => {
                self.choose(aggregate, position, grid, sink)
            }
            AggregateOp::CountValues => self.count_values(aggregate, grid, sink),
            _ => self.fold(aggregate, grid, sink),
        }
    }

    /// Of quantiles that are none, the farthest ones are noted.
    pub(crate) fn note_quantiles(&self, quantiles: &[f64], position: Position) {
        let highest = quantiles.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let lowest = quantiles.iter().copied().fold(f64::INFINITY, f64::min);
        let nan = quantiles.iter().any(|q| q.is_nan()).then_some(f64::NAN);
        let outside = [nan, Some(highest).filter(|q| *q > 1.0), Some(lowest).filter(|q| *q < 0.0)];
        for q in outside.into_iter().flatten().filter(|_| !quantiles.is_empty()) {
            self.note(Note::InvalidQuantile(q), position);
        }
    }

    fn choose(
        &self,
        aggregate: &Aggregate,
        position: Position,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EngineError> {
        let op = aggregate.op;
        let Some(argument) = &aggregate.parameter else {
            return Err(EngineError::execution(format!("{} needs a parameter", op.name())));
        };
        let parameter = self.scalars(argument, grid)?;
        if !self.check_parameter(op, &parameter, argument)? {
            return Ok(());
        }
        let Collected { mut columns, mut held } = self.collect(&aggregate.expr, grid)?;
        let pace = self.pace();
        let mut members: Groups<Vec<usize>> = Groups::new();
        for (at, column) in columns.iter().enumerate() {
            let labels = group_labels(&aggregate.grouping, &column.labels);
            if let Some(group) = members.entry(labels, false, Vec::new) {
                group.push(at);
            }
        }
        let mut order = Vec::new();
        for (_, _, members) in &members.groups {
            let mut kept = vec![false; members.len()];
            for (step, value) in parameter.iter().enumerate() {
                pace.step(members.len())?;
                let chosen = self.chosen(op, *value, &columns, members, step, position);
                kept.fill(false);
                for &at in &chosen {
                    if let Some(slot) = kept.get_mut(at) {
                        *slot = true;
                    }
                }
                for (&member, _) in members.iter().zip(&kept).filter(|(_, kept)| !**kept) {
                    if let Some(column) = columns.get_mut(member) {
                        column.cells.set(step, Cell::Empty);
                    }
                }
                if !self.is_range {
                    order.extend(chosen.iter().filter_map(|&at| members.get(at).copied()));
                }
            }
        }
        if self.is_range || grid.count != 1 {
            order = (0..columns.len()).collect();
        }
        for at in order {
            if let Some(column) = columns.get_mut(at) {
                let cells = std::mem::replace(&mut column.cells, Cells::absent(0));
                let column = Column { labels: column.labels.clone(), drop_name: column.drop_name, cells };
                held.shrink(column.held_bytes());
                if column.has_values() {
                    sink(column)?;
                }
            }
        }
        Ok(())
    }

    /// Refuses parameters with which nothing can be chosen by; says whether anything can be chosen at all.
    fn check_parameter(&self, op: AggregateOp, parameter: &[f64], argument: &Expr) -> Result<bool, EngineError> {
        let any_nan = parameter.iter().any(|value| value.is_nan());
        let highest = parameter.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let lowest = parameter.iter().copied().fold(f64::INFINITY, f64::min);
        if op == AggregateOp::LimitRatio {
            if any_nan {
                return Err(EngineError::execution("Ratio value is NaN"));
            }
            let position = argument.unparenthesized().position;
            if highest > 1.0 {
                self.note(Note::InvalidRatio(highest, 1.0), position);
            }
            if lowest < -1.0 {
                self.note(Note::InvalidRatio(lowest, -1.0), position);
            }
            return Ok(highest != 0.0 || lowest != 0.0);
        }
        if any_nan {
            return Err(EngineError::execution("Parameter value is NaN"));
        }
        if highest < 1.0 {
            return Ok(false);
        }
        let text = crate::float_text::general;
        if lowest <= i64::MIN as f64 {
            return Err(EngineError::execution(format!("Scalar value {} underflows int64", text(lowest))));
        }
        if highest >= i64::MAX as f64 {
            return Err(EngineError::execution(format!("Scalar value {} overflows int64", text(highest))));
        }
        Ok(true)
    }

    /// Which members of a group are chosen at a time, by their index in the group, in the order of the answer.
    fn chosen(
        &self,
        op: AggregateOp,
        parameter: f64,
        columns: &[Column],
        members: &[usize],
        step: usize,
        position: Position,
    ) -> Vec<usize> {
        let cell = |member: &usize| columns.get(*member).map_or(Cell::Empty, |column| column.cells.get(step));
        let present = members.iter().enumerate().filter(|(_, member)| !cell(member).is_empty());
        let limit = if parameter < 1.0 { 0 } else { parameter as usize };
        match op {
            AggregateOp::Limitk => present.map(|(at, _)| at).take(limit).collect(),
            AggregateOp::LimitRatio => {
                let ratio = parameter.clamp(-1.0, 1.0);
                let keeps = |member: &usize| columns.get(*member).is_some_and(|c| in_ratio(ratio, &c.labels));
                present.filter(|(_, member)| keeps(member)).map(|(at, _)| at).collect()
            }
            _ => {
                let mut values: Vec<(usize, f64)> = Vec::new();
                for (at, member) in present {
                    match cell(member) {
                        Cell::Float(value) => values.push((at, value)),
                        _ => self.note(Note::HistogramIgnoredInAggregation(op.name()), position),
                    }
                }
                let topk = op == AggregateOp::Topk;
                // NaN comes last in both.
                values.sort_by(|(_, a), (_, b)| {
                    let by_value = if topk { b.partial_cmp(a) } else { a.partial_cmp(b) };
                    by_value.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
                });
                values.truncate(limit);
                values.into_iter().map(|(at, _)| at).collect()
            }
        }
    }

    fn count_values(&self, aggregate: &Aggregate, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        let label = self.text(aggregate.parameter.as_deref())?;
        if label.is_empty() {
            return Err(EngineError::execution(format!("invalid label name {label:?}")));
        }
        let mut groups: Groups<Vec<f64>> = Groups::new();
        let mut held = self.budget.hold();
        let group_bytes = size_of::<Column>().saturating_add(grid.count.saturating_mul(size_of::<f64>()));
        self.columns(&aggregate.expr, grid, &mut |column| {
            let labels = group_labels(&aggregate.grouping, &column.labels);
            let pace = self.pace();
            for (step, cell) in column.cells.iter().enumerate() {
                // A text is made of it.
                pace.step(HISTOGRAM_WORK)?;
                let value = match cell {
                    Cell::Empty => continue,
                    Cell::Float(value) => crate::float_text::plain(value),
                    Cell::Histogram(histogram) => native::text(&histogram),
                };
                let mut builder = labels.to_builder();
                builder.set(label, value);
                let (known, labels) = (groups.len(), builder.build());
                let labels_bytes = labels.held_bytes();
                let counts = groups.entry(labels, column.drop_name, || vec![0.0; grid.count]);
                if let Some(count) = counts.and_then(|counts| counts.get_mut(step)) {
                    *count += 1.0;
                }
                if groups.len() > known {
                    held.grow(group_bytes.saturating_add(labels_bytes))?;
                }
            }
            self.check_cells(groups.groups.len(), grid.count)
        })?;
        for (labels, _, counts) in groups.groups {
            let cell = |count: f64| if count > 0.0 { Cell::Float(count) } else { Cell::Empty };
            sink(Column { labels, drop_name: false, cells: counts.into_iter().map(cell).collect() })?;
        }
        Ok(())
    }
}

/// Whether a series is in the sample of a ratio; a negative ratio is the complement of its positive.
fn in_ratio(ratio: f64, labels: &Labels) -> bool {
    let offset = labels_hash(labels) as f64 / u64::MAX as f64;
    (ratio >= 0.0 && offset < ratio) || (ratio < 0.0 && offset >= 1.0 + ratio)
}

/// The label that is set on all that comes in, whatever its sender says.
pub(crate) const STAMPED: &str = "tenant";

/// The hash by which Prometheus samples: xxHash64 of names and values, each after its length. The stamped label does
/// not count, so that the same series are chosen as where it is not set.
fn labels_hash(labels: &Labels) -> u64 {
    let mut bytes = Vec::with_capacity(128);
    for label in labels.iter().filter(|label| &*label.name != STAMPED) {
        for text in [&label.name, &label.value] {
            push_length(&mut bytes, text.len());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    crate::xxhash::hash(&bytes)
}

/// One byte, or 255 and three bytes from the lowest.
fn push_length(bytes: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(short @ ..=254) => bytes.push(short),
        _ => {
            bytes.push(255);
            bytes.extend(length.to_le_bytes().iter().take(3));
        }
    }
}
