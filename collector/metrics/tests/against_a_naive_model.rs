//! Random writes, flushes, merges and kills; then every answer must be that of a model made of nested maps.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use support::{Bench, HOUR_MS, MINUTE_MS, always, budget, options, tenant};
use tenantscope_model::{
    Cadence, Histogram, HistogramSample, Labels, Lookback, MatchOp, Matcher, ResetHint, Sample, Scope, Select,
    SelectRequest, SelectedSeries, StampedSeries,
};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Value {
    Float(u64),
    Histogram(u32, ResetHint),
}

/// A value and when its counting began; 0 where that is not known.
type Point = (Value, i64);

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<Write>),
    Flush,
    Merge,
    Convert,
    Compact,
    Kill,
}

#[derive(Debug, Clone)]
struct Write {
    series: usize,
    points: Vec<(i64, Point)>,
    cadence: Option<Cadence>,
}

#[derive(Debug, Clone)]
struct Question {
    scope: Scope,
    matchers: Vec<Matcher>,
    from_ms: i64,
    to_ms: i64,
    lookback: Lookback,
}

/// Series by label; few enough that overwrites happen all the time.
fn universe() -> Vec<Labels> {
    let mut all = Vec::new();
    for (name, tenant, host) in [
        ("up", "a", "h1"),
        ("up", "a", "h2"),
        ("up", "b", "h1"),
        ("up", "b", "g10"),
        ("up", "", "h1"),
        ("errors", "a", ""),
        ("errors", "b", "g1"),
        ("errors", "c", "h1"),
    ] {
        all.push(Labels::from_pairs([("__name__", name), ("tenant", tenant), ("host", host)]));
    }
    all
}

/// A series' labels, its lookback, and its points in time order.
type Answer = (Labels, i64, Vec<(i64, Point)>);

#[derive(Default)]
struct Model {
    points: BTreeMap<Labels, BTreeMap<i64, Point>>,
    cadences: BTreeMap<Labels, Cadence>,
    /// Series whose cadence may be forgotten: a restart knows what memory and parts had, and blocks know theirs for what they
    /// hold themselves. Agents tell it with each batch.
    doubtful: BTreeSet<Labels>,
}

impl Model {
    fn write(&mut self, universe: &[Labels], write: &Write) {
        let labels = universe[write.series].clone();
        if let (Some(cadence), false) = (write.cadence, write.points.is_empty()) {
            self.cadences.insert(labels.clone(), cadence);
            self.doubtful.remove(&labels);
        }
        for (t_ms, value) in &write.points {
            self.points.entry(labels.clone()).or_default().insert(*t_ms, *value);
        }
    }

    fn matching<'a>(&'a self, scope: &'a Scope, matchers: &'a [Matcher]) -> impl Iterator<Item = &'a Labels> {
        self.points.keys().filter(move |labels| {
            scope.allows_text(labels.get("tenant").unwrap_or(""))
                && matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or("")))
        })
    }

    fn reopened(&mut self) {
        self.doubtful.extend(self.cadences.keys().cloned());
    }

    /// The answer, given the store's: where a cadence is doubtful, both with it and without it are right.
    fn select(&self, question: &Question, got: &[Answer]) -> Vec<Answer> {
        let answer = |labels: &Labels| {
            let with = self.answer(question, labels, self.cadences.get(labels));
            if !self.doubtful.contains(labels) || got.iter().any(|one| Some(one) == with.as_ref()) {
                return with;
            }
            self.answer(question, labels, None)
        };
        self.matching(&question.scope, &question.matchers).filter_map(answer).collect()
    }

    fn answer(&self, question: &Question, labels: &Labels, cadence: Option<&Cadence>) -> Option<Answer> {
        let (lookback_ms, min_ms) = match question.lookback {
            Lookback::Range => (0, question.from_ms),
            Lookback::Fixed(ms) => (ms, question.from_ms - ms + 1),
            Lookback::Widened(ms) => {
                let ms = cadence.map_or(ms, |cadence| cadence.lookback_ms(ms));
                (ms, question.from_ms - ms + 1)
            }
        };
        let points: Vec<(i64, Point)> = match min_ms <= question.to_ms {
            true => self.points[labels].range(min_ms..=question.to_ms).map(|(t, v)| (*t, *v)).collect(),
            false => Vec::new(),
        };
        (!points.is_empty()).then(|| (labels.clone(), lookback_ms, points))
    }
}

