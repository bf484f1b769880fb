//! Series and the values that a script gives them.

use regex::Regex;
use tenantscope_model::{Histogram, Labels, LabelsBuilder, MatchOp, ResetHint, Span, Spans, stale_nan};
use tenantscope_promql::{ExprKind, histogram_added, histogram_subtracted, parse};

/// A value of a sequence.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Point {
    Omitted,
    Float(f64),
    Histogram {
        histogram: Box<Histogram>,
        /// Whether the script says what the histogram says of its counter.
        hinted: bool,
    },
}

/// `name{labels} values`.
pub(crate) fn parse_line(line: &str) -> Result<(Labels, Vec<Point>), String> {
    let (selector, values) = split(line)?;
    Ok((labels(selector)?, points(values)?))
}

/// Where the selector ends: at its closing brace, or at the first space.
fn split(line: &str) -> Result<(&str, &str), String> {
    let (mut quote, mut escaped, mut depth) = (None, false, 0usize);
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some(q), '\\') if !escaped && q != '`' => {
                escaped = true;
                continue;
            }
            (Some(q), c) if c == q && !escaped => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') if depth == 1 => return Ok((&line[..=at], line[at + 1..].trim())),
            (None, ' ' | '\t') if depth == 0 => {
                let rest = line[at..].trim_start();
                if !rest.starts_with('{') || rest.starts_with("{{") {
                    return Ok((&line[..at], rest));
                }
            }
            _ => {}
        }
        escaped = false;
    }
    if depth == 0 && !line.is_empty() { Ok((line, "")) } else { Err(format!("cannot read series {line:?}")) }
}

/// The labels of a selector that has only `=`.
pub(crate) fn labels(selector: &str) -> Result<Labels, String> {
    if selector.trim() == "{}" {
        return Ok(Labels::default());
    }
    let expr = parse(selector).map_err(|error| format!("{selector}: {error}"))?;
    let ExprKind::Vector(selector) = expr.kind else { return Err(format!("{selector} is no series")) };
    let mut builder = LabelsBuilder::default();
    for matcher in &selector.matchers {
        if matcher.op() != MatchOp::Equal {
            return Err(format!("{matcher} is no label"));
        }
        builder.set(matcher.name(), matcher.value());
    }
    Ok(builder.build())
}

/// A sequence such as `1+2x3 _ stale {{…}}x2`.
pub(crate) fn points(text: &str) -> Result<Vec<Point>, String> {
    let mut points = Vec::new();
    for token in tokens(text) {
        expand(&token, &mut points)?;
    }
    Ok(points)
}

/// Tokens between spaces, where `{{…}}` is one.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let (mut token, mut depth) = (String::new(), 0usize);
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c.is_whitespace() && depth == 0 {
            if !token.is_empty() {
                tokens.push(std::mem::take(&mut token));
            }
        } else {
            token.push(c);
        }
    }
    if !token.is_empty() {
        tokens.push(token);
    }
    tokens
}

fn expand(token: &str, points: &mut Vec<Point>) -> Result<(), String> {
    if token.starts_with("{{") {
        return expand_histogram(token, points);
    }
    let wrong = || format!("cannot read value {token:?}");
    if let Some(rest) = token.strip_prefix('_') {
        let count = rest.strip_prefix('x').map_or(Ok(1), str::parse::<usize>).map_err(|_| wrong())?;
        points.extend(std::iter::repeat_n(Point::Omitted, count));
        return Ok(());
    }
    if let Some(rest) = token.strip_prefix("stale") {
        let times = rest.strip_prefix('x').map_or(Ok(0), str::parse::<usize>).map_err(|_| wrong())?;
        points.extend(std::iter::repeat_n(Point::Float(stale_nan()), times + 1));
        return Ok(());
    }
    let number = r"(?i:[-+]?(?:nan|inf|\d+\.?\d*(?:e[-+]?\d+)?|\.\d+(?:e[-+]?\d+)?))";
    let pattern = Regex::new(&format!("^({number})(?:((?:[-+]){number})?x(\\d+))?$")).map_err(|e| e.to_string())?;
    let captures = pattern.captures(token).ok_or_else(wrong)?;
    let mut value = float(&captures[1]).ok_or_else(wrong)?;
    let step = captures.get(2).map_or(Some(0.0), |step| float(step.as_str())).ok_or_else(wrong)?;
    let times: usize = captures.get(3).map_or(Ok(0), |times| times.as_str().parse()).map_err(|_| wrong())?;
    for _ in 0..=times {
        points.push(Point::Float(value));
        if captures.get(2).is_some() {
            value += step;
        }
    }
    Ok(())
}

