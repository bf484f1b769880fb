//! So many series that threads share them: the same answers as for some at a time.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantscope_metrics::{MetricStore, Options};
use tenantscope_model::{
    LabelSet, Labels, Lookback, Matcher, Position, QueryBudget, Sample, Scope, Select, SelectRequest, Sink,
    StampedBatch, StampedSeries,
};
use tenantscope_promql::{Engine, EngineError, QueryOptions, Series, Times, Value, parse};

const SERIES: usize = 5_000;
const SHARDS: usize = 10;
const STEP_MS: i64 = 15_000;
const SAMPLES: i64 = 40;

struct Filled {
    store: Arc<MetricStore>,
    _dir: tempfile::TempDir,
}

fn labels(at: usize) -> Labels {
    let (shard, pod) = ((at % SHARDS).to_string(), format!("pod-{at}"));
    let code = ["200", "404", "500"][at % 3];
    Labels::from_pairs([("__name__", "requests_total"), ("code", code), ("pod", &pod), ("shard", &shard)])
}

/// Some pods have a version, others none.
fn info_labels(at: usize) -> Labels {
    let (pod, version) = (format!("pod-{at}"), format!("1.{}", at % 4));
    Labels::from_pairs([("__name__", "pod_info"), ("pod", &pod), ("version", &version)])
}

fn stamped(labels: Labels, samples: Vec<Sample>) -> StampedSeries {
    StampedSeries {
        labels,
        samples,
        histograms: Vec::new(),
        starts: Default::default(),
        exemplars: Vec::new(),
        cadence: None,
    }
}

/// Counters that restart now and then: the older half in a part, the newer in memory, one written again.
fn filled() -> Filled {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { now_ms: || SAMPLES * STEP_MS, retention: None, ..Options::default() };
    let store = MetricStore::open(dir.path(), options).unwrap();
    for (position, times) in [(1, 1..SAMPLES / 2), (2, SAMPLES / 2 - 1..SAMPLES)] {
        let one = |at: usize| {
            let value = |n: i64| ((n * (at as i64 % 7 + 1)) % 97) as f64 + at as f64 / 1000.0;
            let samples = times.clone().map(|n| Sample { t_ms: n * STEP_MS, value: value(n) });
            stamped(labels(at), samples.collect())
        };
        // Every other info series ends half way.
        let with_info = (0..SERIES).filter(|at| at % 5 > 0 && (position == 1 || at % 2 == 0));
        let info = with_info.map(|at| {
            let samples = times.clone().map(|n| Sample { t_ms: n * STEP_MS, value: 1.0 + (at % 3) as f64 });
            stamped(info_labels(at), samples.collect())
        });
        let series = (0..SERIES).map(one).chain(info).collect();
        let prepared = store.prepare(StampedBatch::Metrics { series, metadata: Vec::new() }).unwrap();
        store.apply(prepared, Position(position));
        if position == 1 {
            store.flush().unwrap();
        }
    }
    Filled { store, _dir: dir }
}

fn budget(max_samples: u64) -> QueryBudget {
    QueryBudget::new(Instant::now() + Duration::from_secs(300), max_samples)
}

fn range(store: &MetricStore, query: &str, budget: &QueryBudget) -> Result<Vec<Series>, EngineError> {
    let options = QueryOptions { budget, lookback_ms: None, text: query };
    let times = Times { start_ms: 2 * STEP_MS, end_ms: SAMPLES * STEP_MS, step_ms: 20_000 };
    let expr = parse(query).unwrap();
    match Engine::default().range(store, &Scope::All, &expr, times, options)?.value {
        Value::Matrix(series) => Ok(series),
        other => panic!("{other:?}"),
    }
}

fn ask(store: &MetricStore, query: &str) -> Vec<Series> {
    range(store, query, &budget(u64::MAX)).unwrap()
}

fn join(into: &mut f64, value: f64, op: &str) {
    *into = match op {
        "max" => into.max(value),
        "min" => into.min(value),
        _ => *into + value,
    };
}

#[test]
fn groups_of_shares_are_groups_of_all() {
    let filled = filled();
    for op in ["sum", "count", "min", "max"] {
        let mut wanted: BTreeMap<(Labels, i64), f64> = BTreeMap::new();
        for shard in 0..SHARDS {
            let query = format!("{op} by (code) (rate(requests_total{{shard=\"{shard}\"}}[2m]))");
            for series in ask(&filled.store, &query) {
                for sample in series.floats {
                    let slot = wanted.entry((series.labels.clone(), sample.t_ms));
                    slot.and_modify(|known| join(known, sample.value, op)).or_insert(sample.value);
                }
            }
        }
        let all = ask(&filled.store, &format!("{op} by (code) (rate(requests_total[2m]))"));
        let got =
            all.iter().flat_map(|series| series.floats.iter().map(|s| ((series.labels.clone(), s.t_ms), s.value)));
        let got: BTreeMap<(Labels, i64), f64> = got.collect();
        assert_eq!(got.len(), wanted.len(), "{op}");
        for (key, value) in &wanted {
            assert!((got[key] - value).abs() <= 1e-9 * value.abs(), "{op} {key:?}: {} is not {value}", got[key]);
        }
    }
}

#[test]
fn columns_of_shares_are_columns_of_all() {
    let filled = filled();
    for query in ["rate(requests_total#[2m])", "-requests_total#", "max_over_time(requests_total#[1m]) > 50"] {
        let of_shard = |shard: usize| ask(&filled.store, &query.replace('#', &format!("{{shard=\"{shard}\"}}")));
        let mut wanted: Vec<Series> = (0..SHARDS).flat_map(of_shard).collect();
        wanted.sort_by(|a, b| a.labels.cmp(&b.labels));
        assert_eq!(ask(&filled.store, &query.replace('#', "")), wanted, "{query}");
    }
}

