//! `tenantscope_tenant_info`, from the registry in force.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tenantscope_model::{FamilyMetadata, Labels, Metadata, MetricKind, Sample, StampedSeries, stale_nan};
use tenantscope_tenancy::TENANT_INFO;

use crate::clock::now_ms;
use crate::intake::Intake;

/// What was written last, so that series that are gone end at once rather than after the lookback.
#[derive(Debug, Default)]
pub(crate) struct TenantInfo(Mutex<BTreeSet<Labels>>);

impl Intake {
    /// Writes one round: 1 for each account of the registry, the staleness marker for those that are gone.
    pub(crate) async fn write_tenant_info(&self) {
        let Some(registry) = &self.registry else { return };
        let current: BTreeSet<Labels> = registry.tenants().info().collect();
        let gone: Vec<Labels> = self.tenant_info.0.lock().difference(&current).cloned().collect();
        let t_ms = now_ms();
        let ended = gone.into_iter().map(|labels| series(labels, Sample { t_ms, value: stale_nan() }));
        let present = current.iter().map(|labels| series(labels.clone(), Sample { t_ms, value: 1.0 }));
        let written = self.write_own_families(ended.chain(present).collect(), vec![family()]).await;
        match written {
            Ok(()) => *self.tenant_info.0.lock() = current,
            Err(error) => tracing::warn!(%error, "tenant information could not be written, trying again later"),
        }
    }
}

fn series(labels: Labels, sample: Sample) -> StampedSeries {
    StampedSeries {
        labels,
        samples: vec![sample],
        histograms: Vec::new(),
        exemplars: Vec::new(),
        starts: Default::default(),
        cadence: None,
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
