//! Delta tables in a local folder or a bucket: commit, snapshot, expiry. Knows no signal.
//!
//! ```text
//! RecordBatch ─ write_file ─→ Parquet file, fsynced ─┐
//!                                                    ├ commit ─→ _delta_log/N.json, fsynced ─→ files(), app_version()
//! (application id, version), paths to remove ────────┘                  └─ checkpoint every so many commits
//! expire ─→ deletes files that no version within the grace names
//! ```
//!
//! # Invariants
//! - A commit is there whole or not at all, also after a power cut: in a folder its content is fsynced under another
//!   name, then linked to its own, then the folder is fsynced; in a bucket it is put only where there is none. A file that a commit adds was fsynced before.
//! - One committer per table and process: a [`Table`] is that committer, and its list of live files is the truth.
//! - A commit that failed may have happened: the log is asked before anything else is decided. A change that removes what
//!   is not live is refused, so nothing is built on a version that has passed.
//! - A file is deleted only when it is not live and has not been for the grace period.
//! - A file that was removed has no statistics in the log any more; `forget_history` takes the rest of it out.
//! - Calls block on files: call them from a thread that may.

mod bucket;
mod checkpoint;
mod committer;
mod engine;
mod error;
mod expiry;
mod file;
mod piece_cache;
mod place;
mod reader;
mod rewrite;
mod table;

pub use error::TableError;
pub use expiry::Expired;
pub use file::{ColumnRange, LiveFile, Partition, WrittenFile};
pub use place::{Location, S3Location};
pub use reader::FileReader;
pub use rewrite::Rest;
pub use table::{Change, Draft, Table, TableSpec};
