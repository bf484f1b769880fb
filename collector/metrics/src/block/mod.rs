//! Blocks: what parts become once their window is closed. Parquet files in a Delta table, in plain columns, so that other
//! programs read them with SQL; and beside the columns, unseen by these programs, an index of series of our own.
//!
//! ```text
//! parts of a closed window ─ convert ─→ rewrite ─→ BlockWriter ─→ files ─ commit under the conversion's id ─→ table
//!                                          ▲                                                                   │
//!              files that late data touch, ─┘ or small ones of a day (compact)                                  │
//! query ─→ load: directories, then sections of the metric that is asked for → series in the index ←─────────────┘
//!       └→ read: pages of the runs that are wanted → SeriesRows
//! ```
//!
//! # Invariants
//! - Of one series and time one live file has a row, at every version of the table.
//! - A conversion's parts go from `MANIFEST` after its files are in the table, and it is never done twice: its id is in
//!   `MANIFEST` before, and in the commit.
//! - A series that blocks alone hold is in the index as long as a section with it is in memory, and sections go only when
//!   no reader has them.

mod cache;
mod compact;
mod convert;
mod cursor;
mod decimal;
mod directory;
mod error;
mod file;
mod histogram_text;
mod json;
mod layout;
mod load;
mod removal;
mod rewrite;
mod rows;
mod set;
mod writer;

pub use error::BlockError;
pub(crate) use file::{BlockFile, LoadedFile};
pub(crate) use load::{LoadedBlocks, SectionsWanted, What};
pub(crate) use rows::SeriesRows;
pub(crate) use set::Blocks;
