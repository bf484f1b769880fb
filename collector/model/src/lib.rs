//! The words of the domain, as types that cannot be wrong, and the traits at the seams between rooms.
//!
//! Data meets these types in this order: a sender's claim is replaced by a [`Stamp`] (an [`AccountId`], the
//! [`TenantId`] that owns it, a [`Region`]); a stamped batch ([`StampedBatch`]) is taken by a store ([`Sink`]) at a
//! journal [`Position`]; a reader's [`Scope`] is an argument of every read ([`Select`], [`Evaluate`]); what rules find
//! is an [`Alert`].
//!
//! # Invariants
//! - No I/O, no clock, no randomness: times come in as arguments, in milliseconds since the Unix epoch.
//! - No string is a tenant: a [`TenantId`] exists only if it passed its rule, likewise [`AccountId`] and [`Region`].
//! - [`Labels`] are sorted by name, have no empty values and no duplicate names.
//! - An empty [`Scope`] selects nothing, never everything.

mod account;
mod alert;
mod budget;
mod cardinality;
mod claim;
mod dirty;
mod evaluate;
mod histogram;
mod labels;
mod matcher;
mod metadata;
mod position;
mod quantity;
mod regexes;
mod region;
mod regular_expression;
mod removed;
mod reporting;
mod sample;
mod scope;
mod select;
mod selection;
mod signal;
mod sink;
mod stamp;
mod tenant;

pub use account::{AccountId, InvalidAccountId};
pub use alert::{Alert, AlertState};
pub use budget::{HeldBytes, QueryBounds, QueryBudget, QueryMemory, StepSamples};
pub use cardinality::{Cardinality, Count, Largest, Tally};
pub use claim::{Claim, Decision};
pub use dirty::{DirtyRange, DirtyRanges, NotKept, ReportDirty};
pub use evaluate::{Evaluate, EvaluateApart, EvaluateError, Evaluated};
pub use histogram::{Histogram, ResetHint, Span, Spans};
pub use labels::{DuplicateLabel, Fingerprint, Label, LabelSource, Labels, LabelsBuilder, METRIC_NAME};
pub use matcher::{InvalidMatcher, MatchOp, Matcher};
pub use metadata::{Cadence, Metadata, MetricKind};
pub use position::Position;
pub use quantity::{Bytes, InvalidQuantity, TimeSpan};
pub use regexes::{RegexesTooLarge, check_regexes};
pub use region::{InvalidRegion, Region};
pub use regular_expression::{Expansion, InvalidExpression, RegularExpression};
pub use removed::RemovedTenants;
pub use reporting::{Reporting, Seen};
pub use sample::{Exemplar, HistogramSample, STALE_NAN_BITS, Sample, Starts, is_stale_nan, stale_nan};
pub use scope::Scope;
pub use select::{
    Families, Lookback, MetadataRequest, Select, SelectError, SelectRequest, SelectedSeries, SeriesRequest,
};
pub use selection::{LabelSet, Selection, SeriesGrouping, SeriesGroups, SeriesScan, SeriesView};
pub use signal::Signal;
pub use sink::{Refusal, Sink};
pub use stamp::{FamilyMetadata, Stamp, StampedBatch, StampedResource, StampedSeries};
pub use tenant::{InvalidTenantId, TenantId};