/// A number as PromQL writes it.
pub(crate) fn float(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    let (sign, digits) = match lower.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, lower.strip_prefix('+').unwrap_or(&lower)),
    };
    let value = match digits {
        "nan" => f64::NAN,
        "inf" => f64::INFINITY,
        _ => match digits.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16).ok()? as f64,
            None => digits.parse().ok()?,
        },
    };
    Some(sign * value)
}

fn expand_histogram(token: &str, points: &mut Vec<Point>) -> Result<(), String> {
    let wrong = || format!("cannot read histogram {token:?}");
    let end = token.find("}}").ok_or_else(wrong)?;
    let (start, start_hinted) = histogram(&token[2..end])?;
    let rest = &token[end + 2..];
    let (step, repeat) = match rest.chars().next() {
        None => (None, None),
        Some('x') => (None, Some(&rest[1..])),
        Some(sign @ ('+' | '-')) => {
            let inner = rest[1..].strip_prefix("{{").ok_or_else(wrong)?;
            let end = inner.find("}}").ok_or_else(wrong)?;
            let step = histogram(&inner[..end])?;
            (Some((sign, step)), Some(inner[end + 2..].strip_prefix('x').ok_or_else(wrong)?))
        }
        Some(_) => return Err(wrong()),
    };
    let times: usize = repeat.map_or(Ok(0), str::parse).map_err(|_| wrong())?;
    let hinted = step.as_ref().map_or(start_hinted, |(_, (_, hinted))| *hinted);
    let mut current = start;
    for index in 0..=times {
        if let Some((sign, (step, _))) = step.as_ref().filter(|_| index > 0) {
            if current.schema > step.schema {
                return Err(format!("cannot merge from schema {} to {}", step.schema, current.schema));
            }
            let combined =
                if *sign == '+' { histogram_added(&current, step) } else { histogram_subtracted(&current, step) };
            current = combined.map_err(|_| wrong())?.histogram;
        }
        points.push(Point::Histogram { histogram: Box::new(current.clone()), hinted });
    }
    Ok(())
}

/// What stands between `{{` and `}}`, and whether that says something of the counter.
fn histogram(text: &str) -> Result<(Histogram, bool), String> {
    let pattern = Regex::new(r"([a-z_]+):\s*(\[[^\]]*\]|\S+)").map_err(|error| error.to_string())?;
    let mut histogram = Histogram::default();
    let (mut offset, mut negative_offset, mut hinted) = (0, 0, false);
    for captures in pattern.captures_iter(text) {
        let value = &captures[2];
        let wrong = || format!("cannot read {value:?} of a histogram");
        let number = || float(value).ok_or_else(wrong);
        let list = || -> Result<Vec<f64>, String> {
            let inner = value.trim_matches(['[', ']']);
            inner.split_whitespace().map(|v| float(v).ok_or_else(wrong)).collect()
        };
        match &captures[1] {
            "schema" => histogram.schema = value.parse().map_err(|_| wrong())?,
            "sum" => histogram.sum = number()?,
            "count" => histogram.count = number()?,
            "z_bucket" => histogram.zero_count = number()?,
            "z_bucket_w" => histogram.zero_threshold = number()?,
            "custom_values" => histogram.custom_bounds = list()?,
            "buckets" => histogram.positive.counts = list()?,
            "n_buckets" => histogram.negative.counts = list()?,
            "offset" => offset = value.parse().map_err(|_| wrong())?,
            "n_offset" => negative_offset = value.parse().map_err(|_| wrong())?,
            "counter_reset_hint" => {
                hinted = true;
                histogram.reset_hint = hint(value).ok_or_else(wrong)?;
            }
            other => return Err(format!("unknown part {other:?} of a histogram")),
        }
    }
    let place = |side: &mut Spans, offset: i32| {
        if !side.counts.is_empty() {
            side.spans = vec![Span { offset, length: side.counts.len() as u32 }];
        }
    };
    place(&mut histogram.positive, offset);
    place(&mut histogram.negative, negative_offset);
    Ok((histogram, hinted))
}

fn hint(text: &str) -> Option<ResetHint> {
    Some(match text {
        "unknown" => ResetHint::Unknown,
        "reset" => ResetHint::CounterReset,
        "not_reset" => ResetHint::NotCounterReset,
        "gauge" => ResetHint::Gauge,
        _ => return None,
    })
}
