//! `tenants.yaml`, read strictly, with the place of each mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use tenantscope_model::{AccountId, Region, TenantId};
use tenantscope_wire::document::yaml;

use crate::registry::former::MAX_ALIASES;
use crate::registry::organization::AccountState;
use crate::registry::pooled::{Others, Pooled};
use crate::registry::tenants::{Account, AccountSource, Tenant, Tenants, check_attribute_name};

/// What is wrong with a registry file, and where.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It can't be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It says something that can't be.
    #[error("{path}:{line}:{column}: {message}")]
    Content {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// From 1.
        column: u64,
        /// What is wrong.
        message: String,
    },
}

/// The largest registry file, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// The most attributes of one tenant.
pub(crate) const MAX_ATTRIBUTES: usize = 32;
/// The longest attribute name or value, in bytes.
pub(crate) const MAX_ATTRIBUTE_BYTES: usize = 256;
/// The longest name of a tenant, in bytes.
const MAX_NAME_BYTES: usize = 256;

impl Tenants {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self, RegistryError> {
        let read_error = |source| RegistryError::Read { path: path.to_owned(), source };
        let size_bytes = std::fs::metadata(path).map_err(read_error)?.len();
        if size_bytes > MAX_FILE_BYTES {
            let message = format!("larger than {MAX_FILE_BYTES} bytes");
            return Err(RegistryError::Content { path: path.to_owned(), line: 1, column: 1, message });
        }
        let text = std::fs::read_to_string(path).map_err(read_error)?;
        // As it is while somebody writes it: taken for a registry, it would turn every tenant away.
        if text.trim().is_empty() {
            let message = "the file is empty; a registry without tenants says `tenants: []`".to_owned();
            return Err(RegistryError::Content { path: path.to_owned(), line: 1, column: 1, message });
        }
        Self::parse(path, &text)
    }

    /// Checks a text; `path` is only for the error.
    pub fn parse(path: &Path, text: &str) -> Result<Self, RegistryError> {
        // The defaults would end at about 20,000 tenants; the file's size is the bound that counts.
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_events: 16_000_000, max_nodes: 8_000_000 },
        };
        let document: Document = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let yaml::Mistake { line, column, message, .. } = yaml::mistake(text, &error);
            RegistryError::Content { path: path.to_owned(), line, column, message }
        })?;
        let at_its_place = |(at, message): (Location, String)| {
            let (path, line, column) = (path.to_owned(), at.line(), at.column());
            RegistryError::Content { path, line, column, message }
        };
        let (mut tenants, mut aliases) = (Self::default(), Vec::new());
        for entry in document.tenants {
            let id = entry.id.value.clone();
            aliases.extend(entry.aliases.iter().cloned().map(|alias| (id.clone(), alias)));
            add(&mut tenants, entry).map_err(at_its_place)?;
        }
        for entry in document.pooled {
            add_pooled(&mut tenants, entry).map_err(at_its_place)?;
        }
        // Only now it is known which ids are tenants' own.
        for (id, alias) in aliases {
            add_alias(&mut tenants, id, alias).map_err(at_its_place)?;
        }
        Ok(tenants)
    }
}

fn add(tenants: &mut Tenants, entry: Entry) -> Result<(), (Location, String)> {
    let (id, at) = (entry.id.value, entry.id.referenced);
    if id == TenantId::unassigned() {
        return Err((at, format!("tenant id {id} is kept for accounts that no tenant has")));
    }
    if tenants.get(&id).is_some() {
        return Err((at, format!("tenant {id} is given twice")));
    }
    if entry.name.as_ref().is_some_and(|name| name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control)) {
        return Err((at, format!("the name of tenant {id} is longer than {MAX_NAME_BYTES} bytes, or no line of text")));
    }
    check_attributes(&entry.attributes)?;
    if let Some(past) = entry.aliases.get(MAX_ALIASES) {
        return Err((past.referenced, format!("tenant {id} has more than {MAX_ALIASES} aliases")));
    }
    for account in &entry.accounts {
        if let Some(owner) = tenants.owner(account.value) {
            let message = format!("account {} already belongs to tenant {}", account.value, owner.id);
            return Err((account.referenced, message));
        }
    }
    let mut accounts: Vec<AccountId> = entry.accounts.iter().map(|account| account.value).collect();
    accounts.sort_unstable();
    if let Some(pair) = accounts.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err((at, format!("account {} is given twice for tenant {id}", pair[0])));
    }
    if let Some(foreign) = entry.closing.iter().find(|account| !accounts.contains(&account.value)) {
        let message = format!("account {} closes, but is none of tenant {id}'s accounts", foreign.value);
        return Err((foreign.referenced, message));
    }
    let closing: BTreeSet<AccountId> = entry.closing.iter().map(|account| account.value).collect();
    for account in &accounts {
        let state = if closing.contains(account) { AccountState::PendingClosure } else { AccountState::Active };
        tenants.add_account(Account { state, ..Account::new(*account, AccountSource::File) });
    }
    let (name, attributes, home, regions) = (entry.name, entry.attributes.value, entry.home, entry.regions);
    let aliases = entry.aliases.into_iter().map(|alias| alias.value).collect();
    tenants.add_tenant(Tenant { id, name, accounts, attributes, home, aliases, regions });
    Ok(())
}

