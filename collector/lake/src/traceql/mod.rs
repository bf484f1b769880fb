//! TraceQL: the query language of Tempo, as far as we speak it: one span set, `{ … && … || … }`, over names, status,
//! kind, durations, attributes, and (joined by `&&`) the trace's length and root.

mod ast;
mod parse;

pub(crate) use ast::{Compared, Condition, Field, Filter};
pub(crate) use parse::{parse, tag, tag_field};
