//! How long twelve questions of dashboards and rules take over 20,000 series each, in a store that this program fills.
//!
//! `cargo run --release -p tenantscope-promql --example queries -- [HOURS [ROUNDS [ONLY]]]`: hours of data, one sample
//! every 15 s (1), rounds of which the median is printed (9), and only the questions whose name contains a text. The
//! last five minutes lie in memory, all before them in parts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod fleet;
mod questions;

use std::time::{Duration, Instant};

use tenantscope_metrics::{MetricStore, Options};
use tenantscope_model::{QueryBudget, Scope};
use tenantscope_promql::{Answer, Engine, EngineError, QueryOptions, Times, Value, parse};

use crate::questions::{Question, When};

const BASE_MS: i64 = 1_700_000_000_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let hours: i64 = arguments.next().map_or(1, |text| text.parse().expect("hours are a number"));
    let rounds: usize = arguments.next().map_or(9, |text| text.parse().expect("rounds are a number"));
    let only = arguments.next().unwrap_or_default();

    let dir = tempfile::tempdir().unwrap();
    let options = Options { now_ms: || BASE_MS, retention: None, future_max: None, ..Options::default() };
    let store = MetricStore::open(dir.path(), options).unwrap();
    let end_ms = BASE_MS + hours * 3_600_000;
    let started = Instant::now();
    let samples = fleet::fill(&store, BASE_MS, end_ms);
    let stats = store.stats();
    println!(
        "{samples} samples of {} series in {:.1} s, {} parts of {} bytes",
        stats.series,
        started.elapsed().as_secs_f64(),
        stats.parts,
        stats.part_bytes
    );

    let engine = Engine::default();
    let mut medians = Vec::new();
    for question in questions::all().iter().filter(|question| question.name.contains(&only)) {
        let mut times: Vec<Duration> = Vec::new();
        let mut found = 0;
        for _ in 0..rounds.max(1) {
            let started = Instant::now();
            let answer = ask(&engine, &store, question, end_ms).expect("the question has an answer");
            times.push(started.elapsed());
            found = size(&answer);
        }
        times.sort();
        let median = times[times.len() / 2];
        medians.push(median);
        println!("{:>9.2} ms  {:<28} {found} series", median.as_secs_f64() * 1000.0, question.name);
    }
    let sum: Duration = medians.iter().sum();
    println!("{:>9.2} ms  sum", sum.as_secs_f64() * 1000.0);
}

fn ask(engine: &Engine, store: &MetricStore, question: &Question, end_ms: i64) -> Result<Answer, EngineError> {
    let budget = QueryBudget::new(Instant::now() + Duration::from_secs(60), 100_000_000);
    let options = QueryOptions { budget: &budget, lookback_ms: None, text: question.text };
    let expr = parse(question.text).expect("the question is an expression");
    match question.when {
        When::Now => engine.instant(store, &Scope::All, &expr, end_ms, options),
        When::LastHour { step_ms } => {
            let times = Times { start_ms: end_ms - 3_600_000, end_ms, step_ms };
            engine.range(store, &Scope::All, &expr, times, options)
        }
    }
}

fn size(answer: &Answer) -> usize {
    match &answer.value {
        Value::Vector(elements) => elements.len(),
        Value::Matrix(series) => series.len(),
        Value::Scalar(_) | Value::String { .. } => 1,
    }
}
