//! The series of a fleet and how their values move, as in `tests/bench`: counters of many rates, cumulative buckets,
//! integers, floats of full precision and of few digits, what moves in steps of a page, and what hardly moves.

use tenantscope_model::Labels;

/// Series of one pod.
const SERIES_IN_POD: usize = KINDS.len() * 2;
/// Metrics, each with two series a pod.
const KINDS: [(&str, Kind); 10] = [
    ("requests_total", Kind::Counter),
    ("queries_total", Kind::Counter),
    ("duration_bucket", Kind::Counter),
    ("queue_length", Kind::Integer),
    ("load_ratio", Kind::Noise),
    ("memory_bytes", Kind::Pages),
    ("temperature", Kind::Walk),
    ("network_bytes_total", Kind::Bytes),
    ("errors_total", Kind::Idle),
    ("up_count", Kind::Constant),
];
const TENANTS: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Integer,
    Noise,
    Pages,
    Walk,
    Bytes,
    Idle,
    Constant,
}

/// One series as it moves.
pub(crate) struct Moving {
    pub(crate) labels: Labels,
    kind: Kind,
    value: f64,
    rate: f64,
    step: u32,
    /// When in a step its pod is scraped, and how exactly.
    offset_ms: i64,
    jitter_ms: i64,
    pod: u64,
    chance: Chance,
}

/// The names of all metrics.
pub(crate) fn metrics() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(name, _)| *name)
}

impl Moving {
    pub(crate) fn new(number: usize) -> Self {
        let pod = number / SERIES_IN_POD;
        let (_, kind) = KINDS[number % KINDS.len()];
        let mut of_pod = Chance(pod as u64);
        let offset_ms = (of_pod.unit() * 15_000.0) as i64;
        let jitter_ms = if of_pod.unit() < 0.2 { 30 } else { 0 };
        let mut chance = Chance(number as u64 | 1 << 40);
        let rate = 10_f64.powf(chance.unit() * 4.0 - 1.5);
        let value = match kind {
            Kind::Integer => (chance.unit() * 50.0).floor(),
            Kind::Pages => 4096.0 * (1000.0 + chance.unit() * 1e6).floor(),
            Kind::Counter | Kind::Bytes => (rate * 20_000.0).floor(),
            _ => 1.0,
        };
        Self { labels: labels(number), kind, value, rate, step: 0, offset_ms, jitter_ms, pod: pod as u64, chance }
    }

    /// When it is scraped, after the step's begin. All series of a pod say the same.
    pub(crate) fn time_ms(&self, step: i64) -> i64 {
        let mut at = Chance(self.pod << 32 | step as u64);
        self.offset_ms + (at.unit() * (2 * self.jitter_ms + 1) as f64) as i64 - self.jitter_ms
    }

    /// The value of the next step.
    pub(crate) fn next(&mut self) -> f64 {
        const SECONDS: f64 = 15.0;
        self.step += 1;
        let chance = &mut self.chance;
        match self.kind {
            Kind::Counter => self.value += chance.poisson(self.rate * SECONDS),
            Kind::Bytes => self.value += chance.poisson(self.rate * SECONDS) * (60.0 + 1440.0 * chance.unit()).floor(),
            Kind::Integer => self.value = (self.value + (chance.unit() * 7.0).floor() - 3.0).max(0.0),
            Kind::Noise => {
                self.value = 0.4 + 0.2 * (f64::from(self.step) / 40.0 + self.rate).sin() + 0.02 * chance.normal();
            }
            Kind::Pages if chance.unit() < 0.3 => {
                self.value = (self.value + 4096.0 * ((chance.unit() * 401.0).floor() - 200.0)).max(4096.0);
            }
            Kind::Walk => {
                let moved = (self.value + 0.01 * chance.normal()).clamp(0.0, 1.0);
                self.value = (moved * 10_000.0).round() / 10_000.0;
            }
            Kind::Idle if chance.unit() < SECONDS / 3600.0 => self.value += 1.0,
            _ => {}
        }
        self.value
    }
}

fn labels(number: usize) -> Labels {
    let pod = number / SERIES_IN_POD;
    let (name, _) = KINDS[number % KINDS.len()];
    let tenant = format!("t{}", pod % TENANTS);
    let host = format!("ip-10-1-{}-{}", pod / 250, pod % 250);
    let part = format!("part-{}", number / KINDS.len() % 2);
    let pod = format!("checkout-{:08x}-{}", pod.wrapping_mul(2_654_435_761) & 0xffff_ffff, pod % 13);
    Labels::from_pairs([
        ("__name__", name),
        ("tenant", tenant.as_str()),
        ("account_id", "111122223333"),
        ("region", "eu-west-1"),
        ("instance", host.as_str()),
        ("pod", pod.as_str()),
        ("part", part.as_str()),
        ("job", "checkout"),
    ])
}

/// A generator that gives the same numbers in each run (splitmix64).
struct Chance(u64);

impl Chance {
    /// At least 0 and below 1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 11) as f64 / 9_007_199_254_740_992.0
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    fn poisson(&mut self, mean: f64) -> f64 {
        if mean > 30.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0);
        }
        let (limit, mut product, mut count) = ((-mean).exp(), self.unit(), 0.0);
        while product > limit {
            product *= self.unit();
            count += 1.0;
        }
        count
    }
}
