//! What the store is filled with: the fleet of `tests/bench/fleet.py`, whose pods have 200 series each, of which some are
//! replaced as time passes.

use tenantscope_metrics::MetricStore;
use tenantscope_model::{Labels, Position, Sample, Sink, StampedBatch, StampedSeries};

use crate::chance::Chance;

/// Series of one pod.
pub(crate) const SERIES_PER_POD: usize = 200;
const PODS_PER_TENANT: usize = 10;
const INTERVAL_MS: i64 = 60_000;
/// Scrapes in one batch.
const SLICE: i64 = 5;
const REPLACED_PER_HOUR: f64 = 0.05;
const RESETS: f64 = 1e-5;

const SERVICES: [&str; 5] = ["checkout", "catalog", "identity", "billing", "search"];
const ROUTES: [&str; 4] = ["/api/v1/orders", "/api/v1/orders/{id}", "/api/v1/users/{id}/sessions", "/healthz"];
const CODES: [(&str, &str); 5] = [("GET", "200"), ("GET", "404"), ("POST", "201"), ("POST", "400"), ("POST", "503")];
const BOUNDS: [&str; 10] = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"];
const TABLES: [&str; 5] = ["orders", "order_lines", "users", "sessions", "payments"];

/// How the values of a metric come about.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Counter,
    /// Counts no less than the bucket before.
    Bucket,
    LatencySum,
    Integer,
    Noise,
    Pages,
    Walk,
    Bytes,
    Idle,
    Constant,
}

