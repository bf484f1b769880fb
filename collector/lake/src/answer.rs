use std::collections::BTreeMap;
use std::time::Duration;

/// A range of time in nanoseconds since the epoch; the start belongs to it, the end does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// From here on.
    pub start_ns: i64,
    /// Before this.
    pub end_ns: i64,
}

impl TimeRange {
    /// Every time there is.
    pub const ALL: Self = Self { start_ns: i64::MIN, end_ns: i64::MAX };
}

/// Which lines a limit keeps, and their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The newest, newest first.
    Backward,
    /// The oldest, oldest first.
    Forward,
}

/// A LogQL query over a range or, where start and end are the same instant, at it.
#[derive(Debug, Clone)]
pub struct LogRequest<'a> {
    /// LogQL.
    pub query: &'a str,
    /// Of lines: those in it. Of a metric query: its steps, the end included.
    pub range: TimeRange,
    /// The distance of a metric query's steps; `None` evaluates once, at the end.
    pub step: Option<Duration>,
    /// At most so many lines; `max_entries` bounds it.
    pub limit: usize,
    /// Which lines.
    pub direction: Direction,
}

/// What a LogQL query answers.
#[derive(Debug, Clone, PartialEq)]
pub enum LogAnswer {
    /// Lines by stream.
    Streams(Vec<LogStream>),
    /// A metric query over a range.
    Matrix(Vec<LogSeries>),
    /// A metric query at an instant: one point for each series.
    Vector(Vec<LogSeries>),
    /// A number, at the end of the range.
    Scalar(Point),
}

/// Lines that have their labels in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStream {
    /// The stream's labels, and those that a parser stage extracted.
    pub labels: BTreeMap<String, String>,
    /// Lines in the direction that was asked for.
    pub entries: Vec<LogEntry>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Nanoseconds since the epoch.
    pub time_ns: i64,
    /// The body; anything but text as JSON.
    pub line: String,
    /// Structured metadata: attributes, `trace_id`, `span_id`.
    pub metadata: BTreeMap<String, String>,
}

/// One series of a metric query.
#[derive(Debug, Clone, PartialEq)]
pub struct LogSeries {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its points, in order.
    pub points: Vec<Point>,
}

/// A value at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Milliseconds since the epoch.
    pub t_ms: i64,
    /// The value.
    pub value: f64,
}

/// Which records labels are asked of.
#[derive(Debug, Clone, Copy)]
pub struct LabelRequest<'a> {
    /// A LogQL stream selector; `None` for all records.
    pub selector: Option<&'a str>,
    /// Records in this range.
    pub range: TimeRange,
}

/// How much a stream holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamVolume {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// How many lines.
    pub lines: u64,
    /// How many bytes these have.
    pub bytes: u64,
}

/// Which traces are wanted. All conditions hold for one span.
#[derive(Debug, Clone)]
pub struct SearchRequest<'a> {
    /// TraceQL; `None` for every span.
    pub query: Option<&'a str>,
    /// Names and values as in Tempo's `tags` parameter: `service.name`, `name`, `status`, `tenant`, or any attribute.
    pub tags: Vec<(String, String)>,
    /// The trace is at least so long.
    pub min_duration: Option<Duration>,
    /// The trace is at most so long.
    pub max_duration: Option<Duration>,
    /// Spans that begin in this range.
    pub range: TimeRange,
    /// At most so many traces; `max_entries` bounds it.
    pub limit: usize,
    /// At most so many matching spans of each trace.
    pub spans_per_trace: usize,
}

/// One trace of a search's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceSummary {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// The tenant whose spans these are.
    pub tenant: String,
    /// The service of the root span; empty where the root is missing.
    pub root_service: String,
    /// The name of the root span.
    pub root_name: String,
    /// When its first span began.
    pub start_ns: i64,
    /// From the first beginning to the last end.
    pub duration_ns: i64,
    /// How many spans it has.
    pub spans: usize,
    /// How many of them have the status error.
    pub errors: usize,
    /// How many spans fulfil the conditions.
    pub matched: usize,
    /// Some of the spans that fulfil the conditions, oldest first.
    pub matched_spans: Vec<SpanSummary>,
}

/// One span of a search's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanSummary {
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// Its name.
    pub name: String,
    /// Its service.
    pub service: String,
    /// When it began.
    pub start_ns: i64,
    /// How long it took.
    pub duration_ns: i64,
    /// `unset`, `ok` or `error`.
    pub status: &'static str,
}

/// Where a tag comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TagScope {
    /// An attribute of the resource.
    Resource,
    /// An attribute of the span.
    Span,
    /// A field that every span has.
    Intrinsic,
}
