//! The registry in force, and how it is replaced.

pub(crate) mod coverage;
pub(crate) mod failures;
pub(crate) mod former;
pub(crate) mod kept;
pub(crate) mod ledger;
pub(crate) mod merge;
pub(crate) mod moves;
pub(crate) mod organization;
pub(crate) mod organizations;
pub(crate) mod owner;
pub(crate) mod pace;
pub(crate) mod pooled;
pub(crate) mod reading;
pub(crate) mod tag_policy;
pub(crate) mod telemetry;
pub(crate) mod tenants;
pub(crate) mod tenants_file;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tenantscope_model::{AccountId, Scope, Seen, TenantId};
use tenantscope_wire::Name;

use crate::config::{CoverageConfig, OrganizationsConfig, QuarantineConfig, RegistryConfig, RequiredTag, Unknown};
use crate::registry::coverage::AccountCoverage;
use crate::registry::failures::Failures;
use crate::registry::ledger::{Ledger, Quarantined};
use crate::registry::merge::{Conflict, ConflictKind, Merged, merge};
use crate::registry::moves::AccountMove;
use crate::registry::organization::{Organization, OrganizationFailure, OrganizationStatus};
use crate::registry::owner::{AccountRefused, Owner};
use crate::registry::tag_policy::TagReport;
use crate::registry::tenants::Tenants;
use crate::registry::tenants_file::RegistryError;

/// The tenants in force. A change of a source makes them anew and swaps them whole; an invalid file changes nothing.
#[derive(Debug)]
pub struct Registry {
    /// The organization's copy on disk.
    copy: Option<PathBuf>,
    /// Locked while a change of either becomes the registry in force, so that changes come one after another.
    sources: Mutex<Sources>,
    current: RwLock<InForce>,
    ledger: Ledger,
    failures: Failures,
    failure: Mutex<Option<OrganizationFailure>>,
}

/// What the configuration says, as a reload exchanges it.
#[derive(Debug, Default)]
struct Settings {
    /// The tenants' file.
    path: Option<PathBuf>,
    organizations: Option<OrganizationsConfig>,
    unknown: Unknown,
    home: Option<String>,
    tag_policy: Vec<RequiredTag>,
    coverage: CoverageConfig,
    quarantine: QuarantineConfig,
}

impl Settings {
    fn of(config: &RegistryConfig, base: &Path) -> Self {
        let RegistryConfig { file, organizations, unknown, home, tag_policy, coverage, quarantine } = config.clone();
        let path = file.map(|file| base.join(file));
        Self { path, organizations, unknown, home, tag_policy, coverage, quarantine }
    }
}

/// What a configuration says of the registry, its file read and valid.
#[derive(Debug)]
pub struct PreparedRegistry {
    settings: Settings,
    file: Option<Tenants>,
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
    settings: Arc<Settings>,
}

impl Registry {
    /// Reads the file that the configuration names; `base` is the configuration file's folder. Nothing is kept on disk.
    pub fn open(config: &RegistryConfig, base: &Path) -> Result<Self, RegistryError> {
        Self::open_kept(config, base, None)
    }

    /// The same, with what is kept in `data_dir`: the organization as it was read last, and what was known of accounts.
    pub fn open_in(config: &RegistryConfig, base: &Path, data_dir: &Path) -> Result<Self, RegistryError> {
        Self::open_kept(config, base, Some(&data_dir.join("registry")))
    }

    fn open_kept(config: &RegistryConfig, base: &Path, folder: Option<&Path>) -> Result<Self, RegistryError> {
        let prepared = Self::read(config, base)?;
        let copy = folder.map(|folder| folder.join("organization"));
        let organization = copy.as_deref().and_then(Organization::load).unwrap_or_default();
        let registry = Self {
            copy,
            sources: Mutex::new(Sources { file: None, organization }),
            current: RwLock::default(),
            ledger: Ledger::open(folder.map(|folder| folder.join("accounts"))),
            failures: Failures::default(),
            failure: Mutex::default(),
        };
        registry.exchange(prepared);
        Ok(registry)
    }

    fn read(config: &RegistryConfig, base: &Path) -> Result<PreparedRegistry, RegistryError> {
        let settings = Settings::of(config, base);
        let file = settings.path.as_deref().map(Tenants::read).transpose()?;
        Ok(PreparedRegistry { settings, file })
    }

