//! From `promql-parser`'s expressions to ours. Nothing else in this crate knows that parser, so that one of our own
//! can take its place.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use promql_parser::label::{MatchOp as TheirMatchOp, Matcher as TheirMatcher};
use promql_parser::parser as theirs;
use promql_parser::parser::token;
use tenantscope_model::{METRIC_NAME, MatchOp, Matcher, check_regexes};

use crate::ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Call, Cardinality, Expr, ExprKind, Grouping, Matching,
    MatrixSelector, Subquery, VectorSelector,
};
use crate::check::check;
use crate::error::ParseError;
use crate::function::Function;

/// The longest query, in bytes: parsers recurse, and a dashboard's query is a hundred times shorter.
const MAX_QUERY_BYTES: usize = 64 * 1024;

/// How deep an expression may be, operators of a chain included: parser and engine recurse, and a thread's stack is
/// bounded (two MiB as a rule).
const MAX_DEPTH: usize = 150;

/// Parses and checks a PromQL expression.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    if text.len() > MAX_QUERY_BYTES {
        return Err(ParseError::new(format!("query is longer than {MAX_QUERY_BYTES} bytes")));
    }
    if depth_bound(text) > MAX_DEPTH {
        return Err(ParseError::new(format!("query is deeper than {MAX_DEPTH} operators and parentheses")));
    }
    if text.trim().is_empty() {
        return Err(ParseError::new("no expression found in input"));
    }
    // Their parser compiles them without a limit.
    check_regexes(text).map_err(|error| ParseError::new(error.to_string()))?;
    let parsed = theirs::parse(text).map_err(|message| ParseError::new(reworded(&message)))?;
    let expr = convert(parsed)?;
    check(&expr)?;
    Ok(expr)
}

/// An upper bound of the tree's depth, found without recursion: for each place, the brackets that are open there and
/// the operators (and subqueries) seen within each of them since its last comma.
fn depth_bound(text: &str) -> usize {
    let mut levels = vec![0usize];
    let mut deepest = 0;
    let mut characters = text.chars().peekable();
    let mut word = String::new();
    while let Some(character) = characters.next() {
        if character.is_alphanumeric() || character == '_' {
            word.extend(character.to_lowercase());
            continue;
        }
        let is_operator_word = matches!(word.as_str(), "and" | "or" | "unless" | "atan2");
        word.clear();
        let level = levels.len();
        let Some(operators) = levels.last_mut() else { return usize::MAX };
        *operators += usize::from(is_operator_word);
        match character {
            '"' | '\'' | '`' => skip_string(&mut characters, character),
            '#' => while characters.next_if(|c| *c != '\n').is_some() {},
            '(' | '[' | '{' => levels.push(1),
            ')' | ']' | '}' if level > 1 => {
                levels.pop();
                if let Some(operators) = levels.last_mut().filter(|_| character == ']') {
                    *operators += 1;
                }
            }
            ',' => *operators = 1,
            '+' | '-' | '*' | '/' | '%' | '^' | '=' | '!' | '<' | '>' => *operators += 1,
            _ => {}
        }
        deepest = deepest.max(levels.iter().sum());
    }
    deepest
}

fn skip_string(characters: &mut std::iter::Peekable<std::str::Chars<'_>>, quote: char) {
    while let Some(character) = characters.next() {
        match character {
            '\\' if quote != '`' => {
                characters.next();
            }
            character if character == quote => return,
            _ => {}
        }
    }
}

