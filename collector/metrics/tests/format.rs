//! Files of the formats' versions, and of those before, are read whenever they were written; others are refused by name.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use support::{Bench, HOUR_MS, always, copy_folder, options, range, tenant};
use tenantscope_metrics::{MetricStore, OpenError};
use tenantscope_model::{
    Cadence, Exemplar, FamilyMetadata, Histogram, HistogramSample, Labels, Lookback, Metadata, MetadataRequest,
    MetricKind, ReportDirty, ResetHint, Sample, Scope, Select, SelectedSeries, Span, Spans, StampedBatch,
    StampedSeries, Starts,
};

/// What the files hold: two windows, a stale marker, a histogram, starts, an exemplar, a cadence, metadata.
fn batch() -> StampedBatch {
    let labels = |name: &str| Labels::from_pairs([("__name__", name), ("tenant", "acme"), ("place", "Zürich")]);
    let histogram = Histogram {
        schema: 3,
        zero_threshold: 1e-128,
        zero_count: 1.0,
        count: 6.5,
        sum: -2.25,
        positive: Spans { spans: vec![Span { offset: -2, length: 2 }], counts: vec![3.0, 0.5] },
        negative: Spans { spans: vec![Span { offset: 4, length: 1 }], counts: vec![2.0] },
        custom_bounds: Vec::new(),
        reset_hint: ResetHint::CounterReset,
    };
    let sample = |t_ms: i64, value: f64| Sample { t_ms, value };
    let floats = StampedSeries {
        labels: labels("requests_total"),
        samples: vec![sample(1, 1.0), sample(15_001, 2.5), sample(3 * HOUR_MS, tenantscope_model::stale_nan())],
        histograms: Vec::new(),
        exemplars: vec![Exemplar { t_ms: 7, value: 0.25, labels: Labels::from_pairs([("trace_id", "00ff")]) }],
        starts: Starts { samples_ms: vec![0, 15_000, 0], histograms_ms: Vec::new() },
        cadence: Some(Cadence { cadence_ms: 300_000, delay_ms: 60_000 }),
    };
    let histograms = StampedSeries {
        labels: labels("latency_seconds"),
        samples: Vec::new(),
        histograms: vec![HistogramSample { t_ms: 5, histogram: Arc::new(histogram) }],
        exemplars: Vec::new(),
        starts: Starts { samples_ms: Vec::new(), histograms_ms: vec![4] },
        cadence: None,
    };
    let metadata = Metadata { kind: MetricKind::Counter, unit: "".into(), help: "Requests.".into() };
    StampedBatch::Metrics {
        series: vec![floats, histograms],
        metadata: vec![FamilyMetadata { tenant: Some(tenant("acme")), family: "requests_total".into(), metadata }],
    }
}

/// The version of `MANIFEST` that this release writes; it also reads the one before.
const VERSION: u32 = 3;
/// The version of parts.
const PART_VERSION: u32 = 2;

/// What a release wrote, named after its version of `MANIFEST`.
fn folder(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/format-{version}"))
}

/// Run this by name once for each new version.
#[test]
#[ignore = "writes the files that the other test reads"]
fn write_the_files() {
    let mut bench = Bench::new(options());
    bench.write_batch(batch());
    bench.store().summed_until(100).unwrap();
    bench.store().flush().unwrap();
    copy_folder(bench.dir.path(), &folder(VERSION));
}

#[test]
fn files_of_this_version_and_the_one_before_are_read() {
    for version in [VERSION - 1, VERSION] {
        are_read(version);
    }
}

fn are_read(version: u32) {
    let dir = tempfile::tempdir().unwrap();
    copy_folder(&folder(version), dir.path());
    let store = MetricStore::open(dir.path(), options()).unwrap();
    let mut bench = Bench::new(options());
    bench.write_batch(batch());
    assert_eq!(bits(everything(&store)), bits(everything(bench.store())));
    let exemplars = |store: &MetricStore| store.exemplars(&Scope::All, &always(&[])).unwrap();
    assert_eq!(exemplars(&store), exemplars(bench.store()));
    assert_eq!(exemplars(&store).len(), 1);
    let instant = support::select(&store, &Scope::All, &[], 20_000, 20_000, Lookback::Widened(300_000)).unwrap();
    assert_eq!(instant.iter().map(|series| series.lookback_ms).collect::<Vec<_>>(), [300_000, 660_000]);
    let metadata =
        store.metadata(&Scope::All, &MetadataRequest { family: None, limit: 10, budget: always(&[]).budget }).unwrap();
    assert_eq!(metadata.len(), 1);
}

#[test]
fn a_part_of_another_version_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    copy_folder(&folder(VERSION), dir.path());
    let path = dir.path().join("parts/00000000000000000001.part");
    let mut bytes = fs::read(&path).unwrap();
    let footer = bytes.len() - 104;
    bytes[footer + 80..footer + 84].copy_from_slice(&1_u32.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[footer..footer + 88]).to_le_bytes();
    bytes[footer + 88..footer + 92].copy_from_slice(&checksum);
    fs::write(&path, bytes).unwrap();
    let error = MetricStore::open(dir.path(), options()).unwrap_err();
    assert!(matches!(error, OpenError::Version { found: 1, known: PART_VERSION, .. }), "{error}");
    assert!(error.to_string().contains("00000000000000000001.part"), "{error}");
}

fn everything(store: &MetricStore) -> Vec<SelectedSeries> {
    range(store, &Scope::All, &[], i64::MIN, i64::MAX)
}

type Bits = (Labels, Vec<(i64, u64)>, Vec<HistogramSample>, Starts);

/// Values as bits, since the stale marker is not equal to itself.
fn bits(selected: Vec<SelectedSeries>) -> Vec<Bits> {
    let floats = |samples: &[Sample]| samples.iter().map(|sample| (sample.t_ms, sample.value.to_bits())).collect();
    selected.into_iter().map(|one| (one.labels, floats(&one.samples), one.histograms, one.starts)).collect()
}
