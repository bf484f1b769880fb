//! `tenantscope_tenant_coverage`: how each account of the registry reports, by signal.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tenantscope_model::{
    FamilyMetadata, Labels, METRIC_NAME, Metadata, MetricKind, Reporting as _, Sample, Scope, StampedSeries, stale_nan,
};
use tenantscope_tenancy::{AccountCoverage, TENANT_COVERAGE};

use crate::clock::now_ms;
use crate::intake::Intake;

/// What was written last, so that a state that is over ends at once rather than after the lookback.
#[derive(Debug, Default)]
pub(crate) struct Coverage(Mutex<BTreeSet<Labels>>);

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
        let over: Vec<Labels> = self.coverage.0.lock().difference(&current).cloned().collect();
        let ended = over.into_iter().map(|labels| series(labels, Sample { t_ms, value: stale_nan() }));
        let present = current.iter().map(|labels| series(labels.clone(), Sample { t_ms, value: 1.0 }));
        match self.write_own_families(ended.chain(present).collect(), vec![family()]).await {
            Ok(()) => *self.coverage.0.lock() = current,
            Err(error) => tracing::warn!(%error, "coverage could not be written, trying again later"),
        }
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
    let help: Arc<str> = "How an account of the tenant reports a signal.".into();
    let metadata = Metadata { kind: MetricKind::Gauge, unit: "".into(), help };
    FamilyMetadata { tenant: None, family: TENANT_COVERAGE.into(), metadata }
}
