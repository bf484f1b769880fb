//! Blocks through the door: answers stay what they were, whatever happens on the way.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use support::{Bench, HOUR_MS, MINUTE_MS, always, copy_folder, files_with, options, range, stamped, tenant};
use tenantscope_metrics::{ClassOf, MetricStore, Options, Retention, RetentionClass};
use tenantscope_model::{
    DirtyRange, Exemplar, FamilyMetadata, Histogram, HistogramSample, Labels, MatchOp, Matcher, Metadata,
    MetadataRequest, MetricKind, Position, ReportDirty, ResetHint, Sample, Scope, Select, SelectedSeries, Sink, Span,
    Spans, StampedBatch, StampedSeries,
};

const DAY_MS: i64 = 24 * HOUR_MS;

fn labels(name: &str, tenant: &str, host: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("tenant", tenant), ("host", host)])
}

fn steps(from_ms: i64, to_ms: i64, value: impl Fn(i64) -> f64) -> Vec<(i64, f64)> {
    (from_ms..to_ms).step_by(MINUTE_MS as usize).map(|t_ms| (t_ms, value(t_ms))).collect()
}

fn everything(store: &MetricStore) -> Vec<SelectedSeries> {
    range(store, &Scope::All, &[], i64::MIN, i64::MAX)
}

fn convert_all(store: &MetricStore) {
    while store.convert().unwrap() {}
}

/// Of every kind that a series can have, over four hours.
fn varied() -> Vec<StampedSeries> {
    let mut with_starts = stamped(labels("started", "a", "h1"), &steps(0, 4 * HOUR_MS, |t| t as f64));
    with_starts.starts.samples_ms = with_starts.samples.iter().map(|s| if s.t_ms < HOUR_MS { 0 } else { 7 }).collect();
    with_starts.exemplars = vec![Exemplar { t_ms: 5, value: 0.5, labels: Labels::from_pairs([("trace_id", "abc")]) }];
    let histogram = |t_ms: i64| HistogramSample {
        t_ms,
        histogram: Arc::new(Histogram {
            schema: 3,
            count: t_ms as f64,
            sum: 0.1,
            positive: Spans { spans: vec![Span { offset: -2, length: 2 }], counts: vec![1.0, t_ms as f64] },
            reset_hint: ResetHint::NotCounterReset,
            ..Histogram::default()
        }),
    };
    let mut histograms = stamped(labels("sizes", "a", "h1"), &[(90 * MINUTE_MS, 1.5)]);
    histograms.histograms = (0..80).map(|i| histogram(i * MINUTE_MS)).collect();
    let stale = [(0, 1.0), (MINUTE_MS, tenantscope_model::stale_nan()), (3 * HOUR_MS, -0.0), (3 * HOUR_MS + 1, 1e300)];
    vec![
        stamped(labels("decimals", "a", "h1"), &steps(0, 4 * HOUR_MS, |t| (t / 1000) as f64 / 100.0)),
        stamped(labels("doubles", "b", "h1"), &steps(0, 4 * HOUR_MS, |t| (t as f64).sqrt() / 3.0)),
        stamped(labels("marked", "b", "h\"2\\"), &stale),
        stamped(Labels::from_pairs([("__name__", "ours")]), &[(1, 2.0)]),
        with_starts,
        histograms,
    ]
}

/// Debug text tells NaNs from each other no more than `==` does, but -0.0 from 0.
fn same(a: &[SelectedSeries], b: &[SelectedSeries]) {
    let bits = |all: &[SelectedSeries]| -> Vec<Vec<(i64, u64)>> {
        all.iter().map(|one| one.samples.iter().map(|s| (s.t_ms, s.value.to_bits())).collect()).collect()
    };
    assert_eq!(bits(a), bits(b));
    for (a, b) in a.iter().zip(b) {
        assert_eq!((&a.labels, &a.histograms, &a.starts), (&b.labels, &b.histograms, &b.starts));
    }
}

