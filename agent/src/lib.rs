//! tenantscope-agent: collects a tenant account's telemetry, buffers it on disk, forwards it.

pub mod attributes;
pub mod aws;
pub mod batch;
pub mod clock;
pub mod cloudwatch;
pub mod config;
pub mod logs;
pub mod source;
pub mod spool;
pub mod telemetry;
pub mod trace_id;
pub mod xray;
