//! The exposition formats: text, and protobuf messages with their lengths before them.

use std::io::Write as _;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use prost::Message as _;
use tenantscope_model::{Histogram, Labels, METRIC_NAME, QueryBudget, ResetHint};
use tenantscope_promql::PointValue;

use super::body::Pieces;
use super::escaping::{Escaping, is_legacy_name};
use super::messages;
use super::numbers;

/// Series between two looks at how long the frame is; also the most of one protobuf message.
const SERIES: usize = 256;

/// The label that every scraped series has; where it is absent the scraper must not add its own.
const INSTANCE: &str = "instance";

/// A series with its newest sample.
#[derive(Debug)]
pub(super) struct Exposed {
    /// The labels, with a name.
    pub(super) labels: Labels,
    /// The sample's time.
    pub(super) t_ms: i64,
    /// The sample's value.
    pub(super) value: PointValue,
}

/// What a scraper reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    encoding: Encoding,
    escaping: Escaping,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Text(&'static str),
    Protobuf,
}

const DEFAULT: Encoding = Encoding::Text("0.0.4");

impl Format {
    /// The first format in the order of the client's preference that we write; text if there is none.
    pub(super) fn negotiated(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
        let mut clauses: Vec<Clause<'_>> = accept.split(',').map(Clause::of).collect();
        clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
        let mut escaping = Escaping::Underscores;
        for clause in clauses {
            escaping = match clause.parameter("escaping") {
                Some("allow-utf-8") => Escaping::None,
                Some("underscores") => Escaping::Underscores,
                Some("dots") => Escaping::Dots,
                Some("values") => Escaping::Values,
                _ => escaping,
            };
            if let Some(encoding) = clause.encoding() {
                return Self { encoding, escaping };
            }
        }
        Self { encoding: DEFAULT, escaping }
    }

    /// The header that names it.
    pub(super) fn content_type(self) -> String {
        let escaping = match self.escaping {
            Escaping::None => "allow-utf-8",
            Escaping::Underscores => "underscores",
            Escaping::Dots => "dots",
            Escaping::Values => "values",
        };
        match self.encoding {
            Encoding::Text(version) => format!("text/plain; version={version}; charset=utf-8; escaping={escaping}"),
            Encoding::Protobuf => format!(
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; \
                 escaping={escaping}"
            ),
        }
    }
}

/// One part of an `Accept` header.
struct Clause<'a> {
    media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl<'a> Clause<'a> {
    fn of(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or("");
        let pair =
            |part: &'a str| part.split_once('=').map(|(name, value)| (name.trim(), value.trim().trim_matches('"')));
        let parameters: Vec<_> = parts.filter_map(pair).collect();
        let quality = parameters.iter().find(|(name, _)| *name == "q").and_then(|(_, value)| value.parse().ok());
        Self { media_type, parameters, quality: quality.unwrap_or(1.0) }
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(given, _)| *given == name).map(|(_, value)| *value)
    }

    fn encoding(&self) -> Option<Encoding> {
        let is = |name, value| self.parameter(name) == Some(value);
        match self.media_type {
            "application/vnd.google.protobuf" => {
                let known = is("proto", "io.prometheus.client.MetricFamily") && is("encoding", "delimited");
                known.then_some(Encoding::Protobuf)
            }
            "text/plain" => match self.parameter("version") {
                None | Some("0.0.4") => Some(DEFAULT),
                Some("1.0.0") => Some(Encoding::Text("1.0.0")),
                Some(_) => None,
            },
            _ => None,
        }
    }
}

/// Series in a format.
pub(super) struct ExpositionPieces {
    series: std::iter::Peekable<std::vec::IntoIter<Exposed>>,
    format: Format,
    /// The family that is being written.
    family: Option<(Arc<str>, Kind)>,
    budget: Arc<QueryBudget>,
}

/// What a family is told to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Untyped,
    Histogram,
    GaugeHistogram,
}

