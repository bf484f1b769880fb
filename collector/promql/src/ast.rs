use std::sync::Arc;

use tenantscope_model::Matcher;

use crate::duration::DurationExpr;
use crate::function::Function;

/// Where something stands in the query's text, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Position {
    /// Line and column of the first byte in the text, counted from 1 and in bytes: `1:13`.
    pub fn line_and_column(self, text: &str) -> String {
        if text.is_empty() {
            return "unknown position".to_owned();
        }
        let Some(before) = text.as_bytes().get(..self.start) else { return "invalid position".to_owned() };
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        format!("{line}:{}", self.start - line_start + 1)
    }
}

/// A PromQL expression that passed the type checks.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub position: Position,
}

/// The kinds of expressions.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// A number.
    Number {
        /// Its value.
        value: f64,
        /// Whether it was written as a duration: `5m` is 300.
        as_duration: bool,
    },
    /// A string.
    Text(Arc<str>),
    /// A string whose escapes name bytes that are no UTF-8: good for nothing but to be printed.
    Bytes(Arc<[u8]>),
    /// `name{matchers}`.
    Vector(VectorSelector),
    /// `name{matchers}[range]`.
    Matrix(MatrixSelector),
    /// `expr[range:step]`.
    Subquery(Subquery),
    /// `function(arguments)`.
    Call(Call),
    /// `sum by (…) (expr)`.
    Aggregate(Aggregate),
    /// `left op right`.
    Binary(Binary),
    /// `-expr`.
    Negate(Box<Expr>),
    /// `+expr`, which is `expr`.
    Plus(Box<Expr>),
    /// `(expr)`.
    Paren(Box<Expr>),
}

/// What an expression evaluates to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// One number at each time.
    Scalar,
    /// A string.
    String,
    /// An instant vector.
    Vector,
    /// A range vector.
    Matrix,
}

/// The instant that an `@` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// `@ start()`.
    Start,
    /// `@ end()`.
    End,
    /// `@ 1609746000`, in milliseconds.
    Ms(i64),
}

/// What a selector takes at the edges of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Edges {
    /// The samples within the range.
    #[default]
    Plain,
    /// `anchored`: the last sample before the range counts as its first.
    Anchored,
    /// `smoothed`: values at the edges are interpolated.
    Smoothed,
}

/// An instant selector.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VectorSelector {
    /// The metric name if it was written before the braces.
    pub name: Option<Arc<str>>,
    /// The conditions; the metric name is one of them, and the last if it was written before the braces.
    pub matchers: Vec<Matcher>,
    /// `offset`, in milliseconds; negative looks ahead.
    pub offset_ms: i64,
    /// `offset` as an expression; [`Expr::with_durations`] puts its value into `offset_ms`.
    pub offset_expr: Option<Box<DurationExpr>>,
    /// `@`.
    pub at: Option<At>,
    /// `anchored`, `smoothed`.
    pub edges: Edges,
    /// Whether no more than count and sum of histograms is looked at; the engine finds out.
    pub totals_only: bool,
}

/// A range selector.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixSelector {
    /// The series.
    pub selector: VectorSelector,
    /// How far back, in milliseconds.
    pub range_ms: i64,
    /// The range as an expression; [`Expr::with_durations`] puts its value into `range_ms`.
    pub range_expr: Option<Box<DurationExpr>>,
}

/// An expression evaluated over a range.
#[derive(Debug, Clone, PartialEq)]
pub struct Subquery {
    /// The expression.
    pub expr: Box<Expr>,
    /// How far back, in milliseconds.
    pub range_ms: i64,
    /// The range as an expression; [`Expr::with_durations`] puts its value into `range_ms`.
    pub range_expr: Option<Box<DurationExpr>>,
    /// The resolution, in milliseconds; `None` means the default.
    pub step_ms: Option<i64>,
    /// The resolution as an expression; [`Expr::with_durations`] puts its value into `step_ms`.
    pub step_expr: Option<Box<DurationExpr>>,
    /// `offset`, in milliseconds.
    pub offset_ms: i64,
    /// `offset` as an expression; [`Expr::with_durations`] puts its value into `offset_ms`.
    pub offset_expr: Option<Box<DurationExpr>>,
    /// `@`.
    pub at: Option<At>,
}

