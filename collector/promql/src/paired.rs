//! Operations on plain floats, a column at a time: with scalars, and between vectors of which each element meets one
//! other at most, so that nothing can go wrong at one time that does not at another.

use std::collections::HashSet;

use tenantscope_model::Labels;

use crate::ast::{Binary, BinaryOp, Cardinality};
use crate::binary::{Signatures, float_operation, result_labels, signature};
use crate::cells::{ABSENT, is_present};
use crate::column::{Cells, Column};

/// Whether an operation on two floats has a value, or none, but nothing to say.
pub(crate) fn is_for_floats(op: BinaryOp) -> bool {
    !matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower)
}

/// The values of an operation with a scalar at each time; a comparison keeps the vector's own.
pub(crate) fn floats_with_scalars(binary: &Binary, values: Vec<f64>, scalars: &[f64], swapped: bool) -> Vec<f64> {
    let mut results = values;
    if !swapped {
        operate(binary, &mut results, scalars, |element, scalar| (element, scalar));
    } else if binary.op.is_comparison() && !binary.returns_bool {
        for (element, scalar) in results.iter_mut().zip(scalars) {
            let (_, keep) = float_operation(binary.op, *scalar, *element);
            *element = if keep { *element } else { ABSENT };
        }
    } else {
        operate(binary, &mut results, scalars, |element, scalar| (scalar, element));
    }
    results
}

/// Puts into `values` what comes of them and the others, `sides` saying which is left.
pub(crate) fn operate(
    binary: &Binary,
    values: &mut [f64],
    others: &[f64],
    sides: impl Fn(f64, f64) -> (f64, f64) + Copy,
) {
    match binary.op {
        BinaryOp::Add => each(values, others, sides, |left, right| left + right),
        BinaryOp::Sub => each(values, others, sides, |left, right| left - right),
        BinaryOp::Mul => each(values, others, sides, |left, right| left * right),
        BinaryOp::Div => each(values, others, sides, |left, right| left / right),
        op if binary.returns_bool => {
            let truth = |left, right| if float_operation(op, left, right).1 { 1.0 } else { 0.0 };
            each(values, others, sides, truth);
        }
        op => each(values, others, sides, |left, right| {
            let (value, keep) = float_operation(op, left, right);
            if keep { value } else { ABSENT }
        }),
    }
}

fn each(
    values: &mut [f64],
    others: &[f64],
    sides: impl Fn(f64, f64) -> (f64, f64),
    operation: impl Fn(f64, f64) -> f64,
) {
    for (value, other) in values.iter_mut().zip(others) {
        let (left, right) = sides(*value, *other);
        *value = if is_present(*value) && is_present(*other) { operation(left, right) } else { ABSENT };
    }
}

/// Joins the sides, or gives them back where it takes a look at each time: where there are histograms, where elements are
/// filled in, and where more than one element may meet the same other or give the same labels.
pub(crate) fn join(
    binary: &Binary,
    many: Vec<Column>,
    one: Vec<Column>,
) -> Result<Vec<Column>, (Vec<Column>, Vec<Column>)> {
    let Some(pairs) = pairs(binary, &many, &one) else { return Err((many, one)) };
    let swapped = binary.matching.cardinality == Cardinality::OneToMany;
    let mut outputs = Vec::with_capacity(many.len());
    for (mut column, pair) in many.into_iter().zip(pairs) {
        let Some((labels, Cells::Floats(others))) = pair.and_then(|(at, labels)| Some((labels, &one.get(at)?.cells)))
        else {
            continue;
        };
        if let Cells::Floats(values) = &mut column.cells {
            if swapped {
                operate(binary, values, others, |many, one| (one, many));
            } else {
                operate(binary, values, others, |many, one| (many, one));
            }
        }
        outputs.push(Column { labels, drop_name: binary.returns_bool, cells: column.cells });
    }
    Ok(outputs)
}

/// For each column of the many side the one that it meets, and the labels of what comes of it.
fn pairs(binary: &Binary, many: &[Column], one: &[Column]) -> Option<Vec<Option<(usize, Labels)>>> {
    let matching = &binary.matching;
    let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
    let is_plain = |column: &Column| matches!(column.cells, Cells::Floats(_));
    if fills || !is_for_floats(binary.op) || !many.iter().chain(one).all(is_plain) {
        return None;
    }
    let mut signatures = Signatures::default();
    let is_new = |(at, column): (usize, &Column)| signatures.number(signature(matching, &column.labels)) == at;
    if !one.iter().enumerate().all(is_new) {
        return None;
    }
    let mut met = vec![false; one.len()];
    let mut known: HashSet<Labels> = HashSet::with_capacity(many.len());
    let mut pairs = Vec::with_capacity(many.len());
    for column in many {
        let at = signatures.find(&signature(matching, &column.labels));
        let Some((at, partner)) = at.and_then(|at| Some((at, one.get(at)?))) else {
            pairs.push(None);
            continue;
        };
        let labels = result_labels(binary, &column.labels, &partner.labels);
        let first = met.get_mut(at).is_some_and(|met| !std::mem::replace(met, true));
        if (matching.cardinality == Cardinality::OneToOne && !first) || !known.insert(labels.clone()) {
            return None;
        }
        pairs.push(Some((at, labels)));
    }
    Some(pairs)
}
