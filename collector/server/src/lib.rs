//! tenantscope-collector: configuration, wiring, listeners, shutdown.
