//! One reading of an organization, while it goes on: the tree's units, a list's pages, what was found so far.

use std::collections::{BTreeMap, BTreeSet};

use tenantscope_model::AccountId;
use tokio::time::Instant;

use crate::registry::organization::{Organization, OrganizationAccount};

/// The most pages of one list.
const MAX_PAGES: usize = 10_000;

/// A root or organizational unit.
pub(crate) struct Unit {
    pub(crate) id: String,
    pub(crate) path: String,
}

impl Unit {
    pub(crate) fn root(id: &str) -> Self {
        Self { id: id.to_owned(), path: "/".to_owned() }
    }

    pub(crate) fn child(&self, id: &str, name: &str) -> Self {
        let parent = self.path.trim_end_matches('/');
        Self { id: id.to_owned(), path: format!("{parent}/{name}") }
    }
}

/// What one reading found so far, beside what is known from the one before.
pub(crate) struct Reading {
    pub(crate) known: Organization,
    pub(crate) found: BTreeMap<AccountId, OrganizationAccount>,
    /// Accounts that appeared and are not in force yet, and when they are to be.
    pub(crate) news: usize,
    pub(crate) put_due: Option<Instant>,
}

impl Reading {
    pub(crate) fn after(known: Organization) -> Self {
        Self { known, found: BTreeMap::new(), news: 0, put_due: None }
    }

    /// Known accounts that were not found.
    pub(crate) fn missing(&self) -> BTreeSet<AccountId> {
        self.known.accounts.keys().filter(|id| !self.found.contains_key(*id)).copied().collect()
    }

    /// Before the end nothing is gone.
    pub(crate) fn so_far(&self) -> Organization {
        let mut organization = self.known.clone();
        organization.accounts.extend(self.found.iter().map(|(id, account)| (*id, account.clone())));
        organization
    }

    /// At the end an account is gone if it was missing in the reading before as well.
    pub(crate) fn whole(self, missing_before: &BTreeSet<AccountId>, now_ms: i64) -> Organization {
        let mut accounts = self.found;
        for (id, account) in self.known.accounts {
            if !missing_before.contains(&id) {
                accounts.entry(id).or_insert(account);
            }
        }
        Organization { complete: true, read_ms: Some(now_ms), accounts }
    }
}

/// A list does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a list has more pages than are taken")]
pub(crate) struct Endless;

/// The pages of one list.
#[derive(Default)]
pub(crate) struct Pages {
    turned: usize,
    token: Option<String>,
    ended: bool,
}

impl Pages {
    /// The token of the next page; the first has none.
    pub(crate) fn next(&self) -> Result<Option<Option<String>>, Endless> {
        if self.turned >= MAX_PAGES {
            return Err(Endless);
        }
        Ok((!self.ended).then(|| self.token.clone()))
    }

    pub(crate) fn turn(&mut self, next: Option<&str>) {
        self.turned += 1;
        self.token = next.filter(|token| !token.is_empty()).map(str::to_owned);
        self.ended = self.token.is_none();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::organization::tests::{account, organization};

    fn id(text: &str) -> AccountId {
        AccountId::try_new(text).unwrap()
    }

    #[test]
    fn an_account_is_gone_when_two_readings_miss_it() {
        let (a, b) = ("111111111111", "222222222222");
        let known = organization(&[(a, account("a", "/", &[])), (b, account("b", "/", &[]))]);
        let read = |known: Organization, before: &BTreeSet<AccountId>| {
            let mut reading = Reading::after(known);
            reading.found.insert(id(a), account("a", "/x", &[]));
            assert!(reading.so_far().accounts.contains_key(&id(b)), "nothing goes before the end");
            let missing = reading.missing();
            (reading.whole(before, 5), missing)
        };
        let (once, missing) = read(known, &BTreeSet::new());
        assert!(once.accounts.contains_key(&id(b)) && once.accounts[&id(a)].unit == "/x");
        let (twice, _) = read(once, &missing);
        assert!(!twice.accounts.contains_key(&id(b)));
    }

    #[test]
    fn pages_end_and_units_have_paths() {
        let mut pages = Pages::default();
        assert_eq!(pages.next().unwrap(), Some(None));
        pages.turn(Some("t"));
        assert_eq!(pages.next().unwrap(), Some(Some("t".into())));
        pages.turn(Some(""));
        assert_eq!(pages.next().unwrap(), None);
        pages.turned = MAX_PAGES;
        assert!(pages.next().is_err(), "a list without end");
        assert_eq!(Unit::root("r").child("x", "Tenants").child("y", "Gold").path, "/Tenants/Gold");
    }
}
