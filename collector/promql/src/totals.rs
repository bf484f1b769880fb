//! Which selectors' histograms are read for count and sum alone.

use crate::ast::{BinaryOp, Expr, ExprKind};

const TOTALS: [&str; 3] = ["histogram_avg", "histogram_count", "histogram_sum"];
const WHOLE: [&str; 3] = ["histogram_fraction", "histogram_quantile", "histogram_quantiles"];

/// Whether any part of an expression looks at counts and sums.
pub(crate) fn any_wanted(expr: &Expr) -> bool {
    calls(expr, &TOTALS) || expr.children().into_iter().any(any_wanted)
}

fn calls(expr: &Expr, names: &[&str]) -> bool {
    matches!(&expr.kind, ExprKind::Call(call) if names.contains(&call.function.name))
}

/// Marks the selectors below `histogram_count` and the like. Not those below anything that looks at buckets, nor those
/// of subqueries, which would not tell of a restart between the samples that they leave out.
pub(crate) fn mark(expr: &mut Expr) {
    mark_below(expr, false);
}

fn mark_below(expr: &mut Expr, totals: bool) {
    let trims = |op| matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
    let whole = match &expr.kind {
        ExprKind::Subquery(_) => true,
        ExprKind::Binary(binary) => trims(binary.op),
        _ => calls(expr, &WHOLE),
    };
    if whole {
        return;
    }
    let totals = totals || calls(expr, &TOTALS);
    match &mut expr.kind {
        ExprKind::Vector(selector) => selector.totals_only = totals,
        ExprKind::Matrix(matrix) => matrix.selector.totals_only = totals,
        _ => expr.children_mut().into_iter().for_each(|child| mark_below(child, totals)),
    }
}
