//! Series that say what is there: 1 for what is, and a staleness marker once for what is over, so that it ends at once
//! rather than after the lookback.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tenantscope_model::{FamilyMetadata, Labels, Sample, StampedSeries, TenantId, stale_nan};

use crate::clock::now_ms;
use crate::intake::Intake;

/// The series of a family that were written last.
#[derive(Debug, Default)]
pub(crate) struct Presence(Mutex<BTreeSet<Labels>>);

impl Presence {
    /// Of a tenant that is gone nothing is over.
    pub(crate) fn forget(&self, tenant: &TenantId) {
        self.0.lock().retain(|labels| labels.get("tenant") != Some(tenant.as_str()));
    }
}

impl Intake {
    /// Writes one round of a family, whose series are these now.
    pub(crate) async fn write_presence(&self, last: &Presence, current: BTreeSet<Labels>, family: FamilyMetadata) {
        let t_ms = now_ms();
        let series =
            |labels: &Labels, value: f64| StampedSeries::of_samples(labels.clone(), vec![Sample { t_ms, value }]);
        let over = last.0.lock().difference(&current).map(|labels| series(labels, stale_nan())).collect::<Vec<_>>();
        let present = current.iter().map(|labels| series(labels, 1.0));
        let name = family.family.clone();
        match self.write_own_families(over.into_iter().chain(present).collect(), vec![family]).await {
            Ok(()) => *last.0.lock() = current,
            Err(error) => tracing::warn!(family = &*name, %error, "series could not be written, trying again later"),
        }
    }
}
