//! LogQL: the query language of Loki, as far as we speak it.
//!
//! Stream selectors, line filters, `json`, `logfmt`, label filters, `drop`, `keep`; `rate`, `count_over_time`,
//! `bytes_over_time`, `bytes_rate` and the `unwrap` functions `sum|avg|min|max_over_time`; `sum`, `avg`, `min`, `max`,
//! `count`, `topk`, `bottomk` with `by` and `without`; arithmetic with numbers; `vector(n)`.

mod ast;
pub(crate) mod grammar;
mod parse;
mod pipeline;

pub(crate) use ast::{AggregateOp, Arithmetic, Expr, Grouping, LineOp, LogSelector, RangeExpr, RangeOp, Stage};
pub(crate) use parse::{parse, parse_selector};
pub(crate) use pipeline::{Pipeline, number, value};