#[test]
fn blocks_answer_as_memory_did_and_survive_a_restart() {
    let mut bench = Bench::new(options());
    bench.write(varied());
    let before = everything(bench.store());
    bench.store().flush().unwrap();
    convert_all(bench.store());
    let stats = bench.store().stats();
    assert_eq!((stats.parts, stats.blocks), (0, 2));
    same(&everything(bench.store()), &before);
    bench.reopen();
    assert_eq!(bench.store().stats().series, 0, "series of blocks are found when they are asked for");
    same(&everything(bench.store()), &before);
    let up = [vec![Matcher::try_new("__name__", MatchOp::Equal, "started").unwrap()]];
    let exemplars = bench.store().exemplars(&Scope::All, &always(&up)).unwrap();
    assert_eq!(exemplars.len(), 1);
    assert_eq!(exemplars[0].1[0].value, 0.5);
    let none = range(bench.store(), &Scope::tenants([tenant("nobody")]), &[], i64::MIN, i64::MAX);
    assert_eq!(none, []);
}

#[test]
fn late_data_rewrite_what_they_touch_in_one_commit() {
    let mut bench = Bench::new(options());
    let series = |host: &str, value: f64| stamped(labels("up", "a", host), &[(0, value), (MINUTE_MS, value)]);
    bench.write(vec![series("h1", 1.0), series("h2", 1.0)]);
    bench.store().flush().unwrap();
    convert_all(bench.store());
    bench.write(vec![stamped(labels("up", "a", "h1"), &[(MINUTE_MS, 2.0), (2 * MINUTE_MS, 2.0)])]);
    bench.write(vec![stamped(labels("new", "a", "h1"), &[(0, 5.0)])]);
    bench.store().flush().unwrap();
    let before = everything(bench.store());
    assert_eq!(before[1].samples[1], Sample { t_ms: MINUTE_MS, value: 2.0 });
    convert_all(bench.store());
    same(&everything(bench.store()), &before);
    let stats = bench.store().stats();
    assert_eq!((stats.parts, stats.blocks, stats.block_samples), (0, 1, 6), "each series and time has one row");
}

#[test]
fn small_files_of_a_day_become_one() {
    let mut bench = Bench::new(options());
    bench.write(vec![stamped(labels("up", "a", "h1"), &steps(0, DAY_MS, |t| t as f64))]);
    bench.store().flush().unwrap();
    convert_all(bench.store());
    assert_eq!(bench.store().stats().blocks, 12);
    let before = everything(bench.store());
    while bench.store().compact().unwrap() {}
    assert_eq!(bench.store().stats().blocks, 1);
    same(&everything(bench.store()), &before);
    bench.reopen();
    same(&everything(bench.store()), &before);
}

/// As a crash leaves it: `MANIFEST` says that a conversion of all parts was begun.
fn begin_conversion(dir: &Path) {
    let text = fs::read_to_string(dir.join("MANIFEST")).unwrap();
    let (head, body) = text.split_once('\n').unwrap();
    let mut body: serde_json::Value = serde_json::from_str(body).unwrap();
    body["conversions"] = 1.into();
    body["conversion"] = serde_json::json!({"id": 1, "parts": body["parts"]});
    let body = serde_json::to_string(&body).unwrap();
    let head = head.rsplit_once('=').unwrap().0;
    fs::write(dir.join("MANIFEST"), format!("{head}={:08x}\n{body}", crc32fast::hash(body.as_bytes()))).unwrap();
}

#[test]
fn a_conversion_that_a_crash_interrupted_is_ended_once() {
    let mut bench = Bench::new(options());
    bench.write(vec![stamped(labels("up", "a", "h1"), &steps(0, HOUR_MS, |t| t as f64))]);
    bench.store().flush().unwrap();
    let expected = everything(bench.store());
    bench.close();
    let before = tempfile::tempdir().unwrap();
    copy_folder(bench.dir.path(), before.path());
    let store = Bench::open_files(bench.dir.path(), options());
    convert_all(&store);
    drop(store);

    // The table has the conversion, MANIFEST does not know that yet.
    let committed = tempfile::tempdir().unwrap();
    copy_folder(before.path(), committed.path());
    copy_folder(&bench.dir.path().join("blocks"), &committed.path().join("blocks"));
    begin_conversion(committed.path());
    let store = Bench::open_files(committed.path(), options());
    same(&everything(&store), &expected);
    convert_all(&store);
    assert_eq!((store.stats().parts, store.stats().block_samples), (0, 60));
    same(&everything(&store), &expected);

    // The table does not have it: the same parts are converted again.
    begin_conversion(before.path());
    let store = Bench::open_files(before.path(), options());
    convert_all(&store);
    assert_eq!((store.stats().parts, store.stats().block_samples), (0, 60));
    same(&everything(&store), &expected);
}

