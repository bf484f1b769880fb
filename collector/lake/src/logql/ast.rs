use regex::Regex;
use tenantscope_model::Matcher;

/// A whole query.
#[derive(Debug, Clone)]
pub(crate) enum Expr {
    /// Lines.
    Logs(LogSelector),
    /// A number.
    Number(f64),
    /// `vector(n)`: a number as a series without labels.
    Vector(f64),
    /// Lines counted over a range.
    Range(RangeExpr),
    /// Series put together.
    Aggregate { op: AggregateOp, param: Option<usize>, grouping: Grouping, inner: Box<Expr> },
    /// Arithmetic.
    Binary { op: Arithmetic, left: Box<Expr>, right: Box<Expr> },
}

/// A stream selector and what is done with its lines.
#[derive(Debug, Clone)]
pub(crate) struct LogSelector {
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) stages: Vec<Stage>,
}

/// One step of a pipeline.
#[derive(Debug, Clone)]
pub(crate) enum Stage {
    /// `|= "x"` and the like; several texts of one filter are alternatives.
    Line { op: LineOp, texts: Vec<String>, regexes: Vec<Regex> },
    /// `| json`
    Json,
    /// `| logfmt`
    Logfmt,
    /// `| name = "x"`
    Filter(LabelFilter),
    /// `| drop a, b`
    Drop(Vec<String>),
    /// `| keep a, b`
    Keep(Vec<String>),
    /// `| unwrap name`
    Unwrap(String),
}

/// How a line is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineOp {
    Contains,
    ContainsNot,
    Matches,
    MatchesNot,
}

/// A condition on labels.
#[derive(Debug, Clone)]
pub(crate) enum LabelFilter {
    Text(Matcher),
    Number { name: String, op: Comparison, value: Value },
    And(Box<LabelFilter>, Box<LabelFilter>),
    Or(Box<LabelFilter>, Box<LabelFilter>),
}

/// `=`, `<` and so on, of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Comparison {
    pub(crate) fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
        }
    }
}

/// What a label is compared with as a number: the unit decides how the label is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    Number(f64),
    Seconds(f64),
}

/// A function over the lines of a range.
#[derive(Debug, Clone)]
pub(crate) struct RangeExpr {
    pub(crate) op: RangeOp,
    pub(crate) selector: LogSelector,
    pub(crate) range_ns: i64,
    pub(crate) offset_ns: i64,
}

/// Which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RangeOp {
    Rate,
    CountOverTime,
    BytesRate,
    BytesOverTime,
    SumOverTime,
    AvgOverTime,
    MinOverTime,
    MaxOverTime,
}

/// How series are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AggregateOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    TopK,
    BottomK,
}

/// Which labels are left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Grouping {
    By(Vec<String>),
    Without(Vec<String>),
}

/// `+ - * / % ^`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
}

impl Arithmetic {
    pub(crate) fn apply(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => left / right,
            Self::Modulo => left % right,
            Self::Power => left.powf(right),
        }
    }
}
