//! Expressions as the JSON that Prometheus's `/api/v1/parse_query` gives.

use serde_json::{Map, Value, json};
use tenantscope_model::Matcher;

use crate::ast::{
    Aggregate, At, Binary, Call, Cardinality, Edges, Expr, ExprKind, Grouping, MatrixSelector, Subquery, ValueType,
    VectorSelector,
};
use crate::duration::{DurationExpr, DurationKind};
use crate::float_text;
use crate::function::{Arity, Function};
use crate::print::match_text;

impl Expr {
    /// The expression as a tree of JSON.
    pub fn to_tree(&self) -> Value {
        match &self.kind {
            ExprKind::Number { value, .. } => json!({"type": "numberLiteral", "val": float_text::plain(*value)}),
            ExprKind::Text(text) => json!({"type": "stringLiteral", "val": &**text}),
            ExprKind::Bytes(bytes) => json!({"type": "stringLiteral", "val": String::from_utf8_lossy(bytes)}),
            ExprKind::Paren(inner) => node([("type", "parenExpr".into()), ("expr", inner.to_tree())]),
            ExprKind::Negate(inner) => unary_tree("-", inner),
            ExprKind::Plus(inner) => unary_tree("+", inner),
            ExprKind::Vector(selector) => {
                let mut tree = selector_tree(selector);
                tree.insert("type".to_owned(), "vectorSelector".into());
                Value::Object(tree)
            }
            ExprKind::Matrix(matrix) => matrix_tree(matrix),
            ExprKind::Subquery(subquery) => subquery_tree(subquery),
            ExprKind::Call(call) => call_tree(call),
            ExprKind::Aggregate(aggregate) => aggregate_tree(aggregate),
            ExprKind::Binary(binary) => binary_tree(binary),
        }
    }
}

/// An object of its members, which are moved: `json!` would copy each subtree again at each level.
fn node<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn unary_tree(op: &str, inner: &Expr) -> Value {
    node([("type", "unaryExpr".into()), ("op", op.into()), ("expr", inner.to_tree())])
}

