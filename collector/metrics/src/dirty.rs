//! Writes to what was summed already: by tenant and metric, merged, and bounded.
//!
//! `MANIFEST` keeps up to when was summed, and the journal position at which that was told; the call that tells it returns
//! once that is durable. It also keeps, with each commit, the ranges that are not settled. A range that no commit had when
//! the program was killed is found again: its write is in no part then, so it comes again from the journal, and from its
//! position it is known that it came after the sums. So a range may be told twice, and none is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tenantscope_model::{
    DirtyRange, DirtyRanges, METRIC_NAME, NotKept, Position, ReportDirty, StampedSeries, TenantId,
};

use crate::columns::TimeRange;
use crate::index::TENANT;
use crate::store::{Change, MetricStore};

/// Tenants and metrics that are told apart; past it a tenant's metrics become one entry.
const MAX_ENTRIES: usize = 10_000;
/// Times up to which was summed that are told apart, since parts reached the journal; past it the oldest are taken for one.
const MAX_SUMMED: usize = 64;

/// What was written to times that were summed. Where nobody sums, looking at it costs a load.
#[derive(Debug)]
pub(crate) struct Dirty {
    /// The last of `State::summed`.
    summed_until_ms: AtomicI64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Rises with every change.
    change: u64,
    entries: HashMap<Key, Entry>,
    /// Both rise.
    summed: Vec<Summed>,
}

/// Up to when was summed, told when everything up to a journal position had been applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Summed {
    pub(crate) until_ms: i64,
    pub(crate) position: u64,
}

/// Tenant (empty for none) and metric (absent for any).
type Key = (Arc<str>, Option<Arc<str>>);

#[derive(Debug, Clone, Copy)]
struct Entry {
    range: TimeRange,
    /// The last change of it.
    change: u64,
}

/// An entry as `MANIFEST` keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeptRange {
    tenant: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metric: Option<String>,
    from_ms: i64,
    to_ms: i64,
}

impl Dirty {
    pub(crate) fn new(summed: &[Summed], kept: &[KeptRange]) -> Self {
        let mut state = State { summed: summed.to_vec(), ..State::default() };
        for range in kept {
            let key = (Arc::from(range.tenant.as_str()), range.metric.as_deref().map(Arc::from));
            state.add(key, TimeRange { min_ms: range.from_ms, max_ms: range.to_ms });
        }
        let until_ms = summed.last().map_or(i64::MIN, |last| last.until_ms);
        Self { summed_until_ms: AtomicI64::new(until_ms), state: Mutex::new(state) }
    }

    /// Times up to here were summed when everything up to a position had been applied. False if that was known.
    fn rise(&self, step: Summed, durable: Position) -> bool {
        let mut state = self.state.lock();
        if state.summed.last().is_some_and(|last| last.until_ms >= step.until_ms) {
            return false;
        }
        state.summed.push(step);
        state.forget_summed(durable);
        self.summed_until_ms.store(step.until_ms, Ordering::Relaxed);
        true
    }

    /// What a batch has of one series at times that had been summed before; empty in the usual case.
    pub(crate) fn summed_part(&self, new: &StampedSeries, position: Position) -> TimeRange {
        let until_ms = self.summed_until_ms.load(Ordering::Relaxed);
        let mut range = TimeRange::EMPTY;
        let times = || new.samples.iter().map(|s| s.t_ms).chain(new.histograms.iter().map(|s| s.t_ms));
        if until_ms == i64::MIN || !times().any(|t_ms| t_ms <= until_ms) {
            return range;
        }
        // A replay also brings what had been there when it was summed.
        let Some(until_ms) = self.state.lock().summed_before(position) else { return range };
        times().filter(|t_ms| *t_ms <= until_ms).for_each(|t_ms| range.include(t_ms));
        range
    }

    /// A series was written to within a range that was summed.
    pub(crate) fn add(&self, tenant: &str, metric: &str, range: TimeRange) {
        self.state.lock().add((Arc::from(tenant), Some(Arc::from(metric))), range);
    }