/// The values of each time, by labels.
fn by_time(all: Vec<Series>) -> BTreeMap<i64, Vec<(Labels, f64)>> {
    let mut times: BTreeMap<i64, Vec<(Labels, f64)>> = BTreeMap::new();
    for series in all {
        for sample in series.floats {
            times.entry(sample.t_ms).or_default().push((series.labels.clone(), sample.value));
        }
    }
    times
}

#[test]
fn the_largest_over_a_range_are_the_largest_at_each_time() {
    let filled = filled();
    for (query, count) in [("requests_total", 10), ("sum by (shard, code) (rate(requests_total[2m]))", 7)] {
        let all = by_time(ask(&filled.store, query));
        let got = by_time(ask(&filled.store, &format!("topk({count}, {query})")));
        assert!(got.len() > 20 && got.keys().eq(all.keys()));
        for (t_ms, mut largest) in all {
            largest.sort_by(|(_, a), (_, b)| b.total_cmp(a));
            // Of equal ones any may be taken.
            let values: Vec<f64> = largest.iter().take(count).map(|(_, value)| *value).collect();
            let mut of_these = got[&t_ms].clone();
            assert!(of_these.iter().all(|one| largest.contains(one)), "{query} at {t_ms}");
            of_these.sort_by(|(_, a), (_, b)| b.total_cmp(a));
            let of_these: Vec<f64> = of_these.into_iter().map(|(_, value)| value).collect();
            assert_eq!(of_these, values, "{query} at {t_ms}");
        }
    }
}

#[test]
fn a_join_that_is_aggregated_is_the_aggregation_of_the_join() {
    let filled = filled();
    let joins = [
        "rate(requests_total[2m]) * on (pod) group_left (version) pod_info",
        "pod_info * on (pod) group_right (version) requests_total",
        "requests_total > on (pod) group_left (version) (pod_info * 30)",
        "requests_total > bool on (pod) group_left () pod_info",
    ];
    for join in joins {
        for by in ["version", "code, version", "shard"] {
            let names: Vec<&str> = by.split(", ").collect();
            let mut wanted: BTreeMap<(Labels, i64), f64> = BTreeMap::new();
            for series in ask(&filled.store, join) {
                let labels = series.labels.filter(|label| names.contains(&&*label.name));
                for sample in series.floats {
                    *wanted.entry((labels.clone(), sample.t_ms)).or_default() += sample.value;
                }
            }
            let got = by_time(ask(&filled.store, &format!("sum by ({by}) ({join})")));
            let got = got.into_iter().flat_map(|(t_ms, all)| all.into_iter().map(move |(l, v)| ((l, t_ms), v)));
            let got: BTreeMap<(Labels, i64), f64> = got.collect();
            assert!(got.len() > 20 && got.keys().eq(wanted.keys()), "{by} {join}");
            for (key, value) in &wanted {
                assert!((got[key] - value).abs() <= 1e-9 * value.abs(), "{join} {key:?}: {} is not {value}", got[key]);
            }
        }
    }
}

#[test]
fn a_join_tells_of_what_it_must_not_meet_even_if_aggregated() {
    let filled = filled();
    let query = "sum by (code) (requests_total * on (shard) group_left () requests_total)";
    let ended = range(&filled.store, query, &budget(u64::MAX));
    assert!(matches!(&ended, Err(EngineError::Execution(text)) if text.contains("many-to-many")), "{ended:?}");
    let query = "sum by (version) (pod_info * on (shard) group_left (pod) vector(1))";
    let ended = range(&filled.store, query, &budget(u64::MAX));
    assert!(matches!(&ended, Err(EngineError::Execution(text)) if text.contains("unique matches")), "{ended:?}");
}

#[test]
fn what_one_share_must_not_ends_all() {
    let filled = filled();
    let query = "sum by (code) (rate(requests_total[2m]))";
    let ended = range(&filled.store, query, &budget(60_000));
    assert!(matches!(ended, Err(EngineError::TooManySamples { limit: 60_000 })), "{ended:?}");
    let cancelled = budget(u64::MAX);
    cancelled.cancel();
    assert_eq!(range(&filled.store, query, &cancelled), Err(EngineError::Cancelled));
}

#[test]
fn scans_show_what_a_selection_holds() {
    let filled = filled();
    let matchers = [Matcher::equal("__name__", "requests_total")];
    let budget = budget(u64::MAX);
    let (from_ms, to_ms) = (10 * STEP_MS, 30 * STEP_MS);
    let request = SelectRequest { matchers: &matchers, from_ms, to_ms, lookback: Lookback::Range, budget: &budget };
    let held = filled.store.select(&Scope::All, &request).unwrap();
    let selection = filled.store.find(&Scope::All, &request).unwrap();
    assert_eq!((held.len(), selection.len()), (SERIES, SERIES));
    let codes = selection.groups(LabelSet::Only(&["code".into()])).unwrap();
    let mut scanned = BTreeMap::new();
    for places in [0..1234, 1234..4321, 4321..SERIES] {
        let mut scan = selection.scan(places);
        while let Some(view) = scan.next().unwrap() {
            let labels = selection.labels(&[view.place]).unwrap().remove(0);
            let group = &codes.labels[codes.of[view.place] as usize];
            assert_eq!(group.get("code"), labels.get("code"));
            scanned.insert(labels, view.samples.to_vec());
        }
    }
    let wanted: BTreeMap<Labels, Vec<Sample>> = held.into_iter().map(|one| (one.labels, one.samples)).collect();
    assert_eq!(scanned, wanted);
}
