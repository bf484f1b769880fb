use std::cell::Cell;

use tenantscope_model::{MatchOp, Matcher};
use winnow::ascii::multispace0;
use winnow::combinator::{alt, cut_err, delimited, fail, opt, preceded};
use winnow::prelude::*;
use winnow::token::take_while;

use super::ast::{Compared, Condition, Field, Filter, Order};
use crate::QueryError;
use crate::logql::grammar::{Height, Input, Parsed, duration_ns, expected, float, parse_with, string, symbol, token};

/// A TraceQL query.
pub(crate) fn parse(query: &str) -> Result<Filter, QueryError> {
    if query.trim().is_empty() {
        return Ok(Filter::All);
    }
    parse_with(query, span_set)
}

/// A condition of Tempo's `tags` parameter: the value is text, for `status` and `kind` a name.
pub(crate) fn tag(name: &str, value: &str) -> Result<Filter, QueryError> {
    let field = tag_field(name)?;
    let compared = match field {
        Field::Status => Compared::Number(Order::Equal, status_code(value).ok_or_else(|| wrong_tag(name, value))?),
        Field::Kind => Compared::Number(Order::Equal, kind_number(value).ok_or_else(|| wrong_tag(name, value))?),
        _ => Compared::Text(Matcher::equal(name, value)),
    };
    Ok(Filter::One(Condition { field, compared }))
}

fn wrong_tag(name: &str, value: &str) -> QueryError {
    QueryError::Invalid(format!("tag {name} has no value {value:?}"))
}

/// The field that a tag's name means; a bare name is an intrinsic, else an attribute of span or resource.
pub(crate) fn tag_field(name: &str) -> Result<Field, QueryError> {
    let bare = match name {
        "service" | "service.name" => Some(Field::Service),
        "tenant" | "tenant.id" => Some(Field::Tenant),
        "account_id" | "cloud.account.id" => Some(Field::Account),
        "region" | "cloud.region" => Some(Field::Region),
        "" => return Err(QueryError::Invalid("a tag needs a name".to_owned())),
        other => named(other),
    };
    Ok(bare.unwrap_or_else(|| Field::Either(name.to_owned())))
}

/// An intrinsic, or an attribute with its scope.
fn named(name: &str) -> Option<Field> {
    let field = match name {
        "name" | "span:name" => Field::Name,
        "status" | "span:status" => Field::Status,
        "statusMessage" | "span:statusMessage" => Field::StatusMessage,
        "kind" | "span:kind" => Field::Kind,
        "duration" | "span:duration" => Field::Duration,
        "traceDuration" | "trace:duration" => Field::TraceDuration,
        "rootName" | "trace:rootName" => Field::RootName,
        "rootServiceName" | "rootService" | "trace:rootService" => Field::RootService,
        "trace:id" => Field::TraceId,
        "resource.service.name" => Field::Service,
        "resource.tenant.id" => Field::Tenant,
        "resource.cloud.account.id" => Field::Account,
        "resource.cloud.region" => Field::Region,
        _ => {
            if let Some(name) = name.strip_prefix("resource.") {
                Field::Resource(name.to_owned())
            } else if let Some(name) = name.strip_prefix("span.") {
                Field::Span(name.to_owned())
            } else {
                Field::Either(name.strip_prefix('.')?.to_owned())
            }
        }
    };
    Some(field)
}

fn span_set(input: &mut Input<'_>) -> Parsed<Filter> {
    let operators = Cell::new(0);
    let whole = |input: &mut Input<'_>| any_of(input, Height::counted_in(&operators));
    let inner = opt(whole).map(|filter| filter.unwrap_or(Filter::All));
    delimited(symbol("{"), cut_err(inner), cut_err(symbol("}"))).parse_next(input)
}

