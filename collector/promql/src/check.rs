//! The type checks, with errors as Prometheus words them.

use tenantscope_model::{METRIC_NAME, MatchOp};

use crate::ast::{Aggregate, AggregateOp, Binary, Call, Cardinality, Expr, ExprKind, ValueType, VectorSelector};
use crate::error::ParseError;

/// Checks an expression and everything in it.
pub(crate) fn check(expr: &Expr) -> Result<(), ParseError> {
    for child in expr.children() {
        check(child)?;
    }
    match &expr.kind {
        ExprKind::Number { .. } | ExprKind::Text(_) | ExprKind::Paren(_) => Ok(()),
        ExprKind::Vector(selector) => check_selector(selector),
        ExprKind::Matrix(matrix) => check_selector(&matrix.selector),
        ExprKind::Subquery(subquery) => match subquery.expr.value_type() {
            ValueType::Vector => Ok(()),
            other => wrong(format!("subquery is only allowed on instant vector, got {other} instead")),
        },
        ExprKind::Call(call) => check_call(call),
        ExprKind::Aggregate(aggregate) => check_aggregate(aggregate),
        ExprKind::Binary(binary) => check_binary(binary),
        ExprKind::Negate(inner) | ExprKind::Plus(inner) => match inner.value_type() {
            ValueType::Scalar | ValueType::Vector => Ok(()),
            other => wrong(format!(
                "unary expression only allowed on expressions of type scalar or instant vector, got {other:?}"
            )),
        },
    }
}

fn wrong<T>(message: impl Into<String>) -> Result<T, ParseError> {
    Err(ParseError::new(message))
}

fn check_selector(selector: &VectorSelector) -> Result<(), ParseError> {
    if selector.matchers.iter().all(tenantscope_model::Matcher::matches_absent) {
        return wrong("vector selector must contain at least one non-empty matcher");
    }
    let named = |m: &&tenantscope_model::Matcher| m.name() == METRIC_NAME && m.op() == MatchOp::Equal;
    let mut names = selector.matchers.iter().filter(named);
    match (names.next(), names.next()) {
        (Some(a), Some(b)) => wrong(format!("metric name must not be set twice: {:?} or {:?}", a.value(), b.value())),
        _ => Ok(()),
    }
}

fn expect(expr: &Expr, wanted: ValueType, context: &str) -> Result<(), ParseError> {
    let got = expr.value_type();
    if got == wanted { Ok(()) } else { wrong(format!("expected type {wanted} in {context}, got {got}")) }
}

fn check_call(call: &Call) -> Result<(), ParseError> {
    let name = call.function.name;
    let (least, most) = call.function.argument_counts();
    let got = call.arguments.len();
    if least == most && got != least {
        return wrong(format!("expected {least} argument(s) in call to {name:?}, got {got}"));
    }
    if got < least {
        return wrong(format!("expected at least {least} argument(s) in call to {name:?}, got {got}"));
    }
    if got > most {
        return wrong(format!("expected at most {most} argument(s) in call to {name:?}, got {got}"));
    }
    for (index, argument) in call.arguments.iter().enumerate() {
        if let Some(wanted) = call.function.argument_type(index) {
            expect(argument, wanted, &format!("call to function {name:?}"))?;
        }
    }
    Ok(())
}

fn check_aggregate(aggregate: &Aggregate) -> Result<(), ParseError> {
    let context = "aggregation expression";
    expect(&aggregate.expr, ValueType::Vector, context)?;
    let wanted = if aggregate.op == AggregateOp::CountValues { ValueType::String } else { ValueType::Scalar };
    match (&aggregate.parameter, aggregate.op.has_parameter()) {
        (Some(parameter), true) => expect(parameter, wanted, "aggregation parameter"),
        (None, false) => Ok(()),
        (None, true) => wrong("wrong number of arguments for aggregate expression provided, expected 2, got 1"),
        (Some(_), false) => wrong("wrong number of arguments for aggregate expression provided, expected 1, got 2"),
    }
}

fn check_binary(binary: &Binary) -> Result<(), ParseError> {
    let (left, right) = (binary.left.value_type(), binary.right.value_type());
    let scalar_or_vector = |t| matches!(t, ValueType::Scalar | ValueType::Vector);
    if !scalar_or_vector(left) || !scalar_or_vector(right) {
        return wrong("binary expression must contain only scalar and instant vector types");
    }
    if binary.returns_bool && !binary.op.is_comparison() {
        return wrong("bool modifier can only be used on comparison operators");
    }
    let both_scalar = left == ValueType::Scalar && right == ValueType::Scalar;
    if both_scalar && binary.op.is_comparison() && !binary.returns_bool {
        return wrong("comparisons between scalars must use BOOL modifier");
    }
    let any_scalar = left == ValueType::Scalar || right == ValueType::Scalar;
    if binary.op.is_set() && any_scalar {
        return wrong(format!("set operator {:?} not allowed in binary scalar expression", binary.op.symbol()));
    }
    check_matching(binary, any_scalar)
}

fn check_matching(binary: &Binary, any_scalar: bool) -> Result<(), ParseError> {
    let matching = &binary.matching;
    let grouped = matches!(matching.cardinality, Cardinality::ManyToOne | Cardinality::OneToMany);
    if any_scalar && (grouped || !matching.labels.is_empty()) {
        return wrong("vector matching only allowed between instant vectors");
    }
    if binary.op.is_set() && grouped {
        return wrong(format!("no grouping allowed for {:?} operation", binary.op.symbol()));
    }
    let filled = matching.fill_left.is_some() || matching.fill_right.is_some();
    if filled && binary.op.is_set() {
        return wrong("filling in missing series not allowed for set operators");
    }
    let in_both = matching.include.iter().find(|label| matching.on && matching.labels.contains(label));
    match in_both {
        Some(label) => wrong(format!("label {label:?} must not occur in ON and GROUP clause at once")),
        None => Ok(()),
    }
}
