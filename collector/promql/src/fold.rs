//! Aggregations that fold values: one accumulator for each group and time. As long as a group's values are floats, its
//! accumulators are plain columns.

use tenantscope_model::{LabelSet, Labels, Matcher, Selection};

use crate::accumulator::{Accumulator, Gathering, better};
use crate::aggregate::{Groups, group_labels};
use crate::ast::{Aggregate, AggregateOp, Grouping};
use crate::column::{Cell, Column, Grid, Sink};
use crate::error::EngineError;
use crate::evaluation::Evaluation;
use crate::kahan::{KahanSum, Mean};

/// What a group has gathered at all times.
enum Gathered {
    Floats(Floats),
    Cells(Vec<Accumulator>),
}

/// The same of floats alone. A time without a value has a count of 0.
struct Floats {
    counts: Vec<u32>,
    /// Sums, or the least or greatest values.
    values: Vec<f64>,
    /// What rounding took from the sums.
    lost: Vec<f64>,
}

/// A value that floats can't take in.
struct Unfit;

impl Floats {
    /// Takes in the values of times from `from` on, and says where it can't go on.
    fn gather(&mut self, op: AggregateOp, cells: &[Cell]) -> Result<(), usize> {
        let columns = self.counts.iter_mut().zip(&mut self.values).zip(&mut self.lost);
        for (step, (((count, value), lost), cell)) in columns.zip(cells).enumerate() {
            let float = match cell {
                Cell::Empty => continue,
                Cell::Float(float) => *float,
                Cell::Histogram(_) => return Err(step),
            };
            let slot = (&mut *count, &mut *value, &mut *lost);
            join_float(op, slot, (1, if op == AggregateOp::Group { 1.0 } else { float }, 0.0)).map_err(|Unfit| step)?;
        }
        Ok(())
    }

    /// Takes in what another share has gathered, and says where it can't go on.
    fn join(&mut self, op: AggregateOp, other: &Self) -> Result<(), usize> {
        let columns = self.counts.iter_mut().zip(&mut self.values).zip(&mut self.lost);
        let others = other.counts.iter().zip(&other.values).zip(&other.lost);
        for (step, (((count, value), lost), ((other_count, other_value), other_lost))) in
            columns.zip(others).enumerate().filter(|(_, (_, ((count, _), _)))| **count > 0)
        {
            join_float(op, (count, value, lost), (*other_count, *other_value, *other_lost)).map_err(|Unfit| step)?;
        }
        Ok(())
    }

    fn accumulator(&self, op: AggregateOp, step: usize) -> Accumulator {
        let at = |column: &[f64]| column.get(step).copied().unwrap_or_default();
        let (sum, lost) = (at(&self.values), at(&self.lost));
        let count = f64::from(self.counts.get(step).copied().unwrap_or_default());
        match op {
            _ if count == 0.0 => Accumulator::Empty,
            AggregateOp::Sum => Accumulator::Sum(KahanSum { sum, lost }),
            AggregateOp::Avg => Accumulator::Mean(Mean::of_sum(KahanSum { sum, lost }, count)),
            AggregateOp::Count => Accumulator::Count(count),
            _ => Accumulator::Value(sum),
        }
    }
}

/// Takes count, value and what was lost into a slot. A mean whose sum overflows goes another way from there on.
fn join_float(
    op: AggregateOp,
    slot: (&mut u32, &mut f64, &mut f64),
    (count, value, lost): (u32, f64, f64),
) -> Result<(), Unfit> {
    match op {
        _ if *slot.0 == 0 => (*slot.1, *slot.2) = (value, lost),
        AggregateOp::Sum | AggregateOp::Avg => {
            let mut sum = KahanSum { sum: *slot.1, lost: *slot.2 };
            sum.join(KahanSum { sum: value, lost });
            if op == AggregateOp::Avg && sum.sum.is_infinite() {
                return Err(Unfit);
            }
            (*slot.1, *slot.2) = (sum.sum, sum.lost);
        }
        _ => *slot.1 = better(op, *slot.1, value),
    }
    *slot.0 = slot.0.saturating_add(count);
    Ok(())
}

impl Gathered {
    fn new(op: AggregateOp, steps: usize) -> Self {
        use AggregateOp as Op;
        if matches!(op, Op::Sum | Op::Avg | Op::Min | Op::Max | Op::Count | Op::Group) {
            Self::Floats(Floats { counts: vec![0; steps], values: vec![0.0; steps], lost: vec![0.0; steps] })
        } else {
            Self::Cells(vec![Accumulator::default(); steps])
        }
    }

    fn into_accumulators(self, op: AggregateOp) -> Vec<Accumulator> {
        match self {
            Self::Floats(floats) => (0..floats.counts.len()).map(|step| floats.accumulator(op, step)).collect(),
            Self::Cells(cells) => cells,
        }
    }

    fn take_accumulators(&mut self, op: AggregateOp) -> Vec<Accumulator> {
        std::mem::replace(self, Self::Cells(Vec::new())).into_accumulators(op)
    }

