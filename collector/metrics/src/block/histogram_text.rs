//! Native histograms as JSON, the form in which SQL reads them.
//!
//! Numbers that JSON does not have are texts: `"+Inf"`, `"-Inf"`, and a NaN as `"NaN:"` with its bits in hexadecimal, as
//! one of them marks that a series ended.

use serde_json::{Map, Value};
use tenantscope_model::{Histogram, ResetHint, Span, Spans};

use super::json::{self, Json};
use crate::chunk::Damaged;

const HINTS: [(ResetHint, &str); 4] = [
    (ResetHint::Unknown, ""),
    (ResetHint::CounterReset, "counter_reset"),
    (ResetHint::NotCounterReset, "not_counter_reset"),
    (ResetHint::Gauge, "gauge"),
];

/// What has its default is left out.
pub(crate) fn to_text(histogram: &Histogram) -> String {
    let mut text = Map::new();
    text.insert("count".to_owned(), number(histogram.count));
    text.insert("sum".to_owned(), number(histogram.sum));
    text.insert("schema".to_owned(), Value::from(histogram.schema));
    for (name, value) in [("zero_threshold", histogram.zero_threshold), ("zero_count", histogram.zero_count)] {
        if value.to_bits() != 0 {
            text.insert(name.to_owned(), number(value));
        }
    }
    for (name, side) in [("positive", &histogram.positive), ("negative", &histogram.negative)] {
        if *side != Spans::default() {
            let spans: Vec<Value> = side
                .spans
                .iter()
                .map(|span| Value::from(vec![Value::from(span.offset), Value::from(span.length)]))
                .collect();
            text.insert(name.to_owned(), serde_json::json!({"spans": spans, "counts": numbers(&side.counts)}));
        }
    }
    if !histogram.custom_bounds.is_empty() {
        text.insert("custom_bounds".to_owned(), numbers(&histogram.custom_bounds));
    }
    let hint = HINTS.iter().find(|(hint, _)| *hint == histogram.reset_hint);
    if let Some((_, word)) = hint.filter(|(_, word)| !word.is_empty()) {
        text.insert("reset_hint".to_owned(), Value::from(*word));
    }
    Value::Object(text).to_string()
}

/// The histogram again.
pub(crate) fn from_text(text: &[u8]) -> Result<Histogram, Damaged> {
    let text = json::parse(text)?;
    let hint = text.get("reset_hint").and_then(Json::text).unwrap_or_default();
    Ok(Histogram {
        schema: text.get("schema").and_then(integer).ok_or(Damaged("histogram without schema"))?,
        zero_threshold: float_of(text.get("zero_threshold"))?,
        zero_count: float_of(text.get("zero_count"))?,
        count: float_of(text.get("count"))?,
        sum: float_of(text.get("sum"))?,
        positive: side_of(text.get("positive"))?,
        negative: side_of(text.get("negative"))?,
        custom_bounds: floats_of(text.get("custom_bounds"))?,
        reset_hint: HINTS.iter().find(|(_, word)| *word == hint).map(|(hint, _)| *hint).unwrap_or_default(),
    })
}

fn number(value: f64) -> Value {
    const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;
    if value.is_nan() {
        return Value::from(format!("NaN:{:016x}", value.to_bits()));
    }
    if value.is_infinite() {
        return Value::from(if value > 0.0 { "+Inf" } else { "-Inf" });
    }
    let whole = value as i64;
    // Bits are compared so that -0.0 is not taken for 0.
    if value.abs() < MAX_WHOLE && (whole as f64).to_bits() == value.to_bits() {
        return Value::from(whole);
    }
    Value::from(value)
}

fn numbers(values: &[f64]) -> Value {
    values.iter().map(|value| number(*value)).collect()
}

fn integer(json: &Json) -> Option<i32> {
    let number = json.number()?;
    let whole = number as i32;
    (f64::from(whole) == number).then_some(whole)
}

fn length(json: &Json) -> Option<u32> {
    let number = json.number()?;
    let whole = number as u32;
    (f64::from(whole) == number).then_some(whole)
}

fn float_of(json: Option<&Json>) -> Result<f64, Damaged> {
    let Some(json) = json else { return Ok(0.0) };
    let named = || match json.text()? {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        other => u64::from_str_radix(other.strip_prefix("NaN:")?, 16).ok().map(f64::from_bits),
    };
    json.number().or_else(named).ok_or(Damaged("number in a histogram"))
}

fn floats_of(json: Option<&Json>) -> Result<Vec<f64>, Damaged> {
    let Some(json) = json else { return Ok(Vec::new()) };
    let numbers = json.list().ok_or(Damaged("numbers of a histogram"))?;
    numbers.iter().map(|number| float_of(Some(number))).collect()
}

fn side_of(json: Option<&Json>) -> Result<Spans, Damaged> {
    let Some(json) = json else { return Ok(Spans::default()) };
    let spans = json.get("spans").and_then(Json::list).ok_or(Damaged("spans of a histogram"))?;
    let span = |pair: &Json| match pair.list()? {
        [offset, count] => Some(Span { offset: integer(offset)?, length: length(count)? }),
        _ => None,
    };
    let spans = spans.iter().map(|pair| span(pair).ok_or(Damaged("span of a histogram")));
    Ok(Spans { spans: spans.collect::<Result<_, _>>()?, counts: floats_of(json.get("counts"))? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_number() -> impl Strategy<Value = f64> {
        prop_oneof![any::<u64>().prop_map(f64::from_bits), (0_u32..1000).prop_map(f64::from), Just(-0.0)]
    }

    fn side() -> impl Strategy<Value = Spans> {
        let spans = prop::collection::vec((any::<i32>(), any::<u32>()), 0..3);
        (spans, prop::collection::vec(any_number(), 0..6)).prop_map(|(spans, counts)| Spans {
            spans: spans.into_iter().map(|(offset, length)| Span { offset, length }).collect(),
            counts,
        })
    }

    fn bits(histogram: &Histogram) -> Vec<u64> {
        let Histogram { zero_threshold, zero_count, count, sum, positive, negative, custom_bounds, .. } = histogram;
        let single = [zero_threshold, zero_count, count, sum].into_iter();
        single.chain(&positive.counts).chain(&negative.counts).chain(custom_bounds).map(|f| f.to_bits()).collect()
    }

    proptest! {
        #[test]
        fn every_bit_comes_back(
            schema in any::<i32>(),
            numbers in prop::array::uniform4(any_number()),
            positive in side(),
            negative in side(),
            custom_bounds in prop::collection::vec(any_number(), 0..4),
            hint in 0_usize..4,
        ) {
            let [zero_threshold, zero_count, count, sum] = numbers;
            let reset_hint = HINTS[hint].0;
            let given = Histogram {
                schema, zero_threshold, zero_count, count, sum, positive, negative, custom_bounds, reset_hint,
            };
            let got = from_text(to_text(&given).as_bytes()).unwrap();
            prop_assert_eq!(bits(&got), bits(&given));
            prop_assert_eq!(&got.positive.spans, &given.positive.spans);
            prop_assert_eq!(&got.negative.spans, &given.negative.spans);
            prop_assert_eq!((got.schema, got.reset_hint), (given.schema, given.reset_hint));
        }

        #[test]
        fn damaged_text_never_panics(text in ".{0,60}") {
            let _ = from_text(text.as_bytes());
        }
    }
}
