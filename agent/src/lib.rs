//! tenantscope-agent: collects a tenant account's telemetry, buffers it on disk, forwards it.