fn add_alias(tenants: &mut Tenants, id: TenantId, alias: Spanned<TenantId>) -> Result<(), (Location, String)> {
    let (alias, at) = (alias.value, alias.referenced);
    if alias == TenantId::unassigned() {
        return Err((at, format!("alias {alias} of tenant {id} is kept for accounts that no tenant has")));
    }
    let is_pooled = |alias| tenants.pooled_accounts().any(|(_, pooled)| pooled.tenants.contains(alias));
    if tenants.get(&alias).is_some() || is_pooled(&alias) {
        return Err((at, format!("alias {alias} of tenant {id} is a tenant itself")));
    }
    let current = tenants.current_id(&alias);
    if *current != alias {
        return Err((at, format!("alias {alias} of tenant {id} is already one of tenant {current}")));
    }
    tenants.former.insert(alias, id);
    Ok(())
}

fn add_pooled(tenants: &mut Tenants, entry: PooledEntry) -> Result<(), (Location, String)> {
    for account in &entry.accounts {
        let (account, at) = (account.value, account.referenced);
        if let Some(owner) = tenants.owner(account) {
            return Err((at, format!("account {account} belongs to tenant {}, so it is not pooled", owner.id)));
        }
        if tenants.pooled(account).is_some() {
            return Err((at, format!("pooled account {account} is given twice")));
        }
    }
    let (attribute, at) = (entry.attribute.value, entry.attribute.referenced);
    if attribute.is_empty() || attribute.len() > MAX_ATTRIBUTE_BYTES {
        return Err((at, format!("attribute is empty, or longer than {MAX_ATTRIBUTE_BYTES} bytes")));
    }
    let names = entry.tenants.value;
    if names.is_empty() || names.contains(&TenantId::unassigned()) {
        let message = format!("tenants is empty, or names {}, which is no tenant", TenantId::unassigned());
        return Err((entry.tenants.referenced, message));
    }
    let accounts: Vec<AccountId> = entry.accounts.iter().map(|account| account.value).collect();
    for account in &accounts {
        tenants.add_account(Account::new(*account, AccountSource::File));
    }
    let (attribute, elsewhere) = (attribute.into(), BTreeSet::new());
    tenants.add_pooled(Pooled { accounts, attribute, tenants: names, others: entry.others, elsewhere });
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    tenants: Vec<Entry>,
    #[serde(default)]
    pooled: Vec<PooledEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PooledEntry {
    accounts: Vec<Spanned<AccountId>>,
    #[serde(default = "tenant_attribute")]
    attribute: Spanned<String>,
    tenants: Spanned<BTreeSet<TenantId>>,
    #[serde(default)]
    others: Others,
}

fn tenant_attribute() -> Spanned<String> {
    Spanned::new("tenant.id".to_owned(), Location::UNKNOWN, Location::UNKNOWN)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: Spanned<TenantId>,
    name: Option<String>,
    #[serde(default)]
    accounts: Vec<Spanned<AccountId>>,
    #[serde(default)]
    closing: Vec<Spanned<AccountId>>,
    #[serde(default = "no_attributes")]
    attributes: Spanned<BTreeMap<String, String>>,
    home: Option<String>,
    #[serde(default)]
    aliases: Vec<Spanned<TenantId>>,
    regions: Option<Vec<Region>>,
}

fn no_attributes() -> Spanned<BTreeMap<String, String>> {
    Spanned::new(BTreeMap::new(), Location::UNKNOWN, Location::UNKNOWN)
}

fn check_attributes(attributes: &Spanned<BTreeMap<String, String>>) -> Result<(), (Location, String)> {
    let at = attributes.referenced;
    if attributes.value.len() > MAX_ATTRIBUTES {
        return Err((at, format!("more than {MAX_ATTRIBUTES} attributes")));
    }
    for (name, value) in &attributes.value {
        check_attribute_name(name).map_err(|message| (at, message))?;
        if value.len() > MAX_ATTRIBUTE_BYTES {
            return Err((at, format!("attribute {name:.32?} is longer than {MAX_ATTRIBUTE_BYTES} bytes")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Tenants, String> {
        Tenants::parse(Path::new("tenants.yaml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_that_is_being_written_is_no_registry_without_tenants() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(
            Tenants::read(file.path())
                .unwrap_err()
                .to_string()
                .ends_with(":1:1: the file is empty; a registry without tenants says `tenants: []`")
        );
        std::fs::write(file.path(), "tenants: []\n").unwrap();
        assert_eq!(Tenants::read(file.path()).unwrap().len(), 0);
    }

    #[test]
    fn accounts_find_their_tenant_and_attributes_become_labels() {
        let tenants = parse(
            "tenants:\n  - {id: acme, accounts: [\"111122223333\", \"111122224444\"], attributes: {tier: gold, wave: 1}, home: eu}\n  - {id: beta}\n",
        )
        .unwrap();
        let account = AccountId::try_new("111122224444").unwrap();
        assert_eq!(tenants.owner(account).unwrap().id.as_str(), "acme");
        let info: Vec<String> = tenants.info().map(|labels| labels.to_string()).collect();
        let first = r#"tenantscope_tenant_info{account_id="111122223333", tenant="acme", tier="gold", wave="1"}"#;
        assert_eq!(info[0], first);
        assert_eq!((tenants.len(), tenants.accounts(), info.len()), (2, 2, 2));
    }

    #[test]
    fn an_error_names_file_line_and_column() {
        let twice =
            "tenants:\n  - {id: a, accounts: [\"111122223333\"]}\n  - id: b\n    accounts:\n      - \"111122223333\"\n";
        let error = parse(twice).err().unwrap();
        assert_eq!(error, "tenants.yaml:5:9: account 111122223333 already belongs to tenant a");
        for (wrong, place, says) in [
            ("tenants:\n  - {id: a}\n  - {id: a}\n", ":3:10:", "twice"),
            ("tenants:\n  - id: a|b\n", ":2:9:", "tenant id"),
            ("tenants:\n  - id: a\n    acounts: []\n", ":3:5:", "acounts"),
            ("tenants:\n  - {id: a, accounts: [\"123\"]}\n", ":2:24:", "12 digits"),
            ("tenants:\n  - {id: a, accounts: 3}\n", ":2:23:", "tenants[0].accounts: a list"),
            ("tenants:\n  - id: a\n    attributes: {tenant: b}\n", ":3:17:", "stamped"),
            ("tenants:\n  - id: unassigned\n", ":2:9:", "kept for"),
            ("tenants:\n  - id: a\n    closing: [\"111122223333\"]\n", ":3:15:", "closes, but"),
            ("tenants:\n  - {id: a, aliases: [b]}\n  - {id: b}\n", ":2:23:", "is a tenant itself"),
            ("tenants:\n  - {id: a, aliases: [a]}\n", ":2:23:", "is a tenant itself"),
            ("tenants:\n  - {id: a, aliases: [x]}\n  - {id: b, aliases: [x]}\n", ":3:23:", "already one of tenant a"),
            ("tenants:\n  - {id: a, aliases: [unassigned]}\n", ":2:23:", "kept for"),
            ("tenants:\n  - {id: a, aliases: [a|b]}\n", ":2:23:", "tenant id"),
            (
                "tenants:\n  - {id: a, aliases: [b]}\npooled: [{accounts: [\"111122223333\"], tenants: [b]}]\n",
                ":2:23:",
                "is a tenant itself",
            ),
            ("tenants: [\n", ":1:10: unclosed", ""),
            (
                "tenants: [{id: a, accounts: [\"111122223333\"]}]\npooled:\n  - {accounts: [\"111122223333\"], tenants: [a]}\n",
                ":3:17:",
                "not pooled",
            ),
            ("pooled:\n  - {accounts: [\"111122223333\"], tenants: []}\n", ":2:43:", "is empty"),
        ] {
            let error = parse(wrong).err().unwrap();
            assert!(error.contains(place) && error.contains(says), "{error}");
        }
    }
}
