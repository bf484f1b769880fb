//! A query sees each sample once, whatever moves between memory, parts and blocks while it runs.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::{Bench, HOUR_MS, MINUTE_MS, always, budget, options, range, stamped, tenant};
use tenantscope_metrics::MetricStore;
use tenantscope_model::{
    Labels, Lookback, Position, Scope, Select, SelectRequest, Sink, StampedBatch, StampedSeries, TenantId,
};

const SERIES: u64 = 24;
/// Times that are written again and again, over four windows.
const SLOTS: u64 = 32;
const SLOT_MS: i64 = 15 * MINUTE_MS;

fn labels(tenant: &str, number: u64) -> Labels {
    let (name, host) = (format!("m{}", number % 3), format!("h{number}"));
    Labels::from_pairs([("__name__", name.as_str()), ("tenant", tenant), ("host", host.as_str())])
}

/// The slot of a position: neighbours are far from each other.
fn slot_of(position: u64) -> u64 {
    position * 13 % SLOTS
}

/// At each position all series get the position as their value, at one slot.
fn batch(position: u64) -> StampedBatch {
    let sample = [(slot_of(position) as i64 * SLOT_MS, position as f64)];
    let mut series: Vec<StampedSeries> = (0..SERIES).map(|number| stamped(labels("stayer", number), &sample)).collect();
    series.push(stamped(labels("goner", 0), &sample));
    StampedBatch::Metrics { series, metadata: Vec::new() }
}

#[test]
fn a_selection_reads_what_became_blocks_since_it_was_made() {
    let mut bench = Bench::new(options());
    let series = |host: u64, value: f64| stamped(labels("stayer", host), &[(0, value), (MINUTE_MS, value)]);
    bench.write(vec![series(0, 1.0)]);
    bench.store().flush().unwrap();
    while bench.store().convert().unwrap() {}
    bench.write(vec![series(1, 1.0)]);
    let budget = budget();
    let request =
        SelectRequest { matchers: &[], from_ms: 0, to_ms: HOUR_MS, lookback: Lookback::Range, budget: &budget };
    let store = Arc::clone(bench.store());
    let mut selection = store.find(&Scope::All, &request).unwrap();
    bench.store().flush().unwrap();
    while bench.store().convert().unwrap() {}
    bench.write(vec![series(1, 2.0)]);
    bench.store().flush().unwrap();
    while bench.store().convert().unwrap() {}
    while bench.store().compact().unwrap() {}
    assert_eq!(bench.store().stats().parts, 0);

    selection.sort().unwrap();
    let mut scan = selection.scan(0..2);
    let mut samples = Vec::new();
    while let Some(view) = scan.next().unwrap() {
        samples.push(view.samples.iter().map(|sample| sample.value).collect::<Vec<_>>());
    }
    assert_eq!(samples, [[1.0, 1.0], [2.0, 2.0]]);
    drop(scan);
    drop(selection);
    drop(store);
    bench.reopen();
    assert_eq!(range(bench.store(), &Scope::All, &[], 0, HOUR_MS).len(), 2);
}

#[test]
fn what_only_a_selection_needed_goes_with_it() {
    let mut bench = Bench::new(options());
    bench.write(vec![stamped(labels("stayer", 0), &[(0, 1.0)])]);
    bench.store().flush().unwrap();
    let budget = budget();
    let request =
        SelectRequest { matchers: &[], from_ms: 0, to_ms: HOUR_MS, lookback: Lookback::Range, budget: &budget };
    let selection = bench.store().find(&Scope::All, &request).unwrap();
    while bench.store().convert().unwrap() {}
    assert_eq!(bench.store().stats().series, 1);
    drop(selection);
    while bench.store().convert().unwrap() {}
    assert_eq!(bench.store().stats().series, 0, "a series of blocks alone is not in memory");
}

/// What writer, keeper and readers share.
#[derive(Default)]
struct Shared {
    applied: AtomicU64,
    stop: AtomicBool,
}

#[test]
fn queries_miss_nothing_while_data_move() {
    let seconds: u64 = std::env::var("TENANTSCOPE_TEST_SECONDS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    let bench = Bench::new(options());
    let store = &**bench.store();
    let shared = Shared::default();
    // Every slot is known from the beginning.
    (1..=SLOTS).for_each(|position| write(store, &shared, position));
    thread::scope(|scope| {
        scope.spawn(|| write_on(store, &shared));
        scope.spawn(|| keep(store, &shared, &tenant("goner")));
        let readers: Vec<_> = (0..2).map(|_| scope.spawn(|| read_on(store, &shared))).collect();
        let until = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < until && readers.iter().all(|reader| !reader.is_finished()) {
            thread::sleep(Duration::from_millis(20));
        }
        shared.stop.store(true, Ordering::Relaxed);
        let read: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert!(read > 0);
    });
}

fn write(store: &MetricStore, shared: &Shared, position: u64) {
    let prepared = store.prepare(batch(position)).unwrap();
    store.apply(prepared, Position(position));
    shared.applied.store(position, Ordering::SeqCst);
}

fn write_on(store: &MetricStore, shared: &Shared) {
    for position in SLOTS + 1.. {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        write(store, shared, position);
        thread::sleep(Duration::from_micros(500));
    }
}

fn keep(store: &MetricStore, shared: &Shared, goner: &TenantId) {
    for round in 1.. {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        store.flush().unwrap();
        match round % 8 {
            0 => drop(store.remove_tenant(goner, Position(0)).unwrap()),
            1..4 => drop(store.merge().unwrap()),
            4 => drop(store.compact().unwrap()),
            _ => while store.convert().unwrap() {},
        }
    }
}

fn read_on(store: &MetricStore, shared: &Shared) -> u64 {
    let stayer = Scope::only(tenant("stayer"));
    let mut read = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        let before = shared.applied.load(Ordering::SeqCst);
        let found = range(store, &stayer, &[], 0, SLOTS as i64 * SLOT_MS);
        let after = shared.applied.load(Ordering::SeqCst) + 1;
        assert_eq!(found.len() as u64, SERIES, "a series is missing");
        for one in &found {
            check(&one.samples.iter().map(|s| ((s.t_ms / SLOT_MS) as u64, s.value as u64)).collect(), before, after);
            assert_eq!(one.samples.len() as u64, SLOTS, "a sample is missing, or there twice");
        }
        let hosts = store.label_values(&stayer, "host", &always(&[])).unwrap();
        assert_eq!(hosts.len() as u64, SERIES, "a label's value is missing");
        read += 1;
    }
    read
}

/// Each slot has its newest value that was acknowledged before the query began, or one that came meanwhile.
fn check(got: &BTreeMap<u64, u64>, before: u64, after: u64) {
    let newest = (before + 1 - SLOTS..=before).map(|position| (slot_of(position), position));
    for (slot, position) in newest {
        let value = got[&slot];
        assert!(slot_of(value) == slot && (position..=after).contains(&value), "{value} where {position} was written");
    }
}
