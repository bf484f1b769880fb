//! The join of two vectors, one time after the other.

use std::collections::HashMap;
use std::sync::Arc;

use tenantscope_model::{Labels, QueryBudget};

use crate::aggregate::STAMPED;
use crate::ast::{Binary, Cardinality};
use crate::binary::{Operated, Outcome, Signatures, braces, operate, result_labels, signature, truth};
use crate::column::{Cell, Cells, Column};
use crate::error::EngineError;
use crate::held::Collected;
use crate::note::Note;
use crate::pace::{HISTOGRAM_WORK, Pace};

/// The join of two vectors: the "many" side looks up the "one" side by signature.
pub(crate) struct Join<'a> {
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
    outputs: Collected<'a>,
    pace: Pace<'a>,
    /// By output: the time (plus one) at which it last came of a match.
    last_match: Vec<usize>,
    /// What was to be said last.
    pub(crate) note: Option<Note<'static>>,
}

impl<'a> Join<'a> {
    pub(crate) fn new(
        binary: &'a Binary,
        many: Vec<Column>,
        one: Vec<Column>,
        count: usize,
        budget: &'a QueryBudget,
    ) -> Self {
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
            outputs: Collected::new(budget.hold()),
            pace: Pace::new(budget),
            last_match: Vec::new(),
            note: None,
        }
    }

    /// What came of it. The sides are let go.
    pub(crate) fn into_outputs(self) -> Collected<'a> {
        self.outputs
    }

    fn is_swapped(&self) -> bool {
        self.binary.matching.cardinality == Cardinality::OneToMany
    }

    /// Whether anything can match or be filled in; where nothing can, duplicates on the one side don't matter.
    fn can_match(&self, step: usize) -> bool {
        let present = |columns: &[Column]| columns.iter().any(|column| column.cells.has(step));
        let matching = &self.binary.matching;
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        if fills { present(&self.many) || present(&self.one) } else { present(&self.many) && present(&self.one) }
    }

    pub(crate) fn step(&mut self, step: usize) -> Result<(), EngineError> {
        if !self.can_match(step) {
            return Ok(());
        }
        self.pace.step(self.many.len() + self.one.len())?;
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
            if !self.one.get(at).is_some_and(|column| column.cells.has(step)) {
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
        let output = self.output(many_at, one_at, number)?;
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
        if let Cell::Histogram(histogram) = &cell {
            self.outputs.held.grow(size_of::<Cell>() + histogram.held_bytes())?;
            self.pace.step(HISTOGRAM_WORK)?;
        }
        if let Some(column) = self.outputs.columns.get_mut(output) {
            column.cells.set(step, cell);
        }
        Ok(())
    }

    fn output(&mut self, many_at: Option<usize>, one_at: Option<usize>, number: usize) -> Result<usize, EngineError> {
        if let Some(&known) = self.output_of.get(&(many_at, one_at)) {
            return Ok(known);
        }
        let signature = self.signatures.get(number).cloned().unwrap_or_default();
        let many = many_at.and_then(|at| self.many.get(at)).map(|column| &column.labels);
        let one = one_at.and_then(|at| self.one.get(at)).map(|column| &column.labels);
        let filled = |present: Option<&Labels>| filled_labels(&signature, present);
        let many_labels = many.cloned().unwrap_or_else(|| filled(one));
        let labels = result_labels(self.binary, &many_labels, &one.cloned().unwrap_or_else(|| filled(many)));
        let output = match self.output_by_labels.get(&labels) {
            Some(&known) => known,
            None => {
                let cells = Cells::absent(self.count);
                let column = Column { labels: labels.clone(), drop_name: self.binary.returns_bool, cells };
                self.outputs.push(column)?;
                self.last_match.push(0);
                let output = self.outputs.columns.len() - 1;
                self.output_by_labels.insert(labels, output);
                output
            }
        };
        self.output_of.insert((many_at, one_at), output);
        Ok(output)
    }
}

fn cell_at(columns: &[Column], at: usize, step: usize) -> Option<Cell> {
    columns.get(at).map(|column| column.cells.get(step)).filter(|cell| !cell.is_empty())
}

/// The labels of an element that is filled in: those by which it would have matched. It is of the tenant of the
/// element that it is missing for.
fn filled_labels(signature: &Labels, present: Option<&Labels>) -> Labels {
    let Some(tenant) = present.and_then(|labels| labels.shared(STAMPED)) else { return signature.clone() };
    let mut labels = signature.to_builder();
    labels.set(STAMPED, Arc::clone(tenant));
    labels.build()
}
