//! tenantscope-agent: collects a tenant account's telemetry, buffers it on disk, forwards it.
//!
//! ```text
//! CloudWatch metrics ─┐
//! CloudWatch Logs    ─┤
//! X-Ray traces       ─┼→ OTLP batches → spool (data and positions in one record) → uplink → collector
//! applications' OTLP ─┘
//! ```
//! A [`config::Config`] is read once; [`agent::run`] and [`agent::once`] do the work; everything else serves
//! them. The collector's document, which comes with the token, takes the place of a part of it while the agent runs.
//!
//! # Invariants
//! - What is acknowledged to an application, or passed by a source's position, is on the disk.
//! - Every datapoint, log record and span keeps the time that its source gave it.
//! - Memory and disk are bounded: rounds work in pages and windows, the spool drops its oldest and counts it.
//! - No secret is logged: neither token nor proof nor payload.
//!
//! It must never decide whose data it is: the collector does, from the agent's proof. It takes from the collector what to
//! collect, and neither where to send it nor as whom.

pub mod agent;
pub mod attributes;
pub mod aws;
pub mod batch;
pub mod clock;
pub mod cloudwatch;
pub mod config;
pub mod logging;
pub mod logs;
pub mod receiver;
pub mod repeated;
pub mod source;
pub mod spool;
pub mod telemetry;
pub mod telemetry_listener;
pub mod uplink;
pub mod xray;
