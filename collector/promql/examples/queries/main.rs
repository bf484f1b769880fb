//! How long the twelve questions of `tests/bench` take, instant and range, without HTTP: in a store that this program
//! fills once and then opens anew.
//!
//! `cargo run --release -p tenantscope-promql --example queries -- DIR [SERIES [ROUNDS [ONLY]]]`: the store's folder,
//! filled where it is empty; series at a time (200,000); rounds of which the median is printed (7); and only the
//! questions whose name contains a text. Half of the questions are about a time that blocks hold, half about one that
//! parts hold. CPU time is that of all threads.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::indexing_slicing)]

mod chance;
mod fleet;
mod questions;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantscope_metrics::{BlockOptions, MetricStore, Options};
use tenantscope_model::{QueryBudget, Scope};
use tenantscope_promql::{Answer, Engine, EngineError, PointValue, QueryOptions, Times, Value, parse};

use crate::fleet::Fleet;
use crate::questions::Question;

const MINUTE_MS: i64 = 60_000;
const NOW_MS: i64 = 1_700_000_000_000;
const THEN_MS: i64 = NOW_MS - 360 * MINUTE_MS;
const SCRAPES: i64 = 65;
const RANGE_MS: i64 = 30 * MINUTE_MS;
const STEP_MS: i64 = 30_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().expect("a folder for the store");
    let series: usize = arguments.next().map_or(200_000, |text| text.parse().expect("series are a number"));
    let rounds: usize = arguments.next().map_or(7, |text| text.parse().expect("rounds are a number"));
    let only = arguments.next().unwrap_or_default();

    let dir = Path::new(&dir);
    if !dir.join("MANIFEST").exists() {
        fill(dir, series);
    }
    let started = Instant::now();
    let store = open(dir);
    let stats = store.stats();
    println!(
        "{} series, {} parts, {} blocks, opened in {:.1} s",
        stats.series,
        stats.parts,
        stats.blocks,
        started.elapsed().as_secs_f64()
    );

    let engine = Engine::default();
    println!("{:>9} {:>9}", "median", "CPU");
    let mut sums = [(Duration::ZERO, Duration::ZERO); 2];
    for question in questions::all() {
        for (is_range, form) in [(false, "instant"), (true, "range")] {
            let title = format!("{}, {form}", question.name);
            if title.contains(&only) {
                let (time, cpu, found) = measured(&engine, &store, &question, is_range, rounds);
                println!("{}  {title:<28} {found}", text(time, cpu));
                let sum = &mut sums[usize::from(is_range)];
                *sum = (sum.0 + time, sum.1 + cpu);
            }
        }
    }
    println!("{}  instant, ms\n{}  range, ms", text(sums[0].0, sums[0].1), text(sums[1].0, sums[1].1));
}

fn text(time: Duration, cpu: Duration) -> String {
    format!("{:>9.2} {:>9.2}", time.as_secs_f64() * 1000.0, cpu.as_secs_f64() * 1000.0)
}

fn open(dir: &Path) -> Arc<MetricStore> {
    let blocks = BlockOptions { settle: Duration::ZERO, ..BlockOptions::default() };
    let options = Options { now_ms: || NOW_MS, retention: None, future_max: None, blocks, ..Options::default() };
    MetricStore::open(dir, options).expect("the store opens")
}

fn fill(dir: &Path, series: usize) {
    let store = open(dir);
    let started = Instant::now();
    let mut fleet = Fleet::new(series);
    let samples = fleet.write(&store, THEN_MS, SCRAPES) + fleet.write(&store, NOW_MS, SCRAPES);
    store.flush().expect("memory becomes parts");
    while store.merge().expect("parts merge") {}
    while store.convert().expect("closed windows become blocks") {}
    while store.compact().expect("blocks are compacted") {}
    println!("{samples} samples written in {:.1} s", started.elapsed().as_secs_f64());
}

/// The median time, the mean CPU time of all threads, and what was found.
fn measured(
    engine: &Engine,
    store: &MetricStore,
    question: &Question,
    is_range: bool,
    rounds: usize,
) -> (Duration, Duration, String) {
    let asked = || ask(engine, store, question, is_range).expect("the question has an answer");
    // The first one finds nothing in any cache.
    let found = summary(&asked());
    let (mut times, cpu) = (Vec::new(), cpu_time());
    for _ in 0..rounds {
        let started = Instant::now();
        let answer = asked();
        times.push(started.elapsed());
        drop(answer);
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    (median, cpu_time().saturating_sub(cpu) / rounds.max(1) as u32, found)
}

/// What this process has used, in steps of 10 ms.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn ask(engine: &Engine, store: &MetricStore, question: &Question, is_range: bool) -> Result<Answer, EngineError> {
    let budget = QueryBudget::new(Instant::now() + Duration::from_secs(60), 1_000_000_000);
    let options = QueryOptions { budget: &budget, lookback_ms: None, text: question.text };
    let expr = parse(question.text).expect("the question is an expression");
    let end_ms = if question.over_blocks { THEN_MS } else { NOW_MS };
    if !is_range {
        return engine.instant(store, &Scope::All, &expr, end_ms, options);
    }
    let times = Times { start_ms: end_ms - RANGE_MS, end_ms, step_ms: STEP_MS };
    engine.range(store, &Scope::All, &expr, times, options)
}

/// How many series, and the sum of all values, by which answers are compared.
fn summary(answer: &Answer) -> String {
    let (series, values): (usize, Vec<f64>) = match &answer.value {
        Value::Vector(elements) => {
            let float = |value: &PointValue| if let PointValue::Float(value) = value { *value } else { 0.0 };
            (elements.len(), elements.iter().map(|element| float(&element.value)).collect())
        }
        Value::Matrix(series) => {
            (series.len(), series.iter().flat_map(|one| &one.floats).map(|sample| sample.value).collect())
        }
        Value::Scalar(_) | Value::String { .. } => (1, Vec::new()),
    };
    format!("{series} series, {:.6e}", values.iter().filter(|value| value.is_finite()).sum::<f64>())
}
