//! `tenantscope-collector`: configuration, wiring, listeners, shutdown.
//!
//! ```text
//! Cli → Config → Listeners::bind → Front (alive, not ready) → rules, stores::open (replay) → Forwarder, Runner, Gate → serve … signal → drain
//! ```
//! # Invariants
//! - Nothing of a room's logic is here: rooms are opened, given each other's doors, and closed in order.
//! - Whatever can be wrong with the configuration is found by [`check::check`], with file and line; at a start it ends
//!   the program, at a reload it changes nothing.
//! - Without a registry it listens on loopback alone.
//! - Tasks end in the order in which data flows: listeners, rules, forward, stores.

pub mod audit;
pub mod check;
pub mod cli;
pub mod config;
pub mod listing;
pub mod report;
pub mod serve;
pub mod telemetry;
pub mod tenants;

mod agents;
mod certificates;
mod front;
mod keys;
mod organizations;
mod own_counts;
mod own_routes;
mod reload;
mod removals;
mod request_spans;
mod rounds;
mod rule_seams;
mod running;
mod signals;
mod span_exporter;
mod stores;
