//! Former ids: under which of them a tenant's history lies. What was stored under an id stays there as it is; whoever may
//! read a tenant reads its former ids with it.
//!
//! An id that is a tenant's own at present is nobody's former id, whoever claims it, and one that two tenants claim is
//! neither's: in doubt nobody sees it.

use std::collections::{BTreeMap, BTreeSet};

use tenantscope_model::{AccountId, Scope, TenantId};

use crate::registry::merge::{Conflict, ConflictKind};
use crate::registry::tenants::Tenants;

/// The most former ids of one tenant.
pub(crate) const MAX_ALIASES: usize = 16;

/// By former id, the tenant that has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Former(BTreeMap<TenantId, TenantId>);

impl Former {
    pub(crate) fn insert(&mut self, former: TenantId, tenant: TenantId) {
        self.0.insert(former, tenant);
    }
}

impl Tenants {
    /// The id of the tenant that was called so before; the same id where none was.
    pub fn current_id<'a>(&'a self, id: &'a TenantId) -> &'a TenantId {
        self.former.0.get(id).unwrap_or(id)
    }

    /// The former ids of a tenant that hold, in their order.
    pub fn former_ids<'a>(&'a self, tenant: &'a TenantId) -> impl Iterator<Item = &'a TenantId> {
        self.former.0.iter().filter(move |(_, current)| *current == tenant).map(|(former, _)| former)
    }

    /// All former ids that hold.
    pub fn all_former_ids(&self) -> impl Iterator<Item = &TenantId> {
        self.former.0.keys()
    }

    /// The scope with the history of its tenants: their former ids.
    pub fn with_history(&self, scope: &Scope) -> Scope {
        let Scope::Tenants(tenants) = scope else { return Scope::All };
        let mut formers = self.former.0.iter().filter(|(_, current)| tenants.contains(*current)).peekable();
        if formers.peek().is_none() {
            return scope.clone();
        }
        Scope::tenants(tenants.iter().cloned().chain(formers.map(|(former, _)| former.clone())))
    }

    /// Nobody has a former id: whether one is a tenant's own is not known yet.
    pub(crate) fn forget_former(&mut self) {
        self.former = Former::default();
    }
}

/// Who says that a tenant has a former id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ClaimedBy {
    File,
    /// The tag of an account.
    Tag(AccountId),
}

/// Former ids, the tenants that claim them, and who says so for each.
#[derive(Debug, Default)]
pub(crate) struct Claims(BTreeMap<TenantId, BTreeMap<TenantId, ClaimedBy>>);

impl Claims {
    pub(crate) fn add(&mut self, former: TenantId, tenant: TenantId, by: ClaimedBy) {
        self.0.entry(former).or_default().entry(tenant).or_insert(by);
    }

    /// What holds beside these tenants, and what does not.
    pub(crate) fn settle(self, tenants: &Tenants) -> (Former, Vec<Conflict>) {
        let pooled: BTreeSet<&TenantId> = tenants.pooled_accounts().flat_map(|(_, pooled)| &pooled.tenants).collect();
        let (mut former, mut conflicts) = (Former::default(), Vec::new());
        for (id, claims) in self.0 {
            let owner = tenants.get(&id);
            let holds = match owner.is_some() || pooled.contains(&id) {
                true => Some(id.clone()),
                false => holder(&claims),
            };
            for (tenant, by) in &claims {
                if holds.as_ref() == Some(tenant) {
                    continue;
                }
                let account = match by {
                    ClaimedBy::Tag(account) => Some(*account),
                    // Within the file that is an error, so the other one is of the organization and has an account.
                    ClaimedBy::File => owner.and_then(|owner| owner.accounts.first().copied()),
                };
                conflicts.extend(account.map(|account| Conflict {
                    kind: ConflictKind::Alias,
                    account,
                    attribute: Some(id.to_string()),
                    in_force: holds.as_ref().map(ToString::to_string),
                    ignored: tenant.to_string(),
                }));
            }
            if let Some(tenant) = holds.filter(|tenant| *tenant != id) {
                former.insert(id, tenant);
            }
        }
        (former, conflicts)
    }
}

