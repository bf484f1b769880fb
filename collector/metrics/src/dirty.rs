//! Writes to what was summed already: by tenant and metric, merged, and bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tenantscope_model::{DirtyRange, DirtyRanges, METRIC_NAME, ReportDirty, StampedSeries, TenantId};

use crate::columns::TimeRange;
use crate::index::TENANT;
use crate::store::MetricStore;

/// Tenants and metrics that are told apart; past it a tenant's metrics become one entry.
const MAX_ENTRIES: usize = 10_000;

/// What was written to times that were summed. Where nobody sums, looking at it costs a load.
#[derive(Debug)]
pub(crate) struct Dirty {
    summed_until_ms: AtomicI64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Rises with every change.
    change: u64,
    entries: HashMap<Key, Entry>,
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
    pub(crate) fn new(kept: &[KeptRange]) -> Self {
        let mut state = State::default();
        for range in kept {
            let key = (Arc::from(range.tenant.as_str()), range.metric.as_deref().map(Arc::from));
            state.add(key, TimeRange { min_ms: range.from_ms, max_ms: range.to_ms });
        }
        Self { summed_until_ms: AtomicI64::new(i64::MIN), state: Mutex::new(state) }
    }

    /// What a batch has of one series at times that were summed; empty in the usual case.
    pub(crate) fn summed_part(&self, new: &StampedSeries) -> TimeRange {
        let until_ms = self.summed_until_ms.load(Ordering::Relaxed);
        let mut range = TimeRange::EMPTY;
        if until_ms == i64::MIN {
            return range;
        }
        let times = new.samples.iter().map(|s| s.t_ms).chain(new.histograms.iter().map(|s| s.t_ms));
        times.filter(|t_ms| *t_ms <= until_ms).for_each(|t_ms| range.include(t_ms));
        range
    }

    /// A series was written to within a range that was summed.
    pub(crate) fn add(&self, tenant: &str, metric: &str, range: TimeRange) {
        self.state.lock().add((Arc::from(tenant), Some(Arc::from(metric))), range);
    }

    pub(crate) fn to_keep(&self) -> Vec<KeptRange> {
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
        kept
    }

    /// Forgets a tenant.
    pub(crate) fn remove_tenant(&self, tenant: &str) {
        self.state.lock().entries.retain(|(other, _), _| **other != *tenant);
    }
}

impl State {
    fn add(&mut self, key: Key, range: TimeRange) {
        self.change += 1;
        let change = self.change;
        let of_tenant = (Arc::clone(&key.0), None);
        let is_full = self.entries.len() >= MAX_ENTRIES && !self.entries.contains_key(&key);
        let key = if is_full || self.entries.contains_key(&of_tenant) {
            self.merge_metrics(&of_tenant, change);
            of_tenant
        } else {
            key
        };
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
    fn summed_until(&self, t_ms: i64) {
        self.dirty.summed_until_ms.fetch_max(t_ms, Ordering::Relaxed);
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
    pub(crate) fn note_dirty(&self, new: &StampedSeries, known: Option<&crate::series::Series>) {
        let range = self.dirty.summed_part(new);
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
        let same = |sample: &tenantscope_model::HistogramSample| in_memory.histograms.contains(sample);
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
        let dirty = Dirty::new(&[]);
        dirty.add("a", "up", range(1, 2));
        dirty.add("a", "up", range(5, 9));
        dirty.add("b", "up", range(3, 3));
        let kept = dirty.to_keep();
        assert_eq!(kept.len(), 2);
        assert_eq!((kept[0].from_ms, kept[0].to_ms), (1, 9));
        assert_eq!(Dirty::new(&kept).to_keep(), kept);
    }

    #[test]
    fn past_the_limit_a_tenants_metrics_become_one() {
        let dirty = Dirty::new(&[]);
        for metric in 0..MAX_ENTRIES + 5 {
            dirty.add("a", &format!("m{metric}"), range(metric as i64, metric as i64));
        }
        let kept = dirty.to_keep();
        assert_eq!(kept.len(), 1);
        assert_eq!((kept[0].metric.clone(), kept[0].from_ms), (None, 0));
    }
}
