//! What this room says of itself on `/metrics`. No label names a tenant, a sender or an address.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGauge, Opts};

use crate::Refused;

/// Requests that were refused, by the way they came and the refusal's fixed word.
static REFUSED: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    let opts = Opts::new("tenantscope_wire_refused_total", "Requests that were refused, before or after their body.");
    // A name that is registered already leaves the metric working but unlisted, which beats a panic.
    let counters = IntCounterVec::new(opts, &["transport", "reason"]).ok()?;
    prometheus::register(Box::new(counters.clone())).ok();
    Some(counters)
});

static CONNECTIONS: LazyLock<Option<IntGauge>> = LazyLock::new(|| {
    let gauge = IntGauge::new("tenantscope_wire_connections", "Connections that are open on all listeners.").ok()?;
    prometheus::register(Box::new(gauge.clone())).ok();
    Some(gauge)
});

/// Connections that were ended for what their peer did, by a fixed word.
static ENDED: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    let opts = Opts::new("tenantscope_wire_ended_connections_total", "Connections ended for what their peer did.");
    let counters = IntCounterVec::new(opts, &["reason"]).ok()?;
    prometheus::register(Box::new(counters.clone())).ok();
    Some(counters)
});

pub(crate) fn ended(reason: &'static str) {
    if let Some(counters) = &*ENDED {
        counters.with_label_values(&[reason]).inc();
    }
}

pub(crate) fn refused(transport: &str, refused: &Refused) {
    if let Some(counters) = &*REFUSED {
        counters.with_label_values(&[transport, refused.reason]).inc();
    }
}

/// An open connection; dropping it counts it out.
#[derive(Debug)]
pub(crate) struct OpenConnection(());

impl OpenConnection {
    pub(crate) fn new() -> Self {
        if let Some(gauge) = &*CONNECTIONS {
            gauge.inc();
        }
        Self(())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if let Some(gauge) = &*CONNECTIONS {
            gauge.dec();
        }
    }
}