fn histogram(count: u32, reset_hint: ResetHint) -> Arc<Histogram> {
    Arc::new(Histogram { count: f64::from(count), sum: 0.5, reset_hint, ..Histogram::default() })
}

fn to_series(universe: &[Labels], write: &Write) -> StampedSeries {
    let mut series = support::stamped(universe[write.series].clone(), &[]);
    series.cadence = write.cadence;
    for (t_ms, (value, start_ms)) in &write.points {
        match value {
            Value::Float(bits) => {
                series.samples.push(Sample { t_ms: *t_ms, value: f64::from_bits(*bits) });
                series.starts.samples_ms.push(*start_ms);
            }
            Value::Histogram(count, hint) => {
                series.histograms.push(HistogramSample { t_ms: *t_ms, histogram: histogram(*count, *hint) });
                series.starts.histograms_ms.push(*start_ms);
            }
        }
    }
    for starts_ms in [&mut series.starts.samples_ms, &mut series.starts.histograms_ms] {
        if starts_ms.iter().all(|start_ms| *start_ms == 0) {
            starts_ms.clear();
        }
    }
    series
}

fn flat(selected: SelectedSeries) -> Answer {
    for (starts_ms, count) in [
        (&selected.starts.samples_ms, selected.samples.len()),
        (&selected.starts.histograms_ms, selected.histograms.len()),
    ] {
        assert!(starts_ms.is_empty() || starts_ms.len() == count && starts_ms.iter().any(|start_ms| *start_ms != 0));
    }
    let each = |starts_ms: Vec<i64>| starts_ms.into_iter().chain(std::iter::repeat(0));
    let floats = selected.samples.iter().map(|s| (s.t_ms, Value::Float(s.value.to_bits())));
    let floats = floats.zip(each(selected.starts.samples_ms));
    let histograms = selected
        .histograms
        .iter()
        .map(|s| (s.t_ms, Value::Histogram(s.histogram.count as u32, s.histogram.reset_hint)))
        .zip(each(selected.starts.histograms_ms));
    let mut points: Vec<_> = floats.chain(histograms).map(|((t_ms, value), start)| (t_ms, (value, start))).collect();
    points.sort_by_key(|(t_ms, _)| *t_ms);
    (selected.labels, selected.lookback_ms, points)
}

/// Seven hours in steps of five minutes.
fn time() -> impl Strategy<Value = i64> {
    (-12_i64..72).prop_map(|step| step * 5 * MINUTE_MS)
}

fn write() -> impl Strategy<Value = Write> {
    let value = prop_oneof![
        4 => (0_u32..1000).prop_map(|n| Value::Float(f64::from(n).to_bits())),
        1 => Just(Value::Float(tenantscope_model::STALE_NAN_BITS)),
    ];
    let hint = prop::sample::select(vec![
        ResetHint::Unknown,
        ResetHint::CounterReset,
        ResetHint::NotCounterReset,
        ResetHint::Gauge,
    ]);
    let start_ms = prop::sample::select(vec![0, 0, 0, 1000, 2000]);
    let floats = prop::collection::vec((time(), (value, start_ms.clone())), 0..20);
    let histogram = (1_u32..1000, hint).prop_map(|(count, hint)| Value::Histogram(count, hint));
    let histograms = prop::collection::vec((time(), (histogram, start_ms)), 0..4);
    let points = prop_oneof![4 => floats, 1 => histograms.boxed()];
    let cadence = prop::option::weighted(0.2, (0_i64..20, 0_i64..5));
    (0_usize..8, points, cadence).prop_map(|(series, points, cadence)| Write {
        series,
        points,
        cadence: cadence.map(|(cadence, delay)| Cadence::capped(cadence * MINUTE_MS, delay * MINUTE_MS)),
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(write(), 1..4).prop_map(Step::Write),
        3 => Just(Step::Flush),
        1 => Just(Step::Merge),
        2 => Just(Step::Convert),
        1 => Just(Step::Compact),
        1 => Just(Step::Kill),
    ]
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let op = prop::sample::select(vec![MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex]);
    let name = prop::sample::select(vec!["__name__", "tenant", "host", "nowhere"]);
    let value = prop::sample::select(vec![
        "",
        "up",
        "a",
        "h1",
        ".*",
        ".+",
        "h.",
        "h1|g1",
        "h1|",
        "g1.*",
        "[gh]1",
        "(up|errors)",
        "x?",
        "up|c",
    ]);
    (name, op, value).prop_map(|(name, op, value)| Matcher::try_new(name, op, value).unwrap())
}

fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        2 => Just(Scope::All),
        1 => Just(Scope::none()),
        3 => prop::sample::subsequence(vec!["a", "b", "c", "unknown"], 1..3)
            .prop_map(|ids| Scope::tenants(ids.into_iter().map(tenant))),
    ]
}

