//! Whose an account is, as senders need it, or why nothing of it is taken.

use std::sync::Arc;

use tenantscope_model::{AccountId, Claim, Region, TenantId};

use crate::registry::pooled::Pooled;

/// Who owns an account, as senders need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The tenant; `unassigned` for an unknown account in quarantine, and for one that several tenants share.
    pub tenant: TenantId,
    /// The regions that senders other than agents may claim; any, where absent.
    pub regions: Option<Vec<Region>>,
    /// How the resources of an account that several tenants share name theirs.
    pub pooled: Option<Arc<Pooled>>,
}

impl Owner {
    /// The tenant of all the account's data; absent where several share it.
    pub fn single(&self) -> Option<&TenantId> {
        self.pooled.is_none().then_some(&self.tenant)
    }

    /// Whose a resource is, or a fixed word that says why it is refused.
    pub fn tenant_of(&self, claim: &Claim) -> Result<TenantId, &'static str> {
        self.pooled.as_ref().map_or_else(|| Ok(self.tenant.clone()), |pooled| pooled.tenant_of(claim))
    }
}

/// Why no data of an account is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountRefused {
    /// No tenant has it.
    #[error("account {0} belongs to no tenant")]
    Unknown(AccountId),
    /// The organization was never read to its end, so it may have the account.
    #[error("account {0} is not known yet, the organization is still being read")]
    NotReadYet(AccountId),
    /// Its tenant's data must go elsewhere.
    #[error("data of account {account} belongs to the collector {home:?}")]
    WrongHome {
        /// The account.
        account: AccountId,
        /// The tenant's home.
        home: String,
    },
}

impl AccountRefused {
    /// A fixed word for counters and answers.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "unknown_account",
            Self::NotReadYet(_) => "registry_loading",
            Self::WrongHome { .. } => "wrong_home",
        }
    }
}
