//! What a stamped batch takes of its tenants' quotas.
//!
//! A batch of one tenant is refused as a whole, so that its sender sends it again. In one of several tenants, from a relay
//! or an account that they share, those that are past a quota are left out, since the others must not wait for them; it is
//! refused as a whole only where nothing of it would be left.

use std::collections::BTreeMap;

use tenantscope_codec::{Record, Stamped, Volume};
use tenantscope_model::{Signal, TenantId};
use tenantscope_wire::Refused;

use crate::line::Line;
use crate::usage::Charge;

type Volumes = BTreeMap<TenantId, Volume>;

impl Line {
    /// Charges a batch of so many records, and leaves out what is past a quota.
    pub(crate) fn charge(
        &self,
        tenant: Option<TenantId>,
        record: &mut Record,
        stamped: &mut Stamped,
        records: u64,
    ) -> Result<(Vec<Charge>, Volumes), Refused> {
        if let Some(tenant) = tenant {
            let volume = Volume::of(&stamped.batch);
            let charge = self.usage.charge(&tenant, &stamped.batch, volume, record.received_at_ms)?;
            return Ok((vec![charge], BTreeMap::from([(tenant, volume)])));
        }
        let volumes = Volume::by_tenant(&stamped.batch);
        let (charges, refused) = self.usage.charge_each(&volumes, &stamped.batch, record.received_at_ms);
        if refused.len() == volumes.len()
            && let Some((_, last)) = refused.iter().max_by_key(|(_, refused)| refused.retry_after)
        {
            for (tenant, refused) in &refused {
                self.counts.refused(Some(tenant.clone()), Some(self.signal), refused.reason);
            }
            return Err(last.clone());
        }
        Ok((charges, self.leave_out_tenants(&refused, volumes, record, stamped, records)))
    }

    /// What stays is what a replay will find: for it these tenants' resources were refused.
    fn leave_out_tenants(
        &self,
        refused: &[(TenantId, Refused)],
        mut volumes: Volumes,
        record: &mut Record,
        stamped: &mut Stamped,
        records: u64,
    ) -> Volumes {
        let all_samples = volumes.values().map(|volume| volume.samples).sum();
        let mut left_out: BTreeMap<&'static str, u64> = BTreeMap::new();
        for (tenant, refused) in refused {
            record.leave_out_tenant(tenant);
            stamped.batch.leave_out_tenant(tenant);
            stamped.deltas.leave_out_tenant(tenant);
            let volume = volumes.remove(tenant).unwrap_or_default();
            let amount = match self.signal {
                Signal::Metrics => volume.samples,
                Signal::Logs => volume.log_records,
                Signal::Spans => volume.spans,
            };
            *left_out.entry(refused.reason).or_default() += amount;
            self.counts.left_out(tenant, self.signal, refused.reason, amount);
        }
        match self.signal {
            Signal::Metrics => stamped.reject_samples(records, all_samples, left_out),
            Signal::Logs | Signal::Spans => {
                for (reason, amount) in left_out {
                    stamped.rejected.add(reason, usize::try_from(amount).unwrap_or(usize::MAX));
                }
            }
        }
        volumes
    }
}
