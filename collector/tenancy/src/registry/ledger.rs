//! What the registry remembers of accounts beside what its sources say: since when it knows them, when an agent last
//! showed itself, and what is held in quarantine of accounts that no tenant has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tenantscope_model::{AccountId, Scope, TenantId};

use crate::audit::AUDIT;
use crate::config::QuarantineConfig;
use crate::registry::kept;
use crate::registry::moves::{AccountMove, Owners};
use crate::registry::tenants::Tenants;

/// What stands in front of the file; FORMAT.md describes it.
const MAGIC: &str = "TSACCOUNTS1";
const DAY_MS: i64 = 24 * 3_600_000;
/// One account gets at most this part of what is held on a day, so that one that floods leaves room for the others.
const SHARE_OF_ONE: u64 = 4;
/// An account of which nothing came for so long leaves its place in quarantine to others.
const FORGOTTEN_AFTER_MS: i64 = 30 * DAY_MS;

/// An account whose data is held because no tenant has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Records held since the account appeared.
    pub records: u64,
    /// Bytes of the bodies in which they came.
    pub bytes: u64,
    /// Batches and resources that were refused since, because the quarantine is full.
    pub refused: u64,
    /// When the first of them came, in milliseconds since the epoch.
    pub first_ms: i64,
    /// When the last of them came, in milliseconds since the epoch.
    pub last_ms: i64,
    /// What of it came on its last day.
    last_day: Day,
}

/// What came on one day, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Day {
    day: i64,
    records: u64,
    bytes: u64,
}

impl Day {
    fn at(self, now_ms: i64) -> Self {
        let day = now_ms.div_euclid(DAY_MS);
        if self.day == day { self } else { Self { day, ..Self::default() } }
    }

    fn is_below(self, limits: &QuarantineConfig, share: u64) -> bool {
        self.records < limits.max_records_per_day / share && self.bytes < limits.max_bytes_per_day.0 / share
    }

    fn add(&mut self, records: u64, bytes: u64) {
        self.records = self.records.saturating_add(records);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// The file's content.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Content {
    /// Whether the accounts that were there at the very first start were noted. Those did not come just now, so they need
    /// not settle in.
    begun: bool,
    /// When an account first stood in the registry; 0 for one that was there at the very first start.
    arrived_ms: BTreeMap<AccountId, i64>,
    /// When an agent of it was last given a token.
    contact_ms: BTreeMap<AccountId, i64>,
    quarantined: BTreeMap<AccountId, Quarantined>,
    today: Day,
    /// Whose accounts are; releases before did not write it.
    #[serde(default)]
    owners: Owners,
}

/// Shared by all who ask; written down by [`Ledger::keep`].
#[derive(Debug)]
pub(crate) struct Ledger {
    path: Option<PathBuf>,
    now: Mutex<(Content, Changed)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Changed {
    Yes,
    No,
}

impl Ledger {
    /// Reads what was kept. What can't be read is lost: accounts settle again, and the day's quarantine begins anew.
    pub(crate) fn open(path: Option<PathBuf>) -> Self {
        let read = path.as_deref().map_or(Ok(None), |path| kept::read(path, MAGIC));
        let content = read.unwrap_or_else(|error| {
            tracing::error!(%error, "what was known of accounts can't be read");
            None
        });
        Self { path, now: Mutex::new((content.unwrap_or_default(), Changed::No)) }
    }

    /// Notes which accounts are there, forgets those that are gone, lets go of those that a tenant has now, and writes down
    /// what changed. Blocks. The accounts that moved from one tenant to another since.
    pub(crate) fn keep(&self, tenants: &Tenants, now_ms: i64) -> BTreeSet<AccountId> {
        let (content, moved) = {
            let mut now = self.now.lock();
            let (content, changed) = &mut *now;
            let arrived_ms = if content.begun { now_ms } else { 0 };
            if !content.begun {
                content.begun = true;
                *changed = Changed::Yes;
            }
            for account in tenants.all_accounts() {
                content.arrived_ms.entry(account.id).or_insert_with(|| {
                    *changed = Changed::Yes;
                    arrived_ms
                });
            }
            let (moved, differs) = content.owners.note(tenants, &content.arrived_ms, now_ms);
            if differs {
                *changed = Changed::Yes;
            }
            let known = |account: &AccountId| tenants.account(*account).is_some();
            let before = (content.arrived_ms.len(), content.contact_ms.len(), content.quarantined.len());
            content.arrived_ms.retain(|account, _| known(account));
            // When an account's agent showed itself while it was another tenant's is nothing that this one is told.
            content.contact_ms.retain(|account, _| known(account) && !moved.contains(account));
            content.quarantined.retain(|account, held| {
                let owner = tenants.owner(*account);
                if let Some(owner) = owner {
                    let (records, bytes) = (held.records, held.bytes);
                    tracing::info!(target: AUDIT, %account, to = %owner.id, records, bytes, "quarantine_released");
                }
                owner.is_none() && now_ms.saturating_sub(held.last_ms) < FORGOTTEN_AFTER_MS
            });
            if before != (content.arrived_ms.len(), content.contact_ms.len(), content.quarantined.len()) {
                *changed = Changed::Yes;
            }
            if *changed == Changed::No {
                return moved;
            }
            *changed = Changed::No;
            (content.clone(), moved)
        };
        let written = self.path.as_deref().map_or(Ok(()), |path| kept::write(path, MAGIC, &content));
        if let Err(error) = written {
            self.now.lock().1 = Changed::Yes;
            tracing::error!(%error, "what is known of accounts could not be written, trying again");
        }
        moved
    }

