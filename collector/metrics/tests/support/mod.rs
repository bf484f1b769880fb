//! A folder with a store, a journal that is a list, and short words for both.
#![allow(dead_code, unreachable_pub, reason = "a module of several test programs, each of which uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tenantscope_metrics::{BlockOptions, MetricStore, Options};
use tenantscope_model::{
    Labels, Lookback, Matcher, Position, QueryBudget, Sample, Scope, Select, SelectError, SelectRequest,
    SelectedSeries, SeriesRequest, Sink, StampedBatch, StampedSeries, TenantId,
};

pub const MINUTE_MS: i64 = 60_000;
pub const HOUR_MS: i64 = 60 * MINUTE_MS;

/// Keeps everything and has no opinion on the present.
pub fn options() -> Options {
    let blocks = BlockOptions { settle: Duration::ZERO, late_settle: Duration::ZERO, ..BlockOptions::default() };
    Options { retention: None, future_max: None, blocks, ..Options::default() }
}

/// A store with the journal that feeds it.
pub struct Bench {
    pub dir: TempDir,
    pub journal: Vec<StampedBatch>,
    pub options: Options,
    store: Option<Arc<MetricStore>>,
}

impl Bench {
    pub fn new(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = MetricStore::open(dir.path(), options.clone()).unwrap();
        Self { dir, journal: Vec::new(), options, store: Some(store) }
    }

    pub fn store(&self) -> &Arc<MetricStore> {
        self.store.as_ref().unwrap()
    }

    pub fn write(&mut self, series: Vec<StampedSeries>) {
        let batch = StampedBatch::Metrics { series, metadata: Vec::new() };
        self.write_batch(batch);
    }

    pub fn write_batch(&mut self, batch: StampedBatch) {
        let prepared = self.store().prepare(batch.clone()).unwrap();
        self.journal.push(batch);
        self.store().apply(prepared, Position(self.journal.len() as u64));
    }

    /// As after a kill: nothing is flushed, and what the parts do not hold is replayed.
    pub fn reopen(&mut self) {
        drop(self.store.take());
        let store = MetricStore::open(self.dir.path(), self.options.clone()).unwrap();
        for (position, batch) in (1_u64..).zip(&self.journal).skip(store.durable().0 as usize) {
            let prepared = store.prepare_replay(batch.clone());
            store.apply(prepared, Position(position));
        }
        self.store = Some(store);
    }

    /// Without replay: what the files alone hold.
    pub fn open_files(dir: &Path, options: Options) -> Arc<MetricStore> {
        MetricStore::open(dir, options).unwrap()
    }

    pub fn close(&mut self) {
        drop(self.store.take());
    }
}

pub fn tenant(id: &str) -> TenantId {
    TenantId::try_new(id).unwrap()
}

pub fn stamped(labels: Labels, samples: &[(i64, f64)]) -> StampedSeries {
    let samples = samples.iter().map(|(t_ms, value)| Sample { t_ms: *t_ms, value: *value }).collect();
    StampedSeries {
        labels,
        samples,
        histograms: Vec::new(),
        exemplars: Vec::new(),
        starts: Default::default(),
        cadence: None,
    }
}

pub fn budget() -> QueryBudget {
    QueryBudget::new(Instant::now() + Duration::from_secs(60), 10_000_000)
}

/// Everything between two times.
pub fn range(
    store: &MetricStore,
    scope: &Scope,
    matchers: &[Matcher],
    from_ms: i64,
    to_ms: i64,
) -> Vec<SelectedSeries> {
    select(store, scope, matchers, from_ms, to_ms, Lookback::Range).unwrap()
}

pub fn select(
    store: &MetricStore,
    scope: &Scope,
    matchers: &[Matcher],
    from_ms: i64,
    to_ms: i64,
    lookback: Lookback,
) -> Result<Vec<SelectedSeries>, SelectError> {
    store.select(scope, &SelectRequest { matchers, from_ms, to_ms, lookback, budget: &budget() })
}

static ENOUGH: LazyLock<QueryBudget> =
    LazyLock::new(|| QueryBudget::new(Instant::now() + Duration::from_secs(86_400), u64::MAX));

/// All series that match, whatever their times.
pub fn always(matcher_sets: &[Vec<Matcher>]) -> SeriesRequest<'_> {
    SeriesRequest { matcher_sets, from_ms: i64::MIN, to_ms: i64::MAX, limit: usize::MAX, budget: &ENOUGH }
}

pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            let _ = fs::copy(&path, &target).unwrap();
        }
    }
}

/// The files below a folder in which a text stands.
pub fn files_with(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files_with(&path, text));
        } else if fs::read(&path).unwrap().windows(text.len()).any(|bytes| bytes == text.as_bytes()) {
            found.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    found.sort();
    found
}

/// Makes a library of a C file that lies beside the tests, to be preloaded into a program; `None` without a C compiler.
pub fn preloadable(source: &str, dir: &Path) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(source);
    let library = dir.join("preloaded.so");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    made.is_ok_and(|status| status.success()).then_some(library)
}
