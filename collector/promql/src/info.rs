//! `info()`: adds the labels of matching info series, by the identifying labels `instance` and `job`.

use std::collections::HashMap;
use std::sync::Arc;

use tenantscope_model::{Labels, METRIC_NAME, MatchOp, Matcher};

use crate::ast::{Call, ExprKind, VectorSelector};
use crate::column::{Cell, Column, Grid, Sink};
use crate::error::EngineError;
use crate::evaluation::Evaluation;
use crate::source::Content;

const IDENTIFYING: [&str; 2] = ["instance", "job"];

impl Evaluation<'_> {
    pub(crate) fn info(&self, call: &Call, grid: &Grid, sink: &mut Sink<'_>) -> Result<(), EngineError> {
        let wanted = match call.arguments.get(1).map(|a| &a.unparenthesized().kind) {
            None => Vec::new(),
            Some(ExprKind::Vector(selector)) => selector.matchers.clone(),
            Some(_) => return Err(EngineError::execution("second argument to info must be a label selector")),
        };
        let base = self.collect(self.argument(call, 0)?, grid)?;
        let infos = self.info_columns(&wanted, grid)?;
        let mut by_identity: HashMap<Vec<Option<Arc<str>>>, Vec<&Column>> = HashMap::new();
        for info in &infos {
            by_identity.entry(identity(&info.labels)).or_default().push(info);
        }
        let is_name = |matcher: &&Matcher| matcher.name() == METRIC_NAME;
        let name_matchers: Vec<&Matcher> = wanted.iter().filter(is_name).collect();
        let data_matchers: Vec<&Matcher> = wanted.iter().filter(|matcher| !is_name(matcher)).collect();
        for column in base {
            let name = column.labels.metric_name();
            let is_info = if name_matchers.is_empty() {
                name == "target_info"
            } else {
                name_matchers.iter().all(|matcher| matcher.matches(name))
            };
            if is_info {
                sink(column)?;
                continue;
            }
            let found = by_identity.get(&identity(&column.labels)).map(Vec::as_slice).unwrap_or_default();
            enriched(&column, found, &data_matchers)?.into_iter().try_for_each(&mut *sink)?;
        }
        Ok(())
    }

    fn info_columns(&self, wanted: &[Matcher], grid: &Grid) -> Result<Vec<Column>, EngineError> {
        let mut matchers = wanted.to_vec();
        if !matchers.iter().any(|matcher| matcher.name() == METRIC_NAME) {
            matchers.push(Matcher::equal(METRIC_NAME, "target_info"));
        }
        // A series without a label that may be empty counts as well, so that matchers decide per element below.
        matchers.retain(|m| m.name() == METRIC_NAME || matches!(m.op(), MatchOp::Equal | MatchOp::Regex));
        let selector = VectorSelector { matchers, ..VectorSelector::default() };
        let mut columns = Vec::new();
        self.instant_columns(&selector, grid, Content::Values, &mut |column| {
            columns.push(column);
            self.check_cells(columns.len(), grid.count)
        })?;
        Ok(columns)
    }
}

fn identity(labels: &Labels) -> Vec<Option<Arc<str>>> {
    IDENTIFYING.iter().map(|name| labels.shared(name).cloned()).collect()
}

/// One column for each set of added labels that holds at some time.
fn enriched(column: &Column, infos: &[&Column], wanted: &[&Matcher]) -> Result<Vec<Column>, EngineError> {
    let needs_match = wanted.iter().any(|matcher| !matcher.matches_absent());
    let mut outputs: HashMap<Labels, Column> = HashMap::new();
    for (step, cell) in column.cells.iter().enumerate().filter(|(_, cell)| !cell.is_empty()) {
        let present = |info: &&&Column| info.cells.get(step).is_some_and(|cell| !cell.is_empty());
        let mut added: HashMap<Arc<str>, Arc<str>> = HashMap::new();
        let mut matched = false;
        let mut names: Vec<&str> = Vec::new();
        for info in infos.iter().filter(present) {
            if names.contains(&info.labels.metric_name()) {
                return Err(EngineError::execution("found duplicate series for info metric"));
            }
            names.push(info.labels.metric_name());
            matched = true;
            for label in &info.labels {
                let is_own = &*label.name == METRIC_NAME || IDENTIFYING.contains(&&*label.name);
                let is_wanted = wanted.is_empty() || wanted.iter().any(|matcher| matcher.name() == &*label.name);
                if is_own || !is_wanted || column.labels.get(&label.name).is_some() {
                    continue;
                }
                let old = added.insert(Arc::clone(&label.name), Arc::clone(&label.value));
                if old.is_some_and(|old| old != label.value) {
                    return Err(EngineError::execution(format!("conflicting label: {}", label.name)));
                }
            }
        }
        if needs_match && !matched {
            continue;
        }
        let mut builder = column.labels.to_builder();
        for (name, value) in added {
            builder.set(name, value);
        }
        let labels = builder.build();
        let output = outputs.entry(labels.clone()).or_insert_with(|| Column {
            labels,
            drop_name: column.drop_name,
            cells: vec![Cell::Empty; column.cells.len()],
        });
        if let Some(slot) = output.cells.get_mut(step) {
            *slot = cell.clone();
        }
    }
    Ok(outputs.into_values().collect())
}
