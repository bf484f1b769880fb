//! Expressions on as many lines as reading takes, laid out as Prometheus's formatter does.

use crate::ast::{Expr, ExprKind};
use crate::print::{AggregateHead, Operator, SubqueryTimes};

/// What is longer, in bytes, is split.
const LINE_BYTES: usize = 100;

const INDENT: &str = "  ";

impl Expr {
    /// The expression for people: on one line if it fits, else each part on lines of its own.
    pub fn pretty(&self) -> String {
        pretty(self, 0, false)
    }
}

fn indent(level: usize) -> String {
    INDENT.repeat(level)
}

/// The expression with the margin of a level; an operator may follow.
fn pretty(expr: &Expr, level: usize, is_operand: bool) -> String {
    let line = if is_operand { format!("{expr:#}") } else { expr.to_string() };
    let margin = indent(level);
    let is_short = line.len() <= LINE_BYTES;
    match &expr.kind {
        // The formatter gives a short subquery no margin.
        ExprKind::Subquery(_) if is_short => line,
        ExprKind::Subquery(subquery) => {
            let inner = pretty(&subquery.expr, level, false);
            let times = SubqueryTimes(subquery);
            if is_operand { format!("{inner}{times:#}") } else { format!("{inner}{times}") }
        }
        ExprKind::Negate(inner) => format!("{margin}-{}", pretty(inner, level, is_operand).trim()),
        ExprKind::Plus(inner) => format!("{margin}+{}", pretty(inner, level, is_operand).trim()),
        _ if is_short => format!("{margin}{line}"),
        ExprKind::Number { .. }
        | ExprKind::Text(_)
        | ExprKind::Bytes(_)
        | ExprKind::Vector(_)
        | ExprKind::Matrix(_) => format!("{margin}{line}"),
        ExprKind::Paren(inner) => format!("{margin}(\n{}\n{margin})", pretty(inner, level + 1, false)),
        ExprKind::Call(call) => {
            let arguments: Vec<String> =
                call.arguments.iter().map(|argument| pretty(argument, level + 1, false)).collect();
            format!("{margin}{}(\n{}\n{margin})", call.function.name, arguments.join(",\n"))
        }
        ExprKind::Aggregate(aggregate) => {
            let parameter = aggregate.parameter.as_deref().map(|parameter| pretty(parameter, level + 1, false) + ",\n");
            let (head, parameter) = (AggregateHead(aggregate), parameter.unwrap_or_default());
            format!("{margin}{head}(\n{parameter}{}\n{margin})", pretty(&aggregate.expr, level + 1, false))
        }
        ExprKind::Binary(binary) => {
            let left = pretty(&binary.left, level + 1, true);
            let right = pretty(&binary.right, level + 1, is_operand);
            format!("{left}\n{margin}{}\n{right}", Operator(binary))
        }
    }
}
