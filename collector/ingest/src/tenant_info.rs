//! `tenantscope_tenant_info`, from the registry in force.

use std::collections::BTreeSet;
use std::sync::Arc;

use tenantscope_model::{FamilyMetadata, Labels, Metadata, MetricKind};
use tenantscope_tenancy::TENANT_INFO;

use crate::intake::Intake;

impl Intake {
    /// Writes one round: 1 for each account of the registry, the staleness marker for those that are gone.
    pub(crate) async fn write_tenant_info(&self) {
        let Some(registry) = &self.registry else { return };
        let current: BTreeSet<Labels> = registry.tenants().info().collect();
        self.write_presence(&self.tenant_info, current, family()).await;
    }
}

fn family() -> FamilyMetadata {
    let help: Arc<str> = "Attributes of a tenant's account in the registry.".into();
    FamilyMetadata {
        tenant: None,
        family: TENANT_INFO.into(),
        metadata: Metadata { kind: MetricKind::Gauge, unit: "".into(), help },
    }
}