/// Their names of types in Prometheus's words.
fn reworded(message: &str) -> String {
    if !message.starts_with("expected type ") {
        return message.to_owned();
    }
    let word = |word: &str| {
        let (bare, comma) = word.strip_suffix(',').map_or((word, ""), |bare| (bare, ","));
        let known = match bare {
            "matrix" => "range vector",
            "vector" => "instant vector",
            _ => return word.replace('\'', "\""),
        };
        format!("{known}{comma}")
    };
    message.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn convert(expr: theirs::Expr) -> Result<Expr, ParseError> {
    let kind = match expr {
        theirs::Expr::NumberLiteral(number) => ExprKind::Number { value: number.val, as_duration: false },
        theirs::Expr::StringLiteral(text) => ExprKind::Text(text.val.into()),
        theirs::Expr::Paren(paren) => ExprKind::Paren(Box::new(convert(*paren.expr)?)),
        theirs::Expr::Unary(unary) => ExprKind::Negate(Box::new(convert(*unary.expr)?)),
        theirs::Expr::VectorSelector(selector) => ExprKind::Vector(vector_selector(selector)?),
        theirs::Expr::MatrixSelector(matrix) => ExprKind::Matrix(MatrixSelector {
            selector: vector_selector(matrix.vs)?,
            range_ms: positive_ms(matrix.range)?,
            range_expr: None,
        }),
        theirs::Expr::Subquery(subquery) => ExprKind::Subquery(Subquery {
            range_ms: positive_ms(subquery.range)?,
            range_expr: None,
            step_ms: subquery.step.map(positive_ms).transpose()?,
            step_expr: None,
            offset_expr: None,
            offset_ms: offset_ms(subquery.offset.as_ref())?,
            at: at(subquery.at.as_ref()),
            expr: Box::new(convert(*subquery.expr)?),
        }),
        theirs::Expr::Call(call) => ExprKind::Call(convert_call(call)?),
        theirs::Expr::Aggregate(aggregate) => ExprKind::Aggregate(convert_aggregate(aggregate)?),
        theirs::Expr::Binary(binary) => ExprKind::Binary(convert_binary(binary)?),
        theirs::Expr::Extension(_) => return Err(ParseError::new("unknown kind of expression")),
    };
    Ok(Expr::unplaced(kind))
}

fn duration_ms(duration: Duration) -> Result<i64, ParseError> {
    i64::try_from(duration.as_millis()).map_err(|_| ParseError::new("duration out of range"))
}

fn positive_ms(duration: Duration) -> Result<i64, ParseError> {
    match duration_ms(duration)? {
        0 => Err(ParseError::new("duration must be greater than 0")),
        ms => Ok(ms),
    }
}

fn offset_ms(offset: Option<&theirs::Offset>) -> Result<i64, ParseError> {
    match offset {
        None => Ok(0),
        Some(theirs::Offset::Pos(duration)) => duration_ms(*duration),
        Some(theirs::Offset::Neg(duration)) => Ok(-duration_ms(*duration)?),
    }
}

fn at(at: Option<&theirs::AtModifier>) -> Option<At> {
    Some(match at? {
        theirs::AtModifier::Start => At::Start,
        theirs::AtModifier::End => At::End,
        theirs::AtModifier::At(time) => At::Ms(epoch_ms(*time)),
    })
}

fn epoch_ms(time: SystemTime) -> i64 {
    let saturated = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => saturated(after),
        Err(before) => -saturated(before.duration()),
    }
}

fn vector_selector(selector: theirs::VectorSelector) -> Result<VectorSelector, ParseError> {
    if !selector.matchers.or_matchers.is_empty() {
        return Err(ParseError::new("unexpected \"or\" in label matching, expected \",\" or \"}\""));
    }
    let name = selector.name.filter(|name| !name.is_empty());
    let mut matchers: Vec<Matcher> = selector.matchers.matchers.iter().map(matcher).collect::<Result<_, _>>()?;
    if let Some(name) = &name {
        matchers.push(Matcher::equal(METRIC_NAME, name));
    }
    Ok(VectorSelector {
        name: name.map(Arc::from),
        matchers,
        offset_ms: offset_ms(selector.offset.as_ref())?,
        at: at(selector.at.as_ref()),
        ..VectorSelector::default()
    })
}

fn matcher(matcher: &TheirMatcher) -> Result<Matcher, ParseError> {
    let op = match matcher.op {
        TheirMatchOp::Equal => MatchOp::Equal,
        TheirMatchOp::NotEqual => MatchOp::NotEqual,
        TheirMatchOp::Re(_) => MatchOp::Regex,
        TheirMatchOp::NotRe(_) => MatchOp::NotRegex,
    };
    Matcher::try_new(&matcher.name, op, &matcher.value).map_err(|error| ParseError::new(error.to_string()))
}

fn convert_call(call: theirs::Call) -> Result<Call, ParseError> {
    let name = call.func.name;
    let function =
        Function::find(name).ok_or_else(|| ParseError::new(format!("unknown function with name {name:?}")))?;
    let arguments = call.args.args.into_iter().map(|argument| convert(*argument)).collect::<Result<_, _>>()?;
    Ok(Call { function, arguments })
}

fn shared(labels: &theirs::LabelModifier) -> (bool, Vec<Arc<str>>) {
    let include = labels.is_include();
    (include, labels.labels().labels.iter().map(|label| Arc::from(label.as_str())).collect())
}

fn convert_aggregate(aggregate: theirs::AggregateExpr) -> Result<Aggregate, ParseError> {
    let op = match aggregate.op.id() {
        token::T_SUM => AggregateOp::Sum,
        token::T_AVG => AggregateOp::Avg,
        token::T_MIN => AggregateOp::Min,
        token::T_MAX => AggregateOp::Max,
        token::T_COUNT => AggregateOp::Count,
        token::T_STDDEV => AggregateOp::Stddev,
        token::T_STDVAR => AggregateOp::Stdvar,
        token::T_GROUP => AggregateOp::Group,
        token::T_TOPK => AggregateOp::Topk,
        token::T_BOTTOMK => AggregateOp::Bottomk,
        token::T_QUANTILE => AggregateOp::Quantile,
        token::T_COUNT_VALUES => AggregateOp::CountValues,
        token::T_LIMITK => AggregateOp::Limitk,
        token::T_LIMIT_RATIO => AggregateOp::LimitRatio,
        _ => return Err(ParseError::new(format!("unknown aggregation {}", aggregate.op))),
    };
    let grouping = match aggregate.modifier.as_ref().map(shared) {
        None => Grouping::By(Vec::new()),
        Some((true, labels)) => Grouping::By(labels),
        Some((false, labels)) => Grouping::Without(labels),
    };
    let parameter = aggregate.param.map(|param| convert(*param)).transpose()?.map(Box::new);
    Ok(Aggregate { op, expr: Box::new(convert(*aggregate.expr)?), parameter, grouping })
}

