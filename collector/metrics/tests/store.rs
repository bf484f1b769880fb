//! What the store promises at its door, one promise a test.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use support::{Bench, HOUR_MS, MINUTE_MS, always, options, range, select, stamped, tenant};
use tenantscope_metrics::{MetricStore, OpenError, Options};
use tenantscope_model::{
    Exemplar, FamilyMetadata, Histogram, HistogramSample, Labels, Lookback, Matcher, Metadata, MetadataRequest,
    MetricKind, Position, QueryBudget, Refusal, Sample, Scope, Select, SelectError, SeriesRequest, Sink, Span, Spans,
    StampedBatch,
};

fn up(host: &str) -> Labels {
    Labels::from_pairs([("__name__", "up"), ("tenant", "acme"), ("host", host)])
}

fn all(store: &MetricStore) -> Vec<(String, Vec<(i64, f64)>)> {
    let selected = range(store, &Scope::All, &[], i64::MIN, i64::MAX);
    let points = |samples: &[Sample]| samples.iter().map(|s| (s.t_ms, s.value)).collect();
    selected.iter().map(|one| (one.labels.to_string(), points(&one.samples))).collect()
}

fn files(bench: &Bench) -> Vec<PathBuf> {
    let entries = fs::read_dir(bench.dir.path().join("parts")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn a_prepared_batch_cannot_be_seen_before_it_is_applied() {
    let bench = Bench::new(options());
    let batch = StampedBatch::Metrics { series: vec![stamped(up("a"), &[(1, 1.0)])], metadata: Vec::new() };
    let prepared = bench.store().prepare(batch.clone()).unwrap();
    assert!(bench.store().series(&Scope::All, &always(&[])).unwrap().is_empty());
    drop(prepared);
    assert_eq!(bench.store().stats().memory_bytes, 0);
    let prepared = bench.store().prepare(batch).unwrap();
    bench.store().apply(prepared, Position(1));
    assert_eq!(bench.store().series(&Scope::All, &always(&[])).unwrap(), [up("a")]);
}

#[test]
fn what_was_flushed_is_there_without_a_replay() {
    let mut bench = Bench::new(options());
    bench.write(vec![stamped(up("a"), &[(0, 1.0), (3 * HOUR_MS, 2.0)]), stamped(up("b"), &[(MINUTE_MS, 3.0)])]);
    let before = all(bench.store());
    bench.store().flush().unwrap();
    assert_eq!(bench.store().durable(), Position(1));
    assert_eq!(bench.store().stats().parts, 2);
    assert_eq!(all(bench.store()), before);
    bench.close();
    let store = Bench::open_files(bench.dir.path(), options());
    assert_eq!(store.durable(), Position(1));
    assert_eq!(all(&store), before);
}

#[test]
fn a_replay_of_what_the_parts_hold_changes_nothing() {
    let mut bench = Bench::new(options());
    bench.write(vec![stamped(up("a"), &[(0, 1.0)])]);
    bench.write(vec![stamped(up("a"), &[(0, 2.0)])]);
    bench.store().flush().unwrap();
    let first = bench.store().prepare_replay(bench.journal[0].clone());
    bench.store().apply(first, Position(1));
    assert_eq!(all(bench.store()), [(up("a").to_string(), vec![(0, 2.0)])]);
}

#[test]
fn merged_parts_are_one_file_and_the_newest_write_stays() {
    let mut bench = Bench::new(options());
    for i in 0..4 {
        bench.write(vec![stamped(up("a"), &[(0, f64::from(i)), (1000 + i64::from(i), 7.0)])]);
        bench.store().flush().unwrap();
    }
    let before = all(bench.store());
    assert_eq!(files(&bench).len(), 4);
    assert!(bench.store().merge().unwrap());
    assert!(!bench.store().merge().unwrap());
    assert_eq!(files(&bench).len(), 1);
    assert_eq!(all(bench.store()), before);
    bench.reopen();
    assert_eq!(all(bench.store()), before);
}

#[test]
fn a_part_past_retention_goes_with_its_series() {
    static NOW_MS: AtomicI64 = AtomicI64::new(0);
    let now_ms = || NOW_MS.load(Ordering::Relaxed);
    let day = Duration::from_secs(86_400);
    let mut bench = Bench::new(Options { retention: Some(day), future_max: Some(day), now_ms, ..options() });
    bench.write(vec![stamped(up("old"), &[(0, 1.0)]), stamped(up("new"), &[(20 * HOUR_MS, 1.0)])]);
    bench.store().flush().unwrap();
    NOW_MS.store(30 * HOUR_MS, Ordering::Relaxed);
    bench.store().expire().unwrap();
    assert_eq!(bench.store().series(&Scope::All, &always(&[])).unwrap(), [up("new")]);
    assert_eq!((bench.store().stats().series, files(&bench).len()), (1, 1));
    bench.write(vec![stamped(up("late"), &[(HOUR_MS, 1.0)]), stamped(up("early"), &[(55 * HOUR_MS, 1.0)])]);
    assert_eq!(bench.store().stats().series, 1, "samples outside retention and clock are not taken");
    bench.reopen();
    assert_eq!(bench.store().series(&Scope::All, &always(&[])).unwrap(), [up("new")]);
}

#[test]
fn series_that_stopped_leave_memory_after_a_flush() {
    let mut bench = Bench::new(options());
    let samples: Vec<(i64, f64)> = (0..1000).map(|i| (i * 1000, (i as f64).sin())).collect();
    bench.write((0..50).map(|i| stamped(up(&format!("h{i}")), &samples)).collect());
    let before = bench.store().stats().memory_bytes;
    bench.store().flush().unwrap();
    let after = bench.store().stats().memory_bytes;
    assert!(after * 4 < before, "{before} to {after}");
    assert_eq!(all(bench.store()).len(), 50);
}

#[test]
fn past_its_memory_the_store_refuses_and_takes_again_after_a_flush() {
    let mut bench = Bench::new(Options { memory_max_bytes: 64 << 10, ..options() });
    let mut t_ms = 0;
    let batch = |t_ms: &mut i64| {
        let samples: Vec<(i64, f64)> = (0..100).map(|i| (*t_ms + i, (i as f64).sin())).collect();
        *t_ms += 100;
        StampedBatch::Metrics { series: vec![stamped(up("a"), &samples)], metadata: Vec::new() }
    };
    let refusal = loop {
        match bench.store().prepare(batch(&mut t_ms)) {
            Ok(prepared) => {
                bench.journal.push(batch(&mut t_ms));
                bench.store().apply(prepared, Position(bench.journal.len() as u64));
            }
            Err(refusal) => break refusal,
        }
        assert!(bench.journal.len() < 10_000);
    };
    assert!(matches!(refusal, Refusal::Unavailable { reason: "store_memory", .. }), "{refusal:?}");
    let replayed = bench.store().prepare_replay(batch(&mut t_ms));
    drop(replayed);
    bench.store().flush().unwrap();
    assert!(bench.store().prepare(batch(&mut t_ms)).is_ok());
}

#[test]
fn a_flush_that_cannot_write_keeps_everything_and_succeeds_later() {
    let mut bench = Bench::new(options());
    bench.write(vec![stamped(up("a"), &[(0, 1.0)])]);
    let parts = bench.dir.path().join("parts");
    let hidden = bench.dir.path().join("hidden");
    fs::rename(&parts, &hidden).unwrap();
    assert!(bench.store().flush().unwrap_err().to_string().contains("parts"));
    bench.write(vec![stamped(up("a"), &[(0, 2.0), (1, 3.0)])]);
    assert_eq!(all(bench.store()), [(up("a").to_string(), vec![(0, 2.0), (1, 3.0)])]);
    assert!(bench.store().flush().is_err());
    assert_eq!(bench.store().durable(), Position(0));
    fs::rename(&hidden, &parts).unwrap();
    bench.store().flush().unwrap();
    assert_eq!(bench.store().durable(), Position(1));
    bench.store().flush().unwrap();
    assert_eq!(bench.store().durable(), Position(2));
    assert_eq!(all(bench.store()), [(up("a").to_string(), vec![(0, 2.0), (1, 3.0)])]);
    bench.reopen();
    assert_eq!(all(bench.store()), [(up("a").to_string(), vec![(0, 2.0), (1, 3.0)])]);
}

#[test]
fn files_that_the_manifest_does_not_name_are_deleted_at_open() {
    let mut bench = Bench::new(options());
    bench.write(vec![stamped(up("a"), &[(0, 1.0)])]);
    bench.store().flush().unwrap();
    let stray = bench.dir.path().join("parts/00000000000000000077.part");
    fs::write(&stray, "half a part").unwrap();
    bench.reopen();
    assert!(!stray.exists());
    assert_eq!(files(&bench).len(), 1);
}

#[test]
fn a_damaged_block_is_an_error_that_names_file_and_place() {
    let mut bench = Bench::new(options());
    bench.write(vec![stamped(up("a"), &[(0, 1.0)]), stamped(up("b"), &[(0, 1.0)])]);
    bench.store().flush().unwrap();
    let path = &files(&bench)[0];
    let mut bytes = fs::read(path).unwrap();
    bytes[25] ^= 1;
    fs::write(path, bytes).unwrap();
    let of = |host: &str| [Matcher::equal("host", host)];
    let error = select(bench.store(), &Scope::All, &of("a"), 0, 1, Lookback::Range).unwrap_err();
    let SelectError::Store(text) = error else { panic!("{error}") };
    assert!(text.contains(".part") && text.contains("byte 16") && text.contains("checksum"), "{text}");
    assert_eq!(range(bench.store(), &Scope::All, &of("b"), 0, 1).len(), 1, "other blocks are read");
}

#[test]
fn a_damaged_table_or_footer_or_a_missing_part_stops_the_open() {
    let mut bench = Bench::new(options());
    bench.write(vec![stamped(up("a"), &[(0, 1.0)])]);
    bench.store().flush().unwrap();
    bench.close();
    let path = &files(&bench)[0];
    let whole = fs::read(path).unwrap();
    let open = || MetricStore::open(bench.dir.path(), options()).unwrap_err();
    for at in [0, whole.len() - 110, whole.len() - 50, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
        assert!(matches!(open(), OpenError::Damaged { .. }), "byte {at}");
    }
    fs::write(path, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(open(), OpenError::Damaged { .. }));
    fs::remove_file(path).unwrap();
    assert!(open().to_string().contains(".part"));
}

#[test]
fn a_folder_has_one_store() {
    let bench = Bench::new(options());
    assert!(matches!(MetricStore::open(bench.dir.path(), options()), Err(OpenError::Locked { .. })));
}

#[test]
fn memory_of_histograms_written_again_is_given_back() {
    let mut bench = Bench::new(options());
    let before = bench.store().stats().memory_bytes;
    let histogram = Arc::new(Histogram {
        positive: Spans { spans: vec![Span { offset: 0, length: 100 }], counts: vec![1.0; 100] },
        count: 100.0,
        ..Histogram::default()
    });
    for _ in 0..2000 {
        let mut series = stamped(up("a"), &[]);
        series.histograms = vec![HistogramSample { t_ms: 10, histogram: Arc::clone(&histogram) }];
        bench.write(vec![series]);
    }
    bench.store().flush().unwrap();
    let left = bench.store().stats().memory_bytes.saturating_sub(before);
    assert!(left < 20_000, "{left} bytes are left of one series");
}

#[test]
fn an_exemplar_is_no_place_for_a_text() {
    let mut bench = Bench::new(options());
    let exemplar = |length: usize| {
        let id = "é".repeat(length);
        Exemplar { t_ms: 10, value: 0.5, labels: Labels::from_pairs([("trace_id", id.as_str())]) }
    };
    let mut series = stamped(up("a"), &[(10, 1.0)]);
    series.exemplars = vec![exemplar(120), exemplar(121)];
    bench.write(vec![series]);
    let expected = vec![(up("a"), vec![exemplar(120)])];
    assert_eq!(bench.store().exemplars(&Scope::All, &always(&[])).unwrap(), expected);
}

#[test]
fn exemplars_come_from_memory_and_parts() {
    let mut bench = Bench::new(options());
    let exemplar = |t_ms: i64| Exemplar { t_ms, value: 0.5, labels: Labels::from_pairs([("trace_id", "abc")]) };
    for t_ms in [10, 20] {
        let mut series = stamped(up("a"), &[(t_ms, 1.0)]);
        series.exemplars = vec![exemplar(t_ms), exemplar(t_ms)];
        bench.write(vec![series]);
        if t_ms == 10 {
            bench.store().flush().unwrap();
        }
    }
    let expected = vec![(up("a"), vec![exemplar(10), exemplar(20)])];
    assert_eq!(bench.store().exemplars(&Scope::All, &always(&[])).unwrap(), expected);
    bench.store().flush().unwrap();
    while bench.store().merge().unwrap() {}
    bench.reopen();
    assert_eq!(bench.store().exemplars(&Scope::All, &always(&[])).unwrap(), expected);
    assert!(bench.store().exemplars(&Scope::only(tenant("other")), &always(&[])).unwrap().is_empty());
}

#[test]
fn metadata_is_kept_by_tenant_and_survives() {
    let mut bench = Bench::new(options());
    let family = |id: Option<&str>, help: &str| FamilyMetadata {
        tenant: id.map(tenant),
        family: "up".into(),
        metadata: Metadata { kind: MetricKind::Gauge, unit: "".into(), help: help.into() },
    };
    let metadata = vec![family(Some("a"), "one"), family(Some("b"), "two"), family(None, "one")];
    bench.write_batch(StampedBatch::Metrics { series: Vec::new(), metadata });
    let helps = |bench: &Bench, scope: &Scope| -> Vec<String> {
        let request = MetadataRequest { family: Some("up"), limit: 10, budget: always(&[]).budget };
        let read = bench.store().metadata(scope, &request).unwrap();
        read.iter().flat_map(|(_, all)| all.iter().map(|metadata| metadata.help.to_string())).collect()
    };
    for _ in 0..2 {
        assert_eq!(helps(&bench, &Scope::All), ["one", "two"]);
        assert_eq!(helps(&bench, &Scope::only(tenant("b"))), ["two"]);
        assert!(helps(&bench, &Scope::only(tenant("c"))).is_empty());
        bench.store().flush().unwrap();
        assert_eq!(bench.store().durable(), Position(1));
        bench.reopen();
    }
}

#[test]
fn a_budget_ends_a_call_for_series_too() {
    let mut bench = Bench::new(options());
    bench.write((0..100).map(|host| stamped(up(&host.to_string()), &[(0, 1.0)])).collect());
    let ask = |max_samples: u64| {
        let budget = QueryBudget::new(Instant::now() + Duration::from_secs(600), max_samples);
        bench.store().series(&Scope::All, &SeriesRequest { budget: &budget, ..always(&[]) }).map(|found| found.len())
    };
    assert_eq!(ask(1_000_000), Ok(100));
    assert_eq!(ask(1_000), Err(SelectError::TooManySamples { limit: 1_000 }));
    let cancelled = QueryBudget::new(Instant::now() + Duration::from_secs(600), u64::MAX);
    cancelled.cancel();
    let names = bench.store().label_names(&Scope::All, &SeriesRequest { budget: &cancelled, ..always(&[]) });
    assert_eq!(names, Err(SelectError::Cancelled));
}

#[test]
fn a_budget_ends_a_read() {
    let mut bench = Bench::new(options());
    bench.write(vec![stamped(up("a"), &[(0, 1.0), (1, 2.0), (2, 3.0)])]);
    let read = |bench: &Bench| {
        let budget = QueryBudget::new(Instant::now() + Duration::from_secs(60), 2);
        let request = tenantscope_model::SelectRequest {
            matchers: &[],
            from_ms: 0,
            to_ms: 9,
            lookback: Lookback::Range,
            budget: &budget,
        };
        bench.store().select(&Scope::All, &request)
    };
    assert_eq!(read(&bench), Err(SelectError::TooManySamples { limit: 2 }));
    bench.store().flush().unwrap();
    assert_eq!(read(&bench), Err(SelectError::TooManySamples { limit: 2 }));
}

#[test]
fn samples_far_apart_make_few_files_open_at_once_and_all_come_back() {
    let mut bench = Bench::new(options());
    let samples: Vec<(i64, f64)> = (0..150).map(|i| (i * 5 * HOUR_MS, i as f64)).collect();
    bench.write(vec![stamped(up("a"), &samples), stamped(up("b"), &samples)]);
    bench.store().flush().unwrap();
    assert_eq!(bench.store().stats().parts, 150);
    assert_eq!(all(bench.store()), [(up("a").to_string(), samples.clone()), (up("b").to_string(), samples)]);
}

#[test]
fn the_series_of_a_time_are_those_with_samples_in_it() {
    let mut bench = Bench::new(options());
    bench.write(vec![stamped(up("morning"), &[(HOUR_MS, 1.0)]), stamped(up("evening"), &[(20 * HOUR_MS, 1.0)])]);
    for _ in 0..2 {
        let mut request = always(&[]);
        request.to_ms = 12 * HOUR_MS;
        assert_eq!(bench.store().series(&Scope::All, &request).unwrap(), [up("morning")]);
        assert_eq!(bench.store().label_values(&Scope::All, "host", &request).unwrap(), ["morning".into()]);
        bench.store().flush().unwrap();
    }
}

#[test]
fn readers_see_every_sample_while_flushes_and_merges_run() {
    let bench = Bench::new(Options { flush_interval: Duration::from_millis(1), ..options() });
    let store = Arc::clone(bench.store());
    store.run().unwrap();
    let applied = AtomicI64::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let at_least = applied.load(Ordering::Acquire);
                let got = all(&store).first().map_or(0, |(_, samples)| samples.len() as i64);
                assert!(got >= at_least, "{got} samples, {at_least} were applied");
            }
        });
        for i in 0..2000_i64 {
            let series = vec![stamped(up("a"), &[(i * 1000, i as f64)])];
            let prepared = store.prepare(StampedBatch::Metrics { series, metadata: Vec::new() }).unwrap();
            store.apply(prepared, Position(i as u64 + 1));
            applied.store(i + 1, Ordering::Release);
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    store.stop().unwrap();
    assert_eq!(store.durable(), Position(2000));
    assert_eq!(all(&store)[0].1.len(), 2000);
}

#[test]
fn the_first_and_the_last_times_of_all_are_flushed() {
    let mut bench = Bench::new(options());
    let times = [i64::MIN, i64::MIN + 1, i64::MIN + 2 * HOUR_MS, -1, 0, i64::MAX - 2 * HOUR_MS, i64::MAX - 1, i64::MAX];
    let samples: Vec<(i64, f64)> = times.iter().map(|t_ms| (*t_ms, 1.0)).collect();
    let labels = Labels::from_pairs([("__name__", "up"), ("tenant", "a")]);
    bench.write(vec![stamped(labels.clone(), &samples)]);
    bench.write(vec![stamped(labels, &[(i64::MAX, 2.0), (i64::MIN, 2.0)])]);
    bench.store().flush().unwrap();
    bench.reopen();
    let found = range(bench.store(), &Scope::All, &[], i64::MIN, i64::MAX);
    let found: Vec<(i64, f64)> = found[0].samples.iter().map(|sample| (sample.t_ms, sample.value)).collect();
    let mut expected = samples;
    (expected[0].1, expected[7].1) = (2.0, 2.0);
    assert_eq!(found, expected);
}
