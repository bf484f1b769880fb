//! A sender whose credential was checked, and what it may call its data.

use std::collections::BTreeSet;
use std::sync::Arc;

use tenantscope_model::{AccountId, Claim, Decision, Region, Stamp, TenantId};
use tenantscope_wire::Name;

use crate::registry::Registry;
use crate::registry::owner::Owner;

/// Who sends. Decides the names of each resource; holds what it needs for that, so that a reload in the middle of a
/// batch does not split it.
#[derive(Debug, Clone)]
pub enum Sender {
    /// One account, proved or configured.
    Account {
        /// The account.
        account: AccountId,
        /// Who owns it.
        owner: Owner,
        /// The agent and epoch of a token of ours; absent with a static token.
        agent: Option<ProvedAgent>,
    },
    /// Another collector or a gateway, which may send for some accounts and names the account of each resource.
    Relay {
        /// Its name, part of its lanes' keys.
        name: Arc<str>,
        /// The accounts for which it may send.
        accounts: Arc<BTreeSet<AccountId>>,
        /// Whose they are.
        registry: Arc<Registry>,
    },
    /// Open mode: whoever is on this machine.
    Open {
        /// From `X-Scope-OrgID`, else `anonymous`.
        tenant: TenantId,
    },
}

/// What a token of ours says beside the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvedAgent {
    /// The agent's name.
    pub name: Name,
    /// The epoch that it was given.
    pub epoch: Option<u64>,
}

impl Sender {
    /// The names of a resource that claims this.
    pub fn decide(&self, claim: &Claim) -> Decision {
        match self {
            Self::Account { account, owner, agent } => account_stamp(*account, owner, agent.is_some(), claim),
            Self::Relay { accounts, registry, .. } => relay_stamp(accounts, registry, claim),
            Self::Open { tenant } => {
                Decision::Stamp(Stamp { tenant: tenant.clone(), account: None, region: claimed_region(claim) })
            }
        }
    }

    /// The part of a lane's key that the credential gives; no sender can write into another's lanes.
    pub fn lane_owner(&self) -> String {
        match self {
            Self::Account { account, .. } => account.to_string(),
            Self::Relay { name, .. } => format!("relay/{name}"),
            Self::Open { tenant } => format!("open/{tenant}"),
        }
    }

    /// The resource attribute that names the tenant of a resource, which then counts as its claim of one: where it comes
    /// from an account that several tenants share.
    pub fn naming_attribute(&self, claim: &Claim) -> Option<Arc<str>> {
        match self {
            Self::Account { owner, .. } => owner.pooled.as_ref().map(|pooled| Arc::clone(&pooled.attribute)),
            Self::Relay { registry, .. } => {
                let account = claim.account.as_deref().and_then(|text| AccountId::try_new(text).ok())?;
                registry.tenants().pooled(account).map(|pooled| Arc::clone(&pooled.attribute))
            }
            Self::Open { .. } => None,
        }
    }

    /// The tenant of all its data; absent for a relay and for a pooled account, which send for several.
    pub fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Account { owner, .. } => owner.single(),
            Self::Open { tenant } => Some(tenant),
            Self::Relay { .. } => None,
        }
    }

    /// Whether cadence and delay may be taken from it: agents and collectors that forward theirs, and open mode.
    pub fn may_claim_cadence(&self) -> bool {
        match self {
            Self::Account { agent, .. } => agent.is_some(),
            Self::Relay { .. } | Self::Open { .. } => true,
        }
    }
}

fn account_stamp(account: AccountId, owner: &Owner, is_agent: bool, claim: &Claim) -> Decision {
    let region = claimed_region(claim);
    // An agent knows its source's region; others only those that the registry lists, where it lists any.
    let region = if is_agent { region } else { region.filter(|region| allows(owner, region)) };
    match owner.tenant_of(claim) {
        Ok(tenant) => Decision::Stamp(Stamp { tenant, account: Some(account), region }),
        Err(reason) => Decision::Refuse { reason },
    }
}

fn relay_stamp(accounts: &BTreeSet<AccountId>, registry: &Registry, claim: &Claim) -> Decision {
    let Some(text) = &claim.account else { return Decision::Refuse { reason: "no_account" } };
    let Ok(account) = AccountId::try_new(text) else { return Decision::Refuse { reason: "invalid_account" } };
    if !accounts.contains(&account) {
        return Decision::Refuse { reason: "foreign_account" };
    }
    match registry.owner(account) {
        Ok(owner) => account_stamp(account, &owner, false, claim),
        Err(refused) => Decision::Refuse { reason: refused.reason() },
    }
}

fn claimed_region(claim: &Claim) -> Option<Region> {
    claim.region.as_deref().and_then(|text| Region::try_new(text).ok())
}

fn allows(owner: &Owner, region: &Region) -> bool {
    owner.regions.as_ref().is_none_or(|regions| regions.contains(region))
}
