//! What the store is filled with: 200 tenants, 20,000 series of each metric.

use std::sync::Arc;

use tenantscope_metrics::MetricStore;
use tenantscope_model::{Label, Labels, Position, Sample, Sink, StampedBatch, StampedSeries};

const EACH: usize = 20_000;
const TENANTS: usize = 200;
const INTERVAL_MS: i64 = 15_000;
/// Sample time between two flushes.
const FLUSH_MS: i64 = 30 * 60_000;
/// What stays in memory.
const FRESH_MS: i64 = 5 * 60_000;
const BATCH: usize = 2_000;

const CODES: [&str; 5] = ["200", "204", "404", "500", "503"];
const BOUNDS: [&str; 10] = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"];

/// How a metric's values come about.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Counter,
    Buckets,
    Ratio,
    Bytes,
    Constant,
}

const METRICS: [(&str, Kind); 5] = [
    ("http_requests_total", Kind::Counter),
    ("http_request_duration_seconds_bucket", Kind::Buckets),
    ("cpu_usage_ratio", Kind::Ratio),
    ("memory_used_bytes", Kind::Bytes),
    ("memory_limit_bytes", Kind::Constant),
];

struct Source {
    kind: Kind,
    labels: Labels,
    seed: u64,
    value: f64,
}

impl Source {
    fn random(&mut self) -> u64 {
        // xorshift64*
        self.seed ^= self.seed >> 12;
        self.seed ^= self.seed << 25;
        self.seed ^= self.seed >> 27;
        self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 20
    }

    fn next(&mut self) -> f64 {
        let random = self.random();
        match self.kind {
            Kind::Counter if random.is_multiple_of(2_000) => self.value = 0.0,
            Kind::Counter | Kind::Buckets => self.value += (random % 40) as f64,
            Kind::Ratio => self.value = (random % 10_000) as f64 / 10_000.0,
            Kind::Bytes => self.value = (random % (512 << 20)) as f64,
            Kind::Constant => self.value = f64::from(512 << 20),
        }
        self.value
    }
}

/// Fills the store with samples of `(from_ms, to_ms]` and says how many there are.
pub(crate) fn fill(store: &MetricStore, from_ms: i64, to_ms: i64) -> u64 {
    let mut sources = sources();
    let (mut samples, mut position, mut at_ms) = (0, 0, from_ms);
    while at_ms < to_ms {
        let until_ms = if at_ms + FLUSH_MS < to_ms { at_ms + FLUSH_MS } else { to_ms };
        let flushed_ms = if until_ms == to_ms { to_ms - FRESH_MS } else { until_ms };
        for (begin_ms, end_ms) in [(at_ms, flushed_ms), (flushed_ms, until_ms)] {
            for piece in sources.chunks_mut(BATCH) {
                let series: Vec<StampedSeries> =
                    piece.iter_mut().map(|source| series(source, begin_ms, end_ms)).collect();
                samples += series.iter().map(|series| series.samples.len() as u64).sum::<u64>();
                let prepared = store.prepare(StampedBatch::Metrics { series, metadata: Vec::new() }).unwrap();
                position += 1;
                store.apply(prepared, Position(position));
            }
            if end_ms == flushed_ms {
                store.flush().unwrap();
            }
        }
        at_ms = until_ms;
    }
    samples
}

fn series(source: &mut Source, begin_ms: i64, end_ms: i64) -> StampedSeries {
    let times = (begin_ms / INTERVAL_MS + 1)..=(end_ms / INTERVAL_MS);
    // Each target has its own second of the interval.
    let phase_ms = (source.labels.len() as i64 * 7_919 + source.seed as i64 % 100) % 1_000;
    let samples = times.map(|n| Sample { t_ms: n * INTERVAL_MS - phase_ms, value: source.next() }).collect();
    StampedSeries {
        labels: source.labels.clone(),
        samples,
        histograms: Vec::new(),
        starts: Default::default(),
        exemplars: Vec::new(),
        cadence: None,
    }
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::with_capacity(METRICS.len() * EACH);
    // As scrapes bring them: target by target, not metric by metric.
    for at in 0..EACH {
        for (metric, kind) in METRICS {
            let seed = (sources.len() as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            sources.push(Source { kind, labels: labels(metric, kind, at), seed, value: 0.0 });
        }
    }
    sources
}

fn labels(metric: &str, kind: Kind, at: usize) -> Labels {
    let variants = match kind {
        Kind::Counter => CODES.len(),
        Kind::Buckets => BOUNDS.len(),
        _ => 1,
    };
    let (target, variant) = (at / variants, at % variants);
    let tenant = target % TENANTS;
    let mut labels = vec![
        label("__name__", metric),
        label("tenant", &format!("tenant-{tenant:04}")),
        label("account_id", &format!("{:012}", 100_000_000_000_u64 + tenant as u64)),
        label("region", ["eu-west-1", "eu-central-1", "us-east-1"][tenant % 3]),
        label("job", "services"),
        label("service", ["cart", "search", "payment", "login", "catalogue", "mail", "stock"][target % 7]),
        label("instance", &format!("10.{}.{}.{}:8080", tenant, target / 256, target % 256)),
        label("pod", &format!("service-{:x}-{target}", target.wrapping_mul(2_654_435_761) % 0xff_ffff)),
    ];
    match kind {
        Kind::Counter => labels.push(label("code", CODES[variant])),
        Kind::Buckets => labels.push(label("le", BOUNDS[variant])),
        _ => {}
    }
    Labels::try_new(labels).unwrap()
}

fn label(name: &str, value: &str) -> Label {
    Label { name: Arc::from(name), value: Arc::from(value) }
}