impl Exposed {
    fn kind(&self) -> Kind {
        match &self.value {
            PointValue::Float(_) => Kind::Untyped,
            PointValue::Histogram(histogram) if histogram.reset_hint == ResetHint::Gauge => Kind::GaugeHistogram,
            PointValue::Histogram(_) => Kind::Histogram,
        }
    }

    /// The labels but for the name; `instance` is there even if it is empty.
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let given = self.labels.iter().filter(|label| &*label.name != METRIC_NAME);
        let missing = self.labels.get(INSTANCE).is_none().then_some((INSTANCE, ""));
        given.map(|label| (&*label.name, &*label.value)).chain(missing)
    }
}

impl ExpositionPieces {
    /// Series, which must be sorted by name. The bytes that they hold must have been taken from the budget.
    pub(super) fn new(series: Vec<Exposed>, format: Format, budget: Arc<QueryBudget>) -> Self {
        Self { series: series.into_iter().peekable(), format, family: None, budget }
    }

    fn text(&mut self, out: &mut Vec<u8>) {
        for _ in 0..SERIES {
            let Some(series) = self.series.next() else { return };
            self.budget.give_back_bytes(size_of::<Exposed>());
            let classic = match &series.value {
                // The text format has no native histograms, but what has bounds of its own can be a classic one.
                PointValue::Histogram(histogram) if histogram.custom_bounds.is_empty() => continue,
                PointValue::Histogram(histogram) => Some(histogram),
                PointValue::Float(_) => None,
            };
            let Some(name) = series.labels.shared(METRIC_NAME).cloned() else { continue };
            let kind = series.kind();
            let text = TextName(self.format.escaping.name(&name));
            if self.family.as_ref().is_none_or(|(last, last_kind)| *last != name || *last_kind != kind) {
                let _ = writeln!(out, "# TYPE {} {}", text.quoted_if_needed(), kind.word());
                self.family = Some((name, kind));
            }
            match classic {
                None => self.line(out, &text, "", &series, None, |out| {
                    if let PointValue::Float(value) = series.value {
                        numbers::exposed(out, value);
                    }
                }),
                Some(histogram) => self.classic(out, &text, &series, histogram),
            }
        }
    }

    fn classic(&self, out: &mut Vec<u8>, name: &TextName, series: &Exposed, histogram: &Histogram) {
        for (bound, count) in cumulative(histogram).chain([(f64::INFINITY, histogram.count)]) {
            let mut le = Vec::new();
            numbers::exposed(&mut le, bound);
            self.line(out, name, "_bucket", series, Some(&le), |out| numbers::exposed(out, count));
        }
        self.line(out, name, "_sum", series, None, |out| numbers::exposed(out, histogram.sum));
        self.line(out, name, "_count", series, None, |out| numbers::exposed(out, histogram.count));
    }

