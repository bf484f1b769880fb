//! The registry in force, and how it is replaced.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tenantscope_model::{AccountId, Region, TenantId};

use crate::config::{OrganizationsConfig, RegistryConfig, Unknown};
use crate::merge::{Conflict, ConflictKind, Merged, merge};
use crate::organization::Organization;
use crate::registry_telemetry as telemetry;
use crate::tenants::Tenants;
use crate::tenants_file::RegistryError;

/// The tenants in force. A change of a source makes them anew and swaps them whole; an invalid file changes nothing.
#[derive(Debug)]
pub struct Registry {
    path: Option<PathBuf>,
    unknown: Unknown,
    home: Option<String>,
    rules: Option<OrganizationsConfig>,
    /// The organization's copy on disk.
    copy: Option<PathBuf>,
    /// Locked while a change of either becomes the registry in force, so that changes come one after another.
    sources: Mutex<Sources>,
    current: RwLock<InForce>,
    failure: Mutex<Option<OrganizationFailure>>,
}

/// Why the organization can't be read at present.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct OrganizationFailure {
    /// What went wrong last.
    pub error: String,
    /// Since when, in milliseconds since the epoch.
    pub since_ms: i64,
}

/// How far the organization is read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct OrganizationStatus {
    /// Whether all of it was read once.
    pub complete: bool,
    /// When it was last read to its end, in milliseconds since the epoch.
    pub read_ms: Option<i64>,
    /// Accounts that are known.
    pub accounts: usize,
    /// Why it can't be read at present.
    pub failure: Option<OrganizationFailure>,
}

#[derive(Debug, Default)]
struct Sources {
    file: Option<Tenants>,
    organization: Organization,
}

#[derive(Debug, Clone, Default)]
struct InForce {
    tenants: Arc<Tenants>,
    conflicts: Arc<Vec<Conflict>>,
    /// Whether an account that is missing may be one that was not read yet.
    incomplete: bool,
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

impl Registry {
    /// Reads the file that the configuration names; `base` is the configuration file's folder. Without a place for the
    /// organization's copy.
    pub fn open(config: &RegistryConfig, base: &Path) -> Result<Self, RegistryError> {
        Self::open_with_copy(config, base, None)
    }

    /// The same, with the organization as it was read last, of which the copy lies in `data_dir`.
    pub fn open_in(config: &RegistryConfig, base: &Path, data_dir: &Path) -> Result<Self, RegistryError> {
        let copy = config.organizations.is_some().then(|| data_dir.join("registry").join("organization"));
        Self::open_with_copy(config, base, copy)
    }

    fn open_with_copy(config: &RegistryConfig, base: &Path, copy: Option<PathBuf>) -> Result<Self, RegistryError> {
        let path = config.file.as_ref().map(|file| base.join(file));
        let file = path.as_deref().map(Tenants::read).transpose()?;
        let organization = copy.as_deref().and_then(Organization::load).unwrap_or_default();
        let registry = Self {
            path,
            unknown: config.unknown,
            home: config.home.clone(),
            rules: config.organizations.clone(),
            copy,
            sources: Mutex::new(Sources { file, organization }),
            current: RwLock::default(),
            failure: Mutex::default(),
        };
        registry.put_in_force(&registry.sources.lock());
        Ok(registry)
    }

    /// Checks what [`Registry::open`] would read, and asks nobody: for `check`.
    pub fn check(config: &RegistryConfig, base: &Path) -> Result<(), RegistryError> {
        config.file.as_ref().map_or(Ok(()), |file| Tenants::read(&base.join(file)).map(drop))
    }

    /// Reads the file again and puts it in force if it is valid.
    pub fn reload(&self) -> Result<Arc<Tenants>, RegistryError> {
        let read = self.path.as_deref().map(Tenants::read).transpose();
        telemetry::reload(read.is_ok());
        let file = read?;
        let mut sources = self.sources.lock();
        sources.file = file;
        self.put_in_force(&sources);
        let tenants = self.tenants();
        tracing::info!(tenants = tenants.len(), accounts = tenants.accounts(), "registry reloaded");
        Ok(tenants)
    }

    /// How accounts of the organization become tenants'; `None` without one.
    pub(crate) fn organization_rules(&self) -> Option<&OrganizationsConfig> {
        self.rules.as_ref()
    }

    /// How far the organization is read; `None` without one.
    pub fn organization_status(&self) -> Option<OrganizationStatus> {
        self.rules.as_ref()?;
        let sources = self.sources.lock();
        let Organization { complete, read_ms, accounts } = &sources.organization;
        let failure = self.failure.lock().clone();
        Some(OrganizationStatus { complete: *complete, read_ms: *read_ms, accounts: accounts.len(), failure })
    }

    /// A reading failed; what is known stays.
    pub(crate) fn organization_failed(&self, error: String, now_ms: i64) {
        let mut failure = self.failure.lock();
        let since_ms = failure.as_ref().map_or(now_ms, |failure| failure.since_ms);
        *failure = Some(OrganizationFailure { error, since_ms });
    }

