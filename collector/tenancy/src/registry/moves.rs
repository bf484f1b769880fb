//! Whose each account is and since when, and which went from one tenant to another.
//!
//! What an account sent stays its tenant's of that time, so who looks for it must be told that there was another one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use tenantscope_model::{AccountId, Scope, TenantId};

use crate::audit::AUDIT;
use crate::registry::tenants::Tenants;

/// How many moves are remembered; the audit log has all.
const MAX_MOVES: usize = 1000;
/// How many accounts' tenants are remembered. Those of accounts that are gone are, until there are more: one that goes in
/// one reload and comes to another tenant in the next has moved.
const MAX_OWNED: usize = 200_000;

/// An account that went from one tenant to another. Of tenants outside a reader's scope nothing is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccountMove {
    /// The account.
    pub account: AccountId,
    /// Whose it was, and what it sent until then stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<TenantId>,
    /// Whose it was from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<TenantId>,
    /// When that was noticed, in milliseconds since the epoch.
    pub at_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Owned {
    tenant: TenantId,
    /// 0 where that was before anything was noted.
    since_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Move {
    account: AccountId,
    from: TenantId,
    to: TenantId,
    at_ms: i64,
}

/// What is remembered; part of the ledger's file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Owners {
    owned: BTreeMap<AccountId, Owned>,
    /// The newest is the last.
    moves: VecDeque<Move>,
}

impl Owners {
    /// Notes whose each account is now. Gives back those that moved, and whether anything is other than before.
    pub(crate) fn note(
        &mut self,
        tenants: &Tenants,
        arrived_ms: &BTreeMap<AccountId, i64>,
        now_ms: i64,
    ) -> (BTreeSet<AccountId>, bool) {
        let (mut moved, mut differs) = (BTreeSet::new(), false);
        for account in tenants.all_accounts().map(|account| account.id) {
            let Some(owner) = tenants.owner(account) else { continue };
            let Some(owned) = self.owned.get_mut(&account) else {
                let since_ms = arrived_ms.get(&account).copied().unwrap_or_default();
                self.owned.insert(account, Owned { tenant: owner.id.clone(), since_ms });
                differs = true;
                continue;
            };
            if owned.tenant == owner.id {
                continue;
            }
            differs = true;
            let from = std::mem::replace(&mut owned.tenant, owner.id.clone());
            // The same tenant by another name keeps what it has.
            if owner.aliases.contains(&from) {
                continue;
            }
            owned.since_ms = now_ms;
            tracing::info!(target: AUDIT, %account, %from, to = %owner.id, "account_moved");
            moved.insert(account);
            self.moves.push_back(Move { account, from, to: owner.id.clone(), at_ms: now_ms });
        }
        if self.owned.len() > MAX_OWNED {
            self.owned.retain(|account, _| tenants.account(*account).is_some());
        }
        let past = self.moves.len().saturating_sub(MAX_MOVES);
        self.moves.drain(..past);
        (moved, differs)
    }

    /// Since when an account is its tenant's; `None` where that was before anything was noted.
    pub(crate) fn since_ms(&self, account: AccountId) -> Option<i64> {
        self.owned.get(&account).map(|owned| owned.since_ms).filter(|since_ms| *since_ms > 0)
    }

    /// The moves that a reader may know of, the newest first.
    pub(crate) fn moves(&self, scope: &Scope) -> Vec<AccountMove> {
        let seen = |tenant: &TenantId| scope.allows(Some(tenant)).then(|| tenant.clone());
        let shown = |one: &Move| AccountMove {
            account: one.account,
            from: seen(&one.from),
            to: seen(&one.to),
            at_ms: one.at_ms,
        };
        self.moves.iter().rev().map(shown).filter(|one| one.from.is_some() || one.to.is_some()).collect()
    }

    /// Nothing of a tenant is remembered.
    pub(crate) fn forget(&mut self, tenant: &TenantId) {
        self.owned.retain(|_, owned| owned.tenant != *tenant);
        self.moves.retain(|one| one.from != *tenant && one.to != *tenant);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const NOW_MS: i64 = 1_790_000_000_000;

    fn tenants(text: &str) -> Tenants {
        Tenants::parse(Path::new("tenants.yaml"), text).unwrap()
    }

    fn id(text: &str) -> TenantId {
        TenantId::try_new(text).unwrap()
    }

    #[test]
    fn a_move_is_told_to_each_side_without_the_other() {
        let account = AccountId::try_new("111111111111").unwrap();
        let mut owners = Owners::default();
        let arrived = BTreeMap::from([(account, 0)]);
        let of = |tenant: &str| tenants(&format!("tenants: [{{id: {tenant}, accounts: [\"{account}\"]}}]"));
        assert_eq!(owners.note(&of("a"), &arrived, NOW_MS), ([].into(), true));
        assert_eq!(owners.since_ms(account), None, "it was there before anything was noted");
        // It is gone for a while: it has moved all the same.
        assert_eq!(owners.note(&Tenants::default(), &arrived, NOW_MS + 1), ([].into(), false));
        assert_eq!(owners.note(&of("b"), &arrived, NOW_MS + 2), ([account].into(), true));
        assert_eq!(owners.since_ms(account), Some(NOW_MS + 2));
        let one = |from: Option<&str>, to: Option<&str>| {
            vec![AccountMove { account, from: from.map(id), to: to.map(id), at_ms: NOW_MS + 2 }]
        };
        assert_eq!(owners.moves(&Scope::All), one(Some("a"), Some("b")));
        assert_eq!(owners.moves(&Scope::only(id("a"))), one(Some("a"), None));
        assert_eq!(owners.moves(&Scope::only(id("b"))), one(None, Some("b")));
        assert_eq!(owners.moves(&Scope::only(id("c"))), []);
        owners.forget(&id("a"));
        assert_eq!(owners.moves(&Scope::All), []);
    }

    #[test]
    fn a_renamed_tenants_accounts_have_not_moved() {
        let account = AccountId::try_new("111111111111").unwrap();
        let mut owners = Owners::default();
        let arrived = BTreeMap::from([(account, NOW_MS)]);
        owners.note(&tenants("tenants: [{id: old, accounts: [\"111111111111\"]}]"), &arrived, NOW_MS);
        let renamed = tenants("tenants: [{id: new, accounts: [\"111111111111\"], aliases: [old]}]");
        assert_eq!(owners.note(&renamed, &arrived, NOW_MS + 5), ([].into(), true));
        assert_eq!((owners.since_ms(account), owners.moves(&Scope::All)), (Some(NOW_MS), vec![]));
    }

    #[test]
    fn moves_are_bounded() {
        let mut owners = Owners::default();
        let of = |tenant: &str| tenants(&format!("tenants: [{{id: {tenant}, accounts: [\"111111111111\"]}}]"));
        let (a, b) = (of("a"), of("b"));
        for turn in 0..2100 {
            owners.note(if turn % 2 == 0 { &a } else { &b }, &BTreeMap::new(), turn);
        }
        assert_eq!(owners.moves(&Scope::All).len(), MAX_MOVES);
        assert_eq!(owners.moves(&Scope::All)[0].at_ms, 2099);
    }
}
