//! What labels an absent series would have had.

use tenantscope_model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp};

use crate::ast::{Expr, ExprKind};

/// The labels that a selector fixes by `=`; one that is conditioned twice is not among them.
pub(crate) fn labels(expr: &Expr) -> Labels {
    let matchers = match &expr.unparenthesized().kind {
        ExprKind::Vector(selector) => &selector.matchers,
        ExprKind::Matrix(matrix) => &matrix.selector.matchers,
        _ => return Labels::default(),
    };
    let mut builder = LabelsBuilder::default();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME) {
        if matcher.op() == MatchOp::Equal && !seen.contains(&matcher.name()) {
            builder.set(matcher.name(), matcher.value());
            seen.push(matcher.name());
        } else {
            builder.remove(matcher.name());
        }
    }
    builder.build()
}
