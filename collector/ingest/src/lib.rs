//! Receivers, deduplication, admission, and the way of a batch into journal and store.
//!
//! ```text
//! headers → Identity → Sender ─ reserve ─ body → lane (is it new?) → decode → decide → stamp → Sink::prepare
//!    ↑                                                                                             │ all refusals end here
//!    └── Accepted ←── state (lane, sources, totals) ←── Sink::apply ←── fsync ←── journal record ←─┘
//! ```
//! A [`Record`](tenantscope_codec::Record) holds the stamps as decided and the body as it was received. What stands
//! right of the fsync runs on the journal's writer thread, in journal order, before anybody is told.
//!
//! # Invariants
//! - Everything that can be refused is refused before anything is durable; what was acknowledged was fsynced.
//! - A batch with an identity is stored once. A refusal does not advance its lane; a resend waits for the first.
//! - The registry is asked once for each resource, when it comes; a replay asks nobody.
//! - The state of a line is exactly what its records up to its position make of it, so a replay from any state file
//!   ends at the same state.
//! - A removed tenant's tombstone stands in the journals; a replay skips what stands before it. From the durable list of
//!   removals until every store knows of one, nothing of its tenant is taken, so no record is on the wrong side.
//! - A journal that nears its bound makes store and state go on at once, so that it is full only where they can't.
//! - Whoever floods is refused before anybody reads what it sends, waits behind itself, and is answered late.
//! - Bodies under way, lanes, sources and running totals are bounded, and one sender's share of the bodies as well.
//!
//! It must never look into a payload for a tenant, acknowledge what is not on the disk, or skip a store.

mod answers;
mod audit;
mod bodies;
mod charging;
mod clock;
mod counts;
mod coverage;
mod deciding;
mod deliveries;
mod doubt;
mod epochs;
mod exchange;
mod firehose;
mod in_flight;
mod intake;
mod lanes;
mod limits;
mod line;
mod loki_push;
mod owed;
mod pace;
mod posted;
mod presence;
mod refusal;
mod relays;
mod relief;
mod remote_write;
mod removals;
mod removing;
mod replay;
mod routes;
mod state;
mod state_files;
mod store;
mod taking;
mod telemetry;
mod tenant_info;
mod turns;
mod usage;

pub use counts::Weights;
pub use in_flight::Permit;
pub use intake::{Intake, IntakeError};
pub use limits::Limits;
pub use line::{LineError, journal_id};
pub use relays::RelayQuota;
pub use removals::{RemovalError, TenantRemoval};
pub use removing::JournalWait;
pub use routes::{otlp_service, write_routes};
pub use store::Stores;
