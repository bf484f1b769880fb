//! An organization's accounts as they were read last: what the registry is made of, and what is kept on disk.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tenantscope_model::AccountId;

use crate::registry::kept::{self, KeptError};

/// What stands in front of the copy on disk; FORMAT.md describes it.
const MAGIC: &str = "TSORGANIZATION1";

/// Where an account stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountState {
    /// At work, or on its way to that.
    #[default]
    Active,
    /// Whoever signed up for it has not finished that, so nobody can use it yet.
    PendingActivation,
    /// Its closing was asked for.
    PendingClosure,
    /// AWS suspended it, which is also what a closed account is for its first 90 days.
    Suspended,
    /// It is closed.
    Closed,
}

impl AccountState {
    /// Its name, as in Organizations, in small letters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::PendingActivation => "pending_activation",
            Self::PendingClosure => "pending_closure",
            Self::Suspended => "suspended",
            Self::Closed => "closed",
        }
    }

    /// Whether it is on its way out, so that nobody waits for its data.
    pub fn is_closing(self) -> bool {
        self > Self::PendingActivation
    }
}

/// An account of the organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OrganizationAccount {
    /// Its name, which may change.
    pub(crate) name: String,
    pub(crate) state: AccountState,
    /// The path of its organizational unit: `/`, `/Tenants/Gold`.
    pub(crate) unit: String,
    pub(crate) tags: BTreeMap<String, String>,
    /// When the tags were read, in milliseconds since the epoch.
    pub(crate) tags_read_ms: i64,
    /// When it came to the organization, in milliseconds since the epoch.
    pub(crate) joined_ms: Option<i64>,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Organization {
    /// Whether every account was seen once; until then an account that is missing here may be one of it.
    pub(crate) complete: bool,
    /// When it was last read to its end, in milliseconds since the epoch.
    pub(crate) read_ms: Option<i64>,
    pub(crate) accounts: BTreeMap<AccountId, OrganizationAccount>,
}

impl Organization {
    /// Reads the copy on disk. One that can't be used is none: it is read from AWS again.
    pub(crate) fn load(path: &Path) -> Option<Self> {
        kept::read(path, MAGIC).unwrap_or_else(|error| {
            tracing::error!(path = %path.display(), %error, "the organization's copy can't be used");
            None
        })
    }

    /// Writes the copy. Blocks.
    pub(crate) fn store(&self, path: &Path) -> Result<(), KeptError> {
        kept::write(path, MAGIC, self)
    }

    /// Whether the registry made of the other would be another.
    pub(crate) fn differs(&self, other: &Self) -> bool {
        let plain = |one: &OrganizationAccount| OrganizationAccount { tags_read_ms: 0, ..one.clone() };
        self.complete != other.complete
            || self.accounts.len() != other.accounts.len()
            || self
                .accounts
                .iter()
                .zip(&other.accounts)
                .any(|((id, one), (other_id, other))| id != other_id || one != other && plain(one) != plain(other))
    }
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An account named `name`, with tags.
    pub(crate) fn account(name: &str, unit: &str, tags: &[(&str, &str)]) -> OrganizationAccount {
        OrganizationAccount {
            name: name.to_owned(),
            state: AccountState::Active,
            unit: unit.to_owned(),
            tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            tags_read_ms: 1,
            joined_ms: Some(1_790_000_000_000),
        }
    }

    /// A complete organization.
    pub(crate) fn organization(accounts: &[(&str, OrganizationAccount)]) -> Organization {
        let accounts = accounts.iter().map(|(id, account)| (AccountId::try_new(id).unwrap(), account.clone()));
        Organization { complete: true, read_ms: Some(1), accounts: accounts.collect() }
    }

    #[test]
    fn the_copy_of_the_first_version_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("organization");
        std::fs::write(&path, include_bytes!("../../tests/kept/organization-1")).unwrap();
        let expected = organization(&[("111122223333", account("Acme", "/Tenants", &[("tier", "gold")]))]);
        assert_eq!(Organization::load(&path), Some(expected.clone()));
        expected.store(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), include_bytes!("../../tests/kept/organization-1"));
    }

    #[test]
    fn when_tags_were_read_makes_no_other_registry() {
        let one = organization(&[("111122223333", account("Acme", "/", &[]))]);
        let mut other = one.clone();
        other.accounts.values_mut().for_each(|account| account.tags_read_ms = 99);
        assert!(!one.differs(&other));
        other.accounts.values_mut().for_each(|account| account.state = AccountState::Suspended);
        assert!(one.differs(&other));
    }
}
