//! The type checks, with errors as Prometheus words them, and in its order: the first one is reported.

use tenantscope_model::{METRIC_NAME, Matcher};

use crate::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Expr, ExprKind, Matching, Position, ValueType,
    VectorSelector,
};
use crate::function::Arity;
use crate::parse::Fault;
use crate::quoting::Quoted;

type Checked = Result<(), Fault>;

/// Checks an expression and everything in it, and settles how vectors match: set operators match many to many, and
/// where a side is a scalar nothing matches.
pub(crate) fn check(expr: &mut Expr, text: &str) -> Checked {
    let position = expr.position;
    match &mut expr.kind {
        ExprKind::Number { .. } | ExprKind::Text(_) | ExprKind::Bytes(_) => Ok(()),
        ExprKind::Paren(inner) => check(inner, text),
        ExprKind::Vector(selector) => check_selector(selector, position),
        ExprKind::Matrix(matrix) => check_selector(&matrix.selector, position),
        ExprKind::Subquery(subquery) => {
            check(&mut subquery.expr, text)?;
            match subquery.expr.value_type() {
                ValueType::Vector => Ok(()),
                other => {
                    let name = other.name();
                    wrong(position, format!("subquery is only allowed on instant vector, got {name} instead"))
                }
            }
        }
        ExprKind::Call(call) => check_call(call, position, text),
        ExprKind::Aggregate(aggregate) => check_aggregate(aggregate, text),
        ExprKind::Binary(binary) => check_binary(binary, position, text),
        ExprKind::Negate(inner) | ExprKind::Plus(inner) => {
            check(inner, text)?;
            match inner.value_type() {
                ValueType::Scalar | ValueType::Vector => Ok(()),
                other => {
                    let only = "unary expression only allowed on expressions of type scalar or instant vector";
                    wrong(position, format!("{only}, got \"{other}\""))
                }
            }
        }
    }
}

fn wrong(position: Position, message: impl Into<String>) -> Checked {
    Err(Fault::new(position, message))
}

/// A selector must select something, and its metric be named once.
fn check_selector(selector: &VectorSelector, position: Position) -> Checked {
    let Some(name) = &selector.name else {
        if selector.matchers.iter().all(Matcher::matches_absent) {
            return wrong(position, "vector selector must contain at least one non-empty matcher");
        }
        return Ok(());
    };
    let (_, written) = selector.matchers.split_last().map_or((None, [].as_slice()), |(last, rest)| (Some(last), rest));
    match written.iter().find(|matcher| matcher.name() == METRIC_NAME) {
        Some(second) => {
            let (first, second) = (Quoted(name), Quoted(second.value()));
            wrong(position, format!("metric name must not be set twice: {first} or {second}"))
        }
        None => Ok(()),
    }
}

fn expect(expr: &mut Expr, wanted: ValueType, context: &str, text: &str) -> Checked {
    check(expr, text)?;
    let got = expr.value_type();
    if got == wanted { Ok(()) } else { wrong(expr.position, format!("expected type {wanted} in {context}, got {got}")) }
}

fn check_call(call: &mut Call, position: Position, text: &str) -> Checked {
    let function = call.function;
    let name = Quoted(function.name);
    let (least, most) = function.argument_counts();
    let got = call.arguments.len();
    if function.arity == Arity::Exact && got != least {
        return wrong(position, format!("expected {least} argument(s) in call to {name}, got {got}"));
    }
    if got < least {
        return wrong(position, format!("expected at least {least} argument(s) in call to {name}, got {got}"));
    }
    if got > most {
        return wrong(position, format!("expected at most {most} argument(s) in call to {name}, got {got}"));
    }
    let context = format!("call to function {name}");
    if function.name == "info"
        && let Some(labels) = call.arguments.get(1)
    {
        check_info_labels(labels, position, &context)?;
    }
    for (index, argument) in call.arguments.iter_mut().enumerate() {
        let Some(wanted) = function.argument_type(index) else { continue };
        if function.name == "info" && index == 1 {
            continue;
        }
        expect(argument, wanted, &context, text)?;
    }
    Ok(())
}

