//! Journal readers that send everything stamped on to other systems, in the form in which it came.
//!
//! ```text
//! journal ──Reader──→ Record ──to_otlp──→ stamped OTLP ──compress──→ OTLP/gRPC, OTLP/HTTP ──→ target
//!    ↑                                                                        │
//!    └── Cursor `forward.<target>` ←── taken, refused for good, skipped ←─────┘
//! ```
//! Each target and signal is a lane of its own: one task, one batch in flight, one durable cursor. A batch carries a
//! [`tenantscope_wire::BatchHeader`] (our name, the lane, the journal position as its sequence), so that another
//! collector stores it once, however often it is sent; other systems get it at least once.
//!
//! # Invariants
//! - Ingest never waits for a target: a lane only reads, and one that falls behind by more than its `max_bytes` (or
//!   three quarters of the journal) skips the oldest, and counts it.
//! - A batch is behind the cursor only once the target took it, or refused it for good, or it was skipped; the last two
//!   are counted by reason.
//! - A credential that is not taken is no fault of the batch: the batch waits, and the token is read anew.
//! - Series without a tenant stay here, counted.
//! - Nothing is sent of a tenant that stands before the tenant's tombstone, wherever the cursor is; what waits to be sent
//!   when the tenant is removed is made again without it. Counted.
//! - Bounded: one decoded record for each lane, one request in flight, pauses of at most five minutes.
//!
//! It must never ask the registry: the stamps are those that were decided when the batch came.

mod answer;
mod batch;
mod config;
mod forwarder;
mod lane;
mod target;
mod telemetry;

pub use config::{Compression, TargetConfig, TargetError, TargetKind, TokenSource, check};
pub use forwarder::{Forwarder, Journals, Options, StartError};
