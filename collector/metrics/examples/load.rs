//! What the store costs: `load [SERIES] [SAMPLES] [REPLACED]` writes so many series of realistic labels, replaces so many
//! of a hundred after each flush, flushes, merges, opens again and reads, and prints time, memory and bytes for each step.
#![allow(clippy::print_stdout, reason = "it is a command-line program")]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantscope_metrics::{MetricStore, Options};
use tenantscope_model::{
    Fingerprint, LabelSource, Labels, Lookback, MatchOp, Matcher, Position, QueryBudget, Sample, Scope, Select,
    SelectRequest, SeriesRequest, Sink, StampedBatch, StampedSeries, TenantId,
};

const START_MS: i64 = 1_700_000_000_000 / 7_200_000 * 7_200_000;
const STEP_MS: i64 = 15_000;
const SERIES_IN_BATCH: usize = 2000;
/// Steps between two flushes: five minutes of samples.
const STEPS_IN_FLUSH: usize = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let series = arguments.next().transpose()?.unwrap_or(50_000);
    let steps = arguments.next().transpose()?.unwrap_or(40);
    let replaced_percent = arguments.next().transpose()?.unwrap_or(0);
    let dir = tempfile::tempdir()?;
    let options = Options { retention: None, future_max: None, ..Options::default() };
    let store = MetricStore::open(dir.path(), options.clone())?;
    write(&store, series, steps, replaced_percent)?;
    let stats = store.stats();
    let bytes_per_sample = stats.part_bytes as f64 / stats.part_samples as f64;
    println!("{} parts, {:.2} bytes a sample, {} MiB resident", stats.parts, bytes_per_sample, resident_mib());
    let merging = Instant::now();
    while store.merge()? {}
    let stats = store.stats();
    let bytes_per_sample = stats.part_bytes as f64 / stats.part_samples as f64;
    println!("merged in {:.2?}: {} parts, {bytes_per_sample:.2} bytes a sample", merging.elapsed(), stats.parts);
    drop(store);
    read(dir.path(), options, steps)
}

/// Makes the labels of a series of this number.
struct Numbered;

impl LabelSource for Numbered {
    fn labels(&self, number: u32) -> Labels {
        labels(number as usize)
    }
}

fn write(store: &MetricStore, series: usize, steps: usize, replaced_percent: usize) -> Result<(), Box<dyn Error>> {
    let source: Arc<dyn LabelSource> = Arc::new(Numbered);
    let mut all: Vec<usize> = (0..series).collect();
    let mut next_number = series;
    let mut position = 0;
    let (mut writing, mut flushing) = (Duration::ZERO, Duration::ZERO);
    let before_mib = resident_mib();
    for step in 0..steps {
        for numbers in all.chunks(SERIES_IN_BATCH) {
            let series = numbers.iter().map(|number| stamped(&source, *number, step)).collect();
            let started = Instant::now();
            let prepared = store.prepare(StampedBatch::Metrics { series, metadata: Vec::new() })?;
            position += 1;
            store.apply(prepared, Position(position));
            writing += started.elapsed();
        }
        if step == 0 {
            let mib = resident_mib() - before_mib;
            println!("{series} series made in {writing:.2?}, {} bytes each", (mib << 20) / series);
            writing = Duration::ZERO;
        } else if step % STEPS_IN_FLUSH == STEPS_IN_FLUSH - 1 || step + 1 == steps {
            let started = Instant::now();
            store.flush()?;
            flushing += started.elapsed();
            let replaced = all.iter_mut().enumerate().filter(|(place, _)| (place + step) % 100 < replaced_percent);
            for (_, number) in replaced {
                *number = next_number;
                next_number += 1;
            }
        }
    }
    let millions = (series * (steps - 1)) as f64 / 1e6;
    println!(
        "a million samples: applied in {:.3} s, flushed in {:.3} s, {} MiB counted",
        writing.as_secs_f64() / millions,
        flushing.as_secs_f64() / millions,
        store.stats().memory_bytes >> 20
    );
    Ok(())
}