    /// Checks what [`Registry::open`] would read, and asks nobody: for `check`.
    pub fn check(config: &RegistryConfig, base: &Path) -> Result<(), RegistryError> {
        Self::read(config, base).map(drop)
    }

    /// Reads what a reload is to put in force, and changes nothing.
    pub fn prepare(&self, config: &RegistryConfig, base: &Path) -> Result<PreparedRegistry, RegistryError> {
        Self::read(config, base).inspect_err(|_| telemetry::reload(false))
    }

    /// Puts in force what was prepared: the file's tenants, and all else that the configuration says of the registry.
    pub fn put_in_force(&self, prepared: PreparedRegistry) -> Arc<Tenants> {
        self.exchange(prepared);
        telemetry::reload(true);
        let tenants = self.tenants();
        tracing::info!(tenants = tenants.len(), accounts = tenants.accounts(), "registry reloaded");
        tenants
    }

    fn exchange(&self, PreparedRegistry { settings, file }: PreparedRegistry) {
        let mut sources = self.sources.lock();
        sources.file = file;
        self.renew(&sources, Arc::new(settings));
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.current.read().settings)
    }

    /// Which accounts of a scope lack, misspell or mistake a required tag. Takes a moment where there are many.
    pub fn tag_report(&self, scope: &Scope) -> TagReport {
        let settings = self.settings();
        tag_policy::report(&self.tenants(), &settings.tag_policy, settings.organizations.as_ref(), scope)
    }

    /// An agent of the account proved itself.
    pub fn contacted(&self, account: AccountId, now_ms: i64) {
        self.ledger.contacted(account, now_ms);
    }

    /// An agent of the account said that a source of it fails, or that none does.
    pub fn source_failing(&self, account: AccountId, agent: &Name, reason: Option<String>, now_ms: i64) {
        self.failures.note(account, agent, reason, now_ms);
    }

    /// How each account of a scope reports; `seen` is who has data.
    pub fn coverage(&self, seen: &[Seen], scope: &Scope, now_ms: i64) -> Vec<AccountCoverage> {
        let (tenants, settings) = (self.tenants(), self.settings());
        let mut covered =
            coverage::coverage(&tenants, (&self.ledger, &self.failures), seen, &settings.coverage, now_ms);
        covered.retain(|one| scope.allows(Some(&one.tenant)));
        if *scope != Scope::All {
            // It may name what is another's of those who share an account.
            covered.iter_mut().filter(|one| tenants.pooled(one.account).is_some()).for_each(|one| one.failing = None);
        }
        covered
    }

    /// Whether nobody is to be woken for an account: it settles in, or is on its way out. Of an account that is not known
    /// nothing is said.
    pub fn is_quiet(&self, account: AccountId, now_ms: i64) -> bool {
        let tenants = self.tenants();
        let Some(known) = tenants.account(account) else { return false };
        let settings = self.settings();
        let (arrived_ms, _) = self.ledger.times(account);
        coverage::quiet_state(known.state, arrived_ms, &settings.coverage, now_ms).is_some()
    }

    /// The same of a tenant: of all its accounts.
    pub fn is_quiet_tenant(&self, tenant: &TenantId, now_ms: i64) -> bool {
        let tenants = self.tenants();
        let Some(known) = tenants.get(tenant).filter(|known| !known.accounts.is_empty()) else { return false };
        known.accounts.iter().all(|account| self.is_quiet(*account, now_ms))
    }

    /// Since when the registry has an account, or its tenant does, in milliseconds since the epoch; absent where that was
    /// before the first start.
    pub fn since_ms(&self, account: AccountId) -> Option<i64> {
        self.ledger.times(account).0.filter(|at_ms| *at_ms > 0)
    }

    /// Accounts that went from one tenant to another, the newest first. A reader of one side is not told the other.
    pub fn moves(&self, scope: &Scope) -> Vec<AccountMove> {
        self.ledger.moves(scope)
    }

    /// Forgets whose accounts were a tenant's that is removed.
    pub fn forget(&self, tenant: &TenantId) {
        self.ledger.forget(tenant);
    }

    /// Whether more of an account that no tenant has may be held in quarantine today; a refusal is counted.
    pub fn may_hold(&self, account: AccountId, now_ms: i64) -> bool {
        let settings = self.settings();
        self.ledger.may_hold(account, &settings.quarantine, now_ms)
    }

    /// So much of an account that no tenant has is held.
    pub fn hold(&self, account: AccountId, records: u64, bytes: u64, now_ms: i64) {
        self.ledger.hold(account, records, bytes, now_ms);
    }

    /// The accounts in quarantine, and what is held of each.
    pub fn quarantined(&self) -> BTreeMap<AccountId, Quarantined> {
        self.ledger.quarantined()
    }

    /// How much may be held.
    pub fn quarantine_limits(&self) -> QuarantineConfig {
        self.settings().quarantine.clone()
    }

    /// Brings what is known of accounts up to the registry in force, and writes it down. Blocks; called now and then.
    pub fn keep(&self, now_ms: i64) {
        if self.is_complete() {
            let moved = self.ledger.keep(&self.tenants(), now_ms);
            self.failures.forget(&moved);
            self.failures.forget_old(now_ms);
        }
        let held = self.ledger.quarantined();
        telemetry::quarantine(held.len(), held.values().map(|held| held.records).sum());
    }

    /// How accounts of the organization become tenants'; `None` without one.
    pub(crate) fn organization_rules(&self) -> Option<OrganizationsConfig> {
        self.settings().organizations.clone()
    }

    /// How far the organization is read; `None` without one.
    pub fn organization_status(&self) -> Option<OrganizationStatus> {
        self.settings().organizations.as_ref()?;
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
            self.renew(&sources, self.settings());
        }
        // A reading that changed nothing is written down too: it is cheap, and says when tags were read.
        let stored = self.copy.as_deref().map_or(Ok(()), |path| sources.organization.store(path));
        if let Err(error) = stored {
            tracing::error!(%error, "the organization's copy could not be written, trying again with the next reading");
        }
    }

    fn renew(&self, sources: &Sources, settings: Arc<Settings>) {
        let Merged { mut tenants, conflicts } = match &settings.organizations {
            Some(rules) => merge(sources.file.as_ref(), &sources.organization, rules),
            // What was read of one that is configured no more gives nobody an account.
            None => merge(sources.file.as_ref(), &Organization::default(), &OrganizationsConfig::default()),
        };
        if let Some(home) = &settings.home {
            tenants.settle_homes(home);
        }
        let incomplete = settings.organizations.is_some() && !sources.organization.complete;
        if incomplete {
            tenants.forget_former();
        }
        telemetry::in_force(tenants.len(), tenants.accounts());
        let before = Arc::clone(&self.current.read().conflicts);
        let before: HashSet<&Conflict> = before.iter().collect();
        if settings.organizations.is_some() || !before.is_empty() {
            for kind in ConflictKind::ALL {
                telemetry::conflicts(kind.as_str(), conflicts.iter().filter(|conflict| conflict.kind == kind).count());
            }
        }
        let news: Vec<&Conflict> = conflicts.iter().filter(|conflict| !before.contains(*conflict)).collect();
        if let Some(first) = news.first() {
            tracing::warn!(
                conflicts = conflicts.len(), new = news.len(), kind = first.kind.as_str(), account = %first.account,
                "file and organization differ, or a tag can't be used; /tenantscope/v1/registry lists all"
            );
        }
        let (tenants, conflicts) = (Arc::new(tenants), Arc::new(conflicts));
        *self.current.write() = InForce { tenants, conflicts, incomplete, settings };
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
        let InForce { tenants, incomplete, settings, .. } = self.current.read().clone();
        let is_home = |home: Option<&String>| match (&settings.home, home) {
            (Some(ours), Some(home)) if ours != home => Err(AccountRefused::WrongHome { account, home: home.clone() }),
            _ => Ok(()),
        };
        let tagged = tenants.account(account).and_then(|known| known.home.as_ref());
        if let Some(pooled) = tenants.pooled(account) {
            is_home(tagged)?;
            let (tenant, pooled) = (TenantId::unassigned(), Some(Arc::clone(pooled)));
            return Ok(Owner { tenant, regions: None, pooled });
        }
        let Some(tenant) = tenants.owner(account) else {
            return match settings.unknown {
                _ if incomplete => Err(AccountRefused::NotReadYet(account)),
                Unknown::Refuse => Err(AccountRefused::Unknown(account)),
                Unknown::Quarantine => Ok(Owner { tenant: TenantId::unassigned(), regions: None, pooled: None }),
            };
        };
        is_home(tagged.or(tenant.home.as_ref()))?;
        Ok(Owner { tenant: tenant.id.clone(), regions: tenant.regions.clone(), pooled: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::organization::tests::{account as member, organization};

    fn account(text: &str) -> AccountId {
        AccountId::try_new(text).unwrap()
    }

    fn config(unknown: Unknown) -> RegistryConfig {
        RegistryConfig { unknown, home: Some("eu".into()), ..RegistryConfig::of_file("tenants.yaml") }
    }

    fn open(dir: &Path, unknown: Unknown) -> Registry {
        Registry::open(&config(unknown), dir).unwrap()
    }

    fn reload(registry: &Registry, config: &RegistryConfig, dir: &Path) {
        registry.put_in_force(registry.prepare(config, dir).unwrap());
    }

    #[test]
    fn an_invalid_file_leaves_the_old_one_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tenants.yaml");
        std::fs::write(&file, "tenants: [{id: acme, accounts: [\"111122223333\"]}]").unwrap();
        let registry = open(dir.path(), Unknown::Refuse);
        std::fs::write(&file, "tenants: [{id: acme, accounts: [\"1\"]}]").unwrap();
        assert!(registry.prepare(&config(Unknown::Refuse), dir.path()).is_err());
        assert_eq!(registry.owner(account("111122223333")).unwrap().tenant.as_str(), "acme");
        std::fs::write(&file, "tenants: [{id: beta, accounts: [\"111122223333\"]}]").unwrap();
        reload(&registry, &config(Unknown::Refuse), dir.path());
        assert_eq!(registry.owner(account("111122223333")).unwrap().tenant.as_str(), "beta");
    }

    #[test]
    fn a_reload_changes_everything_that_the_configuration_says() {
        let dir = tempfile::tempdir().unwrap();
        let text = "tenants: [{id: a, accounts: [\"111122223333\"], home: us}]";
        std::fs::write(dir.path().join("tenants.yaml"), text).unwrap();
        let registry = open(dir.path(), Unknown::Refuse);
        let (known, strange) = (account("111122223333"), account("222233334444"));
        assert_eq!(registry.owner(known).unwrap_err().reason(), "wrong_home");
        reload(&registry, &RegistryConfig { home: Some("us".into()), ..config(Unknown::Quarantine) }, dir.path());
        assert_eq!(registry.owner(known).unwrap().tenant.as_str(), "a");
        assert_eq!(registry.owner(strange).unwrap().tenant, TenantId::unassigned());

        // The organization comes by a reload, its rules change by one, and it goes by one.
        let with = |rules: &str| RegistryConfig {
            organizations: Some(serde_saphyr::from_str(rules).unwrap()),
            ..RegistryConfig::default()
        };
        reload(&registry, &with("{}"), dir.path());
        assert_eq!(registry.owner(strange).unwrap_err().reason(), "registry_loading");
        let tags = [("tenant", "b"), ("customer", "c")];
        registry.replace_organization(organization(&[("222233334444", member("b", "/Tenants", &tags))]));
        let owner = || registry.owner(strange).map(|owner| owner.tenant.to_string());
        assert_eq!(owner(), Ok("b".to_owned()));
        reload(&registry, &with("{tenant_tag: customer}"), dir.path());
        assert_eq!(owner(), Ok("c".to_owned()));
        reload(&registry, &with("{under: [/Other]}"), dir.path());
        assert_eq!(owner(), Err(AccountRefused::Unknown(strange)));
        reload(&registry, &config(Unknown::Refuse), dir.path());
        assert_eq!(owner(), Err(AccountRefused::Unknown(strange)));
        assert!(registry.is_complete() && registry.organization_status().is_none());
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
    fn accounts_of_one_tenant_may_have_homes_of_their_own() {
        let organizations = Some(OrganizationsConfig::default());
        let of_organization = RegistryConfig { organizations, home: Some("eu".into()), ..RegistryConfig::default() };
        let registry = Registry::open(&of_organization, Path::new(".")).unwrap();
        let [here, there, anywhere] = ["111122223333", "222233334444", "333344445555"];
        let tagged = |home| member("a", "/", &[("tenant", "acme"), ("home", home)]);
        let untagged = member("a", "/", &[("tenant", "acme")]);
        let accounts = [(here, tagged("eu")), (there, tagged("us")), (anywhere, untagged)];
        registry.replace_organization(organization(&accounts));
        let refused = registry.owner(account(there)).unwrap_err();
        assert_eq!(refused.to_string(), "data of account 222233334444 belongs to the collector \"us\"");
        assert!(registry.owner(account(here)).is_ok() && registry.owner(account(anywhere)).is_ok());
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
