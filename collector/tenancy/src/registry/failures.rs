//! Sources that agents said they can't read. Not kept over a restart: an agent says it again with its next token.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use tenantscope_model::{AccountId, Signal};
use tenantscope_wire::Name;

/// The most accounts of which one is remembered.
const MAX_ACCOUNTS: usize = 50_000;
/// The most agents of one account.
const MAX_AGENTS: usize = 64;
/// An agent that did not say it again for so long says nothing.
const FORGOTTEN_AFTER_MS: i64 = 3_600_000;

/// By account and agent.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<BTreeMap<AccountId, BTreeMap<Name, Said>>>);

/// What fails, and when that was said.
#[derive(Debug)]
struct Said {
    reason: String,
    at_ms: i64,
}

impl Failures {
    pub(crate) fn note(&self, account: AccountId, agent: &Name, reason: Option<String>, now_ms: i64) {
        let mut failures = self.0.lock();
        let Some(reason) = reason else {
            if let Some(of_account) = failures.get_mut(&account) {
                of_account.remove(agent);
            }
            return;
        };
        if failures.len() >= MAX_ACCOUNTS && !failures.contains_key(&account) {
            return;
        }
        let agents = failures.entry(account).or_default();
        if agents.len() < MAX_AGENTS || agents.contains_key(agent) {
            agents.insert(agent.clone(), Said { reason, at_ms: now_ms });
        }
    }

    /// What was said of these while they were another tenant's is nothing that this one is told.
    pub(crate) fn forget(&self, accounts: &BTreeSet<AccountId>) {
        self.0.lock().retain(|account, _| !accounts.contains(account));
    }

    pub(crate) fn forget_old(&self, now_ms: i64) {
        self.0.lock().retain(|_, agents| {
            agents.retain(|_, said| now_ms.saturating_sub(said.at_ms) < FORGOTTEN_AFTER_MS);
            !agents.is_empty()
        });
    }

    /// What fails of an account, one of several.
    pub(crate) fn of(&self, account: AccountId) -> Option<String> {
        self.0.lock().get(&account)?.values().next().map(|said| said.reason.clone())
    }
}

/// The signal of the source that a reason begins with; of all signals, where that is none that we know.
pub(crate) fn is_about(reason: &str, signal: Signal) -> bool {
    match reason.split([' ', ':']).next() {
        Some("cloudwatch") => signal == Signal::Metrics,
        Some("logs") => signal == Signal::Logs,
        Some("xray") => signal == Signal::Spans,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use tenantscope_model::{Scope, TenantId};

    use super::*;
    use crate::{CoverageState, Registry, RegistryConfig};

    const NOW_MS: i64 = 1_790_000_000_000;

    #[test]
    fn what_an_agent_of_a_shared_account_says_is_not_told_to_one_of_those_who_share_it() {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"{tenants: [{id: a, accounts: ["111111111111"]}], pooled: [{accounts: ["666666666666"], tenants: [a, b]}]}"#;
        std::fs::write(dir.path().join("tenants.yaml"), text).unwrap();
        let registry = Registry::open(&RegistryConfig::of_file("tenants.yaml"), dir.path()).unwrap();
        for account in ["111111111111", "666666666666"] {
            let account = AccountId::try_new(account).unwrap();
            registry.contacted(account, NOW_MS);
            let reason = "logs in eu-west-1: no access to log-group:/b/checkout".to_owned();
            registry.source_failing(account, &Name::try_new("agent").unwrap(), Some(reason), NOW_MS);
        }
        let failing = |scope: &Scope| {
            let covered = registry.coverage(&[], scope, NOW_MS);
            assert!(covered.iter().all(|one| one.state == CoverageState::Failing));
            covered.iter().map(|one| one.failing.is_some()).collect::<Vec<_>>()
        };
        assert_eq!(failing(&Scope::All), [true, true, true]);
        assert_eq!(failing(&Scope::only(TenantId::try_new("a").unwrap())), [true, false]);
    }
}