fn read(dir: &Path, options: Options, steps: usize) -> Result<(), Box<dyn Error>> {
    let opening = Instant::now();
    let store = MetricStore::open(dir, options)?;
    println!("opened in {:.2?}", opening.elapsed());
    let end_ms = START_MS + steps as i64 * STEP_MS;
    let one_tenant = Scope::only(TenantId::try_new("tenant-7")?);
    let name = Matcher::equal("__name__", "metric_3_total");
    let expression = Matcher::try_new("pod", MatchOp::Regex, "pod-.*9")?;
    for (what, scope, matchers, from_ms) in [
        ("one metric, all tenants, instant", &Scope::All, vec![name.clone()], end_ms),
        ("one metric, all tenants, all times", &Scope::All, vec![name.clone()], START_MS),
        ("one metric, one tenant, all times", &one_tenant, vec![name.clone()], START_MS),
        ("a regular expression, all tenants, instant", &Scope::All, vec![name, expression], end_ms),
    ] {
        let budget = QueryBudget::new(Instant::now() + Duration::from_secs(600), u64::MAX);
        let lookback = Lookback::Widened(300_000);
        let started = Instant::now();
        let request = SelectRequest { matchers: &matchers, from_ms, to_ms: end_ms, lookback, budget: &budget };
        let found = store.select(scope, &request)?;
        println!("{what}: {:.2?}, {} series, {} samples", started.elapsed(), found.len(), budget.used_samples());
    }
    ask_index(&store)
}

/// How long it takes to find series, without reading them.
fn ask_index(store: &MetricStore) -> Result<(), Box<dyn Error>> {
    let any_name = Matcher::try_new("__name__", MatchOp::Regex, ".+")?;
    for (op, expression) in [
        (MatchOp::Regex, "pod-1.*"),
        (MatchOp::NotRegex, "pod-1.*"),
        (MatchOp::Regex, ".*99"),
        (MatchOp::NotRegex, ".*99"),
        (MatchOp::Regex, "pod-(1|2)[0-9]+7"),
        (MatchOp::Equal, "pod-77"),
        (MatchOp::NotEqual, "pod-77"),
    ] {
        let sets = [vec![any_name.clone(), Matcher::try_new("pod", op, expression)?]];
        for what in ["namespace", "pod"] {
            let budget = QueryBudget::new(Instant::now() + Duration::from_secs(600), u64::MAX);
            let request = SeriesRequest {
                matcher_sets: &sets,
                from_ms: i64::MIN,
                to_ms: i64::MAX,
                limit: usize::MAX,
                budget: &budget,
            };
            let started = Instant::now();
            let found = store.label_values(&Scope::All, what, &request)?.len();
            println!("values of {what} of {}: {:.2?}, {found} values", sets[0][1], started.elapsed());
        }
    }
    Ok(())
}

fn labels(number: usize) -> Labels {
    let tenant = format!("tenant-{}", number % 60);
    let account = format!("{:012}", number % 60);
    let name = format!("metric_{}_total", number / 60 % 50);
    let (pod, host) = (format!("pod-{number}"), format!("host-{}", number / 600));
    Labels::from_pairs([
        ("__name__", name.as_str()),
        ("tenant", &tenant),
        ("account_id", &account),
        ("region", "eu-west-1"),
        ("job", "shop"),
        ("instance", &host),
        ("pod", &pod),
        ("container", "app"),
        ("namespace", "production"),
        ("code", "200"),
    ])
}

/// As the codec gives one.
fn fingerprint(number: usize) -> Fingerprint {
    let mixed = (number as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Fingerprint(u128::from(mixed ^ mixed >> 32) << 64 | u128::from(mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9)))
}

/// Counters, gauges and constants by turns.
fn stamped(source: &Arc<dyn LabelSource>, number: usize, step: usize) -> StampedSeries {
    let noise = (number * 31 + step * 17) % 97;
    let value = match number % 3 {
        0 => (step * 40 + noise) as f64,
        1 => noise as f64 / 100.0,
        _ => 1.0,
    };
    let t_ms = START_MS + step as i64 * STEP_MS + (number % 1000) as i64;
    let samples = vec![Sample { t_ms, value }];
    StampedSeries {
        labels: Labels::unmade(fingerprint(number), Arc::clone(source), number as u32),
        samples,
        histograms: Vec::new(),
        exemplars: Vec::new(),
        starts: Default::default(),
        cadence: None,
    }
}

fn resident_mib() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap_or_default() >> 10
}
