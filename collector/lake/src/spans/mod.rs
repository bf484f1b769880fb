//! Spans: rows of the table, whole traces out of them, and searches.

mod decode;
mod encode;
mod parts;
mod search;
mod summary;
mod tags;
mod trace;

pub(crate) use decode::SpanRow;
pub(crate) use encode::FORM;
