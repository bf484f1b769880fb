//! The way to the collector.
//!
//! ```text
//! Lane (metrics) ─┐
//! Lane (logs)    ─┼→ Courier: one batch in flight for each lane ─→ OTLP/gRPC ─→ acknowledged → the cursor moves
//! Lane (spans)   ─┘          ↑
//!                         Session: proof → token, epoch, kept positions, the document to go by → Documents
//! ```
//! # Invariants
//! - A batch leaves the spool when the collector acknowledged it or refused it for good; the latter is counted.
//! - Retries wait longer each time, with jitter, and never shorter than the collector asks for.
//! - Tokens and proofs are never logged.

mod courier;
mod delivery;
mod documents;
mod session;

pub use courier::Courier;
pub use delivery::{Delivery, Undelivered};
pub use documents::{Documents, Place, Wanted};
pub use session::{Session, SessionError};