/// The version of the series index; the columns are the table's own.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/blocks-1");

/// Run this by name once for each new version.
#[test]
#[ignore = "writes the files that the other test reads"]
fn write_the_blocks() {
    let mut bench = Bench::new(options());
    bench.write(varied());
    bench.store().flush().unwrap();
    convert_all(bench.store());
    bench.close();
    copy_folder(bench.dir.path(), Path::new(GOLDEN));
}

#[test]
fn blocks_of_this_version_are_read() {
    let dir = tempfile::tempdir().unwrap();
    copy_folder(Path::new(GOLDEN), dir.path());
    let store = Bench::open_files(dir.path(), options());
    assert_eq!((store.stats().parts, store.stats().blocks), (0, 2));
    let mut bench = Bench::new(options());
    bench.write(varied());
    same(&everything(&store), &everything(bench.store()));
}

static NOW_MS: AtomicI64 = AtomicI64::new(0);

fn now_ms() -> i64 {
    NOW_MS.load(Ordering::Relaxed)
}

#[test]
fn a_class_keeps_its_tenants_for_its_time_and_bytes() {
    const DAY: Duration = Duration::from_secs(86_400);
    let keep = |days: u32, max_bytes| RetentionClass { keep: Some(DAY * days), max_bytes };
    let classes = BTreeMap::from([
        ("default".to_owned(), keep(30, None)),
        ("gold".to_owned(), keep(400, None)),
        ("tiny".to_owned(), keep(400, Some(1))),
    ]);
    let class_of = ClassOf::new(|tenant| Some(tenant.to_owned()));
    let options = Options { now_ms, classes: Retention { classes, class_of }, ..options() };
    NOW_MS.store(10 * DAY_MS, Ordering::Relaxed);
    let mut bench = Bench::new(options);
    let of = |tenant: &str| stamped(labels("up", tenant, "h1"), &[(0, 1.0)]);
    bench.write(vec![of("silver"), of("gold"), of("tiny")]);
    bench.store().flush().unwrap();
    convert_all(bench.store());
    assert_eq!(bench.store().stats().blocks, 3);
    let tenants = |store: &MetricStore| -> Vec<String> {
        everything(store).iter().map(|one| one.labels.get("tenant").unwrap().to_owned()).collect()
    };
    bench.store().expire().unwrap();
    assert_eq!(tenants(bench.store()), ["gold", "silver"], "a class past its bytes drops its oldest blocks");
    NOW_MS.store(40 * DAY_MS, Ordering::Relaxed);
    bench.store().expire().unwrap();
    assert_eq!(tenants(bench.store()), ["gold"]);
    bench.write(vec![of("silver"), of("gold")]);
    assert_eq!(tenants(bench.store()), ["gold"], "what is too old for its class is not taken");
    bench.reopen();
    bench.store().flush().unwrap();
    assert_eq!(tenants(bench.store()), ["gold"]);
}

fn family(id: &str) -> FamilyMetadata {
    let metadata = Metadata { kind: MetricKind::Gauge, unit: "".into(), help: format!("of {id}").into() };
    FamilyMetadata { tenant: Some(tenant(id)), family: "up".into(), metadata }
}

