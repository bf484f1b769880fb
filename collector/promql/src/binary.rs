//! Binary operators: between a vector and a scalar, between two vectors, and the set operators.

use std::collections::HashMap;
use std::sync::Arc;

use tenantscope_model::{Labels, METRIC_NAME};

use crate::ast::{Binary, BinaryOp, Cardinality, Expr, Matching, Position};
use crate::column::{Cell, Cells, Column, Grid, Sink, without_name};
use crate::error::EngineError;
use crate::evaluation::Evaluation;
use crate::held::Collected;
use crate::join::Join;
use crate::native::{self, Combined, Incompatible, Kept};
use crate::note::{Note, Operation};
use crate::pace::HISTOGRAM_WORK;
use crate::paired::{self, floats_with_scalars, is_for_floats};
use crate::print::label_text;
use crate::quoting::Quoted;

/// The value of an operation on two floats, and whether a comparison keeps the element.
pub(crate) fn float_operation(op: BinaryOp, left: f64, right: f64) -> (f64, bool) {
    match op {
        BinaryOp::Add => (left + right, true),
        BinaryOp::Sub => (left - right, true),
        BinaryOp::Mul => (left * right, true),
        BinaryOp::Div => (left / right, true),
        BinaryOp::Mod => (left % right, true),
        BinaryOp::Pow => (left.powf(right), true),
        BinaryOp::Atan2 => (left.atan2(right), true),
        BinaryOp::Equal => (left, left == right),
        BinaryOp::NotEqual => (left, left != right),
        BinaryOp::Greater => (left, left > right),
        BinaryOp::Less => (left, left < right),
        BinaryOp::GreaterEqual => (left, left >= right),
        BinaryOp::LessEqual => (left, left <= right),
        // Only histograms have something to trim.
        BinaryOp::TrimUpper | BinaryOp::TrimLower => (f64::NAN, false),
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => (f64::NAN, false),
    }
}

/// What comes of an operation on two elements.
pub(crate) enum Outcome {
    /// A value.
    Value(Cell),
    /// A comparison that does not hold.
    Filtered,
    /// No value: the types don't go together.
    Nothing,
}

/// What comes of an operation on two elements, and what is to be said of it.
pub(crate) struct Operated {
    pub(crate) outcome: Outcome,
    pub(crate) note: Option<Note<'static>>,
}

impl From<Outcome> for Operated {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, note: None }
    }
}

fn kept(cell: Cell, keep: bool) -> Operated {
    Operated::from(if keep { Outcome::Value(cell) } else { Outcome::Filtered })
}

fn histogram_value(histogram: tenantscope_model::Histogram) -> Operated {
    Outcome::Value(Cell::histogram(histogram)).into()
}

pub(crate) fn operate(op: BinaryOp, left: &Cell, right: &Cell) -> Operated {
    match (left, right) {
        (Cell::Empty, _) | (_, Cell::Empty) => Outcome::Nothing.into(),
        (Cell::Float(_), Cell::Float(_)) if matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower) => {
            incompatible("float", op, "float")
        }
        (Cell::Float(l), Cell::Float(r)) => {
            let (value, keep) = float_operation(op, *l, *r);
            kept(Cell::Float(value), keep)
        }
        (Cell::Histogram(h), Cell::Float(factor)) | (Cell::Float(factor), Cell::Histogram(h))
            if op == BinaryOp::Mul =>
        {
            histogram_value(native::compacted(&native::scaled(h, *factor)))
        }
        (Cell::Histogram(h), Cell::Float(number)) => match op {
            BinaryOp::Div => histogram_value(native::compacted(&native::divided(h, *number))),
            BinaryOp::TrimUpper => histogram_value(native::trimmed(h, *number, Kept::Below)),
            BinaryOp::TrimLower => histogram_value(native::trimmed(h, *number, Kept::Above)),
            _ => incompatible("histogram", op, "float"),
        },
        (Cell::Float(_), Cell::Histogram(_)) => incompatible("float", op, "histogram"),
        (Cell::Histogram(l), Cell::Histogram(r)) => match op {
            BinaryOp::Add => combined(op, Operation::Addition, native::added(l, r)),
            BinaryOp::Sub => combined(op, Operation::Subtraction, native::subtracted(l, r)),
            BinaryOp::Equal => kept(left.clone(), native::equal(l, r)),
            BinaryOp::NotEqual => kept(left.clone(), !native::equal(l, r)),
            _ => incompatible("histogram", op, "histogram"),
        },
    }
}

