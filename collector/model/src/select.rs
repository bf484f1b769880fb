use std::sync::Arc;

use crate::selection::{Held, Selection};
use crate::{Cardinality, Exemplar, HistogramSample, Labels, Matcher, Metadata, QueryBudget, Sample, Scope, Starts};

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
    /// At most so many entries, of series any; `usize::MAX` for all.
    pub limit: usize,
    /// The call's limits. Labels that are handed out are charged as [`QueryBudget::charge_series`] says. The memory of
    /// what is handed out is taken while it is gathered and given back at the end: whoever keeps it takes it again.
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
    /// The call's limits; memory is taken as for a [`SeriesRequest`].
    pub budget: &'a QueryBudget,
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
    /// A selector that finds more series than one may.
    #[error("a selector would find more than {limit} series (query.max_series)")]
    TooManySeries {
        /// The limit.
        limit: u64,
    },
    /// More memory than a query may hold.
    #[error("query would hold more than {limit_bytes} bytes (query.max_bytes)")]
    TooMuchMemory {
        /// The limit.
        limit_bytes: u64,
    },
    /// More memory than all queries together may hold; there may be room again soon.
    #[error("queries would hold more than {limit_bytes} bytes together (query.memory_max_bytes)")]
    MemoryFull {
        /// The limit.
        limit_bytes: u64,
    },
    /// A file could not be read.
    #[error("store: {0}")]
    Store(String),
}

/// Read series. Implementations may block on files: call from a thread that may.
///
/// The scope comes first in every call and bounds all of it: no answer, error or count tells of a series outside.
pub trait Select: Send + Sync {
    /// The series that fulfil the matchers, with their samples, sorted by labels. Series without samples are left out.
    fn select(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<Vec<SelectedSeries>, SelectError>;

    /// The same series, to be read one after the other and by several threads at once.
    ///
    /// Unless a store knows better, all of them are read here and held.
    fn find<'a>(&'a self, scope: &Scope, request: &SelectRequest<'a>) -> Result<Box<dyn Selection + 'a>, SelectError> {
        Ok(Box::new(Held(self.select(scope, request)?)))
    }

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

    /// How many of the matching series there are, and of what; each list has at most [`SeriesRequest::limit`] entries.
    ///
    /// Unless a store knows better, from the labels of all of them.
    fn cardinality(&self, scope: &Scope, request: &SeriesRequest<'_>) -> Result<Cardinality, SelectError> {
        let all = self.series(scope, &SeriesRequest { limit: usize::MAX, ..*request })?;
        Ok(Cardinality::of(&all, request.limit))
    }
}