fn convert_binary(binary: theirs::BinaryExpr) -> Result<Binary, ParseError> {
    let op = match binary.op.id() {
        token::T_ADD => BinaryOp::Add,
        token::T_SUB => BinaryOp::Sub,
        token::T_MUL => BinaryOp::Mul,
        token::T_DIV => BinaryOp::Div,
        token::T_MOD => BinaryOp::Mod,
        token::T_POW => BinaryOp::Pow,
        token::T_ATAN2 => BinaryOp::Atan2,
        token::T_EQLC => BinaryOp::Equal,
        token::T_NEQ => BinaryOp::NotEqual,
        token::T_GTR => BinaryOp::Greater,
        token::T_LSS => BinaryOp::Less,
        token::T_GTE => BinaryOp::GreaterEqual,
        token::T_LTE => BinaryOp::LessEqual,
        token::T_LAND => BinaryOp::And,
        token::T_LOR => BinaryOp::Or,
        token::T_LUNLESS => BinaryOp::Unless,
        _ => return Err(ParseError::new(format!("unknown operator {}", binary.op))),
    };
    let modifier = binary.modifier.unwrap_or_default();
    let (on, labels) = modifier.matching.as_ref().map(shared).unwrap_or_default();
    let (cardinality, include) = match modifier.card {
        _ if op.is_set() && !has_group(&modifier.card) => (Cardinality::ManyToMany, None),
        theirs::VectorMatchCardinality::OneToOne => (Cardinality::OneToOne, None),
        theirs::VectorMatchCardinality::ManyToOne(labels) => (Cardinality::ManyToOne, Some(labels)),
        theirs::VectorMatchCardinality::OneToMany(labels) => (Cardinality::OneToMany, Some(labels)),
        theirs::VectorMatchCardinality::ManyToMany => (Cardinality::ManyToMany, None),
    };
    let include = include.map(|labels| labels.labels.iter().map(|l| Arc::from(l.as_str())).collect());
    let fill = modifier.fill_values;
    Ok(Binary {
        op,
        left: Box::new(convert(*binary.lhs)?),
        right: Box::new(convert(*binary.rhs)?),
        returns_bool: modifier.return_bool,
        matching: Matching {
            cardinality,
            on,
            labels,
            include: include.unwrap_or_default(),
            fill_left: fill.lhs,
            fill_right: fill.rhs,
        },
    })
}

fn has_group(card: &theirs::VectorMatchCardinality) -> bool {
    matches!(card, theirs::VectorMatchCardinality::ManyToOne(_) | theirs::VectorMatchCardinality::OneToMany(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(operator: &str, length: usize) -> String {
        vec!["vector(1)"; length].join(operator)
    }

    #[test]
    fn depth_counts_chains_and_brackets_but_not_arguments() {
        assert!(depth_bound(&chain(" + ", 50)) >= 50);
        assert!(depth_bound(&chain(" or ", 50)) >= 49);
        assert!(depth_bound(&format!("{}1{}", "(".repeat(60), ")".repeat(60))) >= 60);
        assert!(depth_bound(r#"label_join(a, "+-+-+-+-(((((", "-", "b", "c", "d", "e")"#) < 5);
    }

    #[test]
    fn regular_expressions_are_bounded_together() {
        let bombs: Vec<String> = (0..2000).map(|n| format!(r#"a=~"\\pL{{0,90}}x{n}""#)).collect();
        let error = parse(&format!("x{{{}}}", bombs.join(","))).unwrap_err();
        assert!(error.to_string().contains("regular expressions"), "{error}");
    }

    #[test]
    fn what_is_too_deep_is_refused_and_the_rest_fits_the_stack() {
        assert!(parse(&chain(" + ", 5000)).is_err());
        assert!(parse(&format!("{}1{}", "(".repeat(5000), ")".repeat(5000))).is_err());
        assert!(parse(&format!("{}1", "-".repeat(5000))).is_err());
        assert!(parse(&chain(" + ", 100)).is_ok());
        assert!(parse(&format!("{}1{}", "(".repeat(140), ")".repeat(140))).is_ok());
    }
}