    /// An agent of the account was given a token.
    pub(crate) fn contacted(&self, account: AccountId, now_ms: i64) {
        let mut now = self.now.lock();
        let last_ms = now.0.contact_ms.entry(account).or_insert(now_ms);
        *last_ms = now_ms.max(*last_ms);
        now.1 = Changed::Yes;
    }

    /// Since when the account is in the registry, or is its tenant's, and when an agent of it last showed itself. Before the
    /// accounts of the very first start were noted (an organization that was never read may take long), none is new.
    pub(crate) fn times(&self, account: AccountId) -> (Option<i64>, Option<i64>) {
        let now = self.now.lock();
        let arrived_ms = if now.0.begun { now.0.arrived_ms.get(&account).copied() } else { Some(0) };
        let arrived_ms = arrived_ms.map(|at_ms| at_ms.max(now.0.owners.since_ms(account).unwrap_or_default()));
        (arrived_ms, now.0.contact_ms.get(&account).copied())
    }

    /// The moves of accounts from one tenant to another that a reader may know of, the newest first.
    pub(crate) fn moves(&self, scope: &Scope) -> Vec<AccountMove> {
        self.now.lock().0.owners.moves(scope)
    }

    /// Nothing of a tenant is remembered; of the one of unknown accounts, nothing that is held in quarantine.
    pub(crate) fn forget(&self, tenant: &TenantId) {
        let mut now = self.now.lock();
        now.0.owners.forget(tenant);
        if *tenant == TenantId::unassigned() {
            now.0.quarantined.clear();
        }
        now.1 = Changed::Yes;
    }

    /// Whether more of the account may be held today. A refusal is counted.
    pub(crate) fn may_hold(&self, account: AccountId, limits: &QuarantineConfig, now_ms: i64) -> bool {
        let mut now = self.now.lock();
        let content = &mut now.0;
        let room = content.today.at(now_ms).is_below(limits, 1);
        match content.quarantined.get_mut(&account) {
            None => room && content.quarantined.len() < limits.max_accounts,
            Some(held) => {
                let may = room && held.last_day.at(now_ms).is_below(limits, SHARE_OF_ONE);
                held.refused += u64::from(!may);
                may
            }
        }
    }

    /// So much of the account is held.
    pub(crate) fn hold(&self, account: AccountId, records: u64, bytes: u64, now_ms: i64) {
        let mut now = self.now.lock();
        let (content, changed) = &mut *now;
        content.today = content.today.at(now_ms);
        content.today.add(records, bytes);
        let held = content.quarantined.entry(account).or_insert_with(|| Quarantined {
            records: 0,
            bytes: 0,
            refused: 0,
            first_ms: now_ms,
            last_ms: now_ms,
            last_day: Day::default(),
        });
        held.records = held.records.saturating_add(records);
        held.bytes = held.bytes.saturating_add(bytes);
        held.last_ms = now_ms.max(held.last_ms);
        held.last_day = held.last_day.at(now_ms);
        held.last_day.add(records, bytes);
        *changed = Changed::Yes;
    }