fn incompatible(left: &'static str, op: BinaryOp, right: &'static str) -> Operated {
    let note = Note::IncompatibleTypes { left, op: op.symbol(), right };
    Operated { outcome: Outcome::Nothing, note: Some(note) }
}

/// A sum or difference; a difference is a gauge. Counters of which one began anew while the other went on have none.
fn combined(op: BinaryOp, operation: Operation, combined: Result<Combined, Incompatible>) -> Operated {
    let nothing = |note| Operated { outcome: Outcome::Nothing, note: Some(note) };
    let combined = match combined {
        Err(Incompatible) => return nothing(Note::IncompatibleLayout(op.symbol())),
        Ok(combined) if combined.collided => return nothing(Note::ResetsCollided(operation)),
        Ok(combined) => combined,
    };
    let is_difference = operation == Operation::Subtraction;
    let histogram = if is_difference { native::as_gauge(combined.histogram) } else { combined.histogram };
    let note = combined.reconciled.then_some(Note::BoundsReconciled(operation));
    Operated { note, ..histogram_value(histogram) }
}

/// How elements of two sides find each other: by the labels that count.
pub(crate) fn signature(matching: &Matching, labels: &Labels) -> Labels {
    if matching.on {
        labels.filter(|label| matching.labels.contains(&label.name))
    } else {
        labels.filter(|label| &*label.name != METRIC_NAME && !matching.labels.contains(&label.name))
    }
}

/// Numbers the signatures of both sides.
#[derive(Default)]
pub(crate) struct Signatures(pub(crate) HashMap<Labels, usize>);

impl Signatures {
    pub(crate) fn number(&mut self, signature: Labels) -> usize {
        let next = self.0.len();
        *self.0.entry(signature).or_insert(next)
    }

    pub(crate) fn find(&self, signature: &Labels) -> Option<usize> {
        self.0.get(signature).copied()
    }
}

impl Evaluation<'_> {
    pub(crate) fn binary(&self, binary: &Binary, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        match (Self::is_scalar(&binary.left), Self::is_scalar(&binary.right)) {
            (false, true) => self.with_scalar(binary, &binary.left, &binary.right, grid, sink),
            (true, false) => self.with_scalar(binary, &binary.right, &binary.left, grid, sink),
            (true, true) => Err(EngineError::execution("operation between scalars is no vector")),
            (false, false) if binary.op.is_set() => self.set_operation(binary, grid, sink),
            (false, false) => self.between_vectors(binary, grid, sink),
        }
    }

    fn with_scalar(
        &self,
        binary: &Binary,
        vector: &Expr,
        scalar: &Expr,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EngineError> {
        let swapped = std::ptr::eq(vector, &*binary.right);
        let position = place(binary);
        let scalars = self.scalars(scalar, grid)?;
        let changes_meaning = makes_new_values(binary.op) || binary.returns_bool;
        let one = |step: usize, element: Cell| {
            let scalar = Cell::Float(scalars.get(step).copied().unwrap_or(f64::NAN));
            let (left, right) = if swapped { (&scalar, &element) } else { (&element, &scalar) };
            let Operated { outcome, note } = operate(binary.op, left, right);
            if let Some(note) = note {
                self.note(note, position);
            }
            match outcome {
                Outcome::Nothing => Cell::Empty,
                outcome if binary.returns_bool => truth(&outcome),
                Outcome::Filtered => Cell::Empty,
                Outcome::Value(_) if binary.op.is_comparison() => element,
                Outcome::Value(value) => value,
            }
        };
        self.columns(vector, grid, &mut |mut column| {
            let pace = self.pace();
            column.cells = match column.cells {
                Cells::Floats(values) if is_for_floats(binary.op) => {
                    Cells::Floats(floats_with_scalars(binary, values, &scalars, swapped))
                }
                cells => {
                    cells.map(
                        |step, cell| {
                            if pace.goes_on(HISTOGRAM_WORK) { pace.keeps(one(step, cell)) } else { Cell::Empty }
                        },
                    )
                }
            };
            pace.ended()?;
            column.drop_name |= changes_meaning;
            if column.has_values() { sink(column) } else { Ok(()) }
        })
    }

    fn set_operation(&self, binary: &Binary, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        let Collected { columns: mut left, mut held } = self.collect(&binary.left, grid)?;
        let Collected { columns: mut right, held: held_right } = self.collect(&binary.right, grid)?;
        held.join(held_right);
        let pace = self.pace();
        let mut signatures = Signatures::default();
        let mut numbers = |columns: &[Column]| -> Vec<usize> {
            columns.iter().map(|c| signatures.number(signature(&binary.matching, &c.labels))).collect()
        };
        let (left_numbers, right_numbers) = (numbers(&left), numbers(&right));
        let mut present = vec![false; signatures.0.len()];
        for step in 0..grid.count {
            pace.step(left.len() + right.len())?;
            present.fill(false);
            let (givers, giver_numbers, takers, taker_numbers, keep_present) = match binary.op {
                BinaryOp::Or => (&left, &left_numbers, &mut right, &right_numbers, false),
                BinaryOp::Unless => (&right, &right_numbers, &mut left, &left_numbers, false),
                _ => (&right, &right_numbers, &mut left, &left_numbers, true),
            };
            for (column, &number) in givers.iter().zip(giver_numbers) {
                if column.cells.has(step)
                    && let Some(slot) = present.get_mut(number)
                {
                    *slot = true;
                }
            }
            for (column, &number) in takers.iter_mut().zip(taker_numbers) {
                if present.get(number).copied().unwrap_or(false) != keep_present {
                    column.cells.set(step, Cell::Empty);
                }
            }
        }
        if binary.op == BinaryOp::Or {
            left = merge_or(left, right);
        }
        Collected { columns: left, held }.hand_on(sink)
    }

    fn between_vectors(&self, binary: &Binary, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        let left = self.collect(&binary.left, grid)?;
        let right = self.collect(&binary.right, grid)?;
        let swapped = binary.matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        let (Collected { columns: many, held }, Collected { columns: one, held: _held_one }) = (many, one);
        let (many, one) = match paired::join(binary, many, one) {
            Ok(columns) => return Collected { columns, held }.hand_on(sink),
            Err(sides) => sides,
        };
        let mut join = Join::new(binary, many, one, grid.count, self.budget);
        for step in 0..grid.count {
            join.step(step)?;
            // As in Prometheus, one note tells of all elements at a time.
            if let Some(note) = join.note.take() {
                self.note(note, place(binary));
            }
        }
        join.into_outputs().hand_on(sink)
    }
}

