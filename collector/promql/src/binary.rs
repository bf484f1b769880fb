//! Binary operators: between a vector and a scalar, between two vectors, and the set operators.

use std::collections::HashMap;
use std::sync::Arc;

use tenantscope_model::{Labels, METRIC_NAME};

use crate::aggregate::STAMPED;
use crate::ast::{Binary, BinaryOp, Cardinality, Expr, Matching, Position};
use crate::column::{Cell, Column, Grid, Sink, without_name};
use crate::error::EngineError;
use crate::evaluation::Evaluation;
use crate::native::{self, Combined, Incompatible, Kept};
use crate::note::{Note, Operation};
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
enum Outcome {
    /// A value.
    Value(Cell),
    /// A comparison that does not hold.
    Filtered,
    /// No value: the types don't go together.
    Nothing,
}

/// What comes of an operation on two elements, and what is to be said of it.
struct Operated {
    outcome: Outcome,
    note: Option<Note<'static>>,
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

fn operate(op: BinaryOp, left: &Cell, right: &Cell) -> Operated {
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
fn signature(matching: &Matching, labels: &Labels) -> Labels {
    if matching.on {
        labels.filter(|label| matching.labels.contains(&label.name))
    } else {
        labels.filter(|label| &*label.name != METRIC_NAME && !matching.labels.contains(&label.name))
    }
}

/// Numbers the signatures of both sides.
#[derive(Default)]
struct Signatures(HashMap<Labels, usize>);

impl Signatures {
    fn number(&mut self, signature: Labels) -> usize {
        let next = self.0.len();
        *self.0.entry(signature).or_insert(next)
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
        self.columns(vector, grid, &mut |mut column| {
            for (cell, scalar) in column.cells.iter_mut().zip(&scalars) {
                let element = std::mem::take(cell);
                let scalar = Cell::Float(*scalar);
                let (left, right) = if swapped { (&scalar, &element) } else { (&element, &scalar) };
                let Operated { outcome, note } = operate(binary.op, left, right);
                if let Some(note) = note {
                    self.note(note, position);
                }
                *cell = match outcome {
                    Outcome::Nothing => Cell::Empty,
                    outcome if binary.returns_bool => truth(&outcome),
                    Outcome::Filtered => Cell::Empty,
                    Outcome::Value(_) if binary.op.is_comparison() => element,
                    Outcome::Value(value) => value,
                };
            }
            column.drop_name |= changes_meaning;
            if column.has_values() { sink(column) } else { Ok(()) }
        })
    }

    fn set_operation(&self, binary: &Binary, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        let mut left = self.collect(&binary.left, grid)?;
        let mut right = self.collect(&binary.right, grid)?;
        let mut signatures = Signatures::default();
        let mut numbers = |columns: &[Column]| -> Vec<usize> {
            columns.iter().map(|c| signatures.number(signature(&binary.matching, &c.labels))).collect()
        };
        let (left_numbers, right_numbers) = (numbers(&left), numbers(&right));
        let mut present = vec![false; signatures.0.len()];
        for step in 0..grid.count {
            present.fill(false);
            let (givers, giver_numbers, takers, taker_numbers, keep_present) = match binary.op {
                BinaryOp::Or => (&left, &left_numbers, &mut right, &right_numbers, false),
                BinaryOp::Unless => (&right, &right_numbers, &mut left, &left_numbers, false),
                _ => (&right, &right_numbers, &mut left, &left_numbers, true),
            };
            for (column, &number) in givers.iter().zip(giver_numbers) {
                if column.cells.get(step).is_some_and(|cell| !cell.is_empty())
                    && let Some(slot) = present.get_mut(number)
                {
                    *slot = true;
                }
            }
            for (column, &number) in takers.iter_mut().zip(taker_numbers) {
                if present.get(number).copied().unwrap_or(false) != keep_present
                    && let Some(cell) = column.cells.get_mut(step)
                {
                    *cell = Cell::Empty;
                }
            }
        }
        if binary.op == BinaryOp::Or {
            left = merge_or(left, right);
        }
        left.into_iter().filter(Column::has_values).try_for_each(sink)
    }

    fn between_vectors(&self, binary: &Binary, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        let left = self.collect(&binary.left, grid)?;
        let right = self.collect(&binary.right, grid)?;
        let swapped = binary.matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        let mut join = Join::new(binary, many, one, grid.count);
        for step in 0..grid.count {
            join.step(step)?;
            // As in Prometheus, one note tells of all elements at a time.
            if let Some(note) = join.note.take() {
                self.note(note, place(binary));
            }
        }
        join.outputs.into_iter().filter(Column::has_values).try_for_each(sink)
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

fn truth(outcome: &Outcome) -> Cell {
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
                for (into, cell) in existing.cells.iter_mut().zip(column.cells) {
                    if into.is_empty() {
                        *into = cell;
                    }
                }
            }
            None => merged.push(column),
        }
    }
    merged
}

/// The join of two vectors: the "many" side looks up the "one" side by signature.
struct Join<'a> {
    binary: &'a Binary,
    many: Vec<Column>,
    one: Vec<Column>,
    many_numbers: Vec<usize>,
    one_numbers: Vec<usize>,
    signatures: Vec<Labels>,
    /// By signature: the element of the one side at this time.
    one_at: Vec<Option<usize>>,
    /// By signature: whether it was matched at this time.
    matched: Vec<bool>,
    count: usize,
    output_of: HashMap<(Option<usize>, Option<usize>), usize>,
    output_by_labels: HashMap<Labels, usize>,
    outputs: Vec<Column>,
    /// By output: the time (plus one) at which it last came of a match.
    last_match: Vec<usize>,
    /// What was to be said last.
    note: Option<Note<'static>>,
}

