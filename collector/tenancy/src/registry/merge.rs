//! One registry out of the file and the organization. Where they differ the file wins, and the conflict is told.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tenantscope_model::{AccountId, TenantId};

use crate::config::{OrganizationsConfig, Untagged};
use crate::registry::former::{ClaimedBy, Claims, MAX_ALIASES};
use crate::registry::organization::{Organization, OrganizationAccount};
use crate::registry::tenants::{Account, AccountSource, Tenant, Tenants, UNIT_ATTRIBUTE};
use crate::registry::tenants_file::{MAX_ATTRIBUTE_BYTES, MAX_ATTRIBUTES};

/// Two sources say different things of an account, or one says what can't be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Conflict {
    /// What is in conflict.
    pub kind: ConflictKind,
    /// The account.
    pub account: AccountId,
    /// The attribute, or the former id, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// What holds; nothing, where neither does.
    pub in_force: Option<String>,
    /// What does not.
    pub ignored: String,
}

/// What is in conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictKind {
    /// The file gives the account to another tenant than its tag.
    Tenant,
    /// The file gives the tenant another value than the account's tag.
    Attribute,
    /// Two accounts of one tenant have different tags; that of the lower account number holds.
    Accounts,
    /// The tag's value is no tenant id, so the account has no tenant.
    TenantId,
    /// The tag's value can't be an attribute, or a former id.
    Value,
    /// A former id is a tenant's own, or several tenants claim it.
    Alias,
}

impl ConflictKind {
    /// All of them.
    pub(crate) const ALL: [Self; 6] =
        [Self::Tenant, Self::Attribute, Self::Accounts, Self::TenantId, Self::Value, Self::Alias];

    /// A fixed word for counters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Attribute => "attribute",
            Self::Accounts => "accounts",
            Self::TenantId => "tenant_id",
            Self::Value => "value",
            Self::Alias => "alias",
        }
    }
}

/// What became of the sources.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    pub(crate) tenants: Tenants,
    pub(crate) conflicts: Vec<Conflict>,
}

/// A tenant that is being put together.
struct Draft {
    tenant: Tenant,
    /// The names of the attributes that the file gives.
    from_file: BTreeSet<String>,
}

/// Puts the organization's accounts beside the file's tenants.
pub(crate) fn merge(file: Option<&Tenants>, organization: &Organization, rules: &OrganizationsConfig) -> Merged {
    let (drafts, claims) = (BTreeMap::new(), Claims::default());
    let mut merging = Merging { file, rules, drafts, claims, merged: Merged::default() };
    for tenant in file.into_iter().flat_map(Tenants::iter) {
        for former in &tenant.aliases {
            merging.claims.add(former.clone(), tenant.id.clone(), ClaimedBy::File);
        }
        let from_file = tenant.attributes.keys().cloned().collect();
        merging.drafts.insert(tenant.id.clone(), Draft { tenant: (**tenant).clone(), from_file });
    }
    for account in file.into_iter().flat_map(Tenants::all_accounts) {
        merging.merged.tenants.add_account((**account).clone());
    }
    for (_, pooled) in file.into_iter().flat_map(Tenants::pooled_accounts) {
        merging.merged.tenants.add_pooled((**pooled).clone());
    }
    for (id, account) in &organization.accounts {
        if rules.under.is_empty() || rules.under.iter().any(|path| is_under(&account.unit, path)) {
            merging.add(*id, account);
        }
    }
    merging.finish()
}

/// Whether a unit is another, or below it.
fn is_under(unit: &str, path: &str) -> bool {
    path == "/" || unit.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

struct Merging<'a> {
    file: Option<&'a Tenants>,
    rules: &'a OrganizationsConfig,
    drafts: BTreeMap<TenantId, Draft>,
    claims: Claims,
    merged: Merged,
}

