//! What the counts of tenants need to know of stores and readers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tenantscope_api::{ObserveReads, Read};
use tenantscope_ingest::{Intake, Weights};
use tenantscope_lake::Lake;
use tenantscope_metrics::MetricStore;
use tenantscope_model::{Scope, TenantId};
use tenantscope_tenancy::{AUDIT, Registry};
use tokio_util::sync::CancellationToken;

use crate::rounds;

/// How often what a record takes in files is looked up.
const EVERY: Duration = Duration::from_secs(10);
/// Fewer records say nothing about the others: a small file is mostly its own description.
const MIN_RECORDS: u64 = 10_000;

/// Tells the counts how many bytes records take in files, until `stop`.
pub(crate) async fn weigh(metrics: Arc<MetricStore>, lake: Arc<Lake>, intake: Arc<Intake>, stop: CancellationToken) {
    loop {
        let stats = metrics.stats();
        let (bytes, samples) = (stats.part_bytes + stats.block_bytes, stats.part_samples + stats.block_samples);
        let average = |(records, bytes): (u64, u64)| {
            if records >= MIN_RECORDS { bytes as f64 / records as f64 } else { 0.0 }
        };
        intake.weigh(Weights {
            sample: average((samples, bytes)),
            log_record: average(lake.logs().rows_and_bytes()),
            span: average(lake.spans().rows_and_bytes()),
        });
        if !rounds::next(EVERY, &stop).await {
            return;
        }
    }
}

/// Counts queries for the tenant that asked; those of readers of many tenants are nobody's, however these narrow them, and
/// are told to the audit log where a reader has a name.
pub(crate) struct Reads {
    pub(crate) intake: Arc<Intake>,
    pub(crate) registry: Option<Arc<Registry>>,
}

impl Reads {
    /// The tenants of a scope, those that it has under former ids counted once; `None` where it is plain that they are
    /// several.
    fn few(&self, scope: &Scope) -> Option<BTreeSet<TenantId>> {
        let Scope::Tenants(scope) = scope else { return None };
        // Far more than one tenant could have had are several, and need no look at each.
        if scope.len() > 64 {
            return None;
        }
        let tenants = self.registry.as_ref().map(|registry| registry.tenants()).unwrap_or_default();
        Some(scope.iter().map(|tenant| tenants.current_id(tenant).clone()).collect())
    }
}

impl ObserveReads for Reads {
    fn read(&self, read: &Read<'_>) {
        let (reader, is_answered) = (&*read.reading.reader, read.status.is_success());
        if let Some(own) = self.few(&read.reading.allowed).filter(|tenants| tenants.len() <= 1) {
            match (own.first(), read.past_limit) {
                (Some(tenant), None) if read.is_query() && is_answered => self.intake.count_query(tenant),
                (Some(tenant), Some(limit)) => self.intake.count_refused_query(tenant, limit),
                _ => {}
            }
            return;
        }
        let tenants = match (self.few(&read.reading.scope), &read.reading.scope) {
            (Some(few), _) if few.len() <= 1 => return,
            (Some(few), _) => few.len().to_string(),
            (None, Scope::Tenants(tenants)) => tenants.len().to_string(),
            (None, Scope::All) => "all".to_owned(),
        };
        if reader.is_empty() || !is_answered {
            return;
        }
        let route = read.route;
        tracing::info!(target: AUDIT, per_minute = true, reader, route, tenants, "read_across_tenants");
    }
}