    /// The accounts in quarantine.
    pub(crate) fn quarantined(&self) -> BTreeMap<AccountId, Quarantined> {
        self.now.lock().0.quarantined.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const NOW_MS: i64 = 1_790_000_000_000;

    fn id(text: &str) -> AccountId {
        AccountId::try_new(text).unwrap()
    }

    fn tenants(text: &str) -> Tenants {
        Tenants::parse(Path::new("tenants.yaml"), text).unwrap()
    }

    #[test]
    fn the_quarantine_is_bounded_and_the_next_day_begins_anew() {
        let ledger = Ledger::open(None);
        let limits: QuarantineConfig =
            serde_saphyr::from_str("{max_accounts: 2, max_records_per_day: 100, max_bytes_per_day: 1MiB}").unwrap();
        let (a, b, c) = (id("111111111111"), id("222222222222"), id("333333333333"));
        assert!(ledger.may_hold(a, &limits, NOW_MS));
        ledger.hold(a, 25, 10, NOW_MS);
        assert!(!ledger.may_hold(a, &limits, NOW_MS), "a quarter of the day's is one account's");
        ledger.hold(b, 1, 1 << 18, NOW_MS);
        assert!(!ledger.may_hold(b, &limits, NOW_MS), "bytes count as well");
        assert!(!ledger.may_hold(c, &limits, NOW_MS), "no more accounts");
        assert!(ledger.may_hold(a, &limits, NOW_MS + DAY_MS));
        let held = ledger.quarantined();
        assert_eq!((held[&a].records, held[&a].refused, held.len()), (25, 1, 2));
    }

    #[test]
    fn what_is_held_of_unknown_accounts_goes_with_their_tenant() {
        let ledger = Ledger::open(None);
        ledger.hold(id("111111111111"), 25, 10, NOW_MS);
        ledger.forget(&TenantId::try_new("acme").unwrap());
        assert_eq!(ledger.quarantined().len(), 1);
        ledger.forget(&TenantId::unassigned());
        assert!(ledger.quarantined().is_empty());
    }

    #[test]
    fn what_is_known_survives_and_a_tenant_releases_its_account() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("accounts");
        let ledger = Ledger::open(Some(path.clone()));
        ledger.keep(&Tenants::default(), NOW_MS - 1);
        let (a, b) = (id("111111111111"), id("222222222222"));
        let first = tenants("tenants: [{id: x, accounts: [\"111111111111\"]}]");
        ledger.hold(b, 5, 50, NOW_MS);
        ledger.keep(&first, NOW_MS);
        ledger.contacted(a, NOW_MS + 5);
        ledger.keep(&first, NOW_MS + 10);

        let again = Ledger::open(Some(path));
        assert_eq!(again.times(a), (Some(NOW_MS), Some(NOW_MS + 5)));
        assert_eq!(again.quarantined()[&b].records, 5);
        again.keep(&tenants("tenants: [{id: x, accounts: [\"222222222222\"]}]"), NOW_MS + 20);
        assert!(again.quarantined().is_empty());
        assert_eq!((again.times(a), again.times(b)), ((None, None), (Some(NOW_MS + 20), None)));
    }

    #[test]
    fn a_moved_account_settles_anew_and_its_agents_last_sign_is_not_told() {
        let ledger = Ledger::open(None);
        let (account, of) = (id("111111111111"), |tenant: &str| {
            tenants(&format!("tenants: [{{id: {tenant}, accounts: [\"111111111111\"]}}]"))
        });
        ledger.keep(&of("a"), NOW_MS);
        ledger.contacted(account, NOW_MS + 1);
        ledger.keep(&of("b"), NOW_MS + 5);
        assert_eq!(ledger.times(account), (Some(NOW_MS + 5), None));
        assert_eq!(ledger.moves(&Scope::All).len(), 1);
    }

    #[test]
    fn a_stranger_that_went_away_leaves_its_place_in_quarantine() {
        let ledger = Ledger::open(None);
        ledger.hold(id("111111111111"), 1, 1, NOW_MS);
        ledger.hold(id("222222222222"), 1, 1, NOW_MS + 20 * DAY_MS);
        ledger.keep(&Tenants::default(), NOW_MS + 31 * DAY_MS);
        assert_eq!(ledger.quarantined().keys().copied().collect::<Vec<_>>(), [id("222222222222")]);
    }

    #[test]
    fn what_the_release_before_wrote_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("accounts");
        std::fs::write(&path, include_bytes!("../../tests/kept/accounts-1")).unwrap();
        let ledger = Ledger::open(Some(path));
        let account = id("111111111111");
        assert_eq!(ledger.times(account), (Some(NOW_MS), Some(NOW_MS + 5)));
        assert_eq!(ledger.quarantined()[&id("222222222222")].records, 5);
        let now = tenants("tenants: [{id: x, accounts: [\"111111111111\"]}]");
        ledger.keep(&now, NOW_MS + 10);
        assert_eq!((ledger.times(account).0, ledger.moves(&Scope::All)), (Some(NOW_MS), vec![]));
    }

    #[test]
    fn accounts_of_the_very_first_start_are_not_new() {
        let ledger = Ledger::open(None);
        assert_eq!(ledger.times(id("111111111111")).0, Some(0), "nor are they before they were noted");
        ledger.keep(&tenants("tenants: [{id: x, accounts: [\"111111111111\"]}]"), NOW_MS);
        ledger.keep(&tenants("tenants: [{id: x, accounts: [\"111111111111\", \"222222222222\"]}]"), NOW_MS + 1);
        let times = ["111111111111", "222222222222"].map(|account| ledger.times(id(account)).0);
        assert_eq!(times, [Some(0), Some(NOW_MS + 1)]);
    }
}
