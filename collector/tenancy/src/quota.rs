//! What one tenant may use, by tier.

use std::collections::BTreeMap;

use serde::Deserialize;
use tenantscope_model::{Bytes, TenantId, TimeSpan};

use crate::tenants::Tenants;

/// The attribute whose value names a tenant's tier.
pub const TIER_ATTRIBUTE: &str = "tier";

/// Bounds of one tenant; an absent one does not bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    /// Series that got a sample within the last hour.
    pub active_series: Option<u64>,
    /// Samples a second, on average over some seconds.
    pub samples_per_second: Option<u64>,
    /// What its queries may use.
    pub query: QueryQuota,
}

/// Bounds of one tenant's queries; an absent one is that of everybody's queries, and none is above that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueryQuota {
    /// How long a query may take, waiting included.
    pub timeout: Option<TimeSpan>,
    /// Samples that a query may load.
    pub max_samples: Option<u64>,
    /// Series that one of its selectors may find.
    pub max_series: Option<u64>,
    /// Memory of one query.
    pub max_bytes: Option<Bytes>,
    /// Times of a range query, less one.
    pub max_steps: Option<u64>,
    /// From a query's start to its end.
    pub max_range: Option<TimeSpan>,
    /// Queries at the same time.
    pub max_concurrent: Option<usize>,
    /// Queries that wait for their turn.
    pub max_waiting: Option<usize>,
}

impl QueryQuota {
    /// These bounds, and where there is none, another's.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            timeout: self.timeout.or(other.timeout),
            max_samples: self.max_samples.or(other.max_samples),
            max_series: self.max_series.or(other.max_series),
            max_bytes: self.max_bytes.or(other.max_bytes),
            max_steps: self.max_steps.or(other.max_steps),
            max_range: self.max_range.or(other.max_range),
            max_concurrent: self.max_concurrent.or(other.max_concurrent),
            max_waiting: self.max_waiting.or(other.max_waiting),
        }
    }
}

impl Quota {
    /// Whether what a tenant writes is bounded.
    pub fn bounds_writes(&self) -> bool {
        self.active_series.is_some() || self.samples_per_second.is_some()
    }
}

/// The quotas of all tenants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quotas {
    /// Of tenants without a tier, and where their tier says nothing.
    pub default: Quota,
    /// By tier.
    pub tiers: BTreeMap<String, Quota>,
}

impl Quotas {
    /// A tenant's quota; without a registry every tenant has the default.
    pub fn of(&self, tenant: &TenantId, tenants: Option<&Tenants>) -> Quota {
        let tier =
            tenants.and_then(|tenants| tenants.get(tenant)).and_then(|found| found.attributes.get(TIER_ATTRIBUTE));
        let of_tier = tier.and_then(|tier| self.tiers.get(tier)).copied().unwrap_or_default();
        Quota {
            active_series: of_tier.active_series.or(self.default.active_series),
            samples_per_second: of_tier.samples_per_second.or(self.default.samples_per_second),
            query: of_tier.query.or(self.default.query),
        }
    }

    /// Whether nobody's writes are bounded.
    pub fn is_unbounded(&self) -> bool {
        !self.default.bounds_writes() && !self.tiers.values().any(Quota::bounds_writes)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_tier_overrides_what_it_names() {
        let text = "tenants: [{id: a, attributes: {tier: gold}}, {id: b}, {id: c, attributes: {tier: unheard}}]";
        let tenants = Tenants::parse(Path::new("tenants.yaml"), text).unwrap();
        let default = Quota {
            active_series: Some(10),
            samples_per_second: Some(5),
            query: QueryQuota { max_samples: Some(7), max_steps: Some(9), ..QueryQuota::default() },
        };
        let gold = Quota {
            active_series: Some(50),
            samples_per_second: None,
            query: QueryQuota { max_samples: Some(70), ..QueryQuota::default() },
        };
        let quotas = Quotas { default, tiers: BTreeMap::from([("gold".to_owned(), gold)]) };
        let of = |id: &str| quotas.of(&TenantId::try_new(id).unwrap(), Some(&tenants));
        let query = QueryQuota { max_samples: Some(70), max_steps: Some(9), ..QueryQuota::default() };
        assert_eq!(of("a"), Quota { active_series: Some(50), samples_per_second: Some(5), query });
        assert_eq!((of("b"), of("c"), of("unknown")), (default, default, default));
        assert!(!quotas.is_unbounded() && Quotas::default().is_unbounded());
    }
}
