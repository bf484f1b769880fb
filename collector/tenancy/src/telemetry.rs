//! What this room says of itself on `/metrics`. No label names a tenant, an account or a reader.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, Opts};

// A name that is already registered leaves the metric working but unlisted, which beats a panic.
fn counters(name: &str, help: &str, label: &str) -> Option<IntCounterVec> {
    let vec = IntCounterVec::new(Opts::new(name, help), &[label]).ok()?;
    prometheus::register(Box::new(vec.clone())).ok();
    Some(vec)
}

fn count(counter: &Option<IntCounterVec>, value: &str) {
    if let Some(counter) = counter {
        counter.with_label_values(&[value]).inc();
    }
}

static PROOFS: LazyLock<Option<IntCounterVec>> =
    LazyLock::new(|| counters("tenantscope_tenancy_proofs_total", "Agents' proofs by result.", "result"));
static SENDERS_REFUSED: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    counters("tenantscope_tenancy_senders_refused_total", "Requests of senders that were not let in.", "reason")
});
static READS_DENIED: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    counters("tenantscope_tenancy_reads_denied_total", "Requests of readers that were not let in.", "reason")
});

pub(crate) fn proof(result: &'static str) {
    count(&PROOFS, result);
}

pub(crate) fn sender_refused(reason: &'static str) {
    count(&SENDERS_REFUSED, reason);
}

pub(crate) fn read_denied(reason: &'static str) {
    count(&READS_DENIED, reason);
}
