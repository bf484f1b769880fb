//! The tenants' quotas in force, for who shows them.

use std::sync::Arc;

use parking_lot::RwLock;
use tenantscope_model::TenantId;
use tenantscope_tenancy::{Quota, Quotas, Tenants};

/// Clones share them, and a reload exchanges them for all.
#[derive(Clone)]
pub struct QuotasInForce(Arc<RwLock<Arc<Quotas>>>);

impl QuotasInForce {
    /// These quotas.
    pub fn new(quotas: Quotas) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(quotas))))
    }

    /// Other quotas from now on.
    pub fn replace(&self, quotas: Quotas) {
        *self.0.write() = Arc::new(quotas);
    }

    pub(crate) fn of(&self, tenant: &TenantId, tenants: Option<&Tenants>) -> Quota {
        let quotas = Arc::clone(&self.0.read());
        quotas.of(tenant, tenants)
    }
}