impl<'a> Join<'a> {
    fn new(binary: &'a Binary, many: Vec<Column>, one: Vec<Column>, count: usize) -> Self {
        let mut signatures = Signatures::default();
        let mut numbers = |columns: &[Column]| -> Vec<usize> {
            columns.iter().map(|c| signatures.number(signature(&binary.matching, &c.labels))).collect()
        };
        let (many_numbers, one_numbers) = (numbers(&many), numbers(&one));
        let mut by_number: Vec<(usize, Labels)> = signatures.0.into_iter().map(|(labels, n)| (n, labels)).collect();
        by_number.sort_by_key(|(number, _)| *number);
        let signatures: Vec<Labels> = by_number.into_iter().map(|(_, labels)| labels).collect();
        Self {
            binary,
            many,
            one,
            many_numbers,
            one_numbers,
            one_at: vec![None; signatures.len()],
            matched: vec![false; signatures.len()],
            signatures,
            count,
            output_of: HashMap::new(),
            output_by_labels: HashMap::new(),
            outputs: Vec::new(),
            last_match: Vec::new(),
            note: None,
        }
    }

    fn is_swapped(&self) -> bool {
        self.binary.matching.cardinality == Cardinality::OneToMany
    }

    /// Whether anything can match or be filled in; where nothing can, duplicates on the one side don't matter.
    fn can_match(&self, step: usize) -> bool {
        let present = |columns: &[Column]| {
            columns.iter().any(|column| column.cells.get(step).is_some_and(|cell| !cell.is_empty()))
        };
        let matching = &self.binary.matching;
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        if fills { present(&self.many) || present(&self.one) } else { present(&self.many) && present(&self.one) }
    }

    fn step(&mut self, step: usize) -> Result<(), EngineError> {
        if !self.can_match(step) {
            return Ok(());
        }
        self.find_one_side(step)?;
        self.matched.fill(false);
        let matching = &self.binary.matching;
        // Prometheus fills by the sides of the join, not of the expression: `fill_right` is for the one side even
        // with `group_right`.
        let (fill_one, fill_many) = (matching.fill_right, matching.fill_left);
        for at in 0..self.many.len() {
            let Some(cell) = cell_at(&self.many, at, step) else { continue };
            let number = self.many_numbers.get(at).copied().unwrap_or_default();
            let found = self.one_at.get(number).copied().flatten();
            let one = match (found.and_then(|one| cell_at(&self.one, one, step)), fill_one) {
                (Some(one), _) => one,
                (None, Some(fill)) => Cell::Float(fill),
                (None, None) => continue,
            };
            self.combine(Some(at), found, number, &cell, &one, step)?;
        }
        let Some(fill) = fill_many else { return Ok(()) };
        for at in 0..self.one.len() {
            let Some(cell) = cell_at(&self.one, at, step) else { continue };
            let number = self.one_numbers.get(at).copied().unwrap_or_default();
            if !self.matched.get(number).copied().unwrap_or(false) {
                self.combine(None, Some(at), number, &Cell::Float(fill), &cell, step)?;
            }
        }
        Ok(())
    }

