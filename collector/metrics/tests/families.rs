//! Metadata of families through the door: what is taken, and what it costs.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use prometheus::proto::MetricFamily;
use support::{Bench, always, options, stamped, tenant};
use tenantscope_metrics::Options;
use tenantscope_model::{
    FamilyMetadata, Labels, Metadata, MetadataRequest, MetricKind, Position, Scope, Select, Sink, StampedBatch,
};

fn family(id: &str, name: &str, unit: &str, help: &str) -> FamilyMetadata {
    let metadata = Metadata { kind: MetricKind::Gauge, unit: unit.into(), help: help.into() };
    FamilyMetadata { tenant: Some(tenant(id)), family: name.into(), metadata }
}

fn write(bench: &mut Bench, metadata: Vec<FamilyMetadata>) {
    bench.write_batch(StampedBatch::Metrics { series: Vec::new(), metadata });
}

fn names(bench: &Bench) -> Vec<String> {
    let request = MetadataRequest { family: None, limit: usize::MAX, budget: always(&[]).budget };
    let read = bench.store().metadata(&Scope::All, &request).unwrap();
    read.iter().map(|(name, _)| name.to_string()).collect()
}

/// What the store's own metric says.
fn dropped(reason: &str) -> f64 {
    let all = prometheus::gather();
    let families = all.iter().find(|family| family.name() == "tenantscope_metrics_dropped_families_total");
    let counters = families.map(MetricFamily::get_metric).unwrap_or_default();
    let of_reason = counters.iter().find(|one| one.get_label().iter().any(|label| label.value() == reason));
    of_reason.map_or(0.0, |one| one.get_counter().get_value())
}

#[test]
fn a_long_name_or_unit_is_dropped_and_counted_and_a_long_help_is_cut() {
    let mut bench = Bench::new(options());
    let before = dropped("too_long");
    let long = |bytes: usize| "x".repeat(bytes);
    write(
        &mut bench,
        vec![
            family("a", &long(1025), "", "help"),
            family("a", "with_long_unit", &long(257), "help"),
            family("a", &long(1024), &long(256), &long(5000)),
        ],
    );
    assert_eq!(names(&bench), [long(1024)]);
    assert_eq!(dropped("too_long") - before, 2.0);
    let request = MetadataRequest { family: Some(&long(1024)), limit: 1, budget: always(&[]).budget };
    let read = bench.store().metadata(&Scope::All, &request).unwrap();
    assert_eq!((read[0].1[0].unit.len(), read[0].1[0].help.len()), (256, 1024));
}

#[test]
fn families_are_counted_as_memory_and_never_take_that_of_samples() {
    let memory_max_bytes = 1 << 20;
    let mut bench = Bench::new(Options { memory_max_bytes, ..options() });
    let empty = bench.store().stats().memory_bytes;
    let before = dropped("memory");
    for number in 0..2000 {
        let help = format!("{number} {}", "h".repeat(900));
        write(&mut bench, vec![family("a", &format!("family_{number:04}"), "", &help)]);
    }
    let taken = names(&bench).len();
    assert_eq!(dropped("memory") - before, (2000 - taken) as f64);
    let used = bench.store().stats().memory_bytes - empty;
    assert!((taken * 900..=memory_max_bytes / 8).contains(&used), "{used} bytes for {taken}");
    assert!(used > memory_max_bytes / 10, "{used}");
    let up = stamped(Labels::from_pairs([("__name__", "up")]), &[(0, 1.0)]);
    assert!(bench.store().prepare(StampedBatch::Metrics { series: vec![up], metadata: Vec::new() }).is_ok());
    bench.store().flush().unwrap();
    bench.reopen();
    assert_eq!(names(&bench).len(), taken);
    assert!(bench.store().stats().memory_bytes >= empty + taken * 900, "what a file brings is counted, too");
    bench.store().remove_tenant(&tenant("a"), Position(0)).unwrap();
    assert!(bench.store().stats().memory_bytes < empty + 900);
}