fn selector_tree(selector: &VectorSelector) -> Map<String, Value> {
    let (timestamp, start_or_end) = at_tree(selector.at);
    let members: [(&str, Value); 8] = [
        ("name", selector.name.as_deref().unwrap_or_default().into()),
        ("matchers", selector.matchers.iter().map(matcher_tree).collect()),
        ("offset", selector.offset_ms.into()),
        ("offsetExpr", span_tree(selector.offset_expr.as_deref())),
        ("timestamp", timestamp),
        ("startOrEnd", start_or_end),
        ("anchored", (selector.edges == Edges::Anchored).into()),
        ("smoothed", (selector.edges == Edges::Smoothed).into()),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn matcher_tree(matcher: &Matcher) -> Value {
    json!({"name": matcher.name(), "value": matcher.value(), "type": match_text(matcher.op())})
}

fn at_tree(at: Option<At>) -> (Value, Value) {
    match at {
        Some(At::Ms(ms)) => (ms.into(), Value::Null),
        Some(At::Start) => (Value::Null, "start".into()),
        Some(At::End) => (Value::Null, "end".into()),
        None => (Value::Null, Value::Null),
    }
}

fn matrix_tree(matrix: &MatrixSelector) -> Value {
    let mut tree = selector_tree(&matrix.selector);
    tree.insert("type".to_owned(), "matrixSelector".into());
    tree.insert("range".to_owned(), matrix.range_ms.into());
    tree.insert("rangeExpr".to_owned(), span_tree(matrix.range_expr.as_deref()));
    Value::Object(tree)
}

fn subquery_tree(subquery: &Subquery) -> Value {
    let (timestamp, start_or_end) = at_tree(subquery.at);
    node([
        ("type", "subquery".into()),
        ("expr", subquery.expr.to_tree()),
        ("range", subquery.range_ms.into()),
        ("rangeExpr", span_tree(subquery.range_expr.as_deref())),
        ("offset", subquery.offset_ms.into()),
        ("offsetExpr", span_tree(subquery.offset_expr.as_deref())),
        ("step", subquery.step_ms.unwrap_or(0).into()),
        ("stepExpr", span_tree(subquery.step_expr.as_deref())),
        ("timestamp", timestamp),
        ("startOrEnd", start_or_end),
    ])
}

fn span_tree(expr: Option<&DurationExpr>) -> Value {
    expr.map_or(Value::Null, duration_tree)
}

fn duration_tree(expr: &DurationExpr) -> Value {
    let operation = |op: &str, left: Option<&DurationExpr>, right: Value| {
        let (left, is_wrapped) = (span_tree(left), expr.is_wrapped.into());
        node([
            ("type", "durationExpr".into()),
            ("op", op.into()),
            ("lhs", left),
            ("rhs", right),
            ("wrapped", is_wrapped),
        ])
    };
    match &expr.kind {
        DurationKind::Number { seconds, as_duration } => {
            let number = json!({"type": "numberLiteral", "val": float_text::plain(*seconds), "duration": as_duration});
            // Prometheus has no other place for the parentheses of a number than a sign that does nothing.
            if expr.is_wrapped { operation("+", None, number) } else { number }
        }
        DurationKind::Step => operation("step", None, Value::Null),
        DurationKind::Range => operation("range", None, Value::Null),
        DurationKind::Negate(inner) => operation("-", None, duration_tree(inner)),
        DurationKind::Binary { op, left, right } => operation(op.symbol(), Some(left), duration_tree(right)),
    }
}

fn call_tree(call: &Call) -> Value {
    let types: Vec<&str> = call.function.arguments.iter().map(|kind| kind.name()).collect();
    let function = json!({
        "name": call.function.name,
        "argTypes": types,
        "variadic": variadic(call.function),
        "returnType": call.function.returns.name(),
    });
    let arguments = call.arguments.iter().map(Expr::to_tree).collect();
    node([("type", "call".into()), ("func", function), ("args", arguments)])
}

/// How many arguments may be left out or added, as Prometheus counts.
fn variadic(function: &Function) -> i64 {
    match function.arity {
        Arity::Exact => 0,
        Arity::Optional(most) => i64::try_from(most).unwrap_or(i64::MAX),
        Arity::Any => -1,
    }
}

fn aggregate_tree(aggregate: &Aggregate) -> Value {
    let (labels, is_without) = match &aggregate.grouping {
        Grouping::By(labels) => (labels, false),
        Grouping::Without(labels) => (labels, true),
    };
    node([
        ("type", "aggregation".into()),
        ("op", aggregate.op.name().into()),
        ("expr", aggregate.expr.to_tree()),
        ("param", aggregate.parameter.as_deref().map_or(Value::Null, Expr::to_tree)),
        ("grouping", labels.iter().map(|label| Value::from(&**label)).collect()),
        ("without", is_without.into()),
    ])
}

fn binary_tree(binary: &Binary) -> Value {
    let is_vector = |side: &Expr| side.value_type() == ValueType::Vector;
    let matching = &binary.matching;
    let names = |labels: &[std::sync::Arc<str>]| labels.iter().map(|label| Value::from(&**label)).collect::<Value>();
    let matching_tree = (is_vector(&binary.left) && is_vector(&binary.right)).then(|| {
        json!({
            "card": cardinality_name(matching.cardinality),
            "labels": names(&matching.labels),
            "on": matching.on,
            "include": names(&matching.include),
            "fillValues": {"lhs": number_tree(matching.fill_left), "rhs": number_tree(matching.fill_right)},
        })
    });
    node([
        ("type", "binaryExpr".into()),
        ("op", binary.op.symbol().into()),
        ("lhs", binary.left.to_tree()),
        ("rhs", binary.right.to_tree()),
        ("matching", matching_tree.unwrap_or(Value::Null)),
        ("bool", binary.returns_bool.into()),
    ])
}

/// A float as Go's JSON has it: whole numbers without `.0`.
fn number_tree(value: Option<f64>) -> Value {
    const EXACT: f64 = (1u64 << 53) as f64;
    match value {
        Some(value) if value.fract() == 0.0 && value.abs() <= EXACT => Value::from(value as i64),
        value => value.into(),
    }
}

fn cardinality_name(cardinality: Cardinality) -> &'static str {
    match cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    }
}
