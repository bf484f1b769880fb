//! Whether what a configuration names is there: tenants, accounts, attributes of the registry's file.

use std::collections::BTreeSet;
use std::path::Path;

use tenantscope_model::{AccountId, TenantId};
use tenantscope_tenancy::{RegistryConfig, Selector, Tenants, UNIT_ATTRIBUTE, Unknown};

use super::findings::Finder;
use crate::config::At;

/// The tenants of the registry, where a file names all of them. Those of an organization are known to a running collector
/// alone, so nothing can be said then.
pub(super) struct Known(Option<InFile>);

struct InFile {
    tenants: Tenants,
    name: String,
    unknown: Unknown,
}

impl Known {
    pub(super) fn none() -> Self {
        Self(None)
    }

    pub(super) fn of(config: &RegistryConfig, folder: &Path) -> Self {
        let (Some(file), None) = (&config.file, &config.organizations) else { return Self(None) };
        let tenants = Tenants::read(&folder.join(file)).ok();
        Self(tenants.map(|tenants| InFile { tenants, name: file.display().to_string(), unknown: config.unknown }))
    }
}

impl InFile {
    fn has_account(&self, account: AccountId) -> bool {
        self.tenants.account(account).is_some() || self.tenants.pooled(account).is_some()
    }

    fn has_tenant(&self, tenant: &TenantId) -> bool {
        self.tenants.lists(tenant) || *tenant == TenantId::unassigned()
    }

    fn values(&self, attribute: &str) -> BTreeSet<&str> {
        self.tenants.iter().filter_map(|tenant| tenant.attributes.get(attribute)).map(String::as_str).collect()
    }
}

/// The most values that a message names.
const MAX_NAMED: usize = 10;

impl Finder<'_> {
    /// Tells of accounts that no tenant has.
    pub(super) fn accounts(&mut self, at: &At, accounts: &[AccountId], known: &Known) {
        let Some(file) = &known.0 else { return };
        for (n, account) in accounts.iter().enumerate().filter(|(_, account)| !file.has_account(**account)) {
            let comes_of_it = match file.unknown {
                Unknown::Refuse => "refused",
                Unknown::Quarantine => "held in quarantine",
            };
            let message = format_args!(
                "{} has no account {account}, so what comes from it is {comes_of_it}; add it there, or take it out here",
                file.name
            );
            self.warn(&at.item(n), message);
        }
    }

    /// Tells of tenants that are not there.
    pub(super) fn tenants<'t>(&mut self, at: &At, tenants: impl IntoIterator<Item = &'t TenantId>, known: &Known) {
        let Some(file) = &known.0 else { return };
        for (n, tenant) in tenants.into_iter().enumerate().filter(|(_, tenant)| !file.has_tenant(tenant)) {
            self.warn(
                &at.item(n),
                format_args!(
                    "{} has no tenant {tenant}; correct the name, add it there, or take it out here",
                    file.name
                ),
            );
        }
    }

    /// Tells of a value of an attribute that no tenant has.
    pub(super) fn attribute(&mut self, at: &At, attribute: &str, value: &str, known: &Known) {
        let Some(file) = &known.0 else { return };
        // Of an organization's units only the running collector knows.
        if attribute == UNIT_ATTRIBUTE || file.values(attribute).contains(value) {
            return;
        }
        let values: Vec<&str> = file.values(attribute).into_iter().take(MAX_NAMED).collect();
        let there_are = match values.as_slice() {
            [] => format!("no tenant of {} has the attribute {attribute:?}", file.name),
            values => format!("no tenant of {} has {attribute} {value:?}; there are {}", file.name, values.join(", ")),
        };
        self.warn(at, there_are);
    }

    /// Tells of tenants, accounts and attributes that a match names and that are not there.
    pub(super) fn selector(&mut self, at: &At, selector: &Selector, known: &Known) {
        for (name, values) in selector.asked() {
            let at = at.key(name);
            for value in values {
                match name {
                    "tenant" => match TenantId::try_new(value) {
                        Ok(tenant) => self.tenants(&at, [&tenant], known),
                        Err(error) => self.error(&at, error),
                    },
                    "account_id" => match AccountId::try_new(value) {
                        Ok(account) => self.accounts(&at, &[account], known),
                        Err(error) => self.error(&at, error),
                    },
                    attribute => self.attribute(&at, attribute, value, known),
                }
            }
        }
    }
}
