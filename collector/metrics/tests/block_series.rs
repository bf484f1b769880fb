//! What series of blocks cost once a reader brought them into memory, and how few of them a limit brings.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use support::{Bench, HOUR_MS, MINUTE_MS, always, options, range, stamped};
use tenantscope_metrics::{MetricStore, Options};
use tenantscope_model::{
    Labels, Lookback, MatchOp, Matcher, QueryBounds, QueryBudget, Sample, Scope, Select, SelectError, SelectRequest,
    SeriesRequest, StampedSeries,
};

const DAY_MS: i64 = 24 * HOUR_MS;
const HOSTS: usize = 4000;
/// What the series' shares of tables and lists take that others have, too, and what these take of them alone.
const LITTLE: usize = HOSTS * 40;
const MUCH: usize = HOSTS * 150;

fn hosts(metric: &str, hosts: usize, t_ms: i64) -> Vec<StampedSeries> {
    let labels = |host: usize| Labels::from_pairs([("__name__", metric), ("tenant", "a"), ("host", &host.to_string())]);
    (0..hosts).map(|host| stamped(labels(host), &[(t_ms, 1.0)])).collect()
}

/// Writes series that blocks alone have from then on.
fn write_blocks(bench: &mut Bench, batches: Vec<Vec<StampedSeries>>) {
    batches.into_iter().for_each(|series| bench.write(series));
    bench.store().flush().unwrap();
    while bench.store().convert().unwrap() {}
    bench.reopen();
    assert_eq!(bench.store().stats().series, 0);
}

fn load_everything(store: &MetricStore) -> usize {
    range(store, &Scope::All, &[], i64::MIN, i64::MAX).len()
}

fn memory(bench: &Bench) -> usize {
    bench.store().stats().memory_bytes
}

static NOW_MS: AtomicI64 = AtomicI64::new(3 * DAY_MS);

#[test]
fn series_of_two_blocks_take_no_room_from_writers_when_one_of_these_goes() {
    let now_ms = || NOW_MS.load(Ordering::Relaxed);
    let retention = Some(Duration::from_secs(10 * 86_400));
    let mut bench = Bench::new(Options { retention, now_ms, ..options() });
    write_blocks(&mut bench, vec![hosts("up", HOSTS, 10), hosts("up", HOSTS, 2 * DAY_MS)]);
    let before = memory(&bench);
    assert_eq!(load_everything(bench.store()), HOSTS);
    NOW_MS.store(11 * DAY_MS, Ordering::Relaxed);
    bench.store().expire().unwrap();
    let stats = bench.store().stats();
    assert_eq!((stats.blocks, stats.series), (1, HOSTS));
    let taken = memory(&bench).saturating_sub(before);
    assert!(taken < LITTLE, "{taken} bytes for series that nobody writes to");
}

#[test]
fn series_of_blocks_are_the_writers_as_long_as_they_write_to_them() {
    let mut bench = Bench::new(options());
    write_blocks(&mut bench, vec![hosts("up", HOSTS, 10)]);
    let before = memory(&bench);
    load_everything(bench.store());
    bench.write(hosts("up", HOSTS, 10 * HOUR_MS));
    bench.store().flush().unwrap();
    let taken = memory(&bench).saturating_sub(before);
    assert!(taken > MUCH, "{taken} bytes for series that are written to");
    while bench.store().convert().unwrap() {}
    assert_eq!(bench.store().stats().series, HOSTS);
    let taken = memory(&bench).saturating_sub(before);
    assert!(taken < LITTLE, "{taken} bytes for series that nobody writes to any more");
}

#[test]
fn what_a_query_loads_changes_nothing_for_writers_at_once() {
    let mut bench = Bench::new(options());
    write_blocks(&mut bench, vec![hosts("old", HOSTS, 10)]);
    bench.write(hosts("new", HOSTS, 10 * HOUR_MS));
    let before = memory(&bench);
    assert!(before > MUCH);
    assert_eq!(load_everything(bench.store()), 2 * HOSTS);
    let after = memory(&bench);
    assert!(before.abs_diff(after) < LITTLE, "{before} bytes before and {after} after");
}

const METRICS: usize = 40;
const HOSTS_OF_METRIC: usize = 50;

