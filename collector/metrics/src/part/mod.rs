//! Parts: immutable files, each with the samples of one two-hour window, series by series.

mod block;
mod layout;
mod reader;
mod table;
mod writer;

pub(crate) use block::MAX_FLOATS_IN_CHUNK;
pub(crate) use layout::{WINDOW_MS, window_of};
pub(crate) use reader::{Fetched, Part, Wanted};
pub(crate) use table::{SeriesTable, TableEntry};
pub(crate) use writer::PartWriter;