/// The only tenant that claims it, or the file's.
fn holder(claims: &BTreeMap<TenantId, ClaimedBy>) -> Option<TenantId> {
    let of_file = claims.iter().find(|(_, by)| **by == ClaimedBy::File);
    let only = || claims.first_key_value().filter(|_| claims.len() == 1);
    of_file.or_else(only).map(|(tenant, _)| tenant.clone())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::OrganizationsConfig;
    use crate::registry::merge::{Merged, merge};
    use crate::registry::organization::tests::{account, organization};

    const A: &str = "111111111111";
    const B: &str = "222222222222";

    fn id(text: &str) -> TenantId {
        TenantId::try_new(text).unwrap()
    }

    fn merged(file: &str, accounts: &[(&str, &[(&str, &str)])]) -> Merged {
        let file = (!file.is_empty()).then(|| Tenants::parse(Path::new("t.yaml"), file).unwrap());
        let accounts: Vec<_> = accounts.iter().map(|(id, tags)| (*id, account("x", "/", tags))).collect();
        merge(file.as_ref(), &organization(&accounts), &OrganizationsConfig::default())
    }

    fn told(merged: &Merged) -> Vec<(&str, Option<&str>, Option<&str>, &str)> {
        let told = merged.conflicts.iter();
        told.map(|c| (c.kind.as_str(), c.attribute.as_deref(), c.in_force.as_deref(), c.ignored.as_str())).collect()
    }

    #[test]
    fn a_scope_has_the_history_of_its_tenants_and_of_no_other() {
        let tenants = Tenants::parse(
            Path::new("t.yaml"),
            "tenants: [{id: acme, aliases: [old, older]}, {id: beta, aliases: [bee]}, {id: c}]",
        )
        .unwrap();
        let scope = |ids: &[&str]| Scope::tenants(ids.iter().map(|text| id(text)));
        assert_eq!(tenants.with_history(&scope(&["acme"])), scope(&["acme", "old", "older"]));
        assert_eq!(tenants.with_history(&scope(&["acme", "c"])), scope(&["acme", "old", "older", "c"]));
        assert_eq!(tenants.with_history(&scope(&["old"])), scope(&["old"]), "who was given the old id alone has that");
        assert_eq!(tenants.with_history(&scope(&["c"])), scope(&["c"]));
        assert!(tenants.with_history(&Scope::none()).is_none());
        assert_eq!(tenants.with_history(&Scope::All), Scope::All);
        assert_eq!((tenants.current_id(&id("older")), tenants.current_id(&id("c"))), (&id("acme"), &id("c")));
        assert_eq!(tenants.former_ids(&id("acme")).collect::<Vec<_>>(), [&id("old"), &id("older")]);
    }

    #[test]
    fn an_id_that_is_a_tenants_own_is_nobodys_former_one() {
        let file = "tenants: [{id: acme, aliases: [old]}]";
        let both = merged(file, &[(A, &[("tenant", "acme")]), (B, &[("tenant", "old")])]);
        assert_eq!(both.tenants.current_id(&id("old")), &id("old"));
        assert_eq!(told(&both), [("alias", Some("old"), Some("old"), "acme")]);
        let moved = merged(file, &[(A, &[("tenant", "acme")]), (B, &[("tenant", "acme")])]);
        assert_eq!((moved.tenants.current_id(&id("old")), told(&moved)), (&id("acme"), vec![]));
        let of_pool = "tenants: [{id: acme}]\npooled: [{accounts: [\"999999999999\"], tenants: [shared]}]";
        let of_pool = merged(of_pool, &[(A, &[("tenant", "acme"), ("tenant_aliases", "shared")])]);
        assert_eq!(of_pool.tenants.current_id(&id("shared")), &id("shared"));
    }

    #[test]
    fn tags_name_former_ids_and_one_that_two_claim_is_neithers() {
        let tags = [("tenant", "acme"), ("tenant_aliases", "old 111111111111")];
        let one = merged("", &[(A, &tags), (B, &[("tenant", "beta")])]);
        assert_eq!(one.tenants.former_ids(&id("acme")).count(), 2);
        let two = merged("", &[(A, &tags), (B, &[("tenant", "beta"), ("tenant_aliases", "old")])]);
        assert_eq!(two.tenants.former_ids(&id("acme")).collect::<Vec<_>>(), [&id(A)]);
        assert_eq!(told(&two), [("alias", Some("old"), None, "acme"), ("alias", Some("old"), None, "beta")]);
        let file = "tenants: [{id: beta, aliases: [old]}]";
        let of_file = merged(file, &[(A, &tags)]);
        assert_eq!(of_file.tenants.current_id(&id("old")), &id("beta"), "the file wins");
        assert_eq!(told(&of_file), [("alias", Some("old"), Some("beta"), "acme")]);
        let wrong = merged("", &[(A, &[("tenant", "acme"), ("tenant_aliases", "a|b unassigned acme")])]);
        let ignored: Vec<&str> = wrong.conflicts.iter().map(|conflict| conflict.ignored.as_str()).collect();
        assert_eq!(ignored, ["a|b", "unassigned"]);
    }
}
