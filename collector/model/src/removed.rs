use std::collections::BTreeMap;

use crate::{Position, Signal, StampedBatch, TenantId};

/// Tenants that were removed, and up to where in each journal: what stands there or before of such a tenant is skipped by
/// whoever reads a journal; what stands behind is another tenant of that name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RemovedTenants(BTreeMap<Signal, BTreeMap<TenantId, Position>>);

impl RemovedTenants {
    /// Adds a tombstone; of several for one tenant the latest counts.
    pub fn add(&mut self, tenant: TenantId, signal: Signal, up_to: Position) {
        let known = self.0.entry(signal).or_default().entry(tenant).or_default();
        *known = up_to.max(*known);
    }

    /// The tenants of whom a record at this position must not be read any more.
    pub fn at(&self, signal: Signal, position: Position) -> impl Iterator<Item = &TenantId> {
        let stones = self.0.get(&signal).into_iter().flatten();
        stones.filter(move |(_, up_to)| position <= **up_to).map(|(tenant, _)| tenant)
    }
}

impl StampedBatch {
    /// Leaves out everything of a tenant; how many series or resources these were.
    pub fn leave_out_tenant(&mut self, tenant: &TenantId) -> usize {
        match self {
            Self::Metrics { series, metadata } => {
                metadata.retain(|family| family.tenant.as_ref() != Some(tenant));
                retain_counted(series, |series| series.labels.get("tenant") != Some(tenant.as_str()))
            }
            Self::Logs(resources) => retain_counted(resources, |resource| resource.stamp.tenant != *tenant),
            Self::Spans(resources) => retain_counted(resources, |resource| resource.stamp.tenant != *tenant),
        }
    }
}

fn retain_counted<T>(list: &mut Vec<T>, keeps: impl FnMut(&T) -> bool) -> usize {
    let before = list.len();
    list.retain(keeps);
    before - list.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_a_tombstone_is_another_tenant() {
        let tenant = |id| TenantId::try_new(id).unwrap();
        let mut removed = RemovedTenants::default();
        removed.add(tenant("acme"), Signal::Logs, Position(7));
        removed.add(tenant("acme"), Signal::Logs, Position(5));
        removed.add(tenant("beta"), Signal::Logs, Position(6));
        let at = |signal, position| removed.at(signal, Position(position)).map(TenantId::as_str).collect::<Vec<_>>();
        assert_eq!(at(Signal::Logs, 6), ["acme", "beta"]);
        assert_eq!(at(Signal::Logs, 7), ["acme"]);
        assert!(at(Signal::Logs, 8).is_empty() && at(Signal::Metrics, 1).is_empty());
    }
}
