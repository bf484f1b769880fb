//! Which accounts of the registry report: all of them, against who does.
//!
//! An account whose agent shows itself (by data of any signal, or by taking a token) and that has no data of a signal is
//! *idle* there, or *failing* where the agent says that it can't read it; one whose agent shows itself no more is *silent*; one of which nothing was ever heard was *never*
//! onboarded. While an account settles in, and once it is on its way out, nobody is to be woken for it: then it is
//! *settling* or *closing* wherever it would be silent or never onboarded.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use tenantscope_model::{AccountId, Seen, Signal, TenantId};

use crate::config::CoverageConfig;
use crate::registry::failures::{Failures, is_about};
use crate::registry::ledger::Ledger;
use crate::registry::organization::AccountState;
use crate::registry::tenants::Tenants;

/// The name of the series that says how an account reports.
pub const TENANT_COVERAGE: &str = "tenantscope_tenant_coverage";

/// How an account reports, or one of its signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CoverageState {
    /// Nothing was ever heard of it.
    Never,
    /// Its agent was heard of before, and is not any more.
    Silent,
    /// Its agent shows itself, and says that it can't read what it is to read.
    Failing,
    /// It would be silent or never, but came only just now.
    Settling,
    /// It would be silent or never, but is on its way out.
    Closing,
    /// Its agent shows itself, and has nothing.
    Idle,
    /// Its data comes.
    Reporting,
}

impl CoverageState {
    /// All of them, the worst first.
    pub const ALL: [Self; 7] =
        [Self::Never, Self::Silent, Self::Failing, Self::Settling, Self::Closing, Self::Idle, Self::Reporting];

    /// A fixed word for labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Silent => "silent",
            Self::Failing => "failing",
            Self::Settling => "settling",
            Self::Closing => "closing",
            Self::Idle => "idle",
            Self::Reporting => "reporting",
        }
    }
}

/// How one account of one tenant reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccountCoverage {
    /// The account.
    pub account: AccountId,
    /// Its name in the organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_name: Option<String>,
    /// The tenant; a pooled account is there once for each of its tenants.
    pub tenant: TenantId,
    /// The best that any of its signals is, but failing where one fails and none reports.
    pub state: CoverageState,
    /// What its agent can't read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
    /// Where it stands in its life.
    pub account_state: AccountState,
    /// Since when the registry has it, in milliseconds since the epoch; absent where that was before the first start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrived_ms: Option<i64>,
    /// When its agent last showed itself, in milliseconds since the epoch: for a silent one, since when it is silent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_contact_ms: Option<i64>,
    /// Each signal.
    pub signals: BTreeMap<Signal, SignalCoverage>,
}

/// How one signal of an account comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SignalCoverage {
    /// How it is.
    pub state: CoverageState,
    /// When data last came, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_ms: Option<i64>,
}

/// All accounts of the registry, by account, then by tenant; `seen` is who has data.
pub(crate) fn coverage(
    tenants: &Tenants,
    (ledger, failures): (&Ledger, &Failures),
    seen: &[Seen],
    limits: &CoverageConfig,
    now_ms: i64,
) -> Vec<AccountCoverage> {
    let mut last: HashMap<(AccountId, &TenantId), BTreeMap<Signal, i64>> = HashMap::new();
    for seen in seen {
        let Some(account) = seen.account else { continue };
        let signal = last
            .entry((account, tenants.current_id(&seen.tenant)))
            .or_default()
            .entry(seen.signal)
            .or_insert(seen.last_ms);
        *signal = seen.last_ms.max(*signal);
    }
    let none = BTreeMap::new();
    let mut covered = Vec::new();
    for account in tenants.all_accounts() {
        let owners: Vec<&TenantId> = match (tenants.owner(account.id), tenants.pooled(account.id)) {
            (Some(tenant), _) => vec![&tenant.id],
            (None, Some(pooled)) => pooled.tenants.iter().collect(),
            (None, None) => continue,
        };
        let (arrived_ms, token_ms) = ledger.times(account.id);
        let failing = failures.of(account.id);
        for tenant in owners {
            let data = last.get(&(account.id, tenant)).unwrap_or(&none);
            let contact_ms = data.values().copied().chain(token_ms).max();
            let quiet = quiet_state(account.state, arrived_ms, limits, now_ms);
            let judge = Judge { contact_ms, quiet, silent_after_ms: millis(limits.silent_after.0), now_ms };
            let signal = |signal| {
                let is_failing = failing.as_ref().is_some_and(|reason| is_about(reason, signal));
                let last_ms = data.get(&signal).copied();
                (signal, SignalCoverage { state: judge.state(last_ms, is_failing), last_ms })
            };
            let signals: BTreeMap<Signal, SignalCoverage> = Signal::ALL.into_iter().map(signal).collect();
            let is_failing = signals.values().any(|signal| signal.state == CoverageState::Failing);
            let state = match signals.values().map(|signal| signal.state).max() {
                Some(CoverageState::Idle) if is_failing => CoverageState::Failing,
                best => best.unwrap_or(CoverageState::Never),
            };
            covered.push(AccountCoverage {
                account: account.id,
                account_name: account.name.clone(),
                tenant: tenant.clone(),
                state,
                failing: failing.clone(),
                account_state: account.state,
                arrived_ms: arrived_ms.filter(|at_ms| *at_ms > 0),
                last_contact_ms: contact_ms,
                signals,
            });
        }
    }
    covered
}