    pub(crate) fn to_keep(&self) -> (Vec<Summed>, Vec<KeptRange>) {
        let state = self.state.lock();
        let mut kept: Vec<KeptRange> = state
            .entries
            .iter()
            .map(|((tenant, metric), Entry { range, .. })| KeptRange {
                tenant: tenant.to_string(),
                metric: metric.as_ref().map(ToString::to_string),
                from_ms: range.min_ms,
                to_ms: range.max_ms,
            })
            .collect();
        kept.sort_by(|a, b| (&a.tenant, &a.metric).cmp(&(&b.tenant, &b.metric)));
        (state.summed.clone(), kept)
    }

    /// Forgets a tenant.
    pub(crate) fn remove_tenant(&self, tenant: &str) {
        self.state.lock().entries.retain(|(other, _), _| **other != *tenant);
    }
}

impl State {
    /// Up to when had been summed when a record was applied.
    fn summed_before(&self, position: Position) -> Option<i64> {
        self.summed.iter().rev().find(|step| step.position < position.0).map(|step| step.until_ms)
    }

    /// No record up to the durable position comes again, so one step tells of them all. What is taken for one otherwise
    /// may tell of more writes than came late, and of none less.
    fn forget_summed(&mut self, durable: Position) {
        let passed = self.summed.iter().rposition(|step| step.position <= durable.0);
        self.summed.drain(..passed.unwrap_or(0));
        while self.summed.len() > MAX_SUMMED {
            let oldest = self.summed.remove(0);
            self.summed.first_mut().into_iter().for_each(|next| next.position = oldest.position);
        }
    }

    fn add(&mut self, key: Key, range: TimeRange) {
        self.change += 1;
        let change = self.change;
        let of_tenant = (Arc::clone(&key.0), None);
        let is_merged = self.entries.contains_key(&of_tenant);
        let is_full = self.entries.len() >= MAX_ENTRIES && !self.entries.contains_key(&key);
        if is_full && !is_merged {
            self.merge_metrics(&of_tenant, change);
        }
        let key = if is_full || is_merged { of_tenant } else { key };
        let entry = self.entries.entry(key).or_insert(Entry { range, change });
        entry.range.include_range(range);
        entry.change = change;
    }

    /// A tenant's metrics become one entry.
    fn merge_metrics(&mut self, of_tenant: &Key, change: u64) {
        let mut hull = TimeRange::EMPTY;
        self.entries.retain(|key, entry| {
            let stays = key.0 != of_tenant.0 || key.1.is_none();
            if !stays {
                hull.include_range(entry.range);
            }
            stays
        });
        if !hull.is_empty() {
            let entry = self.entries.entry(of_tenant.clone()).or_insert(Entry { range: hull, change });
            entry.range.include_range(hull);
        }
    }
}

impl ReportDirty for MetricStore {
    fn summed_until(&self, t_ms: i64) -> Result<(), NotKept> {
        let is_new = {
            // No batch is half applied: each came before this, or is looked at with it in force.
            let applied = self.applied.lock();
            self.dirty.rise(Summed { until_ms: t_ms, position: applied.whole_until() }, self.durable_position())
        };
        // The commit of one that is known may have failed.
        if !is_new && self.is_kept_as_summed(t_ms) {
            return Ok(());
        }
        self.commit(&Change::default()).map_err(|error| NotKept { reason: error.to_string() })
    }

    fn dirty(&self) -> DirtyRanges {
        let state = self.dirty.state.lock();
        let mut ranges: Vec<DirtyRange> = state
            .entries
            .iter()
            .map(|((tenant, metric), Entry { range, .. })| DirtyRange {
                tenant: TenantId::try_new(tenant).ok(),
                metric: metric.clone(),
                from_ms: range.min_ms,
                to_ms: range.max_ms,
            })
            .collect();
        ranges.sort_unstable();
        DirtyRanges { change: state.change, ranges }
    }

    fn settle(&self, dirty: &DirtyRanges) {
        self.dirty.state.lock().entries.retain(|_, entry| entry.change > dirty.change);
    }
}

