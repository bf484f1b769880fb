//! Aggregations that fold values: one accumulator for each group and time. As long as a group's values are floats, its
//! accumulators are plain columns.

use tenantscope_model::{HeldBytes, LabelSet, Labels, Matcher, Selection};

use crate::accumulator::{Accumulator, Gathering};
use crate::aggregate::{Groups, group_labels};
use crate::ast::{Aggregate, AggregateOp, Expr, Grouping};
use crate::cells::{ABSENT, is_present};
use crate::column::{Cell, Cells, Column, Grid, Sink};
use crate::error::EngineError;
use crate::evaluation::Evaluation;
use crate::kahan::{KahanSum, Mean};
use crate::pace::Pace;

/// What a group has gathered at all times.
pub(crate) enum Gathered {
    Floats(Floats),
    /// For quantiles, the columns themselves.
    Listed(Vec<Vec<f64>>),
    Cells(Vec<Accumulator>),
}

/// The same of floats alone. A time without a value has a count of 0.
pub(crate) struct Floats {
    counts: Vec<u32>,
    /// Sums, or the least or greatest values. Before the first, what changes no other.
    values: Vec<f64>,
    /// What rounding took from the sums.
    lost: Vec<f64>,
}

/// What was gathered fits floats up to this time only.
struct UnfitFrom(usize);

impl Floats {
    fn new(op: AggregateOp, steps: usize) -> Self {
        let neutral = if adds(op) { -0.0 } else { f64::NAN };
        Self { counts: vec![0; steps], values: vec![neutral; steps], lost: vec![0.0; steps] }
    }

    /// Takes in the values of all times.
    fn gather(&mut self, op: AggregateOp, floats: &[f64]) -> Result<(), UnfitFrom> {
        for (count, float) in self.counts.iter_mut().zip(floats) {
            *count = count.saturating_add(u32::from(is_present(*float)));
        }
        match op {
            AggregateOp::Sum => self.add(floats),
            AggregateOp::Avg => return self.add_while_finite(floats),
            AggregateOp::Max => self.keep(floats, |old, value| old < value || old.is_nan()),
            AggregateOp::Min => self.keep(floats, |old, value| old > value || old.is_nan()),
            _ => {}
        }
        Ok(())
    }

    /// Adding -0 changes nothing, so there is no question whether there is a value.
    fn add(&mut self, floats: &[f64]) {
        for ((sum, lost), float) in self.values.iter_mut().zip(&mut self.lost).zip(floats) {
            let float = if is_present(*float) { *float } else { -0.0 };
            let total = *sum + float;
            let (large, small) = if sum.abs() >= float.abs() { (*sum, float) } else { (float, *sum) };
            // Of sums that are infinite, what is lost is not looked at.
            *lost += (large - total) + small;
            *sum = total;
        }
    }

    /// A mean whose sum overflows goes another way from there on.
    fn add_while_finite(&mut self, floats: &[f64]) -> Result<(), UnfitFrom> {
        let sums = self.values.iter().zip(floats);
        let overflows = |(sum, float): (&f64, &f64)| is_present(*float) && (sum + float).is_infinite();
        let Some(step) = sums.map(overflows).position(|overflows| overflows) else {
            self.add(floats);
            return Ok(());
        };
        for (count, float) in self.counts.iter_mut().zip(floats).skip(step) {
            *count -= u32::from(is_present(*float));
        }
        self.add(floats.get(..step).unwrap_or_default());
        Err(UnfitFrom(step))
    }

    fn keep(&mut self, floats: &[f64], is_better: impl Fn(f64, f64) -> bool) {
        for (old, float) in self.values.iter_mut().zip(floats) {
            let takes = is_present(*float) && is_better(*old, *float);
            *old = if takes { *float } else { *old };
        }
    }

    /// Takes in what another share has gathered.
    fn join(&mut self, op: AggregateOp, other: &Self) -> Result<(), UnfitFrom> {
        let counted = other.counts.iter().zip(&other.values);
        let values: Vec<f64> = counted.map(|(count, value)| if *count > 0 { *value } else { ABSENT }).collect();
        let counts: Vec<u32> = self.counts.clone();
        let gathered = self.gather(op, &values);
        let joined = gathered.as_ref().map_or_else(|UnfitFrom(step)| *step, |()| values.len());
        let columns = self.counts.iter_mut().zip(&mut self.lost).zip(counts).zip(&other.counts).zip(&other.lost);
        for ((((count, lost), before), more), other_lost) in columns.take(joined) {
            *count = before.saturating_add(*more);
            *lost += *other_lost;
        }
        gathered
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
            AggregateOp::Group => Accumulator::Value(1.0),
            _ => Accumulator::Value(sum),
        }
    }
}

fn adds(op: AggregateOp) -> bool {
    matches!(op, AggregateOp::Sum | AggregateOp::Avg)
}

impl Gathered {
    fn new(op: AggregateOp, steps: usize) -> Self {
        use AggregateOp as Op;
        match op {
            Op::Sum | Op::Avg | Op::Min | Op::Max | Op::Count | Op::Group => Self::Floats(Floats::new(op, steps)),
            Op::Quantile => Self::Listed(Vec::new()),
            _ => Self::Cells(vec![Accumulator::default(); steps]),
        }
    }