/// A function call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The function.
    pub function: &'static Function,
    /// Its arguments.
    pub arguments: Vec<Expr>,
}

/// `by` or `without`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grouping {
    /// Keep only these labels.
    By(Vec<Arc<str>>),
    /// Keep all but these labels and the metric name.
    Without(Vec<Arc<str>>),
}

/// The aggregation operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AggregateOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Stddev,
    Stdvar,
    Group,
    Topk,
    Bottomk,
    Quantile,
    CountValues,
    Limitk,
    LimitRatio,
}

impl AggregateOp {
    /// Its name in PromQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Count => "count",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Group => "group",
            Self::Topk => "topk",
            Self::Bottomk => "bottomk",
            Self::Quantile => "quantile",
            Self::CountValues => "count_values",
            Self::Limitk => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }

    /// Whether it has a parameter before the vector.
    pub fn has_parameter(self) -> bool {
        matches!(
            self,
            Self::Topk | Self::Bottomk | Self::Quantile | Self::CountValues | Self::Limitk | Self::LimitRatio
        )
    }
}

/// An aggregation.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// The operator.
    pub op: AggregateOp,
    /// What is aggregated.
    pub expr: Box<Expr>,
    /// The parameter of `topk`, `quantile` and the like.
    pub parameter: Option<Box<Expr>>,
    /// The groups.
    pub grouping: Grouping,
}

/// The binary operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterEqual,
    LessEqual,
    /// `</`: a histogram without what is above.
    TrimUpper,
    /// `>/`: a histogram without what is below.
    TrimLower,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    /// Its symbol in PromQL.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::GreaterEqual => ">=",
            Self::LessEqual => "<=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    /// `==`, `<` and so on.
    pub fn is_comparison(self) -> bool {
        matches!(self, Self::Equal | Self::NotEqual | Self::Greater | Self::Less | Self::GreaterEqual | Self::LessEqual)
    }

    /// `and`, `or`, `unless`.
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

/// How many elements of one side may match one of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Cardinality {
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// How elements of two vectors find each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Matching {
    /// How many match how many.
    pub cardinality: Cardinality,
    /// `on(labels)` if true, else `ignoring(labels)`.
    pub on: bool,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<Arc<str>>,
    /// Labels that `group_left` or `group_right` take from the one side.
    pub include: Vec<Arc<str>>,
    /// `fill` and `fill_left`: the value of a missing left element.
    pub fill_left: Option<f64>,
    /// `fill` and `fill_right`: the value of a missing right element.
    pub fill_right: Option<f64>,
}

impl Default for Matching {
    fn default() -> Self {
        Self {
            cardinality: Cardinality::OneToOne,
            on: false,
            labels: Vec::new(),
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        }
    }
}

/// A binary operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// The left side.
    pub left: Box<Expr>,
    /// The right side.
    pub right: Box<Expr>,
    /// `bool`: compare to 0 or 1 rather than filter.
    pub returns_bool: bool,
    /// How vectors match.
    pub matching: Matching,
}

