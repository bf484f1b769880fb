//! The metric store: memory, parts and their manifest, blocks, the series index.
//!
//! # The data's way
//! ```text
//! StampedBatch → prepare → (the caller makes it durable) → apply → memory, by series
//!                  │ reserves memory, may refuse               │ flush, every few minutes
//!                  │                                           ▼
//!                  │                                   parts, one a window of two hours ← MANIFEST names them
//!                  │                                           │ merge, until their window is closed
//!                  │                                           ▼ convert
//!                  │                                   blocks, Parquet in a Delta table: compact, expire
//! SelectRequest → blocks' series → scope's postings → matchers → series → memory, parts, blocks → SelectedSeries
//! ```
//! A batch is prepared and applied through [`tenantscope_model::Sink`]. Samples collect in memory, in one compressed
//! chunk a series (what comes out of order lies beside it). A flush freezes what was applied so far, writes it into one
//! immutable part per window, and replaces `MANIFEST`, which says which parts live and which journal position they
//! reach. Parts of a window merge; two hours after its end they become blocks, which other programs read too. What is
//! past its class's retention goes, and so does a tenant that is removed. Reads ([`tenantscope_model::Select`]) begin with the posting
//! list of the reader's scope. The files' formats are in `FORMAT.md`.
//!
//! # Invariants
//! - At one series and time the newest write (the later journal position) wins: in memory, between memory and parts,
//!   between parts, between parts and blocks, and in merges. Parts that merge are neighbours in journal order.
//! - `MANIFEST` alone counts. It is replaced after the files that it names are durable, and a file is deleted after the
//!   `MANIFEST` that does not name it any more is. [`tenantscope_model::Sink::durable`] is its position.
//! - Samples leave memory after the part that holds them can be read, and readers look at memory first: they see no gap.
//!   Parts go in the moment in which readers see their blocks, and a reader who began before keeps them and their series
//!   until it ends. What readers see twice meanwhile is laid over itself.
//! - A series' number is never given twice in one process, so a reader that found it can't read another's samples.
//! - No lock is held while files are written, expressions run or many series are read. The index's lock is held for
//!   look-ups and, by the writer, for some new series at a time.
//! - A failed flush loses nothing: memory stays, is tried again with growing pauses, and writes are refused once it is
//!   full. Nothing is ever retried on the same file, since the kernel may have dropped its pages after a failed fsync.
//!
//! # Must never do
//! - Answer anything about a series outside the scope: no value, name, count or error.
//! - Keep a journal of its own, or know how a batch came in.

mod block;
mod chunk;
mod columns;
mod dirty;
mod error;
mod families;
mod families_file;
mod flush;
mod head;
mod index;
mod layer;
mod lookback;
mod manifest;
mod memory;
mod merge;
mod options;
mod part;
mod removal;
mod retention;
mod select;
mod selection;
mod series;
mod sink;
mod store;
mod telemetry;
mod upkeep;
mod view;

pub use block::BlockError;
pub use error::{OpenError, StoreError};
pub use options::{BlockOptions, Options};
pub use removal::{Removal, RemovalProgress};
pub use retention::{ClassOf, DEFAULT_CLASS, Retention, RetentionClass};
pub use sink::PreparedBatch;
pub use store::{MetricStore, Stats};
pub use tenantscope_table::{Location, S3Location};
