//! What one tenant may use, by tier.

use std::collections::BTreeMap;

use serde::Deserialize;
use tenantscope_model::TenantId;

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
        }
    }

    /// Whether nobody is bounded.
    pub fn is_unbounded(&self) -> bool {
        self.default == Quota::default() && self.tiers.values().all(|quota| *quota == Quota::default())
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
        let default = Quota { active_series: Some(10), samples_per_second: Some(5) };
        let gold = Quota { active_series: Some(50), samples_per_second: None };
        let quotas = Quotas { default, tiers: BTreeMap::from([("gold".to_owned(), gold)]) };
        let of = |id: &str| quotas.of(&TenantId::try_new(id).unwrap(), Some(&tenants));
        assert_eq!(of("a"), Quota { active_series: Some(50), samples_per_second: Some(5) });
        assert_eq!((of("b"), of("c"), of("unknown")), (default, default, default));
        assert!(!quotas.is_unbounded() && Quotas::default().is_unbounded());
    }
}
