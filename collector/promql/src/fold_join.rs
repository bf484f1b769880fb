//! Aggregations of a join of many series with few: `sum by (version) (rate(x[5m]) * on (instance) group_left (version) y)`.
//!
//! Which one a series of the many side meets, and to which group the result belongs, hangs on a few of its labels only.
//! So that is found once for all series that agree in these, and no labels are made for any of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tenantscope_model::{LabelSet, Labels, METRIC_NAME, Selection, SeriesGroups};

use crate::accumulator::Gathering;
use crate::ast::{Aggregate, Binary, Cardinality, ExprKind, Grouping};
use crate::binary::{Signatures, signature};
use crate::column::{Cells, Column, Grid, RESERVED};
use crate::error::EngineError;
use crate::evaluation::Evaluation;
use crate::fold::Groupwise;
use crate::held::Collected;
use crate::paired::{is_for_floats, operate};
use crate::shares::only_name;

/// What comes of series of the many side that agree in the labels that count.
#[derive(Debug, Clone, Copy)]
struct Met {
    /// The column of the other side.
    one: usize,
    group: u32,
}

impl Evaluation<'_> {
    /// Folds a join, if it is one whose many side is of one selector, and if nothing but labels decides what meets what;
    /// `None` where it takes a look at each time, as with histograms.
    pub(crate) fn fold_join(
        &self,
        by: &Gathering<'_, '_>,
        aggregate: &Aggregate,
        grid: &Grid,
    ) -> Result<Option<Groupwise<'_>>, EngineError> {
        let Some((binary, names)) = simple_join(aggregate) else { return Ok(None) };
        let swapped = binary.matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (&binary.right, &binary.left) } else { (&binary.left, &binary.right) };
        let Some(request) = self.row_request(many, grid) else { return Ok(None) };
        if only_name(request.matchers).is_none() {
            return Ok(None);
        }
        let selection = self.found(&request)?;
        if may_collide(binary, &*selection)? {
            return Ok(None);
        }
        let Collected { columns: one, held: _held } = self.collect(one, grid)?;
        let Some(signatures) = distinct_signatures(binary, &one) else { return Ok(None) };
        let rows = selection.groups(LabelSet::Only(&labels_that_count(binary, names)))?;
        let (met, labels) = meetings(binary, names, &rows, &signatures, &one);

        let unfit = AtomicBool::new(false);
        let group_of = |place: usize, column: &mut Column| {
            let met = met.get(*rows.of.get(place)? as usize).copied().flatten()?;
            column.drop_name = binary.returns_bool;
            match (&mut column.cells, &one.get(met.one)?.cells) {
                (Cells::Floats(values), Cells::Floats(others)) if swapped => {
                    operate(binary, values, others, |many, one| (one, many));
                }
                (Cells::Floats(values), Cells::Floats(others)) => {
                    operate(binary, values, others, |many, one| (many, one));
                }
                _ => unfit.store(true, Ordering::Relaxed),
            }
            Some(met.group)
        };
        let (folded, held) =
            self.fold_shares(by, many, (&*selection, request.matchers), grid, labels.len(), group_of)?;
        Ok((!unfit.into_inner()).then(|| (labels.into_iter().zip(folded).collect(), held)))
    }
}

/// The join that an aggregation is of, and the labels by which it groups.
fn simple_join(aggregate: &Aggregate) -> Option<(&Binary, &[Arc<str>])> {
    let ExprKind::Binary(binary) = &aggregate.expr.unparenthesized().kind else { return None };
    let Grouping::By(names) = &aggregate.grouping else { return None };
    let matching = &binary.matching;
    let has_many = matches!(matching.cardinality, Cardinality::ManyToOne | Cardinality::OneToMany);
    let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
    let of_vectors = !Evaluation::is_scalar(&binary.left) && !Evaluation::is_scalar(&binary.right);
    let is_simple = has_many && matching.on && !fills && of_vectors && is_for_floats(binary.op);
    let groups_by_name = names.iter().any(|name| RESERVED.contains(&&**name));
    (is_simple && !groups_by_name).then_some((binary, names))
}

/// By signature the column of the one side, if there is but one of each, of floats.
fn distinct_signatures(binary: &Binary, one: &[Column]) -> Option<Signatures> {
    let mut signatures = Signatures::default();
    let is_new = |(at, column): (usize, &Column)| {
        let number = signatures.number(signature(&binary.matching, &column.labels));
        number == at && matches!(column.cells, Cells::Floats(_))
    };
    one.iter().enumerate().all(is_new).then_some(signatures)
}

/// Whether series of the many side may come to have the same labels, which would be an error at times when both have
/// values: where they differ in labels that go or are replaced.
fn may_collide(binary: &Binary, selection: &dyn Selection) -> Result<bool, EngineError> {
    let mut replaced: Vec<Arc<str>> = binary.matching.include.clone();
    replaced.extend(RESERVED.iter().filter(|name| **name != METRIC_NAME).map(|name| Arc::from(*name)));
    let groups = selection.groups(LabelSet::Only(&replaced))?;
    Ok(groups.labels.iter().any(|labels| *labels != Labels::default()))
}

fn labels_that_count(binary: &Binary, names: &[Arc<str>]) -> Vec<Arc<str>> {
    let own = names.iter().filter(|name| !binary.matching.include.contains(name));
    let mut counting: Vec<Arc<str>> = binary.matching.labels.iter().chain(own).cloned().collect();
    counting.sort_unstable();
    counting.dedup();
    counting
}

/// For each group of series what it meets, if anything, and the labels of the groups of the results.
fn meetings(
    binary: &Binary,
    names: &[Arc<str>],
    rows: &SeriesGroups,
    signatures: &Signatures,
    one: &[Column],
) -> (Vec<Option<Met>>, Vec<Labels>) {
    let mut numbers: HashMap<Labels, u32> = HashMap::new();
    let mut results: Vec<Labels> = Vec::new();
    let mut meeting = |own: &Labels| {
        let at = signatures.find(&signature(&binary.matching, own))?;
        let other = &one.get(at)?.labels;
        let mut labels = own.filter(|label| names.contains(&label.name)).to_builder();
        for name in binary.matching.include.iter().filter(|name| names.contains(name)) {
            match other.shared(name) {
                Some(value) => labels.set(Arc::clone(name), Arc::clone(value)),
                None => labels.remove(name),
            };
        }
        let group = *numbers.entry(labels.build()).or_insert_with_key(|labels| {
            results.push(labels.clone());
            results.len() as u32 - 1
        });
        Some(Met { one: at, group })
    };
    let met = rows.labels.iter().map(&mut meeting).collect();
    (met, results)
}
