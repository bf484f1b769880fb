//! How far back instant selectors look for blocks. Which blocks a query opened can be seen from the outside: their series
//! are known from then on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{Bench, HOUR_MS, MINUTE_MS, options, select, stamped};
use tenantscope_metrics::Options;
use tenantscope_model::{Cadence, Labels, Lookback, MatchOp, Matcher, Scope, Sink, StampedBatch, StampedSeries};

const DAY_MS: i64 = 24 * HOUR_MS;

fn plain(name: &str, t_ms: i64) -> StampedSeries {
    stamped(Labels::from_pairs([("__name__", name), ("tenant", "a")]), &[(t_ms, 1.0)])
}

/// Looked for 50 hours back.
fn daily(name: &str, t_ms: i64) -> StampedSeries {
    StampedSeries { cadence: Some(Cadence::capped(Cadence::MAX_MS, 0)), ..plain(name, t_ms) }
}

fn convert_all(bench: &Bench) {
    bench.store().flush().unwrap();
    while bench.store().convert().unwrap() {}
}

/// Whether an instant selector found the series, and whether it opened a block for that, which holds one or two.
fn ask(bench: &Bench, name: &str, at_ms: i64) -> (bool, bool) {
    let before = bench.store().stats().series;
    let matchers = [Matcher::try_new("__name__", MatchOp::Equal, name).unwrap()];
    let lookback = Lookback::Widened(5 * MINUTE_MS);
    let found = select(bench.store(), &Scope::All, &matchers, at_ms, at_ms, lookback).unwrap();
    let has_last = found.iter().any(|one| one.samples.last().is_some_and(|last| last.t_ms > at_ms - one.lookback_ms));
    (has_last, bench.store().stats().series > before)
}

#[test]
fn a_series_that_only_blocks_hold_is_found_as_far_back_as_its_cadence_says() {
    let mut bench = Bench::new(options());
    bench.write(vec![daily("daily", HOUR_MS), plain("plain", HOUR_MS)]);
    convert_all(&bench);
    bench.reopen();
    assert_eq!(ask(&bench, "daily", 40 * HOUR_MS), (true, true));
    assert_eq!(ask(&bench, "daily", 52 * HOUR_MS), (false, false), "known by now, and past its look-back");
    assert!(!ask(&bench, "plain", 40 * HOUR_MS).0);
}

#[test]
fn what_series_that_went_had_claimed_does_not_widen_the_look_back_of_later_times() {
    let mut bench = Bench::new(options());
    bench.write(vec![daily("daily", HOUR_MS)]);
    bench.write(vec![plain("plain", 5 * DAY_MS)]);
    bench.store().flush().unwrap();
    let later_ms = 5 * DAY_MS + 30 * HOUR_MS;
    convert_all(&bench);
    assert_eq!(ask(&bench, "plain", later_ms), (false, false), "its block lies 30 hours before");
    bench.reopen();
    assert_eq!(ask(&bench, "plain", later_ms), (false, false));
    assert_eq!(ask(&bench, "daily", 40 * HOUR_MS), (true, true), "where it may be, it is looked for");
}

#[test]
fn a_claim_widens_the_look_back_as_long_as_memory_or_a_part_has_its_series() {
    let mut bench = Bench::new(options());
    bench.write(vec![daily("known", HOUR_MS)]);
    convert_all(&bench);
    bench.write(vec![plain("plain", 5 * DAY_MS)]);
    convert_all(&bench);
    bench.reopen();
    // In a window of its own; blocks of its series could be anywhere.
    let live_ms = 5 * DAY_MS + 30 * HOUR_MS;
    bench.write(vec![daily("daily", live_ms)]);
    let opens = |bench: &Bench| ask(bench, "plain", live_ms).1;
    assert!(opens(&bench), "memory has it");
    bench.store().flush().unwrap();
    bench.reopen();
    assert!(opens(&bench), "a part has it");
}

#[test]
fn a_claim_of_what_was_not_taken_widens_nothing() {
    let kept = std::time::Duration::from_secs(10 * 86_400);
    let options = Options { retention: Some(kept), now_ms: || 20 * DAY_MS, ..options() };
    let mut bench = Bench::new(options);
    bench.write(vec![plain("plain", 15 * DAY_MS)]);
    convert_all(&bench);
    bench.reopen();
    bench.write(vec![daily("too_old", DAY_MS)]);
    assert_eq!(ask(&bench, "plain", 15 * DAY_MS + 30 * HOUR_MS), (false, false));
    let series = vec![daily("never_applied", 15 * DAY_MS + 30 * HOUR_MS)];
    drop(bench.store().prepare(StampedBatch::Metrics { series, metadata: Vec::new() }).unwrap());
    assert_eq!(ask(&bench, "plain", 15 * DAY_MS + 30 * HOUR_MS), (false, false));
}