    fn gather(&mut self, by: &Gathering<'_, '_>, cells: &[Cell], labels: &Labels) {
        let from = match self {
            Self::Floats(floats) => match floats.gather(by.op, cells) {
                Ok(()) => return,
                Err(step) => step,
            },
            Self::Cells(_) => 0,
        };
        let mut accumulators = self.take_accumulators(by.op);
        let rest = accumulators.iter_mut().zip(cells).skip(from);
        rest.for_each(|(accumulator, cell)| by.gather(accumulator, cell, labels));
        *self = Self::Cells(accumulators);
    }

    fn join(&mut self, by: &Gathering<'_, '_>, other: Self) {
        let from = match (&mut *self, &other) {
            (Self::Floats(floats), Self::Floats(others)) => match floats.join(by.op, others) {
                Ok(()) => return,
                Err(step) => step,
            },
            _ => 0,
        };
        let mut accumulators = self.take_accumulators(by.op);
        let rest = accumulators.iter_mut().zip(other.into_accumulators(by.op)).skip(from);
        rest.for_each(|(accumulator, other)| by.join(accumulator, other));
        *self = Self::Cells(accumulators);
    }

    fn into_cells(self, by: &Gathering<'_, '_>, parameters: &[f64]) -> Vec<Cell> {
        let parameter = |step: usize| parameters.get(step).copied();
        let accumulators = self.into_accumulators(by.op).into_iter().enumerate();
        accumulators.map(|(step, accumulator)| by.result(accumulator, parameter(step))).collect()
    }
}

/// A group's values, and whether its name goes.
type Folded = Option<(bool, Gathered)>;

fn fold_into(slot: &mut Folded, by: &Gathering<'_, '_>, column: &Column) {
    let (drop_name, gathered) = slot.get_or_insert_with(|| (false, Gathered::new(by.op, column.cells.len())));
    *drop_name |= column.drop_name;
    gathered.gather(by, &column.cells, &column.labels);
}

fn label_set(grouping: &Grouping) -> LabelSet<'_> {
    match grouping {
        Grouping::By(names) => LabelSet::Only(names),
        Grouping::Without(names) => LabelSet::Without(names),
    }
}

impl Evaluation<'_> {
    pub(crate) fn fold(&self, aggregate: &Aggregate, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        let parameters = match &aggregate.parameter {
            Some(parameter) => self.scalars(parameter, grid)?,
            None => Vec::new(),
        };
        if let Some(parameter) = &aggregate.parameter {
            self.note_quantiles(&parameters, parameter.unparenthesized().position);
        }
        let position = aggregate.expr.unparenthesized().position;
        let by = Gathering { evaluation: self, op: aggregate.op, position };
        let groups = match self.row_request(&aggregate.expr, grid) {
            Some(request) => self.fold_rows(&by, aggregate, (&*self.found(&request)?, request.matchers), grid)?,
            None => self.fold_columns(&by, aggregate, grid)?,
        };
        for (labels, folded) in groups {
            let Some((drop_name, gathered)) = folded else { continue };
            let column = Column { labels, drop_name, cells: gathered.into_cells(&by, &parameters) };
            if column.has_values() {
                sink(column)?;
            }
        }
        Ok(())
    }

    /// Folds the columns as they come.
    fn fold_columns(
        &self,
        by: &Gathering<'_, '_>,
        aggregate: &Aggregate,
        grid: &Grid,
    ) -> Result<Vec<(Labels, Folded)>, EngineError> {
        let mut groups: Groups<Folded> = Groups::new();
        self.columns(&aggregate.expr, grid, &mut |column| {
            let labels = group_labels(&aggregate.grouping, &column.labels);
            if let Some(folded) = groups.entry(labels, false, || None) {
                fold_into(folded, by, &column);
            }
            self.check_cells(groups.len(), grid.count)
        })?;
        Ok(groups.into_iter().collect())
    }

    /// Folds the series of a selection, each share by itself. Groups are known from the series' labels, so that no labels
    /// are made for each series.
    fn fold_rows(
        &self,
        by: &Gathering<'_, '_>,
        aggregate: &Aggregate,
        (selection, matchers): (&dyn Selection, &[Matcher]),
        grid: &Grid,
    ) -> Result<Vec<(Labels, Folded)>, EngineError> {
        let groups = selection.groups(label_set(&aggregate.grouping))?;
        let (op, position) = (by.op, by.position);
        let shares = self.for_each_share(selection, matchers, |evaluation, share| {
            let by = Gathering { evaluation, op, position };
            let mut folded: Vec<Folded> = groups.labels.iter().map(|_| None).collect();
            let mut held = 0;
            evaluation.columns(&aggregate.expr, grid, &mut |column| {
                let group = groups.of.get(share.place()).copied().unwrap_or_default();
                if let Some(slot) = folded.get_mut(group as usize) {
                    held += usize::from(slot.is_none());
                    fold_into(slot, &by, &column);
                }
                evaluation.check_cells(held, grid.count)
            })?;
            Ok(folded)
        })?;
        let mut all: Vec<Folded> = Vec::new();
        for share in shares {
            if all.is_empty() {
                all = share;
                continue;
            }
            for (into, other) in all.iter_mut().zip(share) {
                match (into.as_mut(), other) {
                    (_, None) => {}
                    (None, other) => *into = other,
                    (Some((drop_name, gathered)), Some((other_drops, other))) => {
                        *drop_name |= other_drops;
                        gathered.join(by, other);
                    }
                }
            }
        }
        Ok(groups.labels.into_iter().zip(all).collect())
    }
}
