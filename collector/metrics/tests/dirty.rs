//! Writes to what was summed are told, whenever the store is killed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;

use support::{Bench, options, stamped, tenant};
use tenantscope_model::{DirtyRange, Labels, ReportDirty};

fn write(bench: &mut Bench, t_ms: i64, value: f64) {
    let labels = Labels::from_pairs([("__name__", "up"), ("tenant", "a")]);
    bench.write(vec![stamped(labels, &[(t_ms, value)])]);
}

fn dirty(bench: &Bench) -> Vec<DirtyRange> {
    bench.store().dirty().ranges
}

fn range(from_ms: i64, to_ms: i64) -> DirtyRange {
    DirtyRange { tenant: Some(tenant("a")), metric: Some("up".into()), from_ms, to_ms }
}

#[test]
fn a_late_write_that_no_part_has_is_told_after_a_kill() {
    let mut bench = Bench::new(options());
    write(&mut bench, 10, 1.0);
    bench.store().flush().unwrap();
    bench.store().summed_until(100).unwrap();
    write(&mut bench, 50, 2.0);
    write(&mut bench, 101, 2.0);
    bench.reopen();
    assert_eq!(dirty(&bench), [range(50, 50)]);
    write(&mut bench, 60, 2.0);
    bench.reopen();
    assert_eq!(dirty(&bench), [range(50, 60)], "and again, as long as it is not settled");
}

#[test]
fn what_had_been_there_when_it_was_summed_is_not_told_after_a_kill() {
    let mut bench = Bench::new(options());
    write(&mut bench, 10, 1.0);
    bench.store().summed_until(100).unwrap();
    write(&mut bench, 150, 1.0);
    bench.store().summed_until(160).unwrap();
    bench.reopen();
    assert_eq!(dirty(&bench), []);
    write(&mut bench, 155, 1.0);
    write(&mut bench, 20, 1.0);
    assert_eq!(dirty(&bench), [range(20, 155)]);
}

#[test]
fn what_was_late_for_an_earlier_sum_is_told_after_a_kill_though_it_was_there_for_a_later_one() {
    let mut bench = Bench::new(options());
    bench.store().summed_until(100).unwrap();
    write(&mut bench, 50, 1.0);
    write(&mut bench, 150, 1.0);
    bench.store().summed_until(160).unwrap();
    bench.reopen();
    assert_eq!(dirty(&bench), [range(50, 50)]);
}

#[test]
fn a_range_that_was_told_and_not_settled_is_told_after_a_kill_wherever_its_write_is() {
    let mut bench = Bench::new(options());
    bench.store().summed_until(100).unwrap();
    write(&mut bench, 10, 1.0);
    assert_eq!(dirty(&bench), [range(10, 10)]);
    bench.reopen();
    assert_eq!(dirty(&bench), [range(10, 10)], "its write comes from the journal");
    bench.store().flush().unwrap();
    bench.reopen();
    assert_eq!(dirty(&bench), [range(10, 10)], "its write is in a part");
    let told = bench.store().dirty();
    bench.store().settle(&told);
    bench.store().summed_until(200).unwrap();
    bench.reopen();
    assert_eq!(dirty(&bench), []);
}

#[test]
fn what_cannot_be_kept_is_not_to_be_summed() {
    let mut bench = Bench::new(options());
    let in_the_way = bench.dir.path().join("MANIFEST.new");
    fs::create_dir(&in_the_way).unwrap();
    bench.store().summed_until(100).unwrap_err();
    bench.store().summed_until(100).unwrap_err();
    fs::remove_dir(&in_the_way).unwrap();
    bench.store().summed_until(100).unwrap();
    write(&mut bench, 10, 1.0);
    bench.reopen();
    assert_eq!(dirty(&bench), [range(10, 10)]);
}
