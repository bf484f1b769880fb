//! Parts: immutable files, each with the samples of one two-hour window, sorted by series and time.

mod block;
mod layout;
mod reader;
mod writer;

pub(crate) use layout::{WINDOW_MS, window_of};
pub(crate) use reader::{Part, Problem, Wanted};
pub(crate) use writer::PartWriter;
