//! Query results as JSON, a piece at a time, without a tree of values in between.

use std::sync::Arc;

use tenantscope_model::{Histogram, HistogramSample, Labels, QueryBudget, Sample};
use tenantscope_promql::{Answer, Element, PointValue, Series, Value, histogram_buckets};

use super::body::Pieces;
use super::numbers;
use super::stats::Stats;

/// Points between two looks at how long the frame is.
const POINTS: usize = 512;

/// Native histograms, which are longer.
const HISTOGRAMS: usize = 16;

/// Warnings, and likewise infos, of one answer; of the others only the number is told.
const MAX_NOTES: usize = 10;

/// A query's answer, from the opening brace to the closing one. What was written gives its memory back.
pub(super) struct AnswerPieces {
    rest: Rest,
    tail: Vec<u8>,
    budget: Arc<QueryBudget>,
}

enum Rest {
    Start(Value),
    Vector(std::vec::IntoIter<Element>),
    Matrix(std::vec::IntoIter<Series>, Option<Begun>),
    Tail,
    End,
}

/// A series of which a part is written.
struct Begun {
    series: Series,
    floats: usize,
    histograms: usize,
}

impl AnswerPieces {
    /// An answer. The bytes that it holds must have been taken from the budget ([`Value::held_bytes`]).
    pub(super) fn new(answer: Answer, stats: Option<&Stats>, budget: Arc<QueryBudget>) -> Self {
        let mut tail = Vec::new();
        if let Some(stats) = stats {
            tail.extend_from_slice(b",\"stats\":");
            stats.write(&mut tail);
        }
        tail.push(b'}');
        notes(&mut tail, "warnings", "warning", &answer.warnings);
        notes(&mut tail, "infos", "info", &answer.infos);
        tail.push(b'}');
        Self { rest: Rest::Start(answer.value), tail, budget }
    }
}

impl Pieces for AnswerPieces {
    fn next_piece(&mut self, out: &mut Vec<u8>) -> bool {
        match std::mem::replace(&mut self.rest, Rest::End) {
            Rest::Start(value) => self.rest = start(out, value),
            Rest::Vector(mut elements) => {
                for _ in 0..POINTS {
                    let Some(one) = elements.next() else { break };
                    element(out, &one);
                    if elements.len() > 0 {
                        out.push(b',');
                    }
                }
                self.rest = if elements.len() > 0 { Rest::Vector(elements) } else { closed(out) };
            }
            Rest::Matrix(mut left, begun) => {
                let next = || left.next().map(|series| begin(out, series));
                let Some(mut begun) = begun.or_else(next) else {
                    self.rest = closed(out);
                    return true;
                };
                if begun.write(out) {
                    self.budget.give_back_bytes(begun.series.held_bytes());
                    if left.len() > 0 {
                        out.push(b',');
                    }
                    self.rest = Rest::Matrix(left, None);
                } else {
                    self.rest = Rest::Matrix(left, Some(begun));
                }
            }
            Rest::Tail => out.append(&mut self.tail),
            Rest::End => return false,
        }
        true
    }
}

fn closed(out: &mut Vec<u8>) -> Rest {
    out.push(b']');
    Rest::Tail
}