    fn into_accumulators(self, op: AggregateOp, steps: usize) -> Vec<Accumulator> {
        match self {
            Self::Floats(floats) => (0..floats.counts.len()).map(|step| floats.accumulator(op, step)).collect(),
            Self::Listed(columns) => (0..steps).map(|step| listed(&columns, step)).collect(),
            Self::Cells(cells) => cells,
        }
    }

    /// What it holds; of values that hold more by and by, as much as is known at once.
    fn held_bytes(&self, steps: usize) -> usize {
        match self {
            Self::Floats(_) => steps * (size_of::<u32>() + 2 * size_of::<f64>()),
            Self::Listed(columns) => columns.len() * steps * size_of::<f64>(),
            Self::Cells(cells) => cells.iter().map(Accumulator::held_bytes).sum(),
        }
    }

    /// Takes the values in, and the memory that they take.
    fn hold(&mut self, by: &Gathering<'_, '_>, column: Column, held: &mut HeldBytes<'_>) -> Result<(), EngineError> {
        let steps = column.cells.len();
        let is_plain = matches!(column.cells, Cells::Floats(_));
        match self {
            // A list of values doubles when it is full.
            Self::Cells(_) if is_plain && by.op == AggregateOp::Quantile => held.grow(steps * 2 * size_of::<f64>())?,
            Self::Listed(_) if is_plain => held.grow(column.cells.held_bytes())?,
            Self::Floats(_) | Self::Cells(_) if is_plain => {}
            _ => {
                let before = self.held_bytes(steps);
                self.gather(by, column.cells, &column.labels);
                return Ok(held.grow(self.held_bytes(steps).saturating_sub(before))?);
            }
        }
        self.gather(by, column.cells, &column.labels);
        Ok(())
    }

    fn gather(&mut self, by: &Gathering<'_, '_>, cells: Cells, labels: &Labels) {
        let (steps, from) = match (&mut *self, cells) {
            (Self::Floats(floats), Cells::Floats(values)) => match floats.gather(by.op, &values) {
                Ok(()) => return,
                Err(UnfitFrom(step)) => (Cells::Floats(values), step),
            },
            (Self::Listed(columns), Cells::Floats(values)) => return columns.push(values),
            (_, cells) => (cells, 0),
        };
        let mut accumulators = std::mem::replace(self, Self::Cells(Vec::new())).into_accumulators(by.op, steps.len());
        let rest = accumulators.iter_mut().zip(steps.iter()).skip(from);
        rest.for_each(|(accumulator, cell)| by.gather(accumulator, &cell, labels));
        *self = Self::Cells(accumulators);
    }

    fn join(&mut self, by: &Gathering<'_, '_>, other: Self, steps: usize) {
        let (other, from) = match (&mut *self, other) {
            (Self::Floats(floats), Self::Floats(others)) => match floats.join(by.op, &others) {
                Ok(()) => return,
                Err(UnfitFrom(step)) => (Self::Floats(others), step),
            },
            (Self::Listed(columns), Self::Listed(mut others)) => return columns.append(&mut others),
            (_, other) => (other, 0),
        };
        let mut accumulators = std::mem::replace(self, Self::Cells(Vec::new())).into_accumulators(by.op, steps);
        let rest = accumulators.iter_mut().zip(other.into_accumulators(by.op, steps)).skip(from);
        rest.for_each(|(accumulator, other)| by.join(accumulator, other));
        *self = Self::Cells(accumulators);
    }

    fn into_cells(self, by: &Gathering<'_, '_>, parameters: &[f64], steps: usize, pace: &Pace<'_>) -> Cells {
        let parameter = |step: usize| parameters.get(step).copied();
        if let Self::Listed(columns) = &self {
            let one = |step| {
                let goes_on = pace.goes_on(1 + columns.len());
                if goes_on { by.result(listed(columns, step), parameter(step)) } else { Cell::Empty }
            };
            return (0..steps).map(one).collect();
        }
        let accumulators = self.into_accumulators(by.op, steps).into_iter().enumerate();
        let one = |(step, accumulator): (usize, Accumulator)| {
            let goes_on = pace.goes_on(accumulator.work());
            if goes_on { pace.keeps(by.result(accumulator, parameter(step))) } else { Cell::Empty }
        };
        accumulators.map(one).collect()
    }
}

/// The values of all columns at a time.
fn listed(columns: &[Vec<f64>], step: usize) -> Accumulator {
    let at_step = columns.iter().filter_map(|column| column.get(step)).copied();
    let values: Vec<f64> = at_step.filter(|value| is_present(*value)).collect();
    if values.is_empty() { Accumulator::Empty } else { Accumulator::Values(values) }
}

/// A group's values, and whether its name goes.
pub(crate) type Folded = Option<(bool, Gathered)>;

/// What all groups have gathered, and the memory that it takes.
pub(crate) type Groupwise<'a> = (Vec<(Labels, Folded)>, HeldBytes<'a>);

