//! Functions of labels, and orders.

use std::cmp::Ordering;
use std::sync::Arc;

use tenantscope_model::{Expansion, Labels, METRIC_NAME, RegularExpression};

use crate::ast::{Call, Position};
use crate::column::{Cell, Cells, Column, Grid, Sink, merge_same_labels};
use crate::error::EngineError;
use crate::evaluation::Evaluation;
use crate::held::Collected;
use crate::note::Note;

impl Evaluation<'_> {
    pub(crate) fn label_replace(&self, call: &Call, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        let text = |index| self.text(call.arguments.get(index));
        let (target, replacement, source, pattern) = (text(1)?, text(2)?, text(3)?, text(4)?);
        let expression = RegularExpression::try_new(pattern)
            .map_err(|_| EngineError::execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
        if target.is_empty() {
            return Err(EngineError::execution("invalid destination label name in label_replace(): "));
        }
        let replacement = Expansion::new(replacement);
        let mut collected = self.collect(self.argument(call, 0)?, grid)?;
        for column in &mut collected.columns {
            let value = column.labels.get(source).unwrap_or("").to_owned();
            if let Some(replaced) = expression.expand(&value, &replacement) {
                set_label(column, target, replaced);
            }
        }
        collected.with(merge_same_labels)?.hand_on(sink)
    }

    pub(crate) fn label_join(&self, call: &Call, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        let (target, separator) = (self.text(call.arguments.get(1))?, self.text(call.arguments.get(2))?);
        let sources = call.arguments.iter().skip(3).map(|argument| self.text(Some(argument)));
        let sources: Vec<&str> = sources.collect::<Result<_, _>>()?;
        if let Some(wrong) = sources.iter().find(|source| source.is_empty()) {
            return Err(EngineError::execution(format!("invalid source label name in label_join(): {wrong}")));
        }
        if target.is_empty() {
            return Err(EngineError::execution("invalid destination label name in label_join(): "));
        }
        let mut collected = self.collect(self.argument(call, 0)?, grid)?;
        for column in &mut collected.columns {
            let values: Vec<&str> = sources.iter().map(|source| column.labels.get(source).unwrap_or("")).collect();
            let joined = values.join(separator);
            collected.held.grow(joined.len())?;
            set_label(column, target, joined);
        }
        collected.with(merge_same_labels)?.hand_on(sink)
    }

    pub(crate) fn sort(
        &self,
        call: &Call,
        position: Position,
        grid: &Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), EngineError> {
        if grid.count > 1 {
            self.note(Note::SortInRange, position);
        }
        let Collected { mut columns, held } = self.collect(self.argument(call, 0)?, grid)?;
        let name = call.function.name;
        if matches!(name, "sort" | "sort_desc") {
            for column in columns.iter_mut().filter(|column| column.cells.has_histograms()) {
                let floats = |_, cell| if matches!(cell, Cell::Histogram(_)) { Cell::Empty } else { cell };
                column.cells = std::mem::replace(&mut column.cells, Cells::absent(0)).map(floats);
            }
            let value = |column: &Column| column.cells.float(0).unwrap_or(f64::NAN);
            columns.sort_by(|a, b| by_value(value(a), value(b), name == "sort_desc"));
        } else {
            let labels = call.arguments.iter().skip(1).map(|argument| self.text(Some(argument)));
            let labels: Vec<&str> = labels.collect::<Result<_, _>>()?;
            let ascending = |a: &Column, b: &Column| by_labels(&a.labels, &b.labels, &labels);
            columns.sort_by(|a, b| if name == "sort_by_label" { ascending(a, b) } else { ascending(b, a) });
        }
        Collected { columns, held }.hand_on(sink)
    }
}

fn set_label(column: &mut Column, name: &str, value: String) {
    let mut builder = column.labels.to_builder();
    builder.set(name, Arc::<str>::from(value));
    column.labels = builder.build();
    if name == METRIC_NAME {
        // A name that was just given is not dropped.
        column.drop_name = false;
    }
}

/// NaN comes last in both directions.
fn by_value(a: f64, b: f64, descending: bool) -> Ordering {
    let order = if descending { b.partial_cmp(&a) } else { a.partial_cmp(&b) };
    order.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

fn by_labels(a: &Labels, b: &Labels, names: &[&str]) -> Ordering {
    for name in names {
        let order = natural(a.get(name).unwrap_or(""), b.get(name).unwrap_or(""));
        if order != Ordering::Equal {
            return order;
        }
    }
    a.cmp(b)
}

/// The natural order: the texts are cut into runs of digits and of other characters; two runs of digits compare as
/// numbers, others as texts.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a_runs, mut b_runs) = (runs(a), runs(b));
    loop {
        let (a_run, b_run) = match (a_runs.next(), b_runs.next()) {
            (Some(a_run), Some(b_run)) => (a_run, b_run),
            // Texts that differ in leading zeroes alone still have an order.
            (None, None) => return a.cmp(b),
            (a_run, b_run) => return a_run.is_some().cmp(&b_run.is_some()),
        };
        let order = match (a_run.parse::<u64>(), b_run.parse::<u64>()) {
            (Ok(a_number), Ok(b_number)) => a_number.cmp(&b_number),
            _ => a_run.cmp(b_run),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Runs of digits and of other characters.
fn runs(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let is_digit = rest.chars().next()?.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != is_digit).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        rest = after;
        Some(run)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_labels_sort_as_numbers() {
        let mut names = ["node10", "node2", "node1", "a", "node1-b", "node-1", "node01"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["a", "node01", "node1", "node1-b", "node2", "node10", "node-1"]);
    }
}