/// Where a binary operation stands: it begins with its left side.
fn place(binary: &Binary) -> Position {
    Position { start: binary.left.position.start, end: binary.right.position.end }
}

/// Whether an operator's values are no longer those of its left side's metric.
fn makes_new_values(op: BinaryOp) -> bool {
    !op.is_comparison() && !matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower)
}

pub(crate) fn truth(outcome: &Outcome) -> Cell {
    Cell::Float(if matches!(outcome, Outcome::Value(_)) { 1.0 } else { 0.0 })
}

/// One column for series of both sides that have the same labels: they never have values at the same time.
fn merge_or(left: Vec<Column>, right: Vec<Column>) -> Vec<Column> {
    let mut merged = left;
    let index: HashMap<(Labels, bool), usize> =
        merged.iter().enumerate().map(|(at, c)| ((c.labels.clone(), c.drop_name), at)).collect();
    for column in right {
        let existing = index.get(&(column.labels.clone(), column.drop_name)).and_then(|&at| merged.get_mut(at));
        match existing {
            Some(existing) => {
                for step in 0..column.cells.len() {
                    if !existing.cells.has(step) {
                        existing.cells.set(step, column.cells.get(step));
                    }
                }
            }
            None => merged.push(column),
        }
    }
    merged
}

/// Labels as Prometheus's messages show them: `{__name__="up", a="b"}`.
pub(crate) fn braces(labels: &Labels) -> String {
    let one = |label: &tenantscope_model::Label| format!("{}={}", label_text(&label.name), Quoted(&label.value));
    format!("{{{}}}", labels.iter().map(one).collect::<Vec<_>>().join(", "))
}

pub(crate) fn result_labels(binary: &Binary, many: &Labels, one: &Labels) -> Labels {
    let matching = &binary.matching;
    let listed = |name: &Arc<str>| matching.labels.contains(name);
    let mut labels = if makes_new_values(binary.op) { without_name(many) } else { many.clone() };
    if matching.cardinality == Cardinality::OneToOne {
        labels = labels.filter(|label| listed(&label.name) == matching.on);
    }
    if matching.include.is_empty() {
        return labels;
    }
    let mut builder = labels.to_builder();
    for name in &matching.include {
        match one.shared(name) {
            Some(value) => builder.set(Arc::clone(name), Arc::clone(value)),
            None => builder.remove(name),
        };
    }
    builder.build()
}
