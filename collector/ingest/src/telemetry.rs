//! What this room says of itself on `/metrics`, by signal and reason. No label names a tenant or a sender.

use std::sync::LazyLock;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};
use tenantscope_model::Signal;

// A name that is already registered leaves the metric working but unlisted, which beats a panic.
fn counters(name: &str, help: &str, labels: &[&str]) -> Option<IntCounterVec> {
    let vec = IntCounterVec::new(Opts::new(name, help), labels).ok()?;
    prometheus::register(Box::new(vec.clone())).ok();
    Some(vec)
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> Option<IntGaugeVec> {
    let vec = IntGaugeVec::new(Opts::new(name, help), labels).ok()?;
    prometheus::register(Box::new(vec.clone())).ok();
    Some(vec)
}

fn gauge(name: &str, help: &str) -> Option<IntGauge> {
    let gauge = IntGauge::new(name, help).ok()?;
    prometheus::register(Box::new(gauge.clone())).ok();
    Some(gauge)
}

fn counter(name: &str, help: &str) -> Option<IntCounter> {
    let counter = IntCounter::new(name, help).ok()?;
    prometheus::register(Box::new(counter.clone())).ok();
    Some(counter)
}

type Counters = LazyLock<Option<IntCounterVec>>;

static BATCHES: Counters = LazyLock::new(|| {
    counters("tenantscope_ingest_batches_total", "Batches that were made durable and queryable.", &["signal"])
});
static RECORDS: Counters = LazyLock::new(|| {
    counters("tenantscope_ingest_records_total", "Samples, log records and spans in these batches.", &["signal"])
});
static BODY_BYTES: Counters = LazyLock::new(|| {
    counters("tenantscope_ingest_body_bytes_total", "Bytes of these batches as they were received.", &["signal"])
});
static REFUSED: Counters = LazyLock::new(|| {
    counters("tenantscope_ingest_refused_total", "Batches that were refused as a whole.", &["signal", "reason"])
});
static UNRESERVED: Counters = LazyLock::new(|| {
    let help = "Bodies that were refused before they were read, for their size or for what is under way.";
    counters("tenantscope_ingest_unreserved_total", help, &["reason"])
});
static PACED: LazyLock<Option<IntCounter>> = LazyLock::new(|| {
    counter("tenantscope_ingest_paced_total", "Refusals that were answered late, since their sender was refused much.")
});
static DOUBTED: LazyLock<Option<IntCounter>> = LazyLock::new(|| {
    let help = "Batches that were decoded after others of doubted senders, much of whose data came to nothing.";
    counter("tenantscope_ingest_doubted_total", help)
});
static REJECTED: Counters = LazyLock::new(|| {
    let help = "Samples, log records and spans that were refused while the rest of their batch was taken.";
    counters("tenantscope_ingest_rejected_records_total", help, &["signal", "reason"])
});
static REPEATS: Counters = LazyLock::new(|| {
    counters("tenantscope_ingest_repeats_total", "Batches that came again and were stored before.", &["signal"])
});
static MOVED_CLAIMS: Counters = LazyLock::new(|| {
    let help = "Claimed names that differed from the stamp and were moved to exported_….";
    counters("tenantscope_ingest_moved_claims_total", help, &["signal"])
});
static REPLAYED: Counters = LazyLock::new(|| {
    counters("tenantscope_ingest_replayed_batches_total", "Journal records read again at start.", &["signal", "into"])
});
static UNREADABLE: Counters = LazyLock::new(|| {
    let help = "Journal records that could not be read again at start.";
    counters("tenantscope_ingest_unreadable_batches_total", help, &["signal"])
});
static IN_FLIGHT: LazyLock<Option<IntGauge>> =
    LazyLock::new(|| gauge("tenantscope_ingest_in_flight_bytes", "Bytes of bodies that are under way."));
static LANES: LazyLock<Option<IntGaugeVec>> =
    LazyLock::new(|| gauges("tenantscope_ingest_lanes", "Lanes whose sequence is kept.", &["signal"]));

fn add(counters: &Counters, labels: &[&str], n: u64) {
    if let Some(counters) = &**counters {
        counters.with_label_values(labels).inc_by(n);
    }
}

pub(crate) fn stored(signal: Signal, records: u64, body_bytes: u64) {
    add(&BATCHES, &[signal.as_str()], 1);
    add(&RECORDS, &[signal.as_str()], records);
    add(&BODY_BYTES, &[signal.as_str()], body_bytes);
}

pub(crate) fn refused(signal: Signal, reason: &'static str) {
    add(&REFUSED, &[signal.as_str(), reason], 1);
}

pub(crate) fn unreserved(reason: &'static str) {
    add(&UNRESERVED, &[reason], 1);
}

pub(crate) fn paced() {
    if let Some(counter) = &*PACED {
        counter.inc();
    }
}

pub(crate) fn doubted() {
    if let Some(counter) = &*DOUBTED {
        counter.inc();
    }
}

pub(crate) fn rejected(signal: Signal, reason: &'static str, records: u64) {
    add(&REJECTED, &[signal.as_str(), reason], records);
}

pub(crate) fn repeat(signal: Signal) {
    add(&REPEATS, &[signal.as_str()], 1);
}

pub(crate) fn moved_claims(signal: Signal, n: u64) {
    add(&MOVED_CLAIMS, &[signal.as_str()], n);
}

pub(crate) fn replayed(signal: Signal, into_store: bool) {
    add(&REPLAYED, &[signal.as_str(), if into_store { "store" } else { "state" }], 1);
}

pub(crate) fn unreadable(signal: Signal) {
    add(&UNREADABLE, &[signal.as_str()], 1);
}

pub(crate) fn in_flight(bytes: u64) {
    if let Some(gauge) = &*IN_FLIGHT {
        gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

pub(crate) fn lanes(signal: Signal, n: usize) {
    if let Some(gauges) = &*LANES {
        gauges.with_label_values(&[signal.as_str()]).set(i64::try_from(n).unwrap_or(i64::MAX));
    }
}
