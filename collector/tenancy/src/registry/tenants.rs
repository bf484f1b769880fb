//! The tenants in force and whose each account is: whole, valid, never changed once it is made.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tenantscope_model::{AccountId, Labels, METRIC_NAME, Region, TenantId};

use crate::registry::former::Former;
use crate::registry::organization::AccountState;
use crate::registry::pooled::Pooled;
use crate::registry::tenants_file::MAX_ATTRIBUTE_BYTES;

/// A customer as the registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Never changes.
    pub id: TenantId,
    /// What people call it; may change.
    pub name: Option<String>,
    /// The accounts that it owns.
    pub accounts: Vec<AccountId>,
    /// Tier, wave and what else it is grouped by; label names and values.
    pub attributes: BTreeMap<String, String>,
    /// The collector that may hold its data; any, where absent. An account may have one of its own.
    pub home: Option<String>,
    /// Ids that it says it had before; [`Tenants::former_ids`] are those that hold.
    pub aliases: BTreeSet<TenantId>,
    /// The regions that senders other than agents may claim; any, where absent.
    pub regions: Option<Vec<Region>>,
}

/// An account as the registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub id: AccountId,
    /// Its name in the organization.
    pub name: Option<String>,
    /// Where it stands in its life.
    pub state: AccountState,
    /// The path of its organizational unit.
    pub unit: Option<String>,
    /// Its tags in the organization; none where only the file has it.
    pub tags: BTreeMap<String, String>,
    /// The collector that may hold its data, by its tag; its tenant's, where absent.
    pub home: Option<String>,
    /// When it came to the organization, in milliseconds since the epoch.
    pub joined_ms: Option<i64>,
    /// Who says that it is there.
    pub source: AccountSource,
}

/// Who says that an account is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountSource {
    /// The registry's file.
    File,
    /// The organization.
    Organization,
    /// Both.
    Both,
}

/// All tenants, all accounts, and the owner of each.
#[derive(Debug, Default)]
pub struct Tenants {
    by_id: BTreeMap<TenantId, Arc<Tenant>>,
    by_account: HashMap<AccountId, Arc<Tenant>>,
    accounts: BTreeMap<AccountId, Arc<Account>>,
    pooled: BTreeMap<AccountId, Arc<Pooled>>,
    pub(crate) former: Former,
}

/// The name of the series that carries the registry's attributes.
pub const TENANT_INFO: &str = "tenantscope_tenant_info";

/// The label and attribute with the path of an account's organizational unit.
pub const UNIT_ATTRIBUTE: &str = "ou";

impl Account {
    pub(crate) fn new(id: AccountId, source: AccountSource) -> Self {
        let (name, unit, home, joined_ms) = (None, None, None, None);
        Self { id, name, state: AccountState::Active, unit, tags: BTreeMap::new(), home, joined_ms, source }
    }
}

impl Tenants {
    /// Adds a tenant whose accounts nobody has yet.
    pub(crate) fn add_tenant(&mut self, tenant: Tenant) {
        let tenant = Arc::new(tenant);
        for account in &tenant.accounts {
            self.by_account.insert(*account, Arc::clone(&tenant));
        }
        self.by_id.insert(tenant.id.clone(), tenant);
    }

    pub(crate) fn add_account(&mut self, account: Account) {
        self.accounts.insert(account.id, Arc::new(account));
    }

    pub(crate) fn add_pooled(&mut self, pooled: Pooled) {
        let pooled = Arc::new(pooled);
        self.pooled.extend(pooled.accounts.iter().map(|account| (*account, Arc::clone(&pooled))));
    }

    /// Notes which tenants of pooled accounts belong to another collector than `home`.
    pub(crate) fn settle_homes(&mut self, home: &str) {
        for pooled in self.pooled.values_mut() {
            let elsewhere = |id: &&TenantId| {
                let home_of = self.by_id.get(*id).and_then(|tenant| tenant.home.as_deref());
                home_of.is_some_and(|theirs| theirs != home)
            };
            let elsewhere: BTreeSet<TenantId> = pooled.tenants.iter().filter(elsewhere).cloned().collect();
            if !elsewhere.is_empty() {
                Arc::make_mut(pooled).elsewhere = elsewhere;
            }
        }
    }