impl Expr {
    /// What the expression evaluates to.
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            ExprKind::Number { .. } => ValueType::Scalar,
            ExprKind::Text(_) | ExprKind::Bytes(_) => ValueType::String,
            ExprKind::Vector(_) | ExprKind::Aggregate(_) => ValueType::Vector,
            ExprKind::Matrix(_) | ExprKind::Subquery(_) => ValueType::Matrix,
            ExprKind::Call(call) => call.function.returns,
            ExprKind::Binary(binary) => {
                let scalar = |e: &Self| e.value_type() == ValueType::Scalar;
                if scalar(&binary.left) && scalar(&binary.right) { ValueType::Scalar } else { ValueType::Vector }
            }
            ExprKind::Negate(inner) | ExprKind::Plus(inner) | ExprKind::Paren(inner) => inner.value_type(),
        }
    }

    /// The expression inside all parentheses.
    pub fn unparenthesized(&self) -> &Self {
        match &self.kind {
            ExprKind::Paren(inner) => inner.unparenthesized(),
            _ => self,
        }
    }

    /// The direct parts.
    pub fn children(&self) -> Vec<&Self> {
        match &self.kind {
            ExprKind::Number { .. }
            | ExprKind::Text(_)
            | ExprKind::Bytes(_)
            | ExprKind::Vector(_)
            | ExprKind::Matrix(_) => Vec::new(),
            ExprKind::Subquery(subquery) => vec![&subquery.expr],
            ExprKind::Call(call) => call.arguments.iter().collect(),
            ExprKind::Aggregate(aggregate) => {
                aggregate.parameter.as_deref().into_iter().chain([&*aggregate.expr]).collect()
            }
            ExprKind::Binary(binary) => vec![&binary.left, &binary.right],
            ExprKind::Negate(inner) | ExprKind::Plus(inner) | ExprKind::Paren(inner) => vec![inner],
        }
    }

    /// The direct parts, to change them.
    pub(crate) fn children_mut(&mut self) -> Vec<&mut Self> {
        match &mut self.kind {
            ExprKind::Number { .. }
            | ExprKind::Text(_)
            | ExprKind::Bytes(_)
            | ExprKind::Vector(_)
            | ExprKind::Matrix(_) => Vec::new(),
            ExprKind::Subquery(subquery) => vec![&mut subquery.expr],
            ExprKind::Call(call) => call.arguments.iter_mut().collect(),
            ExprKind::Aggregate(aggregate) => {
                aggregate.parameter.as_deref_mut().into_iter().chain([&mut *aggregate.expr]).collect()
            }
            ExprKind::Binary(binary) => vec![&mut binary.left, &mut binary.right],
            ExprKind::Negate(inner) | ExprKind::Plus(inner) | ExprKind::Paren(inner) => vec![inner],
        }
    }

    /// All selectors in the expression, with the range of range selectors in milliseconds.
    pub fn selectors(&self) -> Vec<(&VectorSelector, Option<i64>)> {
        match &self.kind {
            ExprKind::Vector(selector) => vec![(selector, None)],
            ExprKind::Matrix(matrix) => vec![(&matrix.selector, Some(matrix.range_ms))],
            _ => self.children().into_iter().flat_map(Self::selectors).collect(),
        }
    }

    /// Whether each time of evaluation gives the same answer, because every selector is fixed by `@`.
    pub(crate) fn is_step_invariant(&self) -> bool {
        match &self.kind {
            ExprKind::Number { .. } | ExprKind::Text(_) | ExprKind::Bytes(_) => true,
            ExprKind::Vector(selector) => selector.at.is_some(),
            ExprKind::Matrix(matrix) => matrix.selector.at.is_some(),
            ExprKind::Subquery(subquery) => subquery.at.is_some(),
            ExprKind::Call(call) => {
                let with_default =
                    call.function.reads_time && call.arguments.len() < call.function.arguments.len().max(1);
                let own_time = matches!(
                    call.function.name,
                    "time" | "start" | "end" | "step" | "range" | "predict_linear" | "timestamp"
                ) || with_default;
                !own_time && call.arguments.iter().all(Self::is_step_invariant)
            }
            ExprKind::Aggregate(_)
            | ExprKind::Binary(_)
            | ExprKind::Negate(_)
            | ExprKind::Plus(_)
            | ExprKind::Paren(_) => self.children().into_iter().all(Self::is_step_invariant),
        }
    }
}