fn any_of(input: &mut Input<'_>, height: Height<'_>) -> Parsed<Filter> {
    let mut left = all_of(input, height)?;
    while opt(symbol("||")).parse_next(input)?.is_some() {
        height.check_operator(input)?;
        let right = cut_err(|input: &mut Input<'_>| all_of(input, height)).parse_next(input)?;
        left = Filter::Or(left.into(), right.into());
    }
    Ok(left)
}

fn all_of(input: &mut Input<'_>, height: Height<'_>) -> Parsed<Filter> {
    let mut left = one(input, height)?;
    while opt(symbol("&&")).parse_next(input)?.is_some() {
        height.check_operator(input)?;
        let right = cut_err(|input: &mut Input<'_>| one(input, height)).parse_next(input)?;
        left = Filter::And(left.into(), right.into());
    }
    Ok(left)
}

fn one(input: &mut Input<'_>, height: Height<'_>) -> Parsed<Filter> {
    height.check_depth(input)?;
    let inner = |input: &mut Input<'_>| any_of(input, height.inner());
    let parenthesised = |input: &mut Input<'_>| delimited(symbol("("), inner, cut_err(symbol(")"))).parse_next(input);
    let negated = preceded(symbol("!"), delimited(symbol("("), inner, cut_err(symbol(")"))));
    alt((
        parenthesised,
        negated.map(|filter| Filter::Not(filter.into())),
        condition.map(Filter::One),
        token("true").value(Filter::All),
        token("false").map(|_| Filter::Not(Filter::All.into())),
    ))
    .context(expected("a condition such as name = \"x\""))
    .parse_next(input)
}

fn field(input: &mut Input<'_>) -> Parsed<Field> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ':');
    let quoted = (alt(("resource.", "span.", ".")), string).map(|(scope, name)| format!("{scope}{name}"));
    let bare = token(take_while(1.., plain)).map(str::to_owned);
    alt((quoted, bare)).verify_map(|name| named(&name)).context(expected("a field")).parse_next(input)
}

enum Op {
    Order(Order),
    Match(MatchOp),
}

fn operator(input: &mut Input<'_>) -> Parsed<Op> {
    token(alt((
        "=~".value(MatchOp::Regex).map(Op::Match),
        "!~".value(MatchOp::NotRegex).map(Op::Match),
        "!=".value(Order::NotEqual).map(Op::Order),
        ">=".value(Order::GreaterOrEqual).map(Op::Order),
        "<=".value(Order::LessOrEqual).map(Op::Order),
        "=".value(Order::Equal).map(Op::Order),
        ">".value(Order::Greater).map(Op::Order),
        "<".value(Order::Less).map(Op::Order),
    )))
    .context(expected("an operator"))
    .parse_next(input)
}

enum Literal {
    Text(String),
    Number(f64),
    Word(String),
}

fn literal(input: &mut Input<'_>) -> Parsed<Literal> {
    let word =
        token(take_while(1.., |c: char| c.is_ascii_alphabetic())).map(|word: &str| Literal::Word(word.to_owned()));
    alt((string.map(Literal::Text), duration_ns.map(|ns| Literal::Number(ns as f64)), float.map(Literal::Number), word))
        .context(expected("a value"))
        .parse_next(input)
}

fn condition(input: &mut Input<'_>) -> Parsed<Condition> {
    let _ = multispace0.parse_next(input)?;
    let field = field(input)?;
    let (op, literal) = cut_err((operator, literal)).parse_next(input)?;
    let name = "value";
    let compared = match (&field, op, literal) {
        (_, Op::Match(op), Literal::Text(text)) => Matcher::try_new(name, op, &text).ok().map(Compared::Text),
        (Field::Status, Op::Order(order), Literal::Word(word)) => {
            status_code(&word).map(|code| Compared::Number(order, code))
        }
        (Field::Kind, Op::Order(order), Literal::Word(word)) => {
            kind_number(&word).map(|kind| Compared::Number(order, kind))
        }
        (_, Op::Order(Order::Equal), Literal::Text(text)) => Some(Compared::Text(Matcher::equal(name, &text))),
        (_, Op::Order(Order::NotEqual), Literal::Text(text)) => {
            Matcher::try_new(name, MatchOp::NotEqual, &text).ok().map(Compared::Text)
        }
        (_, Op::Order(order), Literal::Number(number)) => Some(Compared::Number(order, number)),
        (_, Op::Order(Order::Equal), Literal::Word(word)) if word == "nil" => Some(Compared::Present(false)),
        (_, Op::Order(Order::NotEqual), Literal::Word(word)) if word == "nil" => Some(Compared::Present(true)),
        (_, Op::Order(Order::Equal), Literal::Word(word)) if word == "true" || word == "false" => {
            Some(Compared::Text(Matcher::equal(name, &word)))
        }
        (_, Op::Order(Order::NotEqual), Literal::Word(word)) if word == "true" || word == "false" => {
            Matcher::try_new(name, MatchOp::NotEqual, &word).ok().map(Compared::Text)
        }
        _ => None,
    };
    match compared {
        Some(compared) => Ok(Condition { field, compared }),
        None => cut_err(fail.context(expected("a value that the field can be compared with"))).parse_next(input),
    }
}

fn status_code(word: &str) -> Option<f64> {
    match word {
        "unset" => Some(0.0),
        "ok" => Some(1.0),
        "error" => Some(2.0),
        _ => None,
    }
}

fn kind_number(word: &str) -> Option<f64> {
    let kinds = ["unspecified", "internal", "server", "client", "producer", "consumer"];
    kinds.iter().position(|kind| *kind == word).and_then(|at| u32::try_from(at).ok()).map(f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grafana_asks_like_this() {
        for query in [
            "{}",
            r#"{ resource.service.name = "x" && name = "y" && status = error && duration > 100ms }"#,
            r#"{.http.status_code >= 500 || span."odd name" =~ "a.*"}"#,
            r#"{(kind = server && !(name = "z")) && traceDuration > 1.5s && rootServiceName != "q"}"#,
            r#"{true && span.retry = true && resource.tenant.id = "acme" && .x != nil}"#,
        ] {
            parse(query).and_then(Filter::split).unwrap_or_else(|error| panic!("{query}: {error}"));
        }
    }

    #[test]
    fn an_error_says_where() {
        let place = |query: &str| match parse(query) {
            Err(QueryError::Syntax { column, .. }) => column,
            other => panic!("{query}: {other:?}"),
        };
        assert_eq!(place(r#"{ name = }"#), 10);
        assert_eq!(place(r#"{ status = slow }"#), 17);
        assert!(parse(r#"{ traceDuration > 1s || name = "a" }"#).and_then(Filter::split).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"[{}()&|=~!<>." a-e0-9ms\\]{0,40}"#, any in ".{0,20}") {
            let _ = parse(&text);
            let _ = parse(&any);
        }
    }

    #[test]
    fn a_long_chain_is_refused_before_it_overflows_the_stack() {
        assert!(parse(&format!("{{.a=1{}}}", "||.a=1".repeat(200))).and_then(Filter::split).is_ok());
        for operator in ["||", "&&"] {
            let error = parse(&format!("{{.a=1{}}}", format!("{operator}.a=1").repeat(5_000))).unwrap_err().to_string();
            assert!(error.contains("fewer operators"), "{error}");
        }
    }

    #[test]
    fn traceql() {
        tenantscope_fuzz::fuzz!("traceql", |input| {
            let Ok(text) = std::str::from_utf8(input) else { return };
            if let Some((name, value)) = text.split_once('=') {
                let _ = tag(name, value);
            }
            match parse(text).and_then(Filter::split) {
                Ok((filter, of_trace)) => {
                    let _ = filter.conjuncts();
                    assert!(of_trace.len() <= 257);
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        });
    }
}