    /// The rules of an account that several tenants share.
    pub fn pooled(&self, account: AccountId) -> Option<&Arc<Pooled>> {
        self.pooled.get(&account)
    }

    /// All accounts that several tenants share.
    pub fn pooled_accounts(&self) -> impl Iterator<Item = (AccountId, &Arc<Pooled>)> {
        self.pooled.iter().map(|(account, pooled)| (*account, pooled))
    }

    /// Whose account it is, where it is one tenant's alone.
    pub fn owner(&self, account: AccountId) -> Option<&Arc<Tenant>> {
        self.by_account.get(&account)
    }

    /// A tenant by its id.
    pub fn get(&self, id: &TenantId) -> Option<&Arc<Tenant>> {
        self.by_id.get(id)
    }

    /// Whether there is such a tenant, with accounts of its own or in one that several share.
    pub fn lists(&self, id: &TenantId) -> bool {
        self.by_id.contains_key(id) || self.pooled.values().any(|pooled| pooled.tenants.contains(id))
    }

    /// All tenants, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.by_id.values()
    }

    /// What is known of an account.
    pub fn account(&self, account: AccountId) -> Option<&Arc<Account>> {
        self.accounts.get(&account)
    }

    /// All accounts, those that no tenant has included.
    pub fn all_accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.accounts.values()
    }

    /// How many tenants there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is no tenant.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// How many accounts have a tenant, or several.
    pub fn accounts(&self) -> usize {
        self.by_account.len() + self.pooled.len()
    }

    /// `tenantscope_tenant_info{tenant, account_id, <attributes>}`, one for each account; each has the value 1. An account
    /// that is not at work has `account_state` as well. A pooled account has one for each of its tenants.
    pub fn info(&self) -> impl Iterator<Item = Labels> {
        let owned = self.iter().flat_map(|tenant| tenant.accounts.iter().map(move |account| (tenant, *account)));
        let sharing = |(account, pooled): (AccountId, &Arc<Pooled>)| {
            let known: Vec<&Arc<Tenant>> = pooled.tenants.iter().filter_map(|id| self.get(id)).collect();
            known.into_iter().map(move |tenant| (tenant, account))
        };
        let pooled = self.pooled_accounts().flat_map(sharing);
        owned.chain(pooled).map(|(tenant, account)| self.account_info(tenant, account))
    }

    fn account_info(&self, tenant: &Tenant, id: AccountId) -> Labels {
        let mut labels = tenant.attributes.clone();
        if let Some(account) = self.account(id) {
            // An account's own unit, also where the tenant's accounts lie in several.
            if let Some(unit) = &account.unit {
                labels.entry(UNIT_ATTRIBUTE.to_owned()).or_insert_with(|| unit.clone());
            }
            if account.state != AccountState::Active {
                labels.insert(STATE_LABEL.to_owned(), account.state.as_str().to_owned());
            }
        }
        if let Some(name) = &tenant.name {
            labels.insert(NAME_LABEL.to_owned(), name.clone());
        }
        let own = [(METRIC_NAME, TENANT_INFO), ("tenant", tenant.id.as_str()), ("account_id", id.as_str())];
        let more = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Labels::from_pairs(own.into_iter().chain(more))
    }
}

/// The label of [`TENANT_INFO`] with the state of an account that is not at work.
const STATE_LABEL: &str = "account_state";
/// The label of [`TENANT_INFO`] with what people call the tenant.
const NAME_LABEL: &str = "tenant_name";

/// Attributes become labels beside `tenant` and `account_id`, so they must be label names and not collide with these.
pub(crate) fn check_attribute_name(name: &str) -> Result<(), String> {
    let mut bytes = name.bytes();
    let first_fits = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let is_label_name = first_fits && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !is_label_name || name.starts_with("__") {
        return Err(format!("attribute {name:.64?} is no label name (letters, digits and '_')"));
    }
    if ["tenant", "account_id", "region", STATE_LABEL, NAME_LABEL].contains(&name) {
        return Err(format!("attribute {name:?} is a name that is stamped, or that the registry sets"));
    }
    if name.len() > MAX_ATTRIBUTE_BYTES {
        return Err(format!("attribute {name:.32?} is longer than {MAX_ATTRIBUTE_BYTES} bytes"));
    }
    Ok(())
}
