//! Accounts that several tenants share: which attribute names the tenant of a resource, and which it may name.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use tenantscope_model::{AccountId, Claim, TenantId};

/// A pooled account's rules. Its own data, and what names no tenant or another one, has no tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pooled {
    /// The accounts that these tenants share.
    pub accounts: Vec<AccountId>,
    /// The resource attribute whose value is the tenant's id.
    pub attribute: Arc<str>,
    /// The tenants that it may name.
    pub tenants: BTreeSet<TenantId>,
    /// What becomes of the rest.
    pub others: Others,
    /// Those of the tenants whose home is another collector.
    pub(crate) elsewhere: BTreeSet<TenantId>,
}

/// What becomes of data of a pooled account that names none of its tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Others {
    /// It is refused.
    #[default]
    Refuse,
    /// It is held under the tenant `unassigned`.
    Quarantine,
}

impl Pooled {
    /// Whose a resource is, or a fixed word that says why it is refused.
    pub(crate) fn tenant_of(&self, claim: &Claim) -> Result<TenantId, &'static str> {
        let named = claim.tenant.as_deref();
        let tenant = named.and_then(|text| TenantId::try_new(text).ok()).and_then(|id| self.tenants.get(&id).cloned());
        match (tenant, self.others) {
            (Some(tenant), _) if self.elsewhere.contains(&tenant) => Err("wrong_home"),
            (Some(tenant), _) => Ok(tenant),
            (None, Others::Quarantine) => Ok(TenantId::unassigned()),
            (None, Others::Refuse) if named.is_none() => Err("no_tenant"),
            (None, Others::Refuse) => Err("foreign_tenant"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pooled(others: Others) -> Pooled {
        let tenants = ["a", "b", "c"].map(|id| TenantId::try_new(id).unwrap()).into();
        let elsewhere = [TenantId::try_new("c").unwrap()].into();
        Pooled { accounts: Vec::new(), attribute: "app.tenant".into(), tenants, others, elsewhere }
    }

    #[test]
    fn only_its_tenants_may_be_named() {
        let of = |others, named: Option<&str>| {
            let claim = Claim { tenant: named.map(str::to_owned), ..Claim::default() };
            pooled(others).tenant_of(&claim).map(|tenant| tenant.to_string())
        };
        assert_eq!(of(Others::Refuse, Some("b")), Ok("b".into()));
        assert_eq!(of(Others::Refuse, Some("d")), Err("foreign_tenant"));
        assert_eq!(of(Others::Refuse, Some("b|a")), Err("foreign_tenant"));
        assert_eq!(of(Others::Refuse, Some("unassigned")), Err("foreign_tenant"));
        assert_eq!(of(Others::Refuse, None), Err("no_tenant"));
        assert_eq!(of(Others::Refuse, Some("c")), Err("wrong_home"));
        assert_eq!(of(Others::Quarantine, Some("d")), Ok("unassigned".into()));
        assert_eq!(of(Others::Quarantine, None), Ok("unassigned".into()));
    }
}
