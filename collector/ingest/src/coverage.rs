//! `tenantscope_tenant_coverage`: how each account of the registry reports, by signal.

use std::collections::BTreeSet;
use std::sync::Arc;

use tenantscope_model::{FamilyMetadata, Labels, METRIC_NAME, Metadata, MetricKind, Reporting as _, Scope};
use tenantscope_tenancy::{AccountCoverage, TENANT_COVERAGE};

use crate::clock::now_ms;
use crate::intake::Intake;

impl Intake {
    /// Writes one round: 1 for the state of each account and signal, the staleness marker for those that are over. What is
    /// known of accounts is written down before.
    pub(crate) async fn write_coverage(&self) {
        let Some(registry) = self.registry.clone() else { return };
        let (seen, t_ms) = (self.seen(&Scope::All), now_ms());
        let covered = tokio::task::spawn_blocking(move || {
            registry.keep(t_ms);
            registry.coverage(&seen, &Scope::All, t_ms)
        });
        let Ok(covered) = covered.await else { return };
        let current: BTreeSet<Labels> = covered.iter().flat_map(series_of).collect();
        self.write_presence(&self.coverage, current, family()).await;
    }
}

fn series_of(covered: &AccountCoverage) -> impl Iterator<Item = Labels> {
    covered.signals.iter().map(|(signal, of_signal)| {
        Labels::from_pairs([
            (METRIC_NAME, TENANT_COVERAGE),
            ("tenant", covered.tenant.as_str()),
            ("account_id", covered.account.as_str()),
            ("signal", signal.as_str()),
            ("state", of_signal.state.as_str()),
        ])
    })
}

fn family() -> FamilyMetadata {
    let help: Arc<str> = "How an account of the tenant reports a signal.".into();
    let metadata = Metadata { kind: MetricKind::Gauge, unit: "".into(), help };
    FamilyMetadata { tenant: None, family: TENANT_COVERAGE.into(), metadata }
}