fn start(out: &mut Vec<u8>, value: Value) -> Rest {
    out.extend_from_slice(br#"{"status":"success","data":{"resultType":""#);
    let kind = match &value {
        Value::Scalar(_) => "scalar",
        Value::String { .. } => "string",
        Value::Vector(_) => "vector",
        Value::Matrix(_) => "matrix",
    };
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(br#"","result":["#);
    match value {
        Value::Scalar(sample) => {
            numbers::scalar_time(out, sample.t_ms);
            out.extend_from_slice(b",\"");
            numbers::scalar(out, sample.value);
            out.push(b'"');
            closed(out)
        }
        Value::String { t_ms, text } => {
            numbers::scalar_time(out, t_ms);
            out.push(b',');
            string(out, &text);
            closed(out)
        }
        Value::Vector(elements) => Rest::Vector(elements.into_iter()),
        Value::Matrix(all) => Rest::Matrix(all.into_iter(), None),
    }
}

fn begin(out: &mut Vec<u8>, series: Series) -> Begun {
    out.extend_from_slice(br#"{"metric":"#);
    metric(out, &series.labels);
    Begun { series, floats: 0, histograms: 0 }
}

impl Begun {
    /// Writes a part of what is left; whether that was all of it.
    fn write(&mut self, out: &mut Vec<u8>) -> bool {
        let Self { series, floats, histograms } = self;
        some(out, "values", &series.floats, floats, POINTS, point);
        if *floats == series.floats.len() {
            some(out, "histograms", &series.histograms, histograms, HISTOGRAMS, histogram_point);
        }
        let all = *floats == series.floats.len() && *histograms == series.histograms.len();
        if all {
            out.push(b'}');
        }
        all
    }
}

/// Writes up to `most` of a list's items, with the list's name before the first and its end behind the last.
fn some<T>(out: &mut Vec<u8>, name: &str, all: &[T], done: &mut usize, most: usize, write: impl Fn(&mut Vec<u8>, &T)) {
    let end = all.len().min(*done + most);
    for (at, item) in all.iter().enumerate().take(end).skip(*done) {
        if at == 0 {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":[");
        } else {
            out.push(b',');
        }
        write(out, item);
    }
    if end == all.len() && *done < end {
        out.push(b']');
    }
    *done = end;
}

/// Warnings or infos, if there are any.
pub(super) fn notes(out: &mut Vec<u8>, name: &str, one: &str, texts: &[String]) {
    if texts.is_empty() {
        return;
    }
    out.extend_from_slice(format!(",\"{name}\":[").as_bytes());
    for (at, text) in texts.iter().take(MAX_NOTES).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(out, text);
    }
    if texts.len() > MAX_NOTES {
        let omitted = texts.len() - MAX_NOTES;
        out.extend_from_slice(format!(",\"{omitted} more {one} annotations omitted\"").as_bytes());
    }
    out.push(b']');
}

/// A string of JSON.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    // A string always serializes, and a vector always takes it.
    let _ = serde_json::to_writer(out, text);
}

/// Labels as an object.
pub(super) fn metric(out: &mut Vec<u8>, labels: &Labels) {
    out.push(b'{');
    for (at, label) in labels.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(out, &label.name);
        out.push(b':');
        string(out, &label.value);
    }
    out.push(b'}');
}

