//! The functions' signatures.

use crate::ast::ValueType;

/// How many arguments a function takes beyond those that it must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// Exactly the listed ones.
    Exact,
    /// The last listed one may be left out, and up to so many of its type may be given.
    Optional(usize),
    /// The last listed one may be left out or repeated without end.
    Any,
}

/// A function's name and types.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// The name.
    pub name: &'static str,
    /// The arguments' types.
    pub arguments: &'static [ValueType],
    /// What may be left out or repeated.
    pub arity: Arity,
    /// The type of the answer.
    pub returns: ValueType,
    /// Whether it uses the time of evaluation when its argument is left out.
    pub reads_time: bool,
}

use ValueType::{Matrix as M, Scalar as S, String as T, Vector as V};

const fn vector(name: &'static str, arguments: &'static [ValueType]) -> Function {
    Function { name, arguments, arity: Arity::Exact, returns: V, reads_time: false }
}

const fn scalar(name: &'static str, arguments: &'static [ValueType]) -> Function {
    Function { name, arguments, arity: Arity::Exact, returns: S, reads_time: false }
}

const fn with(name: &'static str, arguments: &'static [ValueType], arity: Arity) -> Function {
    Function { name, arguments, arity, returns: V, reads_time: false }
}

const fn date(name: &'static str) -> Function {
    Function { name, arguments: &[V], arity: Arity::Optional(1), returns: V, reads_time: true }
}

static FUNCTIONS: &[Function] = &[
    vector("abs", &[V]),
    vector("absent", &[V]),
    vector("absent_over_time", &[M]),
    vector("acos", &[V]),
    vector("acosh", &[V]),
    vector("asin", &[V]),
    vector("asinh", &[V]),
    vector("atan", &[V]),
    vector("atanh", &[V]),
    vector("avg_over_time", &[M]),
    vector("ceil", &[V]),
    vector("changes", &[M]),
    vector("clamp", &[V, S, S]),
    vector("clamp_max", &[V, S]),
    vector("clamp_min", &[V, S]),
    vector("cos", &[V]),
    vector("cosh", &[V]),
    vector("count_over_time", &[M]),
    date("day_of_month"),
    date("day_of_week"),
    date("day_of_year"),
    date("days_in_month"),
    vector("deg", &[V]),
    vector("delta", &[M]),
    vector("deriv", &[M]),
    vector("double_exponential_smoothing", &[M, S, S]),
    scalar("end", &[]),
    vector("exp", &[V]),
    vector("first_over_time", &[M]),
    vector("floor", &[V]),
    vector("histogram_avg", &[V]),
    vector("histogram_count", &[V]),
    vector("histogram_fraction", &[S, S, V]),
    vector("histogram_quantile", &[S, V]),
    with("histogram_quantiles", &[V, T, S, S], Arity::Optional(9)),
    vector("histogram_stddev", &[V]),
    vector("histogram_stdvar", &[V]),
    vector("histogram_sum", &[V]),
    date("hour"),
    vector("idelta", &[M]),
    vector("increase", &[M]),
    with("info", &[V, V], Arity::Optional(1)),
    vector("irate", &[M]),
    with("label_join", &[V, T, T, T], Arity::Any),
    vector("label_replace", &[V, T, T, T, T]),
    vector("last_over_time", &[M]),
    vector("ln", &[V]),
    vector("log10", &[V]),
    vector("log2", &[V]),
    vector("mad_over_time", &[M]),
    scalar("max_of", &[S, S]),
    vector("max_over_time", &[M]),
    scalar("min_of", &[S, S]),
    vector("min_over_time", &[M]),
    date("minute"),
    date("month"),
    scalar("pi", &[]),
    vector("predict_linear", &[M, S]),
    vector("present_over_time", &[M]),
    vector("quantile_over_time", &[S, M]),
    vector("rad", &[V]),
    scalar("range", &[]),
    vector("rate", &[M]),
    vector("resets", &[M]),
    with("round", &[V, S], Arity::Optional(1)),
    scalar("scalar", &[V]),
    vector("sgn", &[V]),
    vector("sin", &[V]),
    vector("sinh", &[V]),
    vector("sort", &[V]),
    with("sort_by_label", &[V, T], Arity::Any),
    with("sort_by_label_desc", &[V, T], Arity::Any),
    vector("sort_desc", &[V]),
    vector("sqrt", &[V]),
    scalar("start", &[]),
    vector("start_timestamp", &[V]),
    vector("stddev_over_time", &[M]),
    vector("stdvar_over_time", &[M]),
    scalar("step", &[]),
    vector("sum_over_time", &[M]),
    vector("tan", &[V]),
    vector("tanh", &[V]),
    scalar("time", &[]),
    vector("timestamp", &[V]),
    vector("ts_of_first_over_time", &[M]),
    vector("ts_of_last_over_time", &[M]),
    vector("ts_of_max_over_time", &[M]),
    vector("ts_of_min_over_time", &[M]),
    vector("vector", &[S]),
    date("year"),
];

impl Function {
    /// The function of a name.
    pub fn find(name: &str) -> Option<&'static Self> {
        FUNCTIONS.iter().find(|function| function.name == name)
    }

    /// The fewest and the most arguments.
    pub fn argument_counts(&self) -> (usize, usize) {
        let listed = self.arguments.len();
        match self.arity {
            Arity::Exact => (listed, listed),
            Arity::Optional(extra) => (listed.saturating_sub(1), listed.saturating_sub(1) + extra),
            Arity::Any => (listed.saturating_sub(1), usize::MAX),
        }
    }

    /// The type of the argument at an index.
    pub fn argument_type(&self, index: usize) -> Option<ValueType> {
        self.arguments.get(index).or_else(|| self.arguments.last()).copied()
    }
}