fn fold_into(
    slot: &mut Folded,
    by: &Gathering<'_, '_>,
    column: Column,
    held: &mut HeldBytes<'_>,
) -> Result<(), EngineError> {
    if slot.is_none() {
        let steps = column.cells.len();
        let new = Gathered::new(by.op, steps);
        held.grow(size_of::<Folded>() + new.held_bytes(steps))?;
        *slot = Some((false, new));
    }
    let Some((drop_name, gathered)) = slot else { return Ok(()) };
    *drop_name |= column.drop_name;
    gathered.hold(by, column, held)
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
            None => self.scalars_by(&Grid { count: 0, ..*grid }, |_| f64::NAN)?,
        };
        if let Some(parameter) = &aggregate.parameter {
            self.note_quantiles(&parameters, parameter.unparenthesized().position);
        }
        let position = aggregate.expr.unparenthesized().position;
        let by = Gathering { evaluation: self, op: aggregate.op, position };
        let (groups, mut held) = match self.row_request(&aggregate.expr, grid) {
            Some(request) => self.fold_rows(&by, aggregate, (&*self.found(&request)?, request.matchers), grid)?,
            None => match self.fold_join(&by, aggregate, grid)? {
                Some(groups) => groups,
                None => self.fold_columns(&by, aggregate, grid)?,
            },
        };
        for (labels, folded) in groups {
            let Some((drop_name, gathered)) = folded else { continue };
            let pace = self.pace();
            let gathered_bytes = gathered.held_bytes(grid.count);
            let cells = gathered.into_cells(&by, &parameters, grid.count, &pace);
            pace.ended()?;
            held.shrink(gathered_bytes);
            let column = Column { labels, drop_name, cells };
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
    ) -> Result<Groupwise<'_>, EngineError> {
        let mut groups: Groups<Folded> = Groups::new();
        let mut held = self.budget.hold();
        self.columns(&aggregate.expr, grid, &mut |column| {
            let labels = group_labels(&aggregate.grouping, &column.labels);
            if let Some(folded) = groups.entry(labels, false, || None) {
                fold_into(folded, by, column, &mut held)?;
            }
            self.check_cells(groups.len(), grid.count)
        })?;
        Ok((groups.into_iter().collect(), held))
    }

    /// Folds the series of a selection. Groups are known from the series' labels, so that no labels are made for each
    /// series.
    fn fold_rows(
        &self,
        by: &Gathering<'_, '_>,
        aggregate: &Aggregate,
        rows: (&dyn Selection, &[Matcher]),
        grid: &Grid,
    ) -> Result<Groupwise<'_>, EngineError> {
        let groups = rows.0.groups(label_set(&aggregate.grouping))?;
        let group_of = |place: usize, _: &mut Column| groups.of.get(place).copied();
        let (folded, held) = self.fold_shares(by, &aggregate.expr, rows, grid, groups.labels.len(), group_of)?;
        Ok((groups.labels.into_iter().zip(folded).collect(), held))
    }

    /// Folds what an expression makes of the series of a selection, each share by itself. `group_of` says in which of so
    /// many groups a series' values go, if in any, and may change them before.
    pub(crate) fn fold_shares(
        &self,
        by: &Gathering<'_, '_>,
        expr: &Expr,
        (selection, matchers): (&dyn Selection, &[Matcher]),
        grid: &Grid,
        groups: usize,
        group_of: impl Fn(usize, &mut Column) -> Option<u32> + Sync,
    ) -> Result<(Vec<Folded>, HeldBytes<'_>), EngineError> {
        let budget = self.budget;
        let (op, position) = (by.op, by.position);
        let shares = self.for_each_share(selection, matchers, |evaluation, share| {
            let by = Gathering { evaluation, op, position };
            let mut folded: Vec<Folded> = (0..groups).map(|_| None).collect();
            let (mut count, mut held) = (0, budget.hold());
            held.grow(groups * size_of::<Folded>())?;
            evaluation.columns(expr, grid, &mut |mut column| {
                let group = group_of(share.place(), &mut column);
                let Some(slot) = group.and_then(|group| folded.get_mut(group as usize)) else { return Ok(()) };
                let is_new = slot.is_none();
                fold_into(slot, &by, column, &mut held)?;
                count += usize::from(is_new);
                if is_new { evaluation.check_cells(count, grid.count) } else { Ok(()) }
            })?;
            Ok((folded, held))
        })?;
        let mut shares = shares.into_iter();
        let (mut all, mut held) = shares.next().unwrap_or_else(|| (Vec::new(), budget.hold()));
        let pace = self.pace();
        for (share, held_share) in shares {
            held.join(held_share);
            for (into, other) in all.iter_mut().zip(share) {
                match (into.as_mut(), other) {
                    (_, None) => {}
                    (None, other) => *into = other,
                    (Some((drop_name, gathered)), Some((other_drops, other))) => {
                        pace.step(grid.count)?;
                        *drop_name |= other_drops;
                        if matches!(other, Gathered::Floats(_)) {
                            held.shrink(other.held_bytes(grid.count));
                        }
                        gathered.join(by, other, grid.count);
                    }
                }
            }
        }
        Ok((all, held))
    }
}
