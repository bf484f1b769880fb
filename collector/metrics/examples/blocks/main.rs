//! A store that makes blocks, for tests and measurements from outside:
//! `blocks DIR SERIES HOURS [URL ENDPOINT]` writes so many hours of 15 s data of varied series, and then does what its
//! standard input says, one word a line: `convert`, `compact`, `late`, `query`, `remove`, `expire`. After each it prints
//! one line of JSON: what the store holds, sums by metric as the store itself reads them, and how long it took.
#![allow(clippy::print_stdout, reason = "it is a command-line program")]

mod fleet;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleet::Moving;
use serde_json::{Value, json};
use tenantscope_metrics::{BlockOptions, Location, MetricStore, Options, S3Location};
use tenantscope_model::{
    Labels, Lookback, MatchOp, Matcher, Position, QueryBudget, Sample, Scope, Select, SelectRequest, Sink,
    StampedBatch, StampedSeries, TenantId,
};

const START_MS: i64 = 1_700_006_400_000;
const STEP_MS: i64 = 15_000;
const HOUR_MS: i64 = 3_600_000;
/// Steps written between two flushes.
const STEPS_IN_FLUSH: i64 = 80;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, series, hours, bucket @ ..] = arguments.as_slice() else {
        return Err("usage: blocks DIR SERIES HOURS [URL ENDPOINT]".into());
    };
    let dir = Path::new(dir);
    let location = match bucket {
        [url, endpoint] => Some(Location::S3(S3Location {
            url: url.parse()?,
            endpoint: Some(endpoint.clone()),
            region: None,
            path_style: true,
            allow_http: true,
            local_dir: dir.join("bucket"),
            cache_max_bytes: 64 << 20,
        })),
        _ => None,
    };
    let blocks = BlockOptions {
        location,
        settle: Duration::ZERO,
        late_settle: Duration::ZERO,
        removed_grace: Duration::from_secs(60),
        ..BlockOptions::default()
    };
    let options = Options { retention: None, future_max: None, blocks, ..Options::default() };
    let store = MetricStore::open(dir, options)?;
    let mut world = World { position: store.durable_position_of(), series: series.parse()?, hours: hours.parse()? };
    if world.position == 0 {
        world.write(&store)?;
    }
    for word in std::iter::once(Ok("written".to_owned())).chain(std::io::stdin().lock().lines()) {
        let word = word?;
        let started = Instant::now();
        let error = world.act(&store, word.trim()).err().map(|error| error.to_string());
        let elapsed_ms = started.elapsed().as_millis();
        let (stats, sums) = (stats(&store), sums(&store, &world)?);
        println!("{}", json!({"did": word, "error": error, "elapsed_ms": elapsed_ms, "stats": stats, "sums": sums}));
    }
    Ok(())
}

/// What is written.
struct World {
    position: u64,
    series: usize,
    hours: i64,
}

trait DurablePosition {
    fn durable_position_of(&self) -> u64;
}

impl DurablePosition for Arc<MetricStore> {
    fn durable_position_of(&self) -> u64 {
        Sink::durable(&**self).0
    }
}

impl World {
    fn write(&mut self, store: &MetricStore) -> Result<(), Box<dyn Error>> {
        let mut all: Vec<Moving> = (0..self.series).map(Moving::new).collect();
        let steps = self.hours * HOUR_MS / STEP_MS;
        let mut from = 0;
        while from < steps {
            let to = (from + STEPS_IN_FLUSH).min(steps);
            for series in &mut all {
                let sample =
                    |step: i64| Sample { t_ms: START_MS + step * STEP_MS + series.time_ms(step), value: series.next() };
                let samples = (from..to).map(sample).collect();
                self.apply(store, stamped(&series.labels, samples))?;
            }
            store.flush()?;
            while store.merge()? {}
            from = to;
        }
        Ok(())
    }

    fn apply(&mut self, store: &MetricStore, series: StampedSeries) -> Result<(), Box<dyn Error>> {
        let prepared = store.prepare(StampedBatch::Metrics { series: vec![series], metadata: Vec::new() })?;
        self.position += 1;
        store.apply(prepared, Position(self.position));
        Ok(())
    }

    fn act(&mut self, store: &MetricStore, word: &str) -> Result<(), Box<dyn Error>> {
        match word {
            "convert" => while store.convert()? {},
            "compact" => while store.compact()? {},
            "late" => {
                let samples = (0..4).map(|i| Sample { t_ms: START_MS + i * HOUR_MS + 1, value: 0.5 }).collect();
                self.apply(store, stamped(&Moving::new(0).labels, samples))?;
                store.flush()?;
            }
            "remove" => {
                let removal = store.remove_tenant(&TenantId::try_new("t3")?, Position(self.position))?;
                println!("{}", serde_json::to_string(&removal)?);
            }
            "expire" => store.expire()?,
            _ => {}
        }
        Ok(())
    }
}

fn stamped(labels: &Labels, samples: Vec<Sample>) -> StampedSeries {
    StampedSeries {
        labels: labels.clone(),
        samples,
        histograms: Vec::new(),
        exemplars: Vec::new(),
        starts: Default::default(),
        cadence: None,
    }
}

fn stats(store: &MetricStore) -> Value {
    let stats = store.stats();
    json!({
        "parts": stats.parts, "part_bytes": stats.part_bytes, "part_samples": stats.part_samples,
        "blocks": stats.blocks, "block_bytes": stats.block_bytes, "block_samples": stats.block_samples,
    })
}

/// By metric: series, samples, their sum, and milliseconds for reading all of it and its last hour.
fn sums(store: &MetricStore, world: &World) -> Result<Value, Box<dyn Error>> {
    let mut sums = BTreeMap::new();
    for metric in fleet::metrics() {
        let matchers = [Matcher::try_new("__name__", MatchOp::Equal, metric)?];
        let end_ms = START_MS + world.hours * HOUR_MS;
        let read = |from_ms: i64| {
            let budget = QueryBudget::new(Instant::now() + Duration::from_secs(600), u64::MAX);
            let request = SelectRequest {
                matchers: &matchers,
                from_ms,
                to_ms: end_ms + HOUR_MS,
                lookback: Lookback::Range,
                budget: &budget,
            };
            let started = Instant::now();
            store.select(&Scope::All, &request).map(|all| (all, started.elapsed().as_secs_f64() * 1000.0))
        };
        let (_, hour_ms) = read(end_ms - HOUR_MS)?;
        let (all, all_ms) = read(i64::MIN)?;
        let samples: usize = all.iter().map(|one| one.samples.len()).sum();
        let sum: f64 = all.iter().flat_map(|one| &one.samples).map(|sample| sample.value).sum();
        sums.insert(
            metric,
            json!({"series": all.len(), "samples": samples, "sum": sum, "all_ms": all_ms, "hour_ms": hour_ms}),
        );
    }
    Ok(json!(sums))
}