impl MetricStore {
    /// Reports a series of a batch that is about to be applied, where it changes what was summed. What memory has already,
    /// bit by bit, as after a resend, is no change; what only files have is taken for one.
    pub(crate) fn note_dirty(&self, new: &StampedSeries, known: Option<&crate::series::Series>, position: Position) {
        let range = self.dirty.summed_part(new, position);
        if range.is_empty() {
            return;
        }
        let in_memory = known.map(|series| series.read(range)).unwrap_or_default();
        let same = |sample: &tenantscope_model::Sample| {
            let found = in_memory.samples.binary_search_by_key(&sample.t_ms, |known| known.t_ms);
            let known = found.ok().and_then(|at| in_memory.samples.get(at));
            known.is_some_and(|known| known.value.to_bits() == sample.value.to_bits())
        };
        let within = |t_ms: i64| range.contains(t_ms);
        let mut changed = TimeRange::EMPTY;
        new.samples.iter().filter(|s| within(s.t_ms) && !same(s)).for_each(|s| changed.include(s.t_ms));
        let same = |sample: &tenantscope_model::HistogramSample| {
            let found = in_memory.histograms.binary_search_by_key(&sample.t_ms, |known| known.t_ms);
            found.ok().and_then(|at| in_memory.histograms.get(at)) == Some(sample)
        };
        new.histograms.iter().filter(|s| within(s.t_ms) && !same(s)).for_each(|s| changed.include(s.t_ms));
        if !changed.is_empty() {
            let text = |name: &str| new.labels.get(name).unwrap_or_default();
            self.dirty.add(text(TENANT), text(METRIC_NAME), changed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(min_ms: i64, max_ms: i64) -> TimeRange {
        TimeRange { min_ms, max_ms }
    }

    #[test]
    fn ranges_of_a_metric_merge_and_survive() {
        let dirty = Dirty::new(&[], &[]);
        dirty.add("a", "up", range(1, 2));
        dirty.add("a", "up", range(5, 9));
        dirty.add("b", "up", range(3, 3));
        let (_, kept) = dirty.to_keep();
        assert_eq!(kept.len(), 2);
        assert_eq!((kept[0].from_ms, kept[0].to_ms), (1, 9));
        assert_eq!(Dirty::new(&[], &kept).to_keep().1, kept);
    }

    #[test]
    fn a_record_is_late_for_what_had_been_summed_when_it_came() {
        let dirty = Dirty::new(&[], &[]);
        let step = |until_ms: i64, position: u64| Summed { until_ms, position };
        assert!(dirty.rise(step(100, 4), Position(0)) && dirty.rise(step(160, 7), Position(0)));
        assert!(!dirty.rise(step(160, 9), Position(0)));
        let before = |position: u64| dirty.state.lock().summed_before(Position(position));
        let at = |positions: [u64; 5]| positions.map(before);
        assert_eq!(at([1, 4, 5, 7, 8]), [None, None, Some(100), Some(100), Some(160)]);
        assert!(dirty.rise(step(200, 12), Position(7)));
        assert_eq!(dirty.to_keep().0, [step(160, 7), step(200, 12)]);
    }

    #[test]
    fn many_steps_are_told_apart_no_more_and_hide_nothing() {
        let dirty = Dirty::new(&[], &[]);
        for at in 1..=MAX_SUMMED as u64 + 9 {
            dirty.rise(Summed { until_ms: at as i64, position: at }, Position(0));
        }
        assert_eq!(dirty.to_keep().0.len(), MAX_SUMMED);
        assert_eq!(dirty.state.lock().summed_before(Position(2)), Some(10));
    }

    #[test]
    fn past_the_limit_a_tenants_metrics_become_one() {
        let dirty = Dirty::new(&[], &[]);
        for metric in 0..MAX_ENTRIES + 5 {
            dirty.add("a", &format!("m{metric}"), range(metric as i64, metric as i64));
        }
        let (_, kept) = dirty.to_keep();
        assert_eq!(kept.len(), 1);
        assert_eq!((kept[0].metric.clone(), kept[0].from_ms), (None, 0));
    }
}