    /// The organization as it is known.
    pub(crate) fn organization(&self) -> Organization {
        self.sources.lock().organization.clone()
    }

    /// Puts another reading of the organization in force, and keeps it on disk. Blocks.
    pub(crate) fn replace_organization(&self, organization: Organization) {
        let mut sources = self.sources.lock();
        *self.failure.lock() = None;
        let differs = sources.organization.differs(&organization);
        sources.organization = organization;
        if differs {
            self.put_in_force(&sources);
        }
        // A reading that changed nothing is written down too: it is cheap, and says when tags were read.
        let stored = self.copy.as_deref().map_or(Ok(()), |path| sources.organization.store(path));
        if let Err(error) = stored {
            tracing::error!(%error, "the organization's copy could not be written, trying again with the next reading");
        }
    }

    fn put_in_force(&self, sources: &Sources) {
        let no_rules = OrganizationsConfig::default();
        let rules = self.rules.as_ref().unwrap_or(&no_rules);
        let Merged { tenants, conflicts } = merge(sources.file.as_ref(), &sources.organization, rules);
        telemetry::in_force(tenants.len(), tenants.accounts());
        let before = Arc::clone(&self.current.read().conflicts);
        if self.rules.is_some() {
            for kind in ConflictKind::ALL {
                telemetry::conflicts(kind.as_str(), conflicts.iter().filter(|conflict| conflict.kind == kind).count());
            }
        }
        let news: Vec<&Conflict> = conflicts.iter().filter(|conflict| !before.contains(conflict)).collect();
        if let Some(first) = news.first() {
            tracing::warn!(
                conflicts = conflicts.len(), new = news.len(), kind = first.kind.as_str(), account = %first.account,
                "file and organization differ, or a tag can't be used; /tenantscope/v1/registry lists all"
            );
        }
        let incomplete = self.rules.is_some() && !sources.organization.complete;
        *self.current.write() = InForce { tenants: Arc::new(tenants), conflicts: Arc::new(conflicts), incomplete };
    }

    /// The tenants in force now. Cheap; hold it for one decision, not longer.
    pub fn tenants(&self) -> Arc<Tenants> {
        Arc::clone(&self.current.read().tenants)
    }

    /// Where file and organization differ.
    pub fn conflicts(&self) -> Arc<Vec<Conflict>> {
        Arc::clone(&self.current.read().conflicts)
    }

    /// Whether the organization, if there is one, was read to its end at least once.
    pub fn is_complete(&self) -> bool {
        !self.current.read().incomplete
    }

    /// Whose account it is, by the rules for unknown accounts and homes.
    pub fn owner(&self, account: AccountId) -> Result<Owner, AccountRefused> {
        let (tenants, incomplete) = {
            let current = self.current.read();
            (Arc::clone(&current.tenants), current.incomplete)
        };
        let Some(tenant) = tenants.owner(account) else {
            return match self.unknown {
                _ if incomplete => Err(AccountRefused::NotReadYet(account)),
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
    use crate::organization::tests::{account as member, organization};

    fn account(text: &str) -> AccountId {
        AccountId::try_new(text).unwrap()
    }

    fn open(dir: &Path, unknown: Unknown) -> Registry {
        let config = RegistryConfig { unknown, home: Some("eu".into()), ..RegistryConfig::of_file("tenants.yaml") };
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

    #[test]
    fn the_organization_that_was_read_last_holds_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("tenants.yaml"), "tenants: [{id: acme, accounts: [\"111122223333\"]}]").unwrap();
        let organizations = Some(OrganizationsConfig::default());
        let config = RegistryConfig { organizations, ..RegistryConfig::of_file("tenants.yaml") };
        let registry = Registry::open_in(&config, dir.path(), dir.path()).unwrap();
        let (known, new) = (account("111122223333"), account("222233334444"));
        assert!(registry.owner(known).is_ok());
        assert_eq!(
            registry.owner(new).unwrap_err().reason(),
            "registry_loading",
            "it may be one of the organization's"
        );
        registry.replace_organization(organization(&[("222233334444", member("b", "/", &[("tenant", "beta")]))]));
        assert_eq!(registry.owner(new).unwrap().tenant.as_str(), "beta");
        assert_eq!(registry.owner(account("000000000000")).unwrap_err().reason(), "unknown_account");
        drop(registry);

        let again = Registry::open_in(&config, dir.path(), dir.path()).unwrap();
        assert_eq!(again.owner(new).unwrap().tenant.as_str(), "beta");
        std::fs::write(dir.path().join("registry").join("organization"), "damaged").unwrap();
        let without = Registry::open_in(&config, dir.path(), dir.path()).unwrap();
        assert!(!without.is_complete() && without.owner(known).is_ok());
    }
}
