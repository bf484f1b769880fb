//! What agent and collector say to each other: OTLP services, the batch header, the proof, the agent's configuration
//! document.
//!
//! ```text
//! agent: IdentityRequest{Proof} ──→ Identify ──→ IdentityResponse{token, VersionedDocument, positions}
//! sender: headers (token, BatchHeader) ──→ Receive::authorize ──→ reserve ──→ body ──→ ReceivedBody ──→ receive
//!         Accepted{rejected} or Refused ←── OTLP's status ←───────────────────────────────────────────────┘
//! ```
//!
//! # Invariants
//! - A body stays as it came: nothing here decompresses or decodes a received batch.
//! - Nothing of a body is read before the sender is authorized and its bytes are reserved.
//! - Everything that a peer can make grow has a limit: headers, bodies, streams, connections, time.
//! - A refusal has one meaning: [`Refused`] maps to HTTP and gRPC in one place.
//! - Tokens, proofs and bodies are never logged.

mod body;
pub mod client;
pub mod cloudwatch;
mod compress;
pub mod document;
pub mod header;
mod identity;
mod lingering;
pub mod listener;
mod messages;
mod name;
pub mod otlp;
pub mod proof;
mod receive;
mod refused;
mod telemetry;
pub mod tls;

pub use body::{BodyForm, Encoding, ReceivedBody};
pub use client::OtlpClient;
pub use compress::compress;
pub use document::{AgentDocument, VersionedDocument};
pub use header::{BatchHeader, InvalidBatchHeader, Positions};
pub use identity::{
    AgentMode, DocumentReport, IDENTITY_PATH, IdentityRequest, IdentityResponse, MAX_IDENTITY_BYTES, MAX_REASON_BYTES,
    ProofOfAccount, RefusedDocument,
};
pub use listener::Listener;
pub use name::{InvalidName, Name};
pub use otlp::{OtlpLimits, OtlpService, pass_over};
pub use proof::Proof;
pub use receive::{Accepted, BoxFuture, Identify, Peer, Receive, Reserved, Written};
pub use refused::{Refused, RefusedKind};