/// The second argument of `info` is no vector but label matchers, which may all match the empty string.
fn check_info_labels(labels: &Expr, call: Position, context: &str) -> Checked {
    let got = labels.value_type();
    if got != ValueType::Vector {
        return wrong(call, format!("expected type {} in {context}, got {got}", ValueType::Vector));
    }
    match &labels.kind {
        ExprKind::Vector(selector) if selector.name.is_none() => Ok(()),
        ExprKind::Vector(_) => wrong(labels.position, "expected label selectors only, got vector selector instead"),
        _ => wrong(labels.position, "expected label selectors only"),
    }
}

fn check_aggregate(aggregate: &mut Aggregate, text: &str) -> Checked {
    expect(&mut aggregate.expr, ValueType::Vector, "aggregation expression", text)?;
    let wanted = if aggregate.op == AggregateOp::CountValues { ValueType::String } else { ValueType::Scalar };
    match &mut aggregate.parameter {
        Some(parameter) => expect(parameter, wanted, "aggregation parameter", text),
        None => Ok(()),
    }
}

fn check_binary(binary: &mut Binary, position: Position, text: &str) -> Checked {
    check(&mut binary.left, text)?;
    check(&mut binary.right, text)?;
    let (left, right) = (binary.left.value_type(), binary.right.value_type());
    let operator = || operator_position(binary, text);
    if binary.returns_bool && !binary.op.is_comparison() {
        return wrong(operator(), "bool modifier can only be used on comparison operators");
    }
    let both_scalar = left == ValueType::Scalar && right == ValueType::Scalar;
    if both_scalar && binary.op.is_comparison() && !binary.returns_bool {
        return wrong(operator(), "comparisons between scalars must use BOOL modifier");
    }
    let matching = &binary.matching;
    if let Some(label) = matching.labels.iter().find(|label| matching.on && matching.include.contains(label)) {
        let label = Quoted(label);
        return wrong(operator(), format!("label {label} must not occur in ON and GROUP clause at once"));
    }
    for (side, kind) in [(&binary.left, left), (&binary.right, right)] {
        if !matches!(kind, ValueType::Scalar | ValueType::Vector) {
            return wrong(side.position, "binary expression must contain only scalar and instant vector types");
        }
    }
    settle_matching(binary, left == ValueType::Vector && right == ValueType::Vector, position)
}

/// The operator with its modifiers, without the spaces around.
fn operator_position(binary: &Binary, text: &str) -> Position {
    let (start, end) = (binary.left.position.end, binary.right.position.start);
    let between = text.get(start..end).unwrap_or_default();
    let spaces = between.len() - between.trim_start().len();
    Position { start: start + spaces, end }
}

fn settle_matching(binary: &mut Binary, are_vectors: bool, position: Position) -> Checked {
    let matching = &mut binary.matching;
    let is_filled = matching.fill_left.is_some() || matching.fill_right.is_some();
    if !are_vectors {
        if !matching.labels.is_empty() {
            return wrong(position, "vector matching only allowed between instant vectors");
        }
        if is_filled {
            return wrong(position, "filling in missing series only allowed between instant vectors");
        }
        if binary.op.is_set() {
            let op = Quoted(binary.op.symbol());
            return wrong(position, format!("set operator {op} not allowed in binary scalar expression"));
        }
        binary.matching = Matching::default();
        return Ok(());
    }
    if binary.op.is_set() {
        return settle_set(binary.op, matching, is_filled, position);
    }
    Ok(())
}

fn settle_set(op: BinaryOp, matching: &mut Matching, is_filled: bool, position: Position) -> Checked {
    if matching.cardinality != Cardinality::OneToOne {
        return wrong(position, format!("no grouping allowed for {} operation", Quoted(op.symbol())));
    }
    if is_filled {
        return wrong(position, "filling in missing series not allowed for set operators");
    }
    matching.cardinality = Cardinality::ManyToMany;
    Ok(())
}