    fn line(
        &self,
        out: &mut Vec<u8>,
        name: &TextName,
        suffix: &str,
        series: &Exposed,
        le: Option<&[u8]>,
        value: impl FnOnce(&mut Vec<u8>),
    ) {
        let name = TextName(format!("{}{suffix}", name.0));
        let in_braces = !is_legacy_name(&name.0);
        if !in_braces {
            out.extend_from_slice(name.0.as_bytes());
        }
        out.push(b'{');
        if in_braces {
            out.extend_from_slice(name.quoted_if_needed().as_bytes());
            out.push(b',');
        }
        for (at, (label, text)) in series.pairs().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            let label = TextName(self.format.escaping.name(label));
            out.extend_from_slice(label.quoted_if_needed().as_bytes());
            out.extend_from_slice(b"=\"");
            escaped(out, text);
            out.push(b'"');
        }
        if let Some(le) = le {
            out.extend_from_slice(b",le=\"");
            out.extend_from_slice(le);
            out.push(b'"');
        }
        out.extend_from_slice(b"} ");
        value(out);
        out.push(b' ');
        numbers::integer(out, series.t_ms);
        out.push(b'\n');
    }

    fn protobuf(&mut self, out: &mut Vec<u8>) {
        let Some(first) = self.series.next() else { return };
        let (name, kind) = (first.labels.shared(METRIC_NAME).cloned(), first.kind());
        let mut metric = vec![self.metric(&first)];
        while metric.len() < SERIES {
            let same = |next: &Exposed| next.labels.shared(METRIC_NAME) == name.as_ref() && next.kind() == kind;
            let Some(next) = self.series.next_if(same) else { break };
            metric.push(self.metric(&next));
        }
        self.budget.give_back_bytes(metric.len() * size_of::<Exposed>());
        let family = messages::MetricFamily {
            name: name.map(|name| self.format.escaping.name(&name)),
            r#type: Some(kind.number()),
            metric,
        };
        // A vector takes everything.
        let _ = family.encode_length_delimited(out);
    }

    fn metric(&self, series: &Exposed) -> messages::Metric {
        let pair = |(name, value): (&str, &str)| messages::LabelPair {
            name: Some(self.format.escaping.name(name)),
            value: Some(value.to_owned()),
        };
        let label = series.pairs().map(pair).collect();
        let (untyped, histogram) = match &series.value {
            PointValue::Float(value) => (Some(messages::Untyped { value: Some(*value) }), None),
            PointValue::Histogram(histogram) => (None, Some(messages::Histogram::from(&**histogram))),
        };
        messages::Metric { label, untyped, timestamp_ms: Some(series.t_ms), histogram }
    }
}

/// The cumulative counts of a histogram with bounds of its own, but for the last, infinite one.
pub(super) fn cumulative(histogram: &Histogram) -> impl Iterator<Item = (f64, f64)> {
    let mut counts = vec![0.0; histogram.custom_bounds.len()];
    let mut index = 0usize;
    let mut given = histogram.positive.counts.iter();
    for span in &histogram.positive.spans {
        index = index.saturating_add_signed(isize::try_from(span.offset).unwrap_or(0));
        for count in given.by_ref().take(usize::try_from(span.length).unwrap_or(usize::MAX)) {
            if let Some(slot) = counts.get_mut(index) {
                *slot = *count;
            }
            index += 1;
        }
    }
    let mut sum = 0.0;
    let bounds: Vec<f64> = histogram.custom_bounds.to_vec();
    bounds.into_iter().zip(counts).map(move |(bound, count)| {
        sum += count;
        (bound, sum)
    })
}

impl Pieces for ExpositionPieces {
    fn next_piece(&mut self, out: &mut Vec<u8>) -> bool {
        if self.series.peek().is_none() {
            return false;
        }
        match self.format.encoding {
            Encoding::Text(_) => self.text(out),
            Encoding::Protobuf => self.protobuf(out),
        }
        true
    }
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Untyped => "untyped",
            Self::Histogram | Self::GaugeHistogram => "histogram",
        }
    }

    fn number(self) -> i32 {
        match self {
            Self::Untyped => 3,
            Self::Histogram => 4,
            Self::GaugeHistogram => 5,
        }
    }
}

/// A name after escaping.
struct TextName(String);

impl TextName {
    fn quoted_if_needed(&self) -> String {
        if is_legacy_name(&self.0) {
            return self.0.clone();
        }
        let mut out = vec![b'"'];
        escaped(&mut out, &self.0);
        out.push(b'"');
        String::from_utf8(out).unwrap_or_default()
    }
}

