//! The tenants' quotas in force, for who shows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use tenantscope_model::TenantId;
use tenantscope_tenancy::{Quota, Quotas, Tenants};

/// Clones share them, and a reload exchanges them for all.
#[derive(Clone)]
pub struct QuotasInForce(Arc<RwLock<Arc<InForce>>>);

struct InForce {
    quotas: Quotas,
    /// Bounds of everybody, by the reasons of what is refused for them.
    of_all: BTreeMap<&'static str, String>,
}

impl QuotasInForce {
    /// These quotas, and the bounds that everybody has.
    pub fn new(quotas: Quotas, of_all: BTreeMap<&'static str, String>) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(InForce { quotas, of_all }))))
    }

    /// Others from now on.
    pub fn replace(&self, quotas: Quotas, of_all: BTreeMap<&'static str, String>) {
        *self.0.write() = Arc::new(InForce { quotas, of_all });
    }

    pub(crate) fn of(&self, tenant: &TenantId, tenants: Option<&Tenants>) -> Quota {
        self.in_force().quotas.of(tenant, tenants)
    }

    /// The bounds past which something of a tenant is refused, by the reasons of it.
    pub(crate) fn by_reason(&self, quota: &Quota) -> BTreeMap<&'static str, String> {
        let mut bounds = self.in_force().of_all.clone();
        bounds.extend(quota.query.bounds());
        bounds.extend(quota.write_bounds());
        bounds
    }

    fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.0.read())
    }
}
