//! Other forms of a query that must have the same answer.

use tenantscope_promql::{At, Expr, ExprKind};

/// Functions whose value depends on the time of evaluation even where their arguments' values don't.
const OF_THE_TIME: [&str; 15] = [
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "end",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "range",
    "start",
    "step",
    "time",
    "timestamp",
    "year",
];

fn calls(expr: &Expr, names: &[&str]) -> bool {
    let own = matches!(&expr.kind, ExprKind::Call(call) if names.contains(&call.function.name));
    own || expr.children().into_iter().any(|child| calls(child, names))
}

/// Whether the query asks for its own times, so that it means something else over a range.
pub(crate) fn asks_for_its_times(expr: &Expr) -> bool {
    let text = expr.to_string().to_lowercase();
    ["start()", "end()", "range()", "step()"].iter().any(|name| text.contains(name))
}

/// The query with each selector fixed to a time; `None` where its answer depends on the time of evaluation all the
/// same.
pub(crate) fn fixed(expr: &Expr, at_ms: i64) -> Option<Expr> {
    if calls(expr, &OF_THE_TIME) {
        return None;
    }
    let mut expr = expr.clone();
    fix(&mut expr, at_ms);
    Some(expr)
}

fn fix(expr: &mut Expr, at_ms: i64) {
    let at = At::Ms(at_ms);
    match &mut expr.kind {
        ExprKind::Vector(selector) => drop(selector.at.get_or_insert(at)),
        ExprKind::Matrix(matrix) => drop(matrix.selector.at.get_or_insert(at)),
        // What is below has the subquery's times.
        ExprKind::Subquery(subquery) => drop(subquery.at.get_or_insert(at)),
        ExprKind::Call(call) => call.arguments.iter_mut().for_each(|argument| fix(argument, at_ms)),
        ExprKind::Aggregate(aggregate) => {
            fix(&mut aggregate.expr, at_ms);
            if let Some(parameter) = &mut aggregate.parameter {
                fix(parameter, at_ms);
            }
        }
        ExprKind::Binary(binary) => {
            fix(&mut binary.left, at_ms);
            fix(&mut binary.right, at_ms);
        }
        ExprKind::Negate(inner) | ExprKind::Plus(inner) | ExprKind::Paren(inner) => fix(inner, at_ms),
        ExprKind::Number { .. } | ExprKind::Text(_) | ExprKind::Bytes(_) => {}
    }
}

/// Times at which a fixed query is evaluated.
pub(crate) fn other_times(at_ms: i64) -> Vec<i64> {
    if at_ms == 0 { vec![-1000, 0, 1000] } else { vec![-10 * at_ms, 0, at_ms / 5, at_ms, 10 * at_ms] }
}
