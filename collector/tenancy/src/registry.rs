//! The registry in force, and how it is replaced.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use tenantscope_model::{AccountId, Region, TenantId};

use crate::config::{RegistryConfig, Unknown};
use crate::telemetry;
use crate::tenants::{RegistryError, Tenants};

/// The tenants in force. A reload parses the file anew and swaps it whole; an invalid file changes nothing.
#[derive(Debug)]
pub struct Registry {
    path: PathBuf,
    unknown: Unknown,
    home: Option<String>,
    current: RwLock<Arc<Tenants>>,
}

/// Who owns an account, as senders need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The tenant; `unassigned` for an unknown account in quarantine.
    pub tenant: TenantId,
    /// The regions that senders other than agents may claim; any, where absent.
    pub regions: Option<Vec<Region>>,
}

/// Why no data of an account is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountRefused {
    /// No tenant has it.
    #[error("account {0} belongs to no tenant")]
    Unknown(AccountId),
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
            Self::WrongHome { .. } => "wrong_home",
        }
    }
}

impl Registry {
    /// Reads the file that the configuration names; `base` is the configuration file's folder.
    pub fn open(config: &RegistryConfig, base: &Path) -> Result<Self, RegistryError> {
        let path = base.join(&config.file);
        let tenants = Tenants::read(&path)?;
        telemetry::registry_in_force(tenants.len(), tenants.accounts());
        let current = RwLock::new(Arc::new(tenants));
        Ok(Self { path, unknown: config.unknown, home: config.home.clone(), current })
    }

    /// Reads the file again and puts it in force if it is valid.
    pub fn reload(&self) -> Result<Arc<Tenants>, RegistryError> {
        let read = Tenants::read(&self.path);
        telemetry::registry_reload(read.is_ok());
        let tenants = Arc::new(read?);
        telemetry::registry_in_force(tenants.len(), tenants.accounts());
        tracing::info!(tenants = tenants.len(), accounts = tenants.accounts(), "registry reloaded");
        *self.current.write() = Arc::clone(&tenants);
        Ok(tenants)
    }

    /// The tenants in force now. Cheap; hold it for one decision, not longer.
    pub fn tenants(&self) -> Arc<Tenants> {
        Arc::clone(&self.current.read())
    }

    /// Whose account it is, by the rules for unknown accounts and homes.
    pub fn owner(&self, account: AccountId) -> Result<Owner, AccountRefused> {
        let tenants = self.tenants();
        let Some(tenant) = tenants.owner(account) else {
            return match self.unknown {
                Unknown::Refuse => Err(AccountRefused::Unknown(account)),
                Unknown::Quarantine => Ok(Owner { tenant: TenantId::unassigned(), regions: None }),
            };
        };
        match (&self.home, &tenant.home) {
            (Some(ours), Some(home)) if ours != home => Err(AccountRefused::WrongHome { account, home: home.clone() }),
            _ => Ok(Owner { tenant: tenant.id.clone(), regions: tenant.regions.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(text: &str) -> AccountId {
        AccountId::try_new(text).unwrap()
    }

    fn open(dir: &Path, unknown: Unknown) -> Registry {
        let config = RegistryConfig { file: "tenants.yaml".into(), unknown, home: Some("eu".into()) };
        Registry::open(&config, dir).unwrap()
    }

    #[test]
    fn an_invalid_file_leaves_the_old_one_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tenants.yaml");
        std::fs::write(&file, "tenants: [{id: acme, accounts: [\"111122223333\"]}]").unwrap();
        let registry = open(dir.path(), Unknown::Refuse);
        std::fs::write(&file, "tenants: [{id: acme, accounts: [\"1\"]}]").unwrap();
        assert!(registry.reload().is_err());
        assert_eq!(registry.owner(account("111122223333")).unwrap().tenant.as_str(), "acme");
        std::fs::write(&file, "tenants: [{id: beta, accounts: [\"111122223333\"]}]").unwrap();
        registry.reload().unwrap();
        assert_eq!(registry.owner(account("111122223333")).unwrap().tenant.as_str(), "beta");
    }

    #[test]
    fn unknown_accounts_and_other_homes() {
        let dir = tempfile::tempdir().unwrap();
        let text = "tenants: [{id: a, accounts: [\"111122223333\"], home: us}, {id: b, accounts: [\"222233334444\"], home: eu}]";
        std::fs::write(dir.path().join("tenants.yaml"), text).unwrap();
        let strict = open(dir.path(), Unknown::Refuse);
        assert_eq!(strict.owner(account("000000000000")), Err(AccountRefused::Unknown(account("000000000000"))));
        assert_eq!(strict.owner(account("111122223333")).unwrap_err().reason(), "wrong_home");
        assert!(strict.owner(account("222233334444")).is_ok());
        let lenient = open(dir.path(), Unknown::Quarantine);
        assert_eq!(lenient.owner(account("000000000000")).unwrap().tenant, TenantId::unassigned());
    }
}
