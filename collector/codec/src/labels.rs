//! Stamps on a series' labels.

use std::sync::Arc;

use tenantscope_model::{Claim, Label, LabelsBuilder, Stamp};

use crate::claims::{ACCOUNT_LABEL, EXPORTED, REGION_LABEL, TENANT_LABEL};
use crate::write::fingerprint::{self, Domain};

/// The most labels that a series may come with: building sorted labels one by one is quadratic in their number.
pub(crate) const MAX_LABELS: usize = 256;
/// Why points of such a series are rejected.
pub(crate) const TOO_MANY_LABELS: &str = "too_many_labels";

/// A stamp's labels, made once for all series under it.
#[derive(Debug, Clone)]
pub(crate) struct StampLabels {
    set: Vec<Label>,
    /// Names that no stamp sets here and that nobody may claim either.
    reserved: Vec<&'static str>,
}

impl StampLabels {
    pub(crate) fn of(stamp: &Stamp) -> Self {
        let label = |name: &str, value: Arc<str>| Label { name: name.into(), value };
        let mut labels = Self { set: vec![label(TENANT_LABEL, stamp.tenant.shared())], reserved: Vec::new() };
        match &stamp.account {
            Some(account) => labels.set.push(label(ACCOUNT_LABEL, account.as_str().into())),
            None => labels.reserved.push(ACCOUNT_LABEL),
        }
        match &stamp.region {
            Some(region) => labels.set.push(label(REGION_LABEL, region.shared())),
            // Without an account the collector runs open, where a region passes.
            None if stamp.account.is_some() => labels.reserved.push(REGION_LABEL),
            None => {}
        }
        labels
    }

    /// Stands for the stamp in the fingerprints of stamped labels.
    pub(crate) fn fingerprint(&self) -> u128 {
        let mut text = Vec::new();
        for Label { name, value } in &self.set {
            text.extend([name.as_bytes(), &[0], value.as_bytes(), &[0]].concat());
        }
        for name in &self.reserved {
            text.extend([name.as_bytes(), &[1]].concat());
        }
        fingerprint::of_bytes(Domain::Stamp, &text)
    }

    /// How many labels [`StampLabels::apply`] moves where a series makes this claim.
    pub(crate) fn moved_of(&self, claim: &Claim) -> u64 {
        let claimed = |name: &str| match name {
            TENANT_LABEL => claim.tenant.as_deref(),
            ACCOUNT_LABEL => claim.account.as_deref(),
            REGION_LABEL => claim.region.as_deref(),
            _ => None,
        };
        let differing = self.set.iter().filter(|label| claimed(&label.name).is_some_and(|c| *c != *label.value));
        let reserved = self.reserved.iter().filter(|name| claimed(name).is_some());
        (differing.count() + reserved.count()) as u64
    }

    /// Sets the stamp; equal claims go, others move to `exported_…`. Tells how many moved.
    pub(crate) fn apply(&self, labels: &mut LabelsBuilder) -> u64 {
        let mut moved = 0;
        for Label { name, value } in &self.set {
            let differing = labels.get(name).filter(|claimed| *claimed != &**value).map(ToOwned::to_owned);
            if let Some(claimed) = differing {
                labels.set(format!("{EXPORTED}{name}"), claimed);
                moved += 1;
            }
            labels.set(Arc::clone(name), Arc::clone(value));
        }
        for name in &self.reserved {
            if let Some(claimed) = labels.get(name).map(ToOwned::to_owned) {
                labels.set(format!("{EXPORTED}{name}"), claimed);
                labels.remove(name);
                moved += 1;
            }
        }
        moved
    }
}
