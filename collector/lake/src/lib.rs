//! Logs and spans: buffer, Delta tables, LogQL, TraceQL. The only user of DataFusion.
//!
//! ```text
//! StampedBatch ─ prepare ─→ RecordBatch ─ apply(position) ─→ buffer ─ flush ─→ sorted Parquet files ┐
//!                                                              │                one Delta commit ───┤ with the position
//!                              Scope + LogQL / TraceQL ─→ scan of buffer and files, at one moment ←─┘
//! ```
//! A flush takes everything up to one journal position; the position is the transaction id of its commit, under the
//! journal's id, so a restart knows from the table alone where to replay from. A query takes the buffer and the list of
//! files under one lock, so a record is found exactly once before, during and after a flush.
//!
//! # Invariants
//! - Every read takes a [`Scope`](tenantscope_model::Scope) first, and the table that DataFusion sees is already narrowed
//!   to it: no plan, whatever it says, can reach a record outside.
//! - Memory is bounded: the buffer by `buffer_max_bytes` (past it `prepare` refuses), queries by `query_memory_bytes`,
//!   their time by `query_timeout`, their answers by limits.
//! - A position at or before the table's own is not applied again: nothing is written twice after a crash.
//! - A tenant's removal ends in one commit per table, is durably noted before it deletes anything, and is ended by the
//!   lake itself after a crash.
//! - Nothing here knows HTTP.
//!
//! # The labels of a log stream
//! `tenant`, `account_id`, `region`, `service_name` (resource attribute `service.name`), `level` (from the severity
//! number, else its text, else the line; `detected_level` is the same), `log_group` (resource or record attribute
//! `aws.log.group.names`) are columns. Besides, as in Loki: the resource attributes of which it makes labels
//! (`k8s.pod.name` and so on), and those that the resource attribute `loki.resource.labels` names, which are the labels
//! of a push; 64 at most, and none that is a column's. All other attributes, of resource and record, are structured
//! metadata: label filters find them, with `.` written as `_`.

mod answer;
mod attributes;
mod error;
mod files;
mod form;
mod keeper;
mod lake;
mod level;
mod logql;
mod logs;
mod options;
mod removal;
mod scan;
mod session;
mod spans;
mod store;
mod telemetry;
mod tombstone;
mod traceql;

pub use answer::{
    Direction, LabelRequest, LogAnswer, LogEntry, LogRequest, LogSeries, LogStream, Point, SearchRequest, SpanSummary,
    StreamVolume, TagScope, TimeRange, TraceSummary,
};
pub use error::{OpenError, QueryError, RemovalError};
pub use lake::{Journals, Lake};
pub use options::Options;
pub use removal::{LakeRemoval, TableRemoval, UpTo};
pub use store::{Prepared, Store};
