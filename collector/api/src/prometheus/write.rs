//! Query results as JSON, written without a tree of values in between.

use std::io::Write as _;

use tenantscope_model::{Histogram, Labels};
use tenantscope_promql::{Answer, Element, PointValue, Series, Value, histogram_buckets, number_text};

/// What a query used, for `stats`.
pub(super) struct Stats {
    pub(super) samples: u64,
    pub(super) seconds: f64,
}

/// A whole success body.
pub(super) fn answer(answer: &Answer, warnings: &[String], stats: Option<&Stats>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(br#"{"status":"success","data":{"resultType":""#);
    let kind = match &answer.value {
        Value::Scalar(_) => "scalar",
        Value::String { .. } => "string",
        Value::Vector(_) => "vector",
        Value::Matrix(_) => "matrix",
    };
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(br#"","result":"#);
    match &answer.value {
        Value::Scalar(sample) => pair(&mut out, sample.t_ms, &number(sample.value)),
        Value::String { t_ms, text } => pair(&mut out, *t_ms, text),
        Value::Vector(elements) => list(&mut out, b'[', b']', elements, element),
        Value::Matrix(all) => list(&mut out, b'[', b']', all, series),
    }
    if let Some(stats) = stats {
        let _ = write!(
            out,
            r#","stats":{{"timings":{{"evalTotalTime":{}}},"samples":{{"totalQueryableSamples":{},"peakSamples":{}}}}}"#,
            stats.seconds, stats.samples, stats.samples
        );
    }
    out.push(b'}');
    strings(&mut out, "warnings", warnings);
    strings(&mut out, "infos", &answer.infos);
    out.push(b'}');
    out
}

fn strings(out: &mut Vec<u8>, name: &str, texts: &[String]) {
    if !texts.is_empty() {
        let _ = write!(out, ",\"{name}\":");
        list(out, b'[', b']', texts, |out, text| string(out, text));
    }
}

fn list<T>(
    out: &mut Vec<u8>,
    open: u8,
    close: u8,
    items: impl IntoIterator<Item = T>,
    write: impl Fn(&mut Vec<u8>, T),
) {
    out.push(open);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(close);
}

fn string(out: &mut Vec<u8>, text: &str) {
    // A string always serializes, and a vector always takes it.
    let _ = serde_json::to_writer(out, text);
}

fn metric(out: &mut Vec<u8>, labels: &Labels) {
    list(out, b'{', b'}', labels, |out, label| {
        string(out, &label.name);
        out.push(b':');
        string(out, &label.value);
    });
}

fn element(out: &mut Vec<u8>, element: &Element) {
    out.extend_from_slice(br#"{"metric":"#);
    metric(out, &element.labels);
    match &element.value {
        PointValue::Float(value) => {
            out.extend_from_slice(br#","value":"#);
            pair(out, element.t_ms, &number(*value));
        }
        PointValue::Histogram(histogram) => {
            out.extend_from_slice(br#","histogram":"#);
            histogram_pair(out, element.t_ms, histogram);
        }
    }
    out.push(b'}');
}

fn series(out: &mut Vec<u8>, series: &Series) {
    out.extend_from_slice(br#"{"metric":"#);
    metric(out, &series.labels);
    if !series.floats.is_empty() {
        out.extend_from_slice(br#","values":"#);
        list(out, b'[', b']', &series.floats, |out, sample| pair(out, sample.t_ms, &number(sample.value)));
    }
    if !series.histograms.is_empty() {
        out.extend_from_slice(br#","histograms":"#);
        list(out, b'[', b']', &series.histograms, |out, sample| histogram_pair(out, sample.t_ms, &sample.histogram));
    }
    out.push(b'}');
}

fn seconds(out: &mut Vec<u8>, t_ms: i64) {
    let sign = if t_ms < 0 { "-" } else { "" };
    let ms = t_ms.unsigned_abs();
    let _ = match ms % 1000 {
        0 => write!(out, "{sign}{}", ms / 1000),
        fraction => write!(out, "{sign}{}.{fraction:03}", ms / 1000),
    };
    if !ms.is_multiple_of(1000) {
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

fn pair(out: &mut Vec<u8>, t_ms: i64, text: &str) {
    out.push(b'[');
    seconds(out, t_ms);
    out.push(b',');
    string(out, text);
    out.push(b']');
}

/// A number as Prometheus's JSON has it: exponents of one digit where one is enough.
pub(super) fn number(value: f64) -> String {
    let text = number_text(value);
    match text.split_once("e-0") {
        Some((mantissa, digit)) => format!("{mantissa}e-{digit}"),
        None => text,
    }
}

fn histogram_pair(out: &mut Vec<u8>, t_ms: i64, histogram: &Histogram) {
    out.push(b'[');
    seconds(out, t_ms);
    let _ = write!(out, r#",{{"count":"{}","sum":"{}""#, number(histogram.count), number(histogram.sum));
    let buckets: Vec<_> = histogram_buckets(histogram).into_iter().filter(|bucket| bucket.count != 0.0).collect();
    if !buckets.is_empty() {
        out.extend_from_slice(br#","buckets":"#);
        list(out, b'[', b']', buckets, |out, bucket| {
            // 0: open on the left; 1: open on the right; 3: closed.
            let custom = !histogram.custom_bounds.is_empty() || histogram.schema == -53;
            let bounds = match (bucket.lower < 0.0, bucket.upper > 0.0) {
                _ if custom => 0,
                (true, true) => 3,
                (true, false) => 1,
                (false, _) => 0,
            };
            let [lower, upper, count] = [bucket.lower, bucket.upper, bucket.count].map(number);
            let _ = write!(out, r#"[{bounds},"{lower}","{upper}","{count}"]"#);
        });
    }
    out.extend_from_slice(b"}]");
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenantscope_model::Sample;

    fn text(value: Value) -> String {
        let made = Answer { value, warnings: Vec::new(), infos: Vec::new() };
        String::from_utf8(answer(&made, &[], None)).unwrap()
    }

    #[test]
    fn numbers_and_times_read_as_prometheus_writes_them() {
        let scalar = |t_ms, value| text(Value::Scalar(Sample { t_ms, value }));
        let expected = r#"{"status":"success","data":{"resultType":"scalar","result":[1435781430.78,"1e-7"]}}"#;
        assert_eq!(scalar(1_435_781_430_780, 1e-7), expected);
        assert!(scalar(-1500, f64::INFINITY).contains(r#"[-1.5,"+Inf"]"#));
        assert!(scalar(1000, 1e21).contains(r#"[1,"1e+21"]"#));
    }

    #[test]
    fn vectors_carry_labels() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a\"b")]);
        let vector = Value::Vector(vec![Element { labels, t_ms: 0, value: PointValue::Float(1.0) }]);
        assert!(text(vector).contains(r#"{"metric":{"__name__":"up","job":"a\"b"},"value":[0,"1"]}"#));
    }

    #[test]
    fn native_histograms_show_their_buckets() {
        use tenantscope_model::{HistogramSample, Span, Spans};
        let side = |counts: &[f64]| Spans { spans: vec![Span { offset: 0, length: 2 }], counts: counts.to_vec() };
        let histogram = Histogram {
            zero_threshold: 0.001,
            zero_count: 2.0,
            count: 7.0,
            sum: 1.5,
            positive: side(&[1.0, 0.0]),
            negative: side(&[0.0, 4.0]),
            ..Histogram::default()
        };
        let histograms = vec![HistogramSample { t_ms: 1500, histogram: histogram.into() }];
        let series = Series { labels: Labels::default(), floats: Vec::new(), histograms };
        let expected = r#"{"metric":{},"histograms":[[1.5,{"count":"7","sum":"1.5","buckets":[[1,"-2","-1","4"],[3,"-0.001","0.001","2"],[0,"0.5","1","1"]]}]]}"#;
        assert!(text(Value::Matrix(vec![series])).contains(expected));
    }
}
