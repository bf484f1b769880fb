//! How much a stamped batch holds, as limits and costs count it.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use prost::Message as _;
use tenantscope_model::{StampedBatch, StampedSeries, TenantId};

use crate::claims::TENANT_LABEL;
use crate::count;

/// What a tenant is bounded by and pays for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Volume {
    /// Float samples and native histograms.
    pub samples: u64,
    /// Log records.
    pub log_records: u64,
    /// Their bytes, with their resources', as OTLP's protobuf: whatever form they came in, they weigh the same.
    pub log_bytes: u64,
    /// Spans.
    pub spans: u64,
}

impl AddAssign for Volume {
    fn add_assign(&mut self, other: Self) {
        self.samples = self.samples.saturating_add(other.samples);
        self.log_records = self.log_records.saturating_add(other.log_records);
        self.log_bytes = self.log_bytes.saturating_add(other.log_bytes);
        self.spans = self.spans.saturating_add(other.spans);
    }
}

impl Volume {
    /// Of a whole batch.
    pub fn of(batch: &StampedBatch) -> Self {
        match batch {
            StampedBatch::Metrics { series, .. } => {
                Self { samples: series.iter().map(samples_of).sum(), ..Self::default() }
            }
            StampedBatch::Logs(resources) => {
                let mut volume = Self::default();
                resources.iter().for_each(|resource| volume += of_logs(&resource.records));
                volume
            }
            StampedBatch::Spans(resources) => {
                let spans = resources.iter().map(|resource| count::spans_of_resource(&resource.records) as u64).sum();
                Self { spans, ..Self::default() }
            }
        }
    }

    /// Of each tenant of a batch. Where a batch has one tenant, [`Volume::of`] does not ask for labels.
    pub fn by_tenant(batch: &StampedBatch) -> BTreeMap<TenantId, Self> {
        let mut volumes: BTreeMap<TenantId, Self> = BTreeMap::new();
        let mut add = |tenant: &TenantId, volume| *volumes.entry(tenant.clone()).or_default() += volume;
        match batch {
            StampedBatch::Metrics { series, .. } => {
                let mut samples: BTreeMap<&str, u64> = BTreeMap::new();
                for series in series {
                    *samples.entry(series.labels.get(TENANT_LABEL).unwrap_or("")).or_default() += samples_of(series);
                }
                for (tenant, samples) in samples {
                    if let Ok(tenant) = TenantId::try_new(tenant) {
                        add(&tenant, Self { samples, ..Self::default() });
                    }
                }
            }
            StampedBatch::Logs(resources) => {
                resources.iter().for_each(|resource| add(&resource.stamp.tenant, of_logs(&resource.records)));
            }
            StampedBatch::Spans(resources) => resources.iter().for_each(|resource| {
                let spans = count::spans_of_resource(&resource.records) as u64;
                add(&resource.stamp.tenant, Self { spans, ..Self::default() });
            }),
        }
        volumes
    }
}

fn of_logs(logs: &ResourceLogs) -> Volume {
    let log_records = count::logs_of_resource(logs) as u64;
    Volume { log_records, log_bytes: logs.encoded_len() as u64, ..Volume::default() }
}

fn samples_of(series: &StampedSeries) -> u64 {
    (series.samples.len() + series.histograms.len()) as u64
}