    fn find_one_side(&mut self, step: usize) -> Result<(), EngineError> {
        self.one_at.fill(None);
        for at in 0..self.one.len() {
            if cell_at(&self.one, at, step).is_none() {
                continue;
            }
            let number = self.one_numbers.get(at).copied().unwrap_or_default();
            let Some(slot) = self.one_at.get_mut(number) else { continue };
            if let Some(other) = slot.replace(at) {
                return Err(self.duplicate(number, other, at));
            }
        }
        Ok(())
    }

    fn duplicate(&self, number: usize, a: usize, b: usize) -> EngineError {
        let text = |at: usize| self.one.get(at).map(|c| braces(&c.labels)).unwrap_or_default();
        let (mut a, mut b) = (text(a), text(b));
        if a > b {
            std::mem::swap(&mut a, &mut b);
        }
        let group = self.signatures.get(number).map(braces).unwrap_or_default();
        let side = if self.is_swapped() { "left" } else { "right" };
        EngineError::execution(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{a}, {b}]\
             ;many-to-many matching not allowed: matching labels must be unique on one side"
        ))
    }

    fn combine(
        &mut self,
        many_at: Option<usize>,
        one_at: Option<usize>,
        number: usize,
        many: &Cell,
        one: &Cell,
        step: usize,
    ) -> Result<(), EngineError> {
        let (left, right) = if self.is_swapped() { (one, many) } else { (many, one) };
        let Operated { outcome, note } = operate(self.binary.op, left, right);
        self.note = note.or(self.note);
        if matches!(outcome, Outcome::Nothing) {
            return Ok(());
        }
        let output = self.output(many_at, one_at, number);
        let seen = self.matched.get_mut(number).map(|slot| std::mem::replace(slot, true)).unwrap_or(false);
        if self.binary.matching.cardinality == Cardinality::OneToOne && seen {
            return Err(EngineError::execution(
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
            ));
        }
        let last = self.last_match.get_mut(output).map(|last| std::mem::replace(last, step + 1));
        if last == Some(step + 1) {
            return Err(EngineError::execution(
                "multiple matches for labels: grouping labels must ensure unique matches",
            ));
        }
        let cell = match outcome {
            outcome if self.binary.returns_bool => truth(&outcome),
            Outcome::Value(cell) => cell,
            Outcome::Filtered | Outcome::Nothing => return Ok(()),
        };
        if let Some(slot) = self.outputs.get_mut(output).and_then(|column| column.cells.get_mut(step)) {
            *slot = cell;
        }
        Ok(())
    }

    fn output(&mut self, many_at: Option<usize>, one_at: Option<usize>, number: usize) -> usize {
        if let Some(&known) = self.output_of.get(&(many_at, one_at)) {
            return known;
        }
        let signature = self.signatures.get(number).cloned().unwrap_or_default();
        let many = many_at.and_then(|at| self.many.get(at)).map(|column| &column.labels);
        let one = one_at.and_then(|at| self.one.get(at)).map(|column| &column.labels);
        let filled = |present: Option<&Labels>| filled_labels(&signature, present);
        let many_labels = many.cloned().unwrap_or_else(|| filled(one));
        let labels = result_labels(self.binary, &many_labels, &one.cloned().unwrap_or_else(|| filled(many)));
        let output = *self.output_by_labels.entry(labels.clone()).or_insert_with(|| {
            let cells = vec![Cell::Empty; self.count];
            self.outputs.push(Column { labels, drop_name: self.binary.returns_bool, cells });
            self.last_match.push(0);
            self.outputs.len() - 1
        });
        self.output_of.insert((many_at, one_at), output);
        output
    }
}

fn cell_at(columns: &[Column], at: usize, step: usize) -> Option<Cell> {
    columns.get(at)?.cells.get(step).filter(|cell| !cell.is_empty()).cloned()
}

/// Labels as Prometheus's messages show them: `{__name__="up", a="b"}`.
pub(crate) fn braces(labels: &Labels) -> String {
    let one = |label: &tenantscope_model::Label| format!("{}={}", label_text(&label.name), Quoted(&label.value));
    format!("{{{}}}", labels.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// The labels of an element that is filled in: those by which it would have matched. It is of the tenant of the
/// element that it is missing for.
fn filled_labels(signature: &Labels, present: Option<&Labels>) -> Labels {
    let Some(tenant) = present.and_then(|labels| labels.shared(STAMPED)) else { return signature.clone() };
    let mut labels = signature.to_builder();
    labels.set(STAMPED, Arc::clone(tenant));
    labels.build()
}

fn result_labels(binary: &Binary, many: &Labels, one: &Labels) -> Labels {
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