/// One series of every pod.
struct Series {
    metric: &'static str,
    kind: Kind,
    labels: Vec<(&'static str, String)>,
}

fn series_of_a_pod() -> Vec<Series> {
    let mut all = Vec::with_capacity(SERIES_PER_POD);
    let mut add = |metric, kind, labels: Vec<(&'static str, String)>| all.push(Series { metric, kind, labels });
    for route in ROUTES {
        for (method, code) in CODES {
            let labels = [("code", code), ("method", method), ("route", route)];
            add("http_requests_total", Kind::Counter, labels.map(|(name, value)| (name, value.to_owned())).to_vec());
        }
    }
    for route in &ROUTES[..2] {
        let route = ("route", (*route).to_owned());
        for bound in BOUNDS {
            let labels = vec![("le", bound.to_owned()), route.clone()];
            add("http_request_duration_seconds_bucket", Kind::Bucket, labels);
        }
        add("http_request_duration_seconds_count", Kind::Counter, vec![route.clone()]);
        add("http_request_duration_seconds_sum", Kind::LatencySum, vec![route]);
    }
    for n in 0..20 {
        add("queue_depth", Kind::Integer, vec![("queue", format!("queue-{n:02}"))]);
        add("process_cpu_ratio", Kind::Noise, vec![("core", n.to_string())]);
        add("memory_used_bytes", Kind::Pages, vec![("area", format!("arena-{n}"))]);
        add("pool_utilisation_ratio", Kind::Walk, vec![("pool", format!("pool-{n}"))]);
        add("errors_total", Kind::Idle, vec![("kind", format!("kind-{n:02}"))]);
    }
    for n in 0..10 {
        for direction in ["rx", "tx"] {
            let labels = vec![("direction", direction.to_owned()), ("interface", format!("eth{n}"))];
            add("network_bytes_total", Kind::Bytes, labels);
        }
    }
    for table in TABLES {
        for op in ["select", "insert", "update", "delete"] {
            let labels = vec![("op", op.to_owned()), ("table", table.to_owned())];
            add("db_queries_total", Kind::Counter, labels);
        }
    }
    add("up", Kind::Constant, Vec::new());
    add("target_info", Kind::Constant, vec![("version", String::new())]);
    for key in 'a'..='n' {
        add("config_limit", Kind::Constant, vec![("key", format!("limit_{key}"))]);
    }
    all
}

/// A place in the fleet, and the pod that fills it now.
struct Pod {
    number: usize,
    life: usize,
    offset_ms: i64,
    jitters: bool,
    labels: Vec<Labels>,
    values: Vec<f64>,
    rates: Vec<f64>,
}

/// The pods.
pub(crate) struct Fleet {
    series: Vec<Series>,
    pods: Vec<Pod>,
    chance: Chance,
    position: u64,
}

impl Fleet {
    /// So many series at a time.
    pub(crate) fn new(series: usize) -> Self {
        let (mut chance, all) = (Chance::new(1), series_of_a_pod());
        let pods = (0..(series / SERIES_PER_POD).max(PODS_PER_TENANT)).map(|number| Pod {
            number,
            life: 0,
            offset_ms: chance.below(INTERVAL_MS as u64) as i64,
            jitters: chance.unit() < 0.2,
            labels: labels_of(&all, number, 0),
            values: Vec::new(),
            rates: all.iter().map(|_| 10_f64.powf(chance.unit() * 4.0 - 1.5)).collect(),
        });
        let mut pods: Vec<Pod> = pods.collect();
        pods.iter_mut().for_each(|pod| pod.values = first_values(&all, &mut chance));
        Self { series: all, pods, chance, position: 0 }
    }

    /// Writes so many scrapes of all pods, the last one at `end_ms` at the latest; how many samples that is.
    pub(crate) fn write(&mut self, store: &MetricStore, end_ms: i64, scrapes: i64) -> usize {
        let mut samples = 0;
        for first in (0..scrapes).step_by(SLICE as usize) {
            let ticks: Vec<i64> =
                (first..scrapes.min(first + SLICE)).map(|n| end_ms - (scrapes - n) * INTERVAL_MS).collect();
            let Self { series, pods, chance, position } = self;
            for tenant in pods.chunks_mut(PODS_PER_TENANT) {
                let mut batch = Vec::with_capacity(PODS_PER_TENANT * SERIES_PER_POD);
                for pod in tenant {
                    if chance.unit() < REPLACED_PER_HOUR * ticks.len() as f64 / 60.0 {
                        pod.life += 1;
                        pod.labels = labels_of(series, pod.number, pod.life);
                        pod.values = first_values(series, chance);
                    }
                    pod.scrape(series, &ticks, chance, &mut batch);
                }
                samples += batch.iter().map(|one: &StampedSeries| one.samples.len()).sum::<usize>();
                let prepared = store.prepare(StampedBatch::Metrics { series: batch, metadata: Vec::new() }).unwrap();
                *position += 1;
                store.apply(prepared, Position(*position));
            }
        }
        samples
    }
}

impl Pod {
    fn scrape(&mut self, series: &[Series], ticks: &[i64], chance: &mut Chance, batch: &mut Vec<StampedSeries>) {
        let mut jitter = || if self.jitters { chance.below(61) as i64 - 30 } else { 0 };
        let times: Vec<i64> = ticks.iter().map(|tick| tick + self.offset_ms + jitter()).collect();
        let mut columns: Vec<Vec<Sample>> = series.iter().map(|_| Vec::with_capacity(times.len())).collect();
        for t_ms in times {
            let mut below = 0.0;
            for (at, one) in series.iter().enumerate() {
                let value = &mut self.values[at];
                *value = next(one.kind, *value, self.rates[at], &mut below, chance);
                if one.labels.iter().any(|(name, bound)| *name == "le" && bound == "+Inf") {
                    below = 0.0;
                }
                columns[at].push(Sample { t_ms, value: *value });
            }
        }
        batch.extend(self.labels.iter().zip(columns).map(|(labels, samples)| StampedSeries {
            labels: labels.clone(),
            samples,
            histograms: Vec::new(),
            starts: Default::default(),
            exemplars: Vec::new(),
            cadence: None,
        }));
    }
}

fn first_values(series: &[Series], chance: &mut Chance) -> Vec<f64> {
    let first = |one: &Series| match one.kind {
        Kind::Integer => chance.below(50) as f64,
        Kind::Pages => 4096.0 * (1000 + chance.below(1_000_000)) as f64,
        Kind::Walk => chance.unit(),
        Kind::Constant if one.metric == "config_limit" => [16.0, 64.0, 250.0, 0.75, 1e6][chance.below(5) as usize],
        Kind::Constant => 1.0,
        _ => 0.0,
    };
    series.iter().map(first).collect()
}

/// The value a minute later; `below` is what the buckets below this one have counted meanwhile.
fn next(kind: Kind, value: f64, rate: f64, below: &mut f64, chance: &mut Chance) -> f64 {
    match kind {
        Kind::Counter if chance.unit() < RESETS => 0.0,
        Kind::Counter => value + chance.poisson(rate * 60.0),
        Kind::Bucket => {
            *below += chance.poisson(rate * 6.0);
            value + *below
        }
        Kind::LatencySum => value + (chance.unit() + chance.unit()) * 6.0,
        Kind::Integer => (value + chance.below(7) as f64 - 3.0).max(0.0),
        Kind::Noise => 0.4 + 0.2 * rate.sin() + 0.02 * chance.normal(),
        Kind::Pages if chance.unit() < 0.3 => (value + 4096.0 * (chance.below(401) as f64 - 200.0)).max(4096.0),
        Kind::Walk => ((value + 0.01 * chance.normal()).clamp(0.0, 1.0) * 1e4).round() / 1e4,
        Kind::Bytes => value + chance.poisson(rate * 60.0) * (60 + chance.below(1440)) as f64,
        Kind::Idle if chance.unit() < 1.0 / 60.0 => value + 1.0,
        Kind::Idle | Kind::Pages | Kind::Constant => value,
    }
}

fn labels_of(series: &[Series], number: usize, life: usize) -> Vec<Labels> {
    let (tenant, service) = (number / PODS_PER_TENANT, SERVICES[number % PODS_PER_TENANT % SERVICES.len()]);
    let mixed = (number as u32).wrapping_mul(2_654_435_761).wrapping_add(life as u32 * 40_503);
    let common = [
        ("tenant", format!("tenant-{tenant:04}")),
        ("cluster", format!("eu-{}", tenant % 7)),
        ("namespace", format!("{service}-prod")),
        ("service", service.to_owned()),
        ("job", format!("kubernetes/{service}")),
        ("pod", format!("{service}-{:04x}-{:04x}", mixed & 0xffff, mixed >> 16)),
        ("instance", format!("10.{}.{}.{}:8080", mixed >> 24, mixed >> 16 & 255, mixed >> 8 & 255)),
    ];
    let version = format!("1.{}.{life}", mixed % 5);
    let one = |one: &Series| {
        let own = one.labels.iter().map(|(name, value)| (*name, if value.is_empty() { &version } else { value }));
        let all = common.iter().map(|(name, value)| (*name, value)).chain(own);
        Labels::from_pairs(all.map(|(name, value)| (name, value.as_str())).chain([("__name__", one.metric)]))
    };
    series.iter().map(one).collect()
}
