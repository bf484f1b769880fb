use crate::ast::{AggregateOp, BinaryOp, Position};
use crate::quoting::Quoted;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    Duration,
    Text,
    Identifier,
    /// An identifier with a colon.
    MetricIdentifier,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    /// `=`
    Assign,
    /// `=~`
    Matches,
    /// `!~`
    MatchesNot,
    /// `@`
    At,
    Operator(BinaryOp),
    Aggregator(AggregateOp),
    Keyword(Keyword),
    Call(Preprocessor),
    EndOfInput,
    /// What the lexer could not read; the text from here on has no tokens.
    Unreadable,
}

/// The words that modify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Anchored,
    Bool,
    By,
    Fill,
    FillLeft,
    FillRight,
    GroupLeft,
    GroupRight,
    Ignoring,
    Offset,
    On,
    Smoothed,
    Without,
}

/// The words that are called with the query's times, in durations too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preprocessor {
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

/// The kind of a word; words are read without regard to case.
pub(super) fn word_kind(word: &str) -> Option<Kind> {
    use AggregateOp as A;
    use Kind::{Aggregator, Call, Keyword as Word, Operator};
    Some(match word.to_ascii_lowercase().as_str() {
        "and" => Operator(BinaryOp::And),
        "or" => Operator(BinaryOp::Or),
        "unless" => Operator(BinaryOp::Unless),
        "atan2" => Operator(BinaryOp::Atan2),
        "sum" => Aggregator(A::Sum),
        "avg" => Aggregator(A::Avg),
        "count" => Aggregator(A::Count),
        "min" => Aggregator(A::Min),
        "max" => Aggregator(A::Max),
        "group" => Aggregator(A::Group),
        "stddev" => Aggregator(A::Stddev),
        "stdvar" => Aggregator(A::Stdvar),
        "topk" => Aggregator(A::Topk),
        "bottomk" => Aggregator(A::Bottomk),
        "count_values" => Aggregator(A::CountValues),
        "quantile" => Aggregator(A::Quantile),
        "limitk" => Aggregator(A::Limitk),
        "limit_ratio" => Aggregator(A::LimitRatio),
        "anchored" => Word(Keyword::Anchored),
        "bool" => Word(Keyword::Bool),
        "by" => Word(Keyword::By),
        "fill" => Word(Keyword::Fill),
        "fill_left" => Word(Keyword::FillLeft),
        "fill_right" => Word(Keyword::FillRight),
        "group_left" => Word(Keyword::GroupLeft),
        "group_right" => Word(Keyword::GroupRight),
        "ignoring" => Word(Keyword::Ignoring),
        "offset" => Word(Keyword::Offset),
        "on" => Word(Keyword::On),
        "smoothed" => Word(Keyword::Smoothed),
        "without" => Word(Keyword::Without),
        "start" => Call(Preprocessor::Start),
        "end" => Call(Preprocessor::End),
        "inf" | "nan" => Kind::Number,
        other => Call(duration_word(other)?),
    })
}

/// The words that a duration in brackets may contain.
pub(super) fn duration_word(word: &str) -> Option<Preprocessor> {
    match word.to_ascii_lowercase().as_str() {
        "step" => Some(Preprocessor::Step),
        "range" => Some(Preprocessor::Range),
        "max_of" => Some(Preprocessor::MaxOf),
        "min_of" => Some(Preprocessor::MinOf),
        _ => None,
    }
}

impl Kind {
    /// Whether a metric may be named so where an operand is expected.
    pub(super) fn names_metric(self) -> bool {
        match self {
            Self::Identifier | Self::MetricIdentifier | Self::Aggregator(_) | Self::Call(_) => true,
            Self::Operator(op) => op.is_set(),
            Self::Keyword(word) => !matches!(
                word,
                Keyword::Bool | Keyword::On | Keyword::Ignoring | Keyword::GroupLeft | Keyword::GroupRight
            ),
            _ => false,
        }
    }

    /// Whether a label may be named so between the parentheses of `by`, `on` and the like.
    pub(super) fn names_label(self) -> bool {
        match self {
            Self::Operator(op) => op.is_set() || op == BinaryOp::Atan2,
            Self::Keyword(word) => word != Keyword::Without,
            other => other.names_metric(),
        }
    }

    /// Whether an operand may begin with it.
    pub(super) fn begins_operand(self) -> bool {
        matches!(
            self,
            Self::Number
                | Self::Duration
                | Self::Text
                | Self::LeftParen
                | Self::LeftBrace
                | Self::Operator(BinaryOp::Add | BinaryOp::Sub)
        ) || self.names_metric()
    }
}

/// A piece of the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    /// As it was written.
    pub(super) text: &'t str,
    pub(super) position: Position,
}

impl Token<'_> {
    /// How an error names it.
    pub(super) fn description(&self) -> String {
        let text = self.text;
        match self.kind {
            Kind::EndOfInput => "end of input".to_owned(),
            Kind::Identifier => format!("identifier {}", Quoted(text)),
            Kind::MetricIdentifier => format!("metric identifier {}", Quoted(text)),
            Kind::Number => format!("number {}", shortened(text)),
            Kind::Duration => format!("duration {}", shortened(text)),
            Kind::Text => format!("string {}", shortened(text)),
            Kind::Operator(_) | Kind::Matches | Kind::MatchesNot | Kind::At => format!("<op:{text}>"),
            Kind::Aggregator(_) => format!("<aggr:{text}>"),
            Kind::Keyword(_) => format!("<{text}>"),
            _ => shortened(text),
        }
    }
}

fn shortened(text: &str) -> String {
    if text.len() <= 10 {
        return Quoted(text).to_string();
    }
    let start: String = text.chars().take(10).collect();
    format!("{}...", Quoted(&start))
}
