use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::{Exemplar, HistogramSample, Labels, Matcher, Metadata, Sample, Scope, Starts};

/// How far back an instant selector looks for a series' last sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookback {
    /// A range selector: exactly the time that was asked for.
    Range,
    /// An instant selector: this many milliseconds, widened by a series' [`crate::Cadence`].
    Widened(i64),
    /// An instant selector with a `lookback_delta` that the reader gave: this many milliseconds for every series.
    Fixed(i64),
}

/// What a selector asks for.
#[derive(Debug, Clone, Copy)]
pub struct SelectRequest<'a> {
    /// All must hold.
    pub matchers: &'a [Matcher],
    /// First time of evaluation, inclusive. The store itself goes back from here by the lookback.
    pub from_ms: i64,
    /// Last time, inclusive.
    pub to_ms: i64,
    /// How far before `from_ms` samples are wanted.
    pub lookback: Lookback,
    /// The query's limits; the store charges what it reads and stops when they are spent.
    pub budget: &'a QueryBudget,
}

/// One selected series. Samples are in time order, one for each time, the newest write of each.
#[derive(Debug, Clone, PartialEq)]
pub struct SelectedSeries {
    /// The series' labels.
    pub labels: Labels,
    /// The lookback that holds for this series, in milliseconds; 0 for a range selector.
    pub lookback_ms: i64,
    /// Float samples in `(from_ms - lookback, to_ms]`; with a range selector in `[from_ms, to_ms]`.
    pub samples: Vec<Sample>,
    /// Native histograms in the same time.
    pub histograms: Vec<HistogramSample>,
    /// When the counting of the samples and histograms began.
    pub starts: Starts,
}

/// Which series a metadata call is about: those that fulfil one of the matcher sets (or all, if there is none).
#[derive(Debug, Clone, Copy)]
pub struct SeriesRequest<'a> {
    /// One set for each `match[]`.
    pub matcher_sets: &'a [Vec<Matcher>],
    /// Series with samples from here on (coarsely: a store may answer by its files' times).
    pub from_ms: i64,
    /// Series with samples up to here.
    pub to_ms: i64,
    /// At most so many entries; `usize::MAX` for all.
    pub limit: usize,
    /// The call's limits; labels that are handed out are charged as [`QueryBudget::charge_series`] says.
    pub budget: &'a QueryBudget,
}

/// Metric families by name, each with what its senders say of it: several entries where they disagree.
pub type Families = Vec<(Arc<str>, Vec<Metadata>)>;

/// Which families' metadata is wanted.
#[derive(Debug, Clone, Copy)]
pub struct MetadataRequest<'a> {
    /// Only this family.
    pub family: Option<&'a str>,
    /// At most so many families.
    pub limit: usize,
}

/// Why a read ended without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// The query's deadline passed.
    #[error("query timed out")]
    TimedOut,
    /// The reader went away, or the server is shutting down.
    #[error("query was canceled")]
    Cancelled,
    /// More samples than a query may load.
    #[error("query would load more than {limit} samples into memory (query.max_samples)")]
    TooManySamples {
        /// The limit.
        limit: u64,
    },
    /// A file could not be read.
    #[error("store: {0}")]
    Store(String),
}

/// What one query may use. Shared by all selectors of the query; checked often, so it is only atomics.
#[derive(Debug)]
pub struct QueryBudget {
    deadline: Instant,
    cancelled: AtomicBool,
    max_samples: u64,
    used_samples: AtomicU64,
}

impl QueryBudget {
    /// A budget that ends at `deadline` or after `max_samples` samples.
    pub fn new(deadline: Instant, max_samples: u64) -> Self {
        Self { deadline, cancelled: AtomicBool::new(false), max_samples, used_samples: AtomicU64::new(0) }
    }

    /// Stops the query at its next check.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Counts samples that were loaded, and checks the limits.
    pub fn charge(&self, samples: usize) -> Result<(), SelectError> {
        let samples = samples as u64;
        let used = self.used_samples.fetch_add(samples, Ordering::Relaxed) + samples;
        if used > self.max_samples {
            return Err(SelectError::TooManySamples { limit: self.max_samples });
        }
        self.check()
    }

    /// Counts series whose labels are handed out: each takes about as much memory as 20 samples.
    pub fn charge_series(&self, series: usize) -> Result<(), SelectError> {
        const SAMPLES: usize = 20;
        self.charge(series.saturating_mul(SAMPLES))
    }

    /// Checks deadline and cancellation.
    pub fn check(&self) -> Result<(), SelectError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(SelectError::Cancelled);
        }
        if Instant::now() >= self.deadline {
            return Err(SelectError::TimedOut);
        }
        Ok(())
    }

    /// Samples charged so far.
    pub fn used_samples(&self) -> u64 {
        self.used_samples.load(Ordering::Relaxed)
    }
}

/// Read series. Implementations may block on files: call from a thread that may.
///
/// The scope comes first in every call and bounds all of it: no answer, error or count tells of a series outside.
pub trait Select: Send + Sync {
    /// The series that fulfil the matchers, with their samples, sorted by labels. Series without samples are left out.
    fn select(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<Vec<SelectedSeries>, SelectError>;

    /// The labels of matching series, sorted.
    fn series(&self, scope: &Scope, request: &SeriesRequest<'_>) -> Result<Vec<Labels>, SelectError>;

    /// The label names of matching series, sorted.
    fn label_names(&self, scope: &Scope, request: &SeriesRequest<'_>) -> Result<Vec<Arc<str>>, SelectError>;

    /// The values of one label over matching series, sorted.
    fn label_values(
        &self,
        scope: &Scope,
        name: &str,
        request: &SeriesRequest<'_>,
    ) -> Result<Vec<Arc<str>>, SelectError>;

    /// What families say of themselves, sorted by family; several entries where tenants disagree.
    fn metadata(&self, scope: &Scope, request: &MetadataRequest<'_>) -> Result<Families, SelectError>;

    /// Exemplars of matching series between two times, sorted by labels and time.
    fn exemplars(
        &self,
        scope: &Scope,
        request: &SeriesRequest<'_>,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError>;
}
