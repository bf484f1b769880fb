//! What holds for any text: parsing never panics, and what is printed means the same.

#![allow(clippy::panic)]

use proptest::prelude::*;
use tenantscope_promql::{DurationExpr, DurationKind, Expr, ExprKind, Position, VectorSelector, parse, parse_selector};

/// The expression without places, with matchers in the order in which they are printed, and without signs that do
/// nothing: `Inf ^ 2` prints as `+Inf ^ 2`, and there the sign is about the power.
fn bare(mut expr: Expr) -> Expr {
    strip(&mut expr);
    expr
}

fn strip(expr: &mut Expr) {
    expr.position = Position::default();
    match &mut expr.kind {
        ExprKind::Number { .. } | ExprKind::Text(_) | ExprKind::Bytes(_) => {}
        ExprKind::Vector(selector) => strip_selector(selector),
        ExprKind::Matrix(matrix) => {
            strip_selector(&mut matrix.selector);
            strip_span(&mut matrix.range_expr);
        }
        ExprKind::Subquery(subquery) => {
            strip(&mut subquery.expr);
            strip_span(&mut subquery.range_expr);
            strip_span(&mut subquery.step_expr);
            strip_span(&mut subquery.offset_expr);
        }
        ExprKind::Call(call) => call.arguments.iter_mut().for_each(strip),
        ExprKind::Aggregate(aggregate) => {
            strip(&mut aggregate.expr);
            aggregate.parameter.iter_mut().for_each(|parameter| strip(parameter));
        }
        ExprKind::Binary(binary) => {
            strip(&mut binary.left);
            strip(&mut binary.right);
        }
        ExprKind::Negate(inner) | ExprKind::Paren(inner) => strip(inner),
        ExprKind::Plus(inner) => {
            strip(inner);
            *expr = (**inner).clone();
        }
    }
}

fn strip_selector(selector: &mut VectorSelector) {
    selector.matchers.sort_by_key(|matcher| format!("{matcher:?}"));
    strip_span(&mut selector.offset_expr);
}

fn strip_span(span: &mut Option<Box<DurationExpr>>) {
    span.iter_mut().for_each(|span| strip_duration(span));
}

fn strip_duration(duration: &mut DurationExpr) {
    duration.position = Position::default();
    match &mut duration.kind {
        DurationKind::Number { .. } | DurationKind::Step | DurationKind::Range => {}
        DurationKind::Negate(inner) => strip_duration(inner),
        DurationKind::Binary { left, right, .. } => {
            strip_duration(left);
            strip_duration(right);
        }
    }
}

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    prop::sample::select(words).prop_map(str::to_owned)
}

fn duration() -> impl Strategy<Value = String> + Clone {
    let leaf = one_of(&["5m", "1h30m", "90", "1.5", "step()", "range()", "-3s", "1d", "250ms"]);
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| format!("({inner})")),
            inner.clone().prop_map(|inner| format!("-({inner})")),
            (inner.clone(), one_of(&["+", "-", "*", "/", "%", "^"]), inner.clone())
                .prop_map(|(left, op, right)| format!("{left} {op} {right}")),
            (one_of(&["min_of", "max_of"]), inner.clone(), inner).prop_map(|(f, a, b)| format!("{f}({a}, {b})")),
        ]
    })
}

fn selector() -> impl Strategy<Value = String> + Clone {
    let matchers =
        one_of(&["", "{}", "{a=\"b\"}", "{z!=\"x\\ny\", a=~\"b.*\"}", "{'dotted.name'!~`a\\d`,}", "{a=\"é\\\"\\\\\"}"]);
    let named = (one_of(&["foo", "a:b", "offset", "sum", "fill", "start", "by"]), matchers)
        .prop_map(|(name, matchers)| name + &matchers);
    prop_oneof![named, one_of(&["{\"http.requests\"}", "{\"a b\", c=\"d\"}", "{__name__=~\"x.+\"}"])]
}

/// What follows a selector, in any order that the grammar takes.
fn timed(selector: impl Strategy<Value = String> + Clone) -> impl Strategy<Value = String> + Clone {
    let at = one_of(&["", " @ 5", " @ -1.25", " @ start()", " @ end()"]);
    let offset = prop_oneof![Just(String::new()), duration().prop_map(|span| format!(" offset ({span})"))];
    (selector, at, offset, any::<bool>()).prop_map(|(selector, at, offset, at_first)| {
        if at_first { format!("{selector}{at}{offset}") } else { format!("{selector}{offset}{at}") }
    })
}