impl Merging<'_> {
    fn add(&mut self, id: AccountId, account: &OrganizationAccount) {
        let in_file = self.file.and_then(|file| file.account(id));
        let mut entry =
            Account::new(id, if in_file.is_some() { AccountSource::Both } else { AccountSource::Organization });
        entry.name = Some(account.name.clone());
        // Whoever says that it closes is believed.
        entry.state = in_file.map_or(account.state, |known| known.state.max(account.state));
        entry.unit = Some(account.unit.clone());
        entry.tags.clone_from(&account.tags);
        entry.joined_ms = account.joined_ms;
        let tenant = self.tenant_of(id, account);
        entry.home = self.home_of(id, account, tenant.as_ref());
        self.merged.tenants.add_account(entry);
        if let Some(tenant) = tenant {
            self.join(id, account, &tenant);
        }
    }

    /// The home that its tag gives it, unless the file gives its tenant one.
    fn home_of(&mut self, id: AccountId, account: &OrganizationAccount, tenant: Option<&TenantId>) -> Option<String> {
        let tagged = account.tags.get(&self.rules.home_tag).map(|text| text.trim()).filter(|text| !text.is_empty())?;
        let of_file = tenant.and_then(|tenant| self.file?.get(tenant)).and_then(|tenant| tenant.home.clone());
        if of_file.is_none() {
            return Some(tagged.to_owned());
        }
        if of_file.as_deref() != Some(tagged) {
            let (kind, attribute) = (ConflictKind::Attribute, Some("home".to_owned()));
            let ignored = tagged.to_owned();
            self.merged.conflicts.push(Conflict { kind, account: id, attribute, in_force: of_file, ignored });
        }
        None
    }

    /// The file's tenant, else the tag's, else as an account without a tag is taken. A pooled account has none of its own.
    fn tenant_of(&mut self, id: AccountId, account: &OrganizationAccount) -> Option<TenantId> {
        let owner = self.file.and_then(|file| file.owner(id)).map(|tenant| tenant.id.clone());
        let tagged = account.tags.get(&self.rules.tenant_tag).map(|text| text.trim()).filter(|text| !text.is_empty());
        if self.file.is_some_and(|file| file.pooled(id).is_some()) {
            let conflict = |text: &str| Conflict {
                kind: ConflictKind::Tenant,
                account: id,
                attribute: None,
                in_force: Some("pooled".to_owned()),
                ignored: text.to_owned(),
            };
            self.merged.conflicts.extend(tagged.map(conflict));
            return None;
        }
        let Some(text) = tagged else {
            let own = || match self.rules.untagged {
                Untagged::Account => TenantId::try_new(id.as_str()).ok(),
                Untagged::Unknown => None,
            };
            return owner.or_else(own);
        };
        let conflict = |kind, in_force: Option<&TenantId>| Conflict {
            kind,
            account: id,
            attribute: None,
            in_force: in_force.map(ToString::to_string),
            ignored: text.to_owned(),
        };
        match (owner, TenantId::try_new(text).ok().filter(|tagged| *tagged != TenantId::unassigned())) {
            (Some(owner), Some(tagged)) if owner == tagged => Some(owner),
            (Some(owner), _) => {
                self.merged.conflicts.push(conflict(ConflictKind::Tenant, Some(&owner)));
                Some(owner)
            }
            (None, Some(tagged)) => Some(tagged),
            (None, None) => {
                self.merged.conflicts.push(conflict(ConflictKind::TenantId, None));
                None
            }
        }
    }

    fn join(&mut self, id: AccountId, account: &OrganizationAccount, tenant: &TenantId) {
        let draft = self.drafts.entry(tenant.clone()).or_insert_with(|| Draft {
            tenant: Tenant {
                id: tenant.clone(),
                // An id that is only a number says nothing to a person.
                name: (tenant.as_str() == id.as_str()).then(|| account.name.clone()),
                accounts: Vec::new(),
                attributes: BTreeMap::new(),
                home: None,
                aliases: BTreeSet::new(),
                regions: None,
            },
            from_file: BTreeSet::new(),
        });
        if !draft.tenant.accounts.contains(&id) {
            draft.tenant.accounts.push(id);
        }
        for text in account.tags.get(&self.rules.alias_tag).into_iter().flat_map(|tag| tag.split_whitespace()) {
            let room = draft.tenant.aliases.len() < MAX_ALIASES;
            match TenantId::try_new(text) {
                Ok(former) if former == *tenant => {}
                Ok(former) if room && former != TenantId::unassigned() => {
                    draft.tenant.aliases.insert(former.clone());
                    self.claims.add(former, tenant.clone(), ClaimedBy::Tag(id));
                }
                _ => self.merged.conflicts.push(Conflict {
                    kind: ConflictKind::Value,
                    account: id,
                    attribute: Some(self.rules.alias_tag.clone()),
                    in_force: None,
                    ignored: text.to_owned(),
                }),
            }
        }
        for (attribute, tag) in &self.rules.attributes {
            let Some(value) = account.tags.get(tag).filter(|value| !value.is_empty()) else { continue };
            let known = draft.tenant.attributes.get(attribute);
            let kind = match known {
                Some(known) if known == value => continue,
                Some(_) if draft.from_file.contains(attribute) => ConflictKind::Attribute,
                Some(_) => ConflictKind::Accounts,
                None if value.len() > MAX_ATTRIBUTE_BYTES || draft.tenant.attributes.len() >= MAX_ATTRIBUTES => {
                    ConflictKind::Value
                }
                None => {
                    draft.tenant.attributes.insert(attribute.clone(), value.clone());
                    continue;
                }
            };
            let (attribute, in_force) = (Some(attribute.clone()), known.cloned());
            self.merged.conflicts.push(Conflict { kind, account: id, attribute, in_force, ignored: value.clone() });
        }
    }

    fn finish(mut self) -> Merged {
        for Draft { mut tenant, .. } in self.drafts.into_values() {
            tenant.accounts.sort_unstable();
            // A tenant's unit is an attribute of it where all its accounts lie in one.
            let accounts = &self.merged.tenants;
            let units: BTreeSet<Option<&String>> = tenant
                .accounts
                .iter()
                .map(|account| accounts.account(*account).and_then(|account| account.unit.as_ref()))
                .collect();
            if let (1, Some(Some(unit))) = (units.len(), units.first())
                && unit.len() <= MAX_ATTRIBUTE_BYTES
            {
                tenant.attributes.entry(UNIT_ATTRIBUTE.to_owned()).or_insert_with(|| (*unit).clone());
            }
            // So is its home, where the tags of all its accounts that have one agree.
            if tenant.home.is_none() {
                let of = |account: &AccountId| accounts.account(*account).and_then(|account| account.home.as_ref());
                let homes: BTreeSet<&String> = tenant.accounts.iter().filter_map(of).collect();
                tenant.home = homes.first().filter(|_| homes.len() == 1).map(|home| (*home).clone());
            }
            self.merged.tenants.add_tenant(tenant);
        }
        let (former, conflicts) = self.claims.settle(&self.merged.tenants);
        self.merged.tenants.former = former;
        self.merged.conflicts.extend(conflicts);
        self.merged
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::registry::organization::AccountState;
    use crate::registry::organization::tests::{account, organization};

    const A: &str = "111111111111";
    const B: &str = "222222222222";
    const C: &str = "333333333333";

    fn id(text: &str) -> AccountId {
        AccountId::try_new(text).unwrap()
    }

    fn merged(file: &str, accounts: &[(&str, OrganizationAccount)], rules: &OrganizationsConfig) -> Merged {
        let file = (!file.is_empty()).then(|| Tenants::parse(Path::new("tenants.yaml"), file).unwrap());
        merge(file.as_ref(), &organization(accounts), rules)
    }

    fn owner(merged: &Merged, account: &str) -> Option<String> {
        merged.tenants.owner(id(account)).map(|tenant| tenant.id.to_string())
    }

    fn conflicts(merged: &Merged) -> Vec<(&str, &str, Option<&str>, &str)> {
        let told = merged.conflicts.iter();
        told.map(|c| (c.kind.as_str(), c.account.as_str(), c.in_force.as_deref(), c.ignored.as_str())).collect()
    }

    #[test]
    fn tags_name_tenants_and_give_attributes() {
        let accounts = [
            (A, account("Acme prod", "/Tenants/Gold", &[("tenant", "acme"), ("tier", "gold"), ("other", "x")])),
            (B, account("Acme test", "/Tenants/Gold", &[("tenant", "acme"), ("wave", "canary")])),
            (C, account("Globex", "/", &[])),
        ];
        let merged = merged("", &accounts, &OrganizationsConfig::default());
        assert_eq!((owner(&merged, A), owner(&merged, B)), (Some("acme".into()), Some("acme".into())));
        let acme = merged.tenants.get(&TenantId::try_new("acme").unwrap()).unwrap();
        let expected = [("ou", "/Tenants/Gold"), ("tier", "gold"), ("wave", "canary")];
        assert_eq!(acme.attributes, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        let globex = merged.tenants.owner(id(C)).unwrap();
        assert_eq!(
            (globex.id.as_str(), globex.name.as_deref()),
            (C, Some("Globex")),
            "no tag: the account's own number"
        );
        assert!(merged.conflicts.is_empty());
    }

    #[test]
    fn the_file_wins_and_the_conflict_is_told() {
        let file = format!(
            "tenants: [{{id: acme, accounts: [\"{A}\"], attributes: {{tier: gold}}}}, {{id: globex, attributes: {{tier: iron}}}}]"
        );
        let accounts = [
            (A, account("a", "/", &[("tenant", "globex"), ("tier", "silver")])),
            (B, account("b", "/", &[("tenant", "globex"), ("tier", "iron"), ("wave", "late")])),
            (C, account("c", "/", &[("tenant", "globex"), ("wave", "early")])),
        ];
        let merged = merged(&file, &accounts, &OrganizationsConfig::default());
        assert_eq!((owner(&merged, A), owner(&merged, B)), (Some("acme".into()), Some("globex".into())));
        let told = [
            ("tenant", A, Some("acme"), "globex"),
            ("attribute", A, Some("gold"), "silver"),
            ("accounts", C, Some("late"), "early"),
        ];
        assert_eq!(conflicts(&merged), told);
        assert_eq!(merged.tenants.account(id(A)).unwrap().source, AccountSource::Both);
        assert_eq!(merged.tenants.owner(id(A)).unwrap().attributes["tier"], "gold");
    }

    #[test]
    fn a_tag_that_is_no_tenant_leaves_the_account_unknown() {
        let wrong = [("a|b", A), ("unassigned", B)];
        let accounts = wrong.map(|(value, id)| (id, account("x", "/", &[("tenant", value)])));
        let merged = merged("", &accounts, &OrganizationsConfig::default());
        assert_eq!((owner(&merged, A), owner(&merged, B)), (None, None));
        assert_eq!(conflicts(&merged), [("tenant_id", A, None, "a|b"), ("tenant_id", B, None, "unassigned")]);
    }

    #[test]
    fn only_what_lies_under_the_units_that_are_named_counts() {
        let accounts = [
            (A, account("a", "/Tenants/Gold", &[])),
            (B, account("b", "/TenantsOld", &[])),
            (C, account("c", "/Tenants", &[])),
        ];
        let rules = OrganizationsConfig { under: vec!["/Tenants".into()], ..OrganizationsConfig::default() };
        let of_units = merged("", &accounts, &rules);
        assert_eq!([A, B, C].map(|account| owner(&of_units, account).is_some()), [true, false, true]);
        let rules = OrganizationsConfig { untagged: Untagged::Unknown, ..OrganizationsConfig::default() };
        assert!(merged("", &accounts, &rules).tenants.is_empty());
    }

    #[test]
    fn a_tag_gives_an_account_its_home_and_the_file_wins() {
        let file = format!("tenants: [{{id: acme, accounts: [\"{A}\"], home: eu}}]");
        let accounts = [
            (A, account("a", "/", &[("home", "us")])),
            (B, account("b", "/", &[("tenant", "beta"), ("home", "us")])),
            (C, account("c", "/", &[("tenant", "beta")])),
        ];
        let merged = merged(&file, &accounts, &OrganizationsConfig::default());
        assert_eq!(conflicts(&merged), [("attribute", A, Some("eu"), "us")]);
        let home = |account: &str| merged.tenants.account(id(account)).unwrap().home.clone();
        assert_eq!([A, B, C].map(home), [None, Some("us".into()), None]);
        let of_tenant = |account: &str| merged.tenants.owner(id(account)).unwrap().home.clone();
        assert_eq!([A, C].map(of_tenant), [Some("eu".into()), Some("us".into())], "an account without the tag follows");
    }

    #[test]
    fn a_closing_account_is_marked_whoever_says_so() {
        let file = format!("tenants: [{{id: acme, accounts: [\"{A}\", \"{B}\"], closing: [\"{A}\"]}}]");
        let mut suspended = account("b", "/", &[]);
        suspended.state = AccountState::Suspended;
        let merged = merged(&file, &[(A, account("a", "/", &[])), (B, suspended)], &OrganizationsConfig::default());
        let states = [A, B].map(|account| merged.tenants.account(id(account)).unwrap().state);
        assert_eq!(states, [AccountState::PendingClosure, AccountState::Suspended]);
        let info: Vec<String> = merged.tenants.info().map(|labels| labels.to_string()).collect();
        assert!(info[1].contains("account_state=\"suspended\""), "{info:?}");
    }
}