fn question() -> impl Strategy<Value = Question> {
    let lookback = prop_oneof![
        Just(Lookback::Range),
        (1_i64..30).prop_map(|minutes| Lookback::Widened(minutes * MINUTE_MS)),
        (1_i64..30).prop_map(|minutes| Lookback::Fixed(minutes * MINUTE_MS)),
    ];
    let matchers = prop::collection::vec(matcher(), 0..3);
    (scope(), matchers, time(), 0_i64..4 * HOUR_MS, lookback).prop_map(
        |(scope, matchers, from_ms, length, lookback)| Question {
            scope,
            matchers,
            from_ms,
            to_ms: from_ms + length,
            lookback,
        },
    )
}

fn check(bench: &Bench, model: &Model, question: &Question) -> Result<(), TestCaseError> {
    let budget = budget();
    let request = SelectRequest {
        matchers: &question.matchers,
        from_ms: question.from_ms,
        to_ms: question.to_ms,
        lookback: question.lookback,
        budget: &budget,
    };
    let got: Vec<_> = bench.store().select(&question.scope, &request).unwrap().into_iter().map(flat).collect();
    let right = model.select(question, &got);
    prop_assert_eq!(got, right, "{:?}", question);

    let sets = [question.matchers.clone()];
    let expected: Vec<Labels> = model.matching(&question.scope, &question.matchers).cloned().collect();
    let names: BTreeSet<&str> = expected.iter().flat_map(|labels| labels.iter().map(|l| &*l.name)).collect();
    let hosts: BTreeSet<&str> = expected.iter().filter_map(|labels| labels.get("host")).collect();
    let store = bench.store();
    prop_assert_eq!(&store.series(&question.scope, &always(&sets)).unwrap(), &expected);
    let got_names = store.label_names(&question.scope, &always(&sets)).unwrap();
    prop_assert_eq!(got_names.iter().map(|name| &**name).collect::<Vec<_>>(), Vec::from_iter(names));
    let got_hosts = store.label_values(&question.scope, "host", &always(&sets)).unwrap();
    prop_assert_eq!(got_hosts.iter().map(|host| &**host).collect::<Vec<_>>(), Vec::from_iter(hosts));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_answer_is_the_models(
        steps in prop::collection::vec(step(), 1..30),
        questions in prop::collection::vec(question(), 1..12),
    ) {
        let universe = universe();
        let mut bench = Bench::new(options());
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Write(writes) => {
                    writes.iter().for_each(|write| model.write(&universe, write));
                    bench.write(writes.iter().map(|write| to_series(&universe, write)).collect());
                }
                Step::Flush => bench.store().flush().unwrap(),
                Step::Merge => while bench.store().merge().unwrap() {},
                Step::Convert => drop(bench.store().convert().unwrap()),
                Step::Compact => drop(bench.store().compact().unwrap()),
                Step::Kill => {
                    bench.reopen();
                    model.reopened();
                }
            }
            check(&bench, &model, &questions[0])?;
        }
        for question in &questions {
            check(&bench, &model, question)?;
        }
    }
}