#[test]
fn a_removed_tenant_is_nowhere_and_does_not_come_back() {
    let mut bench = Bench::new(options());
    let of = |tenant: &str, from_ms: i64| {
        stamped(labels("up", tenant, "host-of-it"), &steps(from_ms, from_ms + HOUR_MS, |t| t as f64))
    };
    bench.write(vec![of("goner", 0), of("stayer", 0)]);
    bench.store().flush().unwrap();
    convert_all(bench.store());
    bench.write(vec![of("goner", 4 * HOUR_MS), of("stayer", 4 * HOUR_MS)]);
    bench.store().flush().unwrap();
    let metadata = vec![family("goner"), family("stayer")];
    let series = vec![of("goner", 8 * HOUR_MS), of("stayer", 8 * HOUR_MS), of("goner", 12 * HOUR_MS)];
    bench.write_batch(StampedBatch::Metrics { series, metadata });

    let removal = bench.store().remove_tenant(&tenant("goner"), Position(3)).unwrap();
    assert_eq!((removal.series, removal.samples, removal.families), (1, 240, 1));
    assert!(removal.blocks == 1 && removal.parts >= 2 && removal.deleted_bytes > 0);
    let check = |store: &MetricStore| {
        let left = everything(store);
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].samples.len(), 180);
        let request = MetadataRequest { family: None, limit: 10, budget: always(&[]).budget };
        assert_eq!(store.metadata(&Scope::tenants([tenant("goner")]), &request).unwrap(), []);
        let values = store.label_values(&Scope::All, "tenant", &always(&[])).unwrap();
        assert_eq!(values.iter().map(|value| &**value).collect::<Vec<_>>(), ["stayer"]);
    };
    check(bench.store());
    assert_eq!(files_with(bench.dir.path(), "goner"), ["MANIFEST"], "the tombstone alone has the name");
    // As if nothing of the last batches had been durable: the journal has them still.
    bench.reopen();
    check(bench.store());
    let replayed = bench.store().prepare_replay(bench.journal[0].clone());
    bench.store().apply(replayed, Position(1));
    check(bench.store());
    // A tenant of the same name that comes later is another one.
    bench.write(vec![of("goner", 0)]);
    assert_eq!(everything(bench.store()).len(), 2);
}

#[test]
fn a_reader_of_blocks_takes_no_room_from_writers() {
    let mut bench = Bench::new(options());
    let hosts = (0..4000).map(|host| stamped(labels("old", "a", &format!("host-{host}")), &[(10, 1.0)]));
    bench.write(hosts.collect());
    bench.store().flush().unwrap();
    convert_all(bench.store());
    bench.reopen();
    let write = |bench: &mut Bench| {
        bench.write(vec![stamped(labels("new", "b", "h"), &[(10 * HOUR_MS, 1.0)])]);
        bench.store().stats()
    };
    let before = write(&mut bench);
    assert_eq!(before.series, 1);
    assert_eq!(everything(bench.store()).len(), 4001);
    let after = write(&mut bench);
    assert_eq!(after.series, 4001);
    let taken = after.memory_bytes.saturating_sub(before.memory_bytes);
    assert!(taken < 100_000, "{taken} bytes for 4,000 series that nobody writes to");
}

#[test]
fn writes_to_what_was_summed_are_told_until_they_are_settled() {
    let mut bench = Bench::new(options());
    let write = |bench: &mut Bench, t_ms: i64, value: f64| {
        bench.write(vec![stamped(labels("up", "a", "h1"), &[(t_ms, value)])]);
    };
    write(&mut bench, 10, 1.0);
    assert_eq!(bench.store().dirty().ranges, []);
    bench.store().summed_until(100).unwrap();
    write(&mut bench, 101, 1.0);
    write(&mut bench, 10, 1.0);
    assert_eq!(bench.store().dirty().ranges, [], "a repeated sample changes nothing");
    write(&mut bench, 10, 2.0);
    write(&mut bench, 50, 2.0);
    let range = |from_ms, to_ms| DirtyRange { tenant: Some(tenant("a")), metric: Some("up".into()), from_ms, to_ms };
    let told = bench.store().dirty();
    assert_eq!(told.ranges, [range(10, 50)]);
    bench.store().flush().unwrap();
    bench.reopen();
    assert_eq!(bench.store().dirty().ranges, [range(10, 50)], "it survives a restart");
    bench.store().summed_until(100).unwrap();
    let told = bench.store().dirty();
    write(&mut bench, 60, 2.0);
    bench.store().settle(&told);
    assert_eq!(bench.store().dirty().ranges, [range(10, 60)], "what came since is told again");
    let told = bench.store().dirty();
    bench.store().settle(&told);
    assert_eq!(bench.store().dirty().ranges, []);
}
