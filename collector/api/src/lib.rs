//! HTTP for readers: Prometheus, Loki, Tempo and our own; the built-in pages.
//!
//! ```text
//! request → Scoped (credential → scope, narrowed by X-Scope-OrgID) → route → Select, Lake, Groups … (scope) → answer
//! ```
//! Each kind of reader has a module with its routes and the state that they need; the server merges them and puts
//! [`Gate`] around all of them.
//!
//! # Invariants
//! - A handler that reads takes [`Scoped`]; without a credential that allows reading, no handler runs its body.
//! - Work that may block runs on blocking threads, bounded in number and time.
//! - Errors have the form of the API that was asked, and tell nothing of what is outside the scope.
//! - Nothing here writes telemetry: the write routes are ingest's.

pub mod agents;
mod asked;
mod clock;
pub mod cost;
pub mod loki;
mod objectives;
mod observed;
pub mod openapi;
pub mod pages;
pub mod prometheus;
mod quotas;
mod reader;
pub mod registry;
pub mod tempo;
pub mod tenantscope;

pub use asked::AskedInText;
pub use objectives::ObjectivesInForce;
pub use observed::{ObserveReads, Read, observed};
pub use quotas::QuotasInForce;
pub use reader::{Gate, Scoped, Who};