fn vector() -> impl Strategy<Value = String> + Clone {
    let edges = one_of(&["", " smoothed", " anchored"]);
    let instant = timed((selector(), edges.clone()).prop_map(|(selector, edges)| selector + &edges));
    let range = timed((selector(), duration(), edges).prop_map(|(s, span, edges)| format!("{s}[{span}]{edges}")));
    let over = (one_of(&["rate", "sum_over_time", "last_over_time"]), range).prop_map(|(f, r)| format!("{f}({r})"));
    let leaf = prop_oneof![instant, over];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let matching = one_of(&[
            "",
            "on (a)",
            "ignoring (a, 'b c')",
            "on () group_left (x)",
            "ignoring (z) group_right ()",
            "fill (1)",
            "on (a) fill_left (-1.5) fill_right (2e7)",
        ]);
        let operator = one_of(&["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", "> bool", "<=", "</", ">/"]);
        let number = one_of(&["1", "2.5e-9", "Inf", "NaN", "0x1F", "5m", "-3", "1e300"]);
        let grouping = one_of(&["", "by (a) ", "without () ", "by ('x.y', on) "]);
        prop_oneof![
            (inner.clone(), operator.clone(), matching, inner.clone())
                .prop_map(|(left, op, matching, right)| format!("{left} {op} {matching} {right}")),
            (inner.clone(), one_of(&["and", "or", "unless on (a)"]), inner.clone())
                .prop_map(|(left, op, right)| format!("{left} {op} {right}")),
            (number.clone(), operator, inner.clone()).prop_map(|(left, op, right)| format!("{left} {op} {right}")),
            (one_of(&["-", "+", "abs", "sort", ""]), inner.clone()).prop_map(|(f, inner)| format!("{f}({inner})")),
            (one_of(&["sum", "MAX", "group"]), grouping.clone(), inner.clone())
                .prop_map(|(op, grouping, inner)| format!("{op} {grouping}({inner})")),
            (one_of(&["topk", "quantile"]), grouping, number, inner.clone())
                .prop_map(|(op, grouping, number, inner)| format!("{op}({number}, {inner}) {grouping}")),
            (inner.clone(), duration(), one_of(&["", "1m", "step()"]))
                .prop_map(|(inner, range, step)| format!("rate(({inner})[{range}:{step}] offset 5m)")),
            inner.prop_map(|inner| format!("label_replace({inner}, 'a', \"$1\\t\", `b`, '(.*)')")),
        ]
    })
}

/// Pieces of queries, and what comes near.
fn pieces() -> impl Strategy<Value = String> {
    let piece = one_of(&[
        "foo",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        "\"a\"",
        "'",
        "`",
        "\\",
        "5m",
        "1e",
        "0x",
        ".5",
        "..",
        "=",
        "=~",
        "!~",
        "!=",
        ">",
        "</",
        ",",
        ":",
        "@",
        "offset",
        "by",
        "on",
        "bool",
        "fill",
        "fill(",
        "group_left",
        "sum",
        "rate(",
        "step()",
        "min_of(",
        "start()",
        "#",
        "\n",
        "é",
        "\u{fffd}",
        "+",
        "-",
        "^",
        " ",
        "inf",
        "5y1hs",
        "a=\"b\"",
        "\"\\xff\"",
        "\"\\",
        "[5m]",
        "[5m:",
        "anchored",
        "unless",
        "5m5m",
        "99999999999999999999y",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// Everything that can be done with a text.
fn exercise(text: &str) {
    let _ = parse_selector(text);
    match parse(text) {
        Err(error) => assert!(!error.message().is_empty(), "an error says why: {text:?}"),
        Ok(expr) => {
            let (line, pretty) = (expr.to_string(), expr.pretty());
            let again = bare(parse(&line).unwrap_or_else(|error| panic!("{text:?} prints {line:?}: {error}")));
            let laid_out = bare(parse(&pretty).unwrap_or_else(|error| panic!("{text:?} prints {pretty:?}: {error}")));
            let expr = bare(expr);
            // NaN is not equal to itself.
            assert_eq!(format!("{again:?}"), format!("{expr:?}"), "{text:?} prints {line:?}");
            assert_eq!(format!("{laid_out:?}"), format!("{expr:?}"), "{text:?} prints {pretty:?}");
            expr.to_tree();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_means_the_same(query in vector()) {
        if let Err(error) = parse(&query) {
            // Not all that is put together has fitting types, but its syntax is right, save that the first colon wants
            // a number before it, and that `offset (1m)` takes in the operators that follow.
            let error = error.to_string();
            let is_known = error.contains("unexpected colon before duration") || error.contains("in offset, expected");
            prop_assert!(is_known || !error.contains("unexpected"), "{query}: {error}");
        }
        exercise(&query);
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        exercise(&text);
    }

    #[test]
    fn no_pieces_panic(text in pieces()) {
        exercise(&text);
    }

    #[test]
    fn no_damaged_query_panics(query in vector(), at in any::<prop::sample::Index>(), with in pieces(), cut in 0usize..6) {
        let characters: Vec<char> = query.chars().collect();
        let at = at.index(characters.len() + 1);
        let (before, after) = characters.split_at(at);
        let after = after.get(cut..).unwrap_or_default();
        exercise(&before.iter().copied().chain(with.chars()).chain(after.iter().copied()).collect::<String>());
    }
}