fn escaped(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(br"\\"),
            b'"' => out.extend_from_slice(b"\\\""),
            b'\n' => out.extend_from_slice(br"\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tenantscope_model::{Span, Spans};

    use super::*;

    const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
        text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    const NATIVE: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
        text/plain;version=0.0.4;q=0.5";

    fn written(series: Vec<Exposed>, accept: &str) -> Vec<u8> {
        let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
        let budget = Arc::new(QueryBudget::new(Instant::now() + Duration::from_secs(60), 1));
        let mut pieces = ExpositionPieces::new(series, Format::negotiated(&headers), budget);
        let mut out = Vec::new();
        while pieces.next_piece(&mut out) {}
        out
    }

    fn float(pairs: &[(&str, &str)], value: f64) -> Exposed {
        Exposed { labels: Labels::from_pairs(pairs.iter().copied()), t_ms: 1500, value: PointValue::Float(value) }
    }

    fn histogram(name: &str, custom_bounds: &[f64]) -> Exposed {
        let positive = Spans { spans: vec![Span { offset: 1, length: 2 }], counts: vec![2.0, 1.0] };
        let made =
            Histogram { count: 3.0, sum: 4.5, positive, custom_bounds: custom_bounds.into(), ..Histogram::default() };
        let schema = if custom_bounds.is_empty() { 0 } else { -53 };
        let value = PointValue::Histogram(Arc::new(Histogram { schema, ..made }));
        Exposed { labels: Labels::from_pairs([("__name__", name)]), t_ms: 1500, value }
    }

    fn text(series: Vec<Exposed>, accept: &str) -> String {
        String::from_utf8(written(series, accept)).unwrap()
    }

    #[test]
    fn a_family_has_its_type_once_and_instance_is_always_there() {
        let series = || {
            vec![
                float(&[("__name__", "a"), ("instance", "x"), ("job", "q\"\n\\")], 1.0),
                float(&[("__name__", "a")], 1e6),
                float(&[("__name__", "b.c"), ("d.e", "f")], f64::NAN),
            ]
        };
        assert_eq!(
            text(series(), "text/plain"),
            "# TYPE a untyped\na{instance=\"x\",job=\"q\\\"\\n\\\\\"} 1 1500\na{instance=\"\"} 1e+06 1500\n\
             # TYPE b_c untyped\nb_c{d_e=\"f\",instance=\"\"} NaN 1500\n"
        );
        let utf8 = text(series(), PROMETHEUS_3);
        assert!(utf8.ends_with("# TYPE \"b.c\" untyped\n{\"b.c\",\"d.e\"=\"f\",instance=\"\"} NaN 1500\n"), "{utf8}");
    }

    #[test]
    fn text_has_histograms_with_bounds_alone() {
        let series = vec![histogram("native", &[]), histogram("own", &[1.0, 2.0, 4.0])];
        let expected = "# TYPE own histogram\n\
            own_bucket{instance=\"\",le=\"1\"} 0 1500\nown_bucket{instance=\"\",le=\"2\"} 2 1500\n\
            own_bucket{instance=\"\",le=\"4\"} 3 1500\nown_bucket{instance=\"\",le=\"+Inf\"} 3 1500\n\
            own_sum{instance=\"\"} 4.5 1500\nown_count{instance=\"\"} 3 1500\n";
        assert_eq!(text(series, "*/*"), expected);
    }

    #[test]
    fn protobuf_has_native_histograms() {
        let series = vec![
            float(&[("__name__", "a")], 2.0),
            float(&[("__name__", "a"), ("b", "c")], 3.0),
            histogram("native", &[]),
        ];
        let bytes = written(series, NATIVE);
        let mut rest = bytes.as_slice();
        let first = messages::MetricFamily::decode_length_delimited(&mut rest).unwrap();
        let second = messages::MetricFamily::decode_length_delimited(&mut rest).unwrap();
        assert!(rest.is_empty());
        assert_eq!((first.name.as_deref(), first.r#type, first.metric.len()), (Some("a"), Some(3), 2));
        let native = second.metric[0].histogram.as_ref().unwrap();
        assert_eq!((second.r#type, native.sample_count_float, native.schema), (Some(4), Some(3.0), Some(0)));
        assert_eq!(
            (native.positive_count.as_slice(), native.positive_span[0].offset),
            ([2.0, 1.0].as_slice(), Some(1))
        );
    }
}
