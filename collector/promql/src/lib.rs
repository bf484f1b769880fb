//! PromQL: expressions and an engine over anything that is [`Select`](tenantscope_model::Select).
//!
//! A text becomes an [`Expr`] ([`parse`], and back by `Display`, [`Expr::pretty`] and [`Expr::to_tree`]), and an
//! [`Engine`] evaluates it for a [`Scope`](tenantscope_model::Scope) at one time or at many. [`Evaluator`] does so
//! for rules and objectives.
//!
//! ```text
//! text ─parse→ Expr ─Engine→ for each selector one read of the store over all times
//!                            → columns: a series' values at all times, one series after another
//!                            → functions, operators, aggregations over columns
//!                            → Answer: value, warnings, infos
//! ```
//!
//! # Invariants
//! - The semantics are Prometheus 3's: ranges and lookback are open on the left, metric names are dropped at the end.
//! - The scope reaches the store untouched; nothing here reads a series in any other way.
//! - Each selector is read once for all times of a range query; a series is slid over, not searched anew.
//! - An aggregation holds one accumulator for each group and time, not what it aggregates.
//! - Every loop over series, and every long one over samples or times, checks the query's budget: deadline,
//!   cancellation, samples. What is held of series, times and histograms is taken from it, before it grows by much.
//! - Notes tell line and column of what they are about; each is told once.
//! - No I/O of its own, no HTTP. Of tenants it knows the stamped label alone: what `info` joins or `fill` fills in stays
//!   within one tenant, and what `limit_ratio` chooses does not hang on it.

mod absent;
mod accumulator;
mod aggregate;
mod ast;
mod binary;
mod call;
mod cells;
mod changes;
mod check;
mod column;
mod dates;
mod duration;
mod engine;
mod error;
mod evaluation;
mod evaluator;
mod float_text;
mod fold;
mod fold_join;
mod function;
mod held;
mod histograms;
mod info;
mod join;
mod kahan;
mod labelling;
mod math;
mod native;
mod note;
mod notes;
mod over_time;
mod pace;
mod paired;
mod parse;
mod pretty;
mod print;
mod quantile;
mod quoting;
mod rate;
mod regression;
mod shares;
mod sliding;
mod smoothing;
mod source;
mod starts;
mod step_samples;
mod totals;
mod tree;
mod value;
mod window;
mod without;
mod xxhash;

pub use ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Call, Cardinality, Edges, Expr, ExprKind, Grouping, Matching,
    MatrixSelector, Position, Subquery, ValueType, VectorSelector,
};
pub use duration::{DurationExpr, DurationKind, DurationOp, DurationTimes};
pub use engine::{Engine, Limits, QueryOptions, Times};
pub use error::{EngineError, ParseError};
pub use evaluator::Evaluator;
pub use function::{Arity, Function};
pub use native::{
    Bucket, Combined, Incompatible, added as histogram_added, buckets as histogram_buckets, is_reset, settle_hints,
    subtracted as histogram_subtracted,
};
pub use parse::{parse, parse_selector};
pub use print::{duration_text, number_text};
pub use value::{Answer, Element, PointValue, Series, Value};
