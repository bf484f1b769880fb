//! What is taken from an account at once, whatever its credentials say.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tenantscope_model::AccountId;

use crate::config::RevokedConfig;

/// The accounts that have lost their credentials, or those that were given before a time.
#[derive(Debug, Default)]
pub(crate) struct Revoked(HashMap<AccountId, Since>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    Always,
    Before { time_ms: i64 },
}

/// What of an account is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IsRevoked {
    /// Everything.
    Account,
    /// What was given out when this was; a new proof gives another.
    Credential,
}

impl Revoked {
    pub(crate) fn new(configs: &[RevokedConfig]) -> Self {
        let mut revoked = HashMap::new();
        for config in configs {
            let since = config.before_ms.map_or(Since::Always, |time_ms| Since::Before { time_ms });
            let entry = revoked.entry(config.account).or_insert(since);
            // The stricter of two.
            *entry = match (*entry, since) {
                (Since::Before { time_ms: a }, Since::Before { time_ms: b }) => Since::Before { time_ms: a.max(b) },
                _ => Since::Always,
            };
        }
        Self(revoked)
    }

    /// Checks a credential that was given out then, where that is known.
    pub(crate) fn check(&self, account: AccountId, given_at_ms: Option<i64>) -> Result<(), IsRevoked> {
        match self.0.get(&account) {
            None => Ok(()),
            Some(Since::Always) => Err(IsRevoked::Account),
            Some(Since::Before { time_ms }) if given_at_ms.is_some_and(|at_ms| at_ms < *time_ms) => {
                Err(IsRevoked::Credential)
            }
            Some(Since::Before { .. }) => Ok(()),
        }
    }

    /// Those of them for which a relay may still send with a credential that was given out then. One that ended for some of
    /// them ends as a whole: a new one counts for all, while data without it would be lost.
    pub(crate) fn without(
        &self,
        accounts: &Arc<BTreeSet<AccountId>>,
        given_at_ms: Option<i64>,
    ) -> Result<Arc<BTreeSet<AccountId>>, IsRevoked> {
        let theirs = self.0.keys().filter(|account| accounts.contains(account));
        let mut gone = BTreeSet::new();
        for account in theirs {
            match self.check(*account, given_at_ms) {
                Ok(()) => {}
                Err(IsRevoked::Account) => drop(gone.insert(*account)),
                Err(IsRevoked::Credential) => return Err(IsRevoked::Credential),
            }
        }
        Ok(if gone.is_empty() { Arc::clone(accounts) } else { Arc::new(accounts.difference(&gone).copied().collect()) })
    }
}