fn many_metrics() -> Bench {
    let mut bench = Bench::new(options());
    let batches = (0..METRICS).map(|metric| hosts(&format!("metric_{metric:02}"), HOSTS_OF_METRIC, 10));
    write_blocks(&mut bench, batches.collect());
    bench
}

#[test]
fn a_call_for_some_series_loads_no_more_of_blocks_than_it_takes() {
    let mut bench = many_metrics();
    let ask = |bench: &Bench, limit: usize, from_ms: i64| {
        let request = SeriesRequest { limit, from_ms, ..always(&[]) };
        let found = bench.store().series(&Scope::All, &request).unwrap().len();
        (found, bench.store().stats().series)
    };
    assert_eq!(ask(&bench, 5, 0), (5, HOSTS_OF_METRIC));
    assert_eq!(ask(&bench, 5, HOUR_MS), (0, HOSTS_OF_METRIC), "there are none with samples in that time");
    assert_eq!(ask(&bench, HOSTS_OF_METRIC + 1, 0), (HOSTS_OF_METRIC + 1, 2 * HOSTS_OF_METRIC));
    bench.write(hosts("new", 10, 10 * HOUR_MS));
    bench.reopen();
    assert_eq!(ask(&bench, 10, 0), (10, 10), "memory has enough");
    let all = METRICS * HOSTS_OF_METRIC + 10;
    assert_eq!(ask(&bench, usize::MAX, 0), (all, all));
    assert_eq!(ask(&bench, all + 1, 0), (all, all));
}

#[test]
fn a_selector_of_too_many_series_loads_little_more_than_its_limit() {
    let bench = many_metrics();
    let select = |matchers: &[Matcher]| {
        let bounds = QueryBounds { max_series: 60, ..QueryBounds::NONE };
        let budget = QueryBudget::bounded(Instant::now() + Duration::from_secs(600), bounds, None);
        let (from_ms, to_ms, lookback) = (0, HOUR_MS, Lookback::Range);
        let request = SelectRequest { matchers, from_ms, to_ms, lookback, budget: &budget };
        bench.store().select(&Scope::All, &request).map(|found| found.len())
    };
    assert_eq!(select(&[]), Err(SelectError::TooManySeries { limit: 60 }));
    let loaded = bench.store().stats().series;
    assert!(loaded <= 3 * HOSTS_OF_METRIC, "{loaded}");
    let one_host = Matcher::try_new("host", MatchOp::Equal, "7").unwrap();
    assert_eq!(select(&[one_host]), Ok(METRICS), "what is loaded is not what is found");
}

#[test]
fn a_scan_over_blocks_holds_no_more_at_once_than_its_query_may() {
    let mut bench = Bench::new(options());
    let minutes: Vec<(i64, f64)> = (0..60).map(|minute| (minute * MINUTE_MS, minute as f64)).collect();
    let labels = |host: usize| Labels::from_pairs([("__name__", "up"), ("tenant", "a"), ("host", &host.to_string())]);
    write_blocks(&mut bench, vec![(0..HOSTS).map(|host| stamped(labels(host), &minutes)).collect()]);
    let all_bytes = HOSTS * minutes.len() * size_of::<Sample>();
    let sum = |max_bytes: usize| {
        let bounds = QueryBounds { max_bytes: max_bytes as u64, ..QueryBounds::NONE };
        let budget = QueryBudget::bounded(Instant::now() + Duration::from_secs(600), bounds, None);
        let (from_ms, to_ms, lookback) = (0, HOUR_MS, Lookback::Range);
        let request = SelectRequest { matchers: &[], from_ms, to_ms, lookback, budget: &budget };
        let found = bench.store().find(&Scope::All, &request)?;
        let (mut scan, mut samples) = (found.scan(0..found.len()), 0);
        while let Some(series) = scan.next()? {
            samples += series.samples.len();
        }
        Ok::<usize, SelectError>(samples)
    };
    assert_eq!(sum(usize::MAX), Ok(HOSTS * minutes.len()));
    assert_eq!(sum(all_bytes / 4), Ok(HOSTS * minutes.len()));
    assert_eq!(sum(500), Err(SelectError::TooMuchMemory { limit_bytes: 500 }));
}
