//! The language against what Prometheus says of it. The tables in `parse/` hold facts: queries, and below each, two
//! spaces in, what Prometheus 3.14 with every flag on answers.

#![allow(clippy::unwrap_used)]

use tenantscope_promql::{Expr, Position, parse, parse_selector};

/// The cases of a table: a query, and the lines below it. `↵` in a query or an error is a new line.
fn cases(table: &str) -> Vec<(String, Vec<&str>)> {
    let mut cases: Vec<(String, Vec<&str>)> = Vec::new();
    for line in table.lines().filter(|line| !line.starts_with("# ")) {
        match (line.strip_prefix("  "), cases.last_mut()) {
            (Some(answer), Some((_, answers))) => answers.push(answer),
            _ => cases.push((line.replace('↵', "\n"), Vec::new())),
        }
    }
    cases
}

/// Fails with all cases that differ.
fn compare(table: &str, answer: impl Fn(&str) -> String, expected: impl Fn(&str, &[&str]) -> String) {
    let cases = cases(table);
    let differing: Vec<String> = cases
        .iter()
        .map(|(query, lines)| (query, expected(query, lines), answer(query)))
        .filter(|(_, expected, got)| expected != got)
        .map(|(query, expected, got)| format!("{query}\n  expected {expected}\n  got      {got}"))
        .collect();
    assert!(
        cases.len() >= 10 && differing.is_empty(),
        "{} of {}:\n{}",
        differing.len(),
        cases.len(),
        differing.join("\n")
    );
}

fn printed(query: &str, print: impl Fn(&Expr) -> String) -> String {
    parse(query).map_or_else(|error| error.to_string(), |expr| print(&expr))
}

#[test]
fn errors_read_as_in_prometheus() {
    let got = |query: &str| printed(query, |expr| format!("no error: {expr}")).replace('\n', "↵");
    compare(include_str!("parse/errors.txt"), got, |_, lines| lines.join("\n"));
}

#[test]
fn expressions_print_as_in_prometheus() {
    let expected = |query: &str, lines: &[&str]| lines.first().map_or_else(|| query.to_owned(), ToString::to_string);
    compare(include_str!("parse/printing.txt"), |query| printed(query, Expr::to_string), expected);
}

#[test]
fn long_expressions_are_laid_out_as_in_prometheus() {
    compare(include_str!("parse/pretty.txt"), |query| printed(query, Expr::pretty), |_, lines| lines.join("\n"));
}

#[test]
fn trees_are_those_of_prometheus() {
    let sorted = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap().to_string();
    let tree = |query: &str| printed(query, |expr| expr.to_tree().to_string());
    compare(include_str!("parse/trees.txt"), tree, |_, lines| sorted(lines[0]));
}

#[test]
fn a_float_keeps_its_value_where_prometheus_loses_a_millisecond() {
    assert_eq!(parse("1s1ms").unwrap().to_string(), "1s1ms");
}

#[test]
fn every_expression_knows_its_place() {
    fn places<'t>(expr: &Expr, text: &'t str, found: &mut Vec<&'t str>) {
        found.push(&text[expr.position.start..expr.position.end]);
        expr.children().into_iter().for_each(|child| places(child, text, found));
    }
    let query = "-sum by (a) (rate(foo{b=\"c\"}[5m] offset -1m)) / (2 + bar @ start()) > bool max_over_time(x[1h:])";
    let mut found = Vec::new();
    places(&parse(query).unwrap(), query, &mut found);
    let expected = [
        query,
        "-sum by (a) (rate(foo{b=\"c\"}[5m] offset -1m)) / (2 + bar @ start())",
        "-sum by (a) (rate(foo{b=\"c\"}[5m] offset -1m))",
        "sum by (a) (rate(foo{b=\"c\"}[5m] offset -1m))",
        "rate(foo{b=\"c\"}[5m] offset -1m)",
        "foo{b=\"c\"}[5m] offset -1m",
        "(2 + bar @ start())",
        "2 + bar @ start()",
        "2",
        "bar @ start()",
        "max_over_time(x[1h:])",
        "x[1h:]",
        "x",
    ];
    assert_eq!(found, expected);
}

#[test]
fn places_are_told_by_line_and_column() {
    let at = |start: usize, text: &str| Position { start, end: start }.line_and_column(text);
    assert_eq!(at(12, "foo + on (a) b"), "1:13");
    assert_eq!(at(6, "foo\n+ bar"), "2:3");
    assert_eq!(at(3, "é +"), "1:4", "columns count bytes");
    assert_eq!((at(9, "foo"), at(0, "")), ("invalid position".to_owned(), "unknown position".to_owned()));
}

#[test]
fn a_selector_alone_may_be_nothing_else() {
    assert_eq!(parse_selector("up{job=\"a\"}").unwrap().len(), 2);
    assert_eq!(parse_selector("{}").unwrap().len(), 0, "the caller decides");
    for (text, error) in [
        ("", "unknown position: parse error: unexpected end of input"),
        ("up[5m]", "1:3: parse error: unexpected \"[\""),
        ("sum(up)", "1:4: parse error: unexpected \"(\""),
        ("up{", "1:4: parse error: unexpected end of input inside braces"),
    ] {
        assert_eq!(parse_selector(text).unwrap_err().to_string(), error, "{text}");
    }
}

/// Queries that are as deep as they are long.
fn deep(length: usize) -> Vec<String> {
    let around = |open: &str, close: &str| format!("{}1{}", open.repeat(length), close.repeat(length));
    vec![
        around("(", ")"),
        around("abs(", ")"),
        around("-", ""),
        around("+(", ")"),
        around("1 + ", ""),
        around("1 ^ ", ""),
        around("", " + 1"),
        around("", " or x"),
        around("(", " + 1 + 1 + 1 + 1)"),
        around("x", "[5m:]"),
        format!("x[{}5m{}]", "(".repeat(length), ")".repeat(length)),
        format!("x[{}1]", "1 + ".repeat(length)),
        format!("x[{}1]", "1 ^ ".repeat(length)),
        format!("x offset {}1", "-".repeat(length)),
        format!("{}x{}", "sum by (a) (".repeat(length), ")".repeat(length)),
    ]
}

#[test]
fn depth_is_bounded_on_any_threads_stack() {
    // A thread's usual stack, on which evaluation runs too.
    let run = || {
        for length in [10, 40, 190, 250, 1_000, 10_000] {
            for query in deep(length) {
                let Ok(expr) = parse(&query) else { continue };
                assert!(length <= 200, "{}", &query[..100]);
                assert_eq!(parse(&expr.to_string()).unwrap().to_tree(), expr.to_tree());
                let pretty = expr.pretty();
                assert!(pretty.len() > 64 * 1024 || parse(&pretty).is_ok());
            }
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
    assert!(parse(&deep(180)[0]).is_ok() && parse(&deep(180)[6]).is_ok());
    assert!(parse(&deep(190)[8]).unwrap_err().to_string().contains("deeper than"), "chains in brackets add up");
}

#[test]
fn length_and_regular_expressions_are_bounded() {
    let long = format!("x{{a=\"{}\"}}", "b".repeat(70_000));
    assert!(parse(&long).unwrap_err().to_string().contains("longer than"));
    let bombs: Vec<String> = (0..2000).map(|n| format!(r#"a=~"\\pL{{0,90}}x{n}""#)).collect();
    let error = parse(&format!("x{{{}}}", bombs.join(","))).unwrap_err();
    assert!(error.to_string().contains("regular expressions"), "{error}");
}
