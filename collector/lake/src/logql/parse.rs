use std::cell::Cell;

use regex::Regex;
use tenantscope_model::{MatchOp, Matcher};
use winnow::ascii::digit1;
use winnow::combinator::{alt, cut_err, delimited, fail, opt, preceded, repeat, separated, terminated};
use winnow::error::StrContext;
use winnow::prelude::*;

use super::ast::{
    AggregateOp, Arithmetic, Comparison, Expr, Grouping, LabelFilter, LineOp, LogSelector, RangeExpr, RangeOp, Stage,
    Value,
};
use super::grammar::{
    Height, Input, Parsed, duration_ns, expected, float, keyword, name, parse_with, string, symbol, token,
};
use crate::QueryError;

/// A whole LogQL query.
pub(crate) fn parse(query: &str) -> Result<Expr, QueryError> {
    let operators = Cell::new(0);
    parse_with(query, |input: &mut Input<'_>| expression(input, Height::counted_in(&operators)))
}

/// A stream selector alone, as the label endpoints take it; a pipeline behind it is allowed.
pub(crate) fn parse_selector(query: &str) -> Result<LogSelector, QueryError> {
    parse_with(query, log_selector)
}

fn match_op(input: &mut Input<'_>) -> Parsed<MatchOp> {
    token(alt((
        "=~".value(MatchOp::Regex),
        "!~".value(MatchOp::NotRegex),
        "!=".value(MatchOp::NotEqual),
        terminated("=", winnow::combinator::not('=')).value(MatchOp::Equal),
    )))
    .context(expected("=, !=, =~ or !~"))
    .parse_next(input)
}

fn matcher(input: &mut Input<'_>) -> Parsed<Matcher> {
    (name, match_op, string)
        .try_map(|(name, op, value)| Matcher::try_new(name, op, &value))
        .context(StrContext::Label("matcher"))
        .parse_next(input)
}

fn log_selector(input: &mut Input<'_>) -> Parsed<LogSelector> {
    let matchers = delimited(
        symbol("{"),
        cut_err(terminated(separated(0.., matcher, symbol(",")), opt(symbol(",")))),
        cut_err(symbol("}")),
    );
    let (matchers, stages) = (matchers, repeat(0.., stage)).parse_next(input)?;
    Ok(LogSelector { matchers, stages })
}

fn stage(input: &mut Input<'_>) -> Parsed<Stage> {
    alt((line_filter, preceded(symbol("|"), cut_err(pipe_stage)))).parse_next(input)
}

fn line_filter(input: &mut Input<'_>) -> Parsed<Stage> {
    let op = token(alt((
        "|=".value(LineOp::Contains),
        "!=".value(LineOp::ContainsNot),
        "|~".value(LineOp::Matches),
        "!~".value(LineOp::MatchesNot),
    )))
    .parse_next(input)?;
    let texts: Vec<String> = cut_err(separated(1.., string, keyword("or"))).parse_next(input)?;
    let regexes = match op {
        LineOp::Contains | LineOp::ContainsNot => Vec::new(),
        LineOp::Matches | LineOp::MatchesNot => {
            let compiled: Result<Vec<Regex>, _> = texts.iter().map(|text| Regex::new(text)).collect();
            match compiled {
                Ok(regexes) => regexes,
                Err(_) => return cut_err(fail.context(expected("a regular expression"))).parse_next(input),
            }
        }
    };
    Ok(Stage::Line { op, texts, regexes })
}

fn pipe_stage(input: &mut Input<'_>) -> Parsed<Stage> {
    let names = || separated(1.., name.map(str::to_owned), symbol(","));
    alt((
        keyword("json").value(Stage::Json),
        preceded(keyword("logfmt"), repeat(0.., symbol("--strict")).map(|()| Stage::Logfmt)),
        preceded(keyword("drop"), cut_err(names())).map(Stage::Drop),
        preceded(keyword("keep"), cut_err(names())).map(Stage::Keep),
        preceded(keyword("unwrap"), cut_err(unwrapped)).map(Stage::Unwrap),
        whole_label_filter.map(Stage::Filter),
    ))
    .context(expected("json, logfmt, drop, keep, unwrap or a label filter"))
    .parse_next(input)
}

/// `unwrap name`, `unwrap duration(name)`, `unwrap bytes(name)`: the value's unit is seen by itself.
fn unwrapped(input: &mut Input<'_>) -> Parsed<String> {
    let converted = delimited(
        (alt((keyword("duration_seconds"), keyword("duration"), keyword("bytes"))), symbol("(")),
        name,
        symbol(")"),
    );
    alt((converted, name)).map(str::to_owned).parse_next(input)
}

fn whole_label_filter(input: &mut Input<'_>) -> Parsed<LabelFilter> {
    let operators = Cell::new(0);
    label_filter(input, Height::counted_in(&operators))
}

fn label_filter(input: &mut Input<'_>, height: Height<'_>) -> Parsed<LabelFilter> {
    height.check_depth(input)?;
    let mut left = all_of(input, height)?;
    while opt(keyword("or")).parse_next(input)?.is_some() {
        height.check_operator(input)?;
        left = LabelFilter::Or(left.into(), all_of(input, height)?.into());
    }
    Ok(left)
}

fn all_of(input: &mut Input<'_>, height: Height<'_>) -> Parsed<LabelFilter> {
    let mut left = one_filter(input, height)?;
    while opt(alt((keyword("and"), symbol(",")))).parse_next(input)?.is_some() {
        height.check_operator(input)?;
        left = LabelFilter::And(left.into(), one_filter(input, height)?.into());
    }
    Ok(left)
}

fn one_filter(input: &mut Input<'_>, height: Height<'_>) -> Parsed<LabelFilter> {
    let inner = |input: &mut Input<'_>| label_filter(input, height.inner());
    alt((delimited(symbol("("), inner, symbol(")")), matcher.map(LabelFilter::Text), number_filter)).parse_next(input)
}

fn number_filter(input: &mut Input<'_>) -> Parsed<LabelFilter> {
    let op = token(alt((
        "==".value(Comparison::Equal),
        "!=".value(Comparison::NotEqual),
        ">=".value(Comparison::GreaterOrEqual),
        "<=".value(Comparison::LessOrEqual),
        ">".value(Comparison::Greater),
        "<".value(Comparison::Less),
        "=".value(Comparison::Equal),
    )));
    let seconds = duration_ns.map(|ns| Value::Seconds(ns as f64 / 1e9));
    let (name, op, value) = (name, op, alt((seconds, float.map(Value::Number)))).parse_next(input)?;
    Ok(LabelFilter::Number { name: name.to_owned(), op, value })
}

fn expression(input: &mut Input<'_>, height: Height<'_>) -> Parsed<Expr> {
    let mut left = product(input, height)?;
    while let Some(op) =
        opt(token(alt(("+".value(Arithmetic::Add), "-".value(Arithmetic::Subtract))))).parse_next(input)?
    {
        height.check_operator(input)?;
        let right = cut_err(|input: &mut Input<'_>| product(input, height)).parse_next(input)?;
        left = Expr::Binary { op, left: left.into(), right: right.into() };
    }
    Ok(left)
}

fn product(input: &mut Input<'_>, height: Height<'_>) -> Parsed<Expr> {
    let mut left = power(input, height)?;
    let mut op = opt(token(alt((
        "*".value(Arithmetic::Multiply),
        "/".value(Arithmetic::Divide),
        "%".value(Arithmetic::Modulo),
    ))));
    while let Some(op) = op.parse_next(input)? {
        height.check_operator(input)?;
        let right = cut_err(|input: &mut Input<'_>| power(input, height)).parse_next(input)?;
        left = Expr::Binary { op, left: left.into(), right: right.into() };
    }
    Ok(left)
}

fn power(input: &mut Input<'_>, height: Height<'_>) -> Parsed<Expr> {
    let left = operand(input, height)?;
    if opt(symbol("^")).parse_next(input)?.is_none() {
        return Ok(left);
    }
    height.check_operator(input)?;
    let right = cut_err(|input: &mut Input<'_>| operand(input, height)).parse_next(input)?;
    Ok(Expr::Binary { op: Arithmetic::Power, left: left.into(), right: right.into() })
}

fn operand(input: &mut Input<'_>, height: Height<'_>) -> Parsed<Expr> {
    height.check_depth(input)?;
    let inner = |input: &mut Input<'_>| expression(input, height.inner());
    let vector = delimited((keyword("vector"), symbol("(")), cut_err(float), cut_err(symbol(")")));
    alt((
        log_selector.map(Expr::Logs),
        delimited(symbol("("), inner, cut_err(symbol(")"))),
        vector.map(Expr::Vector),
        range_function.map(Expr::Range),
        |input: &mut Input<'_>| aggregation(input, height.inner()),
        float.map(Expr::Number),
    ))
    .context(expected("a stream selector, a function or a number"))
    .parse_next(input)
}

fn range_function(input: &mut Input<'_>) -> Parsed<RangeExpr> {
    let op = name
        .verify_map(|name| match name {
            "rate" => Some(RangeOp::Rate),
            "count_over_time" => Some(RangeOp::CountOverTime),
            "bytes_rate" => Some(RangeOp::BytesRate),
            "bytes_over_time" => Some(RangeOp::BytesOverTime),
            "sum_over_time" => Some(RangeOp::SumOverTime),
            "avg_over_time" => Some(RangeOp::AvgOverTime),
            "min_over_time" => Some(RangeOp::MinOverTime),
            "max_over_time" => Some(RangeOp::MaxOverTime),
            _ => None,
        })
        .parse_next(input)?;
    let body = |input: &mut Input<'_>| {
        let mut selector = log_selector(input)?;
        let range_ns = delimited(symbol("["), duration_ns, symbol("]")).parse_next(input)?;
        let late: Vec<Stage> = repeat(0.., stage).parse_next(input)?;
        selector.stages.extend(late);
        let offset_ns = opt(preceded(keyword("offset"), cut_err(duration_ns))).parse_next(input)?.unwrap_or(0);
        Ok(RangeExpr { op, selector, range_ns: range_ns.max(1), offset_ns })
    };
    delimited(symbol("("), cut_err(body), cut_err(symbol(")"))).parse_next(input)
}

fn aggregation(input: &mut Input<'_>, height: Height<'_>) -> Parsed<Expr> {
    let op = name
        .verify_map(|name| match name {
            "sum" => Some(AggregateOp::Sum),
            "avg" => Some(AggregateOp::Avg),
            "min" => Some(AggregateOp::Min),
            "max" => Some(AggregateOp::Max),
            "count" => Some(AggregateOp::Count),
            "topk" => Some(AggregateOp::TopK),
            "bottomk" => Some(AggregateOp::BottomK),
            _ => None,
        })
        .parse_next(input)?;
    let before = opt(grouping).parse_next(input)?;
    cut_err(symbol("(")).parse_next(input)?;
    let param = match op {
        AggregateOp::TopK | AggregateOp::BottomK => {
            let count = token(digit1).try_map(str::parse::<usize>).context(expected("a count"));
            Some(cut_err(terminated(count, symbol(","))).parse_next(input)?)
        }
        _ => None,
    };
    let inner = cut_err(|input: &mut Input<'_>| expression(input, height)).parse_next(input)?;
    cut_err(symbol(")")).parse_next(input)?;
    let after = opt(grouping).parse_next(input)?;
    let grouping = before.or(after).unwrap_or(match op {
        AggregateOp::TopK | AggregateOp::BottomK => Grouping::Without(Vec::new()),
        _ => Grouping::By(Vec::new()),
    });
    Ok(Expr::Aggregate { op, param, grouping, inner: inner.into() })
}

fn grouping(input: &mut Input<'_>) -> Parsed<Grouping> {
    let is_by = alt((keyword("by").value(true), keyword("without").value(false))).parse_next(input)?;
    let names = separated(0.., name.map(str::to_owned), symbol(","));
    let names: Vec<String> = cut_err(delimited(symbol("("), names, symbol(")"))).parse_next(input)?;
    Ok(if is_by { Grouping::By(names) } else { Grouping::Without(names) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grafana_asks_like_this() {
        for query in [
            r#"{tenant="a", service_name=~"x.*"} |= "boom" != `quiet` |~ "a|b" !~ "c" "#,
            r#"{service_name="x"} |= "a" or "b" | json | level="error" and duration > 10ms or status >= 500"#,
            r#"sum by (level, detected_level) (count_over_time({tenant="a"} | drop __error__ [1m]))"#,
            r#"sum(rate({tenant="a"} |= `x` [5m])) by (service_name) * 60"#,
            "vector(1)+vector(1)",
            r#"topk(5, sum by (tenant) (bytes_rate({tenant=~".+"}[5m] offset 1h)))"#,
            r#"avg_over_time({a="b"} | json | unwrap duration(took) [1h30m])"#,
            "{}",
        ] {
            parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
        }
    }

    #[test]
    fn an_error_says_where() {
        let place = |query: &str| match parse(query) {
            Err(QueryError::Syntax { column, .. }) => column,
            other => panic!("{query}: {other:?}"),
        };
        assert_eq!(place(r#"{tenant="a""#), 12);
        assert_eq!(place(r#"{tenant="a"} |= boom"#), 17);
        assert_eq!(place(r#"{tenant="a"} foo"#), 14);
        assert!(matches!(parse(r#"{a=~"("}"#), Err(QueryError::Syntax { .. })));
        assert!(matches!(parse(&"(".repeat(5_000)), Err(QueryError::Syntax { .. })));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"[{}()\[\]|=~!<>+*/,." a-e0-9`\\]{0,40}"#, any in ".{0,20}") {
            let _ = parse(&text);
            let _ = parse(&any);
        }
    }

    #[test]
    fn a_long_chain_is_refused_before_it_overflows_the_stack() {
        assert!(parse(&format!("1{}", "+1".repeat(200))).is_ok());
        for long in [format!("1{}", "+1".repeat(16_000)), format!("{{}}|a=1{}", " or a=1".repeat(4_500))] {
            let error = parse(&long).unwrap_err().to_string();
            assert!(error.contains("fewer operators"), "{error}");
        }
    }

    #[test]
    fn logql() {
        tenantscope_fuzz::fuzz!("logql", |input| {
            let Ok(text) = std::str::from_utf8(input) else { return };
            let _ = parse_selector(text);
            let selector = match parse(text) {
                Ok(Expr::Logs(selector)) => selector,
                Ok(_) => return,
                Err(error) => return assert!(!error.to_string().is_empty()),
            };
            // What it does with lines: nothing makes a stream's own tenant another.
            let lines = [
                r#"{"a":{"b":[1,"x"]},"tenant":"forged","took":"5ms","n":1e999}"#,
                "a=b tenant=forged took=5ms x=\"\\\"",
                "",
            ];
            for line in lines {
                let labels = [("tenant", "acme"), ("service_name", "x")];
                let mut row = crate::logs::row::Row {
                    time_ns: 1,
                    line: line.to_owned(),
                    labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
                    metadata: Default::default(),
                };
                let pipeline = crate::logql::Pipeline::new(&selector.stages);
                let _ = pipeline.apply(&mut row);
                // Whoever drops the stream's label asks for the line's.
                let asked_for = text.contains("drop") || text.contains("keep");
                assert!(asked_for || row.labels.get("tenant").is_some_and(|tenant| tenant == "acme"), "{text}");
                assert!(row.labels.len() <= 600);
            }
        });
    }
}
