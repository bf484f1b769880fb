use std::collections::BTreeMap;

use tenantscope_model::{Decision, Stamp, StampedBatch, StampedResource};

use crate::decode::Content;
use crate::series::SeriesBuilder;
use crate::{Accumulators, Decoded, Deltas, count, resource, write};

/// What stamping needs to know of where a batch came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origin {
    /// Whether a proven agent sent it: only then a metric's cadence counts.
    pub from_agent: bool,
    /// When it was received, in milliseconds since the epoch; the time of points that have none.
    pub received_at_ms: i64,
    /// The latest time that a point may have, in milliseconds since the epoch; later ones are left out. `None`: any.
    pub latest_ms: Option<i64>,
    /// Whether OTLP's names of metrics and labels keep all their characters.
    pub utf8_names: bool,
}

/// Why points are left out whose time is after [`Origin::latest_ms`].
pub(crate) const TOO_FAR_AHEAD: &str = "too_far_ahead";

impl Origin {
    /// Whether a point of that time is taken.
    pub(crate) fn is_in_time(&self, t_ms: i64) -> bool {
        self.latest_ms.is_none_or(|latest_ms| t_ms <= latest_ms)
    }
}

/// What was left out of a batch, by reason.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rejected(BTreeMap<&'static str, u64>);

impl Rejected {
    /// Counts records that are left out; `reason` is a fixed word for a counter's label.
    pub fn add(&mut self, reason: &'static str, records: usize) {
        if records > 0 {
            *self.0.entry(reason).or_default() += u64::try_from(records).unwrap_or(u64::MAX);
        }
    }

    /// Adds what another part of the way left out.
    pub(crate) fn append(&mut self, others: &Self) {
        for (reason, records) in &others.0 {
            *self.0.entry(reason).or_default() += records;
        }
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// By reason.
    pub fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(reason, records)| (*reason, *records))
    }

    /// For the sender; empty where nothing was left out.
    pub fn message(&self) -> String {
        self.0.iter().map(|(reason, records)| format!("{reason}: {records}")).collect::<Vec<_>>().join(", ")
    }
}

/// A stamped batch, and what happened on the way to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stamped {
    /// For the store.
    pub batch: StampedBatch,
    /// Data points, log records or spans that are not in it.
    pub rejected: Rejected,
    /// Claims that differed from the stamp and were moved to `exported_…`.
    pub moved_claims: u64,
    /// What the batch adds to the accumulators; the caller commits it once the batch is sure to be stored.
    pub deltas: Deltas,
}

impl Stamped {
    /// A batch of which nothing was left out.
    pub(crate) fn whole(batch: StampedBatch) -> Self {
        Self { batch, rejected: Rejected::default(), moved_claims: 0, deltas: Deltas::default() }
    }

    /// Counts samples that were left out, of so many that the batch had, as records of its so many: a data point that
    /// became several samples is one, so the count is a share where some of these samples stay.
    pub fn reject_samples(
        &mut self,
        records: u64,
        samples: u64,
        left_out: impl IntoIterator<Item = (&'static str, u64)>,
    ) {
        let records = records.saturating_sub(self.rejected.total());
        for (reason, of_samples) in left_out {
            let share = records.saturating_mul(of_samples).div_ceil(samples.max(1));
            self.rejected.add(reason, usize::try_from(share).unwrap_or(usize::MAX));
        }
    }
}

/// What is left out where the caller decided about fewer resources than there are.
const UNDECIDED: Decision = Decision::Refuse { reason: "undecided" };

/// Stamps a batch: one decision for each of its claims, in their order.
///
/// The accumulators are only read; batches with deltas ([`Decoded::has_deltas`]) must be stamped and committed one
/// after another.
pub fn stamp(decoded: Decoded, decisions: &[Decision], origin: Origin, accumulators: &Accumulators) -> Stamped {
    let left_out = decoded.left_out;
    let mut stamped = stamp_content(decoded.content, decisions, origin, accumulators);
    stamped.rejected.append(&left_out);
    stamped
}

fn stamp_content(content: Content, decisions: &[Decision], origin: Origin, accumulators: &Accumulators) -> Stamped {
    let decision = |index: usize| decisions.get(index).unwrap_or(&UNDECIDED);
    match content {
        Content::Logs(resources) => {
            let mut work = ResourceWork::default();
            let items = resources.into_iter().enumerate();
            let stamped = items.filter_map(|(i, mut item)| {
                let records = count::logs_of_resource(&item);
                let stamp = work.decide(decision(i), records)?;
                work.moved_claims += resource::restamp(&mut item.resource, &stamp);
                Some(StampedResource { stamp, records: item })
            });
            let batch = StampedBatch::Logs(stamped.collect());
            work.finish(batch)
        }
        Content::Spans(resources) => {
            let mut work = ResourceWork::default();
            let items = resources.into_iter().enumerate();
            let stamped = items.filter_map(|(i, mut item)| {
                let records = count::spans_of_resource(&item);
                let stamp = work.decide(decision(i), records)?;
                work.moved_claims += resource::restamp(&mut item.resource, &stamp);
                Some(StampedResource { stamp, records: item })
            });
            let batch = StampedBatch::Spans(stamped.collect());
            work.finish(batch)
        }
        Content::Metrics(resources) => {
            let mut builder = SeriesBuilder::new(origin, accumulators);
            for (i, item) in resources.into_iter().enumerate() {
                match decision(i) {
                    Decision::Stamp(stamp) => builder.add_resource(item, stamp),
                    Decision::Refuse { reason } => builder.rejected.add(reason, count::points_of_resource(&item)),
                }
            }
            builder.finish()
        }
        Content::Series(body) => write::stamp(*body, origin, decision),
    }
}

#[derive(Default)]
struct ResourceWork {
    rejected: Rejected,
    moved_claims: u64,
}

impl ResourceWork {
    fn decide(&mut self, decision: &Decision, records: usize) -> Option<Stamp> {
        match decision {
            Decision::Stamp(stamp) => Some(stamp.clone()),
            Decision::Refuse { reason } => {
                self.rejected.add(reason, records);
                None
            }
        }
    }

    fn finish(self, batch: StampedBatch) -> Stamped {
        Stamped { rejected: self.rejected, moved_claims: self.moved_claims, ..Stamped::whole(batch) }
    }
}