/// What an account is instead of silent or never onboarded, where nobody is to be woken for it.
pub(crate) fn quiet_state(
    state: AccountState,
    arrived_ms: Option<i64>,
    limits: &CoverageConfig,
    now_ms: i64,
) -> Option<CoverageState> {
    // One that was not noted yet came just now.
    let age_ms = arrived_ms.map_or(0, |arrived_ms| now_ms.saturating_sub(arrived_ms));
    if state.is_closing() {
        Some(CoverageState::Closing)
    } else if state == AccountState::PendingActivation || age_ms < millis(limits.settle.0) {
        Some(CoverageState::Settling)
    } else {
        None
    }
}

fn millis(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

struct Judge {
    contact_ms: Option<i64>,
    quiet: Option<CoverageState>,
    silent_after_ms: i64,
    now_ms: i64,
}

impl Judge {
    fn state(&self, last_ms: Option<i64>, is_failing: bool) -> CoverageState {
        let is_fresh = |at_ms: i64| self.now_ms.saturating_sub(at_ms) <= self.silent_after_ms;
        match (last_ms, self.contact_ms) {
            (Some(last_ms), _) if is_fresh(last_ms) => CoverageState::Reporting,
            (_, Some(contact_ms)) if is_fresh(contact_ms) && is_failing => self.quiet.unwrap_or(CoverageState::Failing),
            (_, Some(contact_ms)) if is_fresh(contact_ms) => CoverageState::Idle,
            (_, Some(_)) => self.quiet.unwrap_or(CoverageState::Silent),
            (_, None) => self.quiet.unwrap_or(CoverageState::Never),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tenantscope_wire::Name;

    use super::*;

    const NOW_MS: i64 = 1_790_000_000_000;
    const HOUR_MS: i64 = 3_600_000;

    fn id(text: &str) -> AccountId {
        AccountId::try_new(text).unwrap()
    }

    fn seen(account: &str, tenant: &str, signal: Signal, age_ms: i64) -> Seen {
        let (tenant, account) = (TenantId::try_new(tenant).unwrap(), Some(id(account)));
        Seen { tenant, account, signal, last_ms: NOW_MS - age_ms }
    }

    #[test]
    fn each_account_is_what_was_heard_of_it() {
        let text = r#"
tenants:
  - {id: a, accounts: ["111111111111"]}
  - {id: b, accounts: ["222222222222"]}
  - {id: c, accounts: ["333333333333"]}
  - {id: d, accounts: ["444444444444"]}
  - {id: e, accounts: ["555555555555"], closing: ["555555555555"]}
pooled: [{accounts: ["666666666666"], tenants: [a, b]}]
"#;
        let tenants = Tenants::parse(Path::new("t.yaml"), text).unwrap();
        let ledger = Ledger::open(None);
        ledger.keep(&tenants, NOW_MS - 10 * HOUR_MS);
        ledger.contacted(id("333333333333"), NOW_MS - 60_000);
        let seen = [
            seen("111111111111", "a", Signal::Metrics, 60_000),
            seen("111111111111", "a", Signal::Logs, 2 * HOUR_MS),
            seen("222222222222", "b", Signal::Metrics, 2 * HOUR_MS),
            seen("555555555555", "e", Signal::Metrics, 2 * HOUR_MS),
            seen("666666666666", "b", Signal::Spans, 60_000),
        ];
        let limits = CoverageConfig::default();
        let failures = Failures::default();
        let found = coverage(&tenants, (&ledger, &failures), &seen, &limits, NOW_MS);
        let states: Vec<(&str, CoverageState)> = found.iter().map(|one| (one.tenant.as_str(), one.state)).collect();
        use CoverageState::{Closing, Failing, Idle, Never, Reporting, Settling, Silent};
        let expected = [
            ("a", Reporting),
            ("b", Silent),
            ("c", Idle),
            ("d", Never),
            ("e", Closing),
            ("a", Never),
            ("b", Reporting),
        ];
        assert_eq!(states, expected);
        assert_eq!(found[0].signals[&Signal::Logs].state, Idle, "its agent reports, and it has no logs any more");
        assert_eq!(found[1].last_contact_ms, Some(NOW_MS - 2 * HOUR_MS), "since when it is silent");

        // An agent that shows itself and can't read its source has not nothing.
        let (agent, reason) = (Name::try_new("edge").unwrap(), "logs in eu-west-1: denied");
        for account in ["111111111111", "222222222222", "333333333333"] {
            failures.note(id(account), &agent, Some(reason.to_owned()), NOW_MS);
        }
        let found = coverage(&tenants, (&ledger, &failures), &seen, &limits, NOW_MS);
        let failing: Vec<CoverageState> = found[..3].iter().map(|one| one.signals[&Signal::Logs].state).collect();
        assert_eq!(failing, [Failing, Silent, Failing]);
        assert_eq!((found[0].state, found[2].state), (Reporting, Failing));
        assert_eq!(found[2].signals[&Signal::Metrics].state, Idle, "that source it can read");
        failures.note(id("333333333333"), &agent, None, NOW_MS);
        failures.forget_old(NOW_MS + 2 * HOUR_MS);
        assert!(failures.of(id("333333333333")).is_none() && failures.of(id("111111111111")).is_none());

        let fresh = Ledger::open(None);
        fresh.keep(&Tenants::default(), NOW_MS - HOUR_MS);
        fresh.keep(&tenants, NOW_MS - 60_000);
        let found = coverage(&tenants, (&fresh, &failures), &seen, &limits, NOW_MS);
        assert_eq!((found[1].state, found[3].state, found[4].state), (Settling, Settling, Closing));
    }
}