fn element(out: &mut Vec<u8>, element: &Element) {
    out.extend_from_slice(br#"{"metric":"#);
    metric(out, &element.labels);
    match &element.value {
        PointValue::Float(value) => {
            out.extend_from_slice(br#","value":"#);
            point(out, &Sample { t_ms: element.t_ms, value: *value });
        }
        PointValue::Histogram(histogram) => {
            out.extend_from_slice(br#","histogram":"#);
            timed_histogram(out, element.t_ms, histogram);
        }
    }
    out.push(b'}');
}

fn point(out: &mut Vec<u8>, sample: &Sample) {
    out.push(b'[');
    numbers::point_time(out, sample.t_ms);
    out.push(b',');
    quoted(out, sample.value);
    out.push(b']');
}

/// A number in quotes.
pub(super) fn quoted(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    numbers::value(out, value);
    out.push(b'"');
}

fn histogram_point(out: &mut Vec<u8>, sample: &HistogramSample) {
    timed_histogram(out, sample.t_ms, &sample.histogram);
}

fn timed_histogram(out: &mut Vec<u8>, t_ms: i64, histogram: &Histogram) {
    out.push(b'[');
    numbers::point_time(out, t_ms);
    out.extend_from_slice(b",{\"count\":");
    quoted(out, histogram.count);
    out.extend_from_slice(b",\"sum\":");
    quoted(out, histogram.sum);
    let buckets = histogram_buckets(histogram).into_iter().filter(|bucket| bucket.count != 0.0);
    let mut has_buckets = false;
    for bucket in buckets {
        out.extend_from_slice(if has_buckets { b",[" } else { b",\"buckets\":[[" });
        has_buckets = true;
        out.push(match (bucket.includes_lower(histogram), bucket.includes_upper(histogram)) {
            (false, true) => b'0',
            (true, false) => b'1',
            (false, false) => b'2',
            (true, true) => b'3',
        });
        for number in [bucket.lower, bucket.upper, bucket.count] {
            out.push(b',');
            quoted(out, number);
        }
        out.push(b']');
    }
    out.extend_from_slice(if has_buckets { b"]}]" } else { b"}]" });
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tenantscope_model::{Span, Spans};

    use super::*;

    fn text_of(answer: Answer) -> String {
        let budget = Arc::new(QueryBudget::new(Instant::now() + Duration::from_secs(60), 1));
        let mut pieces = AnswerPieces::new(answer, None, budget);
        let mut out = Vec::new();
        while pieces.next_piece(&mut out) {}
        String::from_utf8(out).unwrap()
    }

    fn text(value: Value) -> String {
        text_of(Answer { value, warnings: Vec::new(), infos: Vec::new() })
    }

    #[test]
    fn scalars_and_strings_are_pairs() {
        let scalar = |t_ms, value| text(Value::Scalar(Sample { t_ms, value }));
        let expected = r#"{"status":"success","data":{"resultType":"scalar","result":[1435781430.78,"0.0000001"]}}"#;
        assert_eq!(scalar(1_435_781_430_780, 1e-7), expected);
        assert!(scalar(-1500, f64::INFINITY).contains(r#"[-1.5,"+Inf"]"#));
        let string = text(Value::String { t_ms: 0, text: "a\"b".into() });
        assert!(string.contains(r#""resultType":"string","result":[0,"a\"b"]"#), "{string}");
    }

    #[test]
    fn vectors_carry_labels() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a\"b")]);
        let element = Element { labels, t_ms: 1500, value: PointValue::Float(1e21) };
        assert!(
            text(Value::Vector(vec![element]))
                .contains(r#"{"metric":{"__name__":"up","job":"a\"b"},"value":[1.500,"1e+21"]}"#)
        );
        assert!(text(Value::Vector(Vec::new())).contains(r#""result":[]}"#));
    }

    #[test]
    fn many_long_series_are_written_whole() {
        let floats = |count: i64| (0..count).map(|at| Sample { t_ms: at * 1000, value: at as f64 }).collect();
        let one = |count| Series { labels: Labels::default(), floats: floats(count), histograms: Vec::new() };
        let counts = [1, POINTS as i64, POINTS as i64 + 1, 5 * POINTS as i64];
        let written: serde_json::Value = serde_json::from_str(&text(Value::Matrix(counts.map(one).into()))).unwrap();
        let lengths =
            written["data"]["result"].as_array().unwrap().iter().map(|s| s["values"].as_array().unwrap().len() as i64);
        assert_eq!(lengths.collect::<Vec<_>>(), counts);
    }

    #[test]
    fn notes_past_ten_are_counted() {
        let notes = |count: usize| (0..count).map(|at| format!("note {at}")).collect::<Vec<_>>();
        let made = Answer { value: Value::Vector(Vec::new()), warnings: notes(13), infos: notes(1) };
        let written: serde_json::Value = serde_json::from_str(&text_of(made)).unwrap();
        let warnings = written["warnings"].as_array().unwrap();
        assert_eq!((warnings.len(), warnings[10].as_str()), (11, Some("3 more warning annotations omitted")));
        assert_eq!(written["infos"], serde_json::json!(["note 0"]));
    }

    fn buckets(histogram: Histogram) -> serde_json::Value {
        let histograms = vec![HistogramSample { t_ms: 1500, histogram: histogram.into() }];
        let series = Series { labels: Labels::default(), floats: Vec::new(), histograms };
        let written: serde_json::Value = serde_json::from_str(&text(Value::Matrix(vec![series]))).unwrap();
        let sample = written["data"]["result"][0]["histograms"][0].clone();
        assert_eq!((&sample[0], &sample[1]["count"], &sample[1]["sum"]), (&1.5.into(), &"7".into(), &"1.5".into()));
        sample[1]["buckets"].clone()
    }

    fn side(counts: &[f64]) -> Spans {
        Spans { spans: vec![Span { offset: 0, length: counts.len() as u32 }], counts: counts.to_vec() }
    }

    #[test]
    fn native_histograms_show_their_buckets() {
        let (positive, negative) = (side(&[1.0, 0.0]), side(&[0.0, 4.0]));
        let narrow = Histogram { zero_count: 2.0, count: 7.0, sum: 1.5, positive, negative, ..Histogram::default() };
        let zero_at = |zero_threshold| buckets(Histogram { zero_threshold, ..narrow.clone() });
        let around =
            |lower, upper| serde_json::json!([[1, "-2", "-1", "4"], [3, lower, upper, "2"], [0, "0.5", "1", "1"]]);
        assert_eq!(zero_at(0.001), around("-0.001", "0.001"));
        assert_eq!(zero_at(0.0), around("-0", "0"), "the zero bucket is closed even where it has no width");
    }

    #[test]
    fn the_first_custom_bucket_is_closed() {
        let positive = side(&[3.0, 2.0, 2.0]);
        let custom_bounds = vec![-1.0, 2.5];
        let custom = Histogram { schema: -53, custom_bounds, count: 7.0, sum: 1.5, positive, ..Histogram::default() };
        let expected = serde_json::json!([[3, "-Inf", "-1", "3"], [0, "-1", "2.5", "2"], [0, "2.5", "+Inf", "2"]]);
        assert_eq!(buckets(custom), expected);
    }
}
