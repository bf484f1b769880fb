//! Which tenants a rule is evaluated without, because their own data makes it fail: one must not end it for all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantscope_model::{Labels, Scope, TenantId};

use crate::failure::Failure;
use crate::telemetry::TELEMETRY;

/// More than so many, and it is the rule that is wrong: it fails as a whole.
pub(crate) const MAX_LEFT_OUT: usize = 64;
/// How many evaluations one search may take: a tenant among 6,000 is found with 26.
const MAX_SEARCH: usize = 128;
/// How many evaluations go by until a tenant is tried again.
const TRY_AGAIN_AFTER: u32 = 8;
/// How many tenants are tried again beside one evaluation.
const MAX_TRIED_AGAIN: usize = 8;
/// The most evaluations that go by without a search, after one that did not help.
const MAX_WAIT: u32 = 16;

/// What is evaluated over.
pub(crate) enum Sight<'a> {
    /// Everything but what these have.
    Without(&'a BTreeSet<TenantId>),
    /// What these have, and nothing else.
    Only(&'a Scope),
}

/// A rule's expression and labels, as they can be tried.
pub(crate) trait Attempt {
    /// What comes of it.
    type Made;

    fn attempt(&self, sight: &Sight<'_>) -> Result<Self::Made, Failure>;

    /// Who has anything that the rule looks at.
    fn tenants(&self) -> BTreeSet<TenantId>;
}

/// A tenant that is left out.
#[derive(Debug, Clone)]
struct LeftOut {
    failure: Failure,
    /// Evaluations since it was tried.
    age: u32,
}

/// The tenants that one rule is evaluated without.
#[derive(Debug, Clone, Default)]
pub(crate) struct Isolation {
    left_out: BTreeMap<TenantId, LeftOut>,
    /// Evaluations to go by until the next search, and how many did after the last one that did not help.
    wait: u32,
    last_wait: u32,
}

impl Isolation {
    /// Evaluates over all, or over all that can be. Whoever makes it fail alone is left out, and tried again from time
    /// to time. Blocks, for little longer than `search_for` beside the evaluation itself.
    ///
    /// Where no tenant fails alone, the rule itself is at fault and fails; so it does where there is one tenant only.
    pub(crate) fn evaluate<A: Attempt>(&mut self, rule: &A, search_for: Duration) -> Result<A::Made, Failure> {
        self.try_again(rule);
        let whole = rule.attempt(&Sight::Without(&self.tenants()));
        let failure = match whole {
            Ok(made) => {
                (self.wait, self.last_wait) = (0, 0);
                self.count();
                return Ok(made);
            }
            Err(failure) => failure,
        };
        if !failure.is_of_data() || self.is_waiting() || !self.search(rule, search_for) {
            return Err(failure);
        }
        let rest = rule.attempt(&Sight::Without(&self.tenants()));
        match &rest {
            Ok(_) => self.count(),
            Err(_) => self.wait_longer(),
        }
        rest
    }

    /// Those left out, each with what is wrong with it.
    pub(crate) fn left_out(&self) -> impl Iterator<Item = (&TenantId, &Failure)> {
        self.left_out.iter().map(|(tenant, left)| (tenant, &left.failure))
    }

    pub(crate) fn forget(&mut self, tenant: &TenantId) {
        self.left_out.remove(tenant);
    }

    fn tenants(&self) -> BTreeSet<TenantId> {
        self.left_out.keys().cloned().collect()
    }

    fn count(&self) {
        for left in self.left_out.values() {
            TELEMETRY.left_out.with_label_values(&[left.failure.reason()]).inc();
        }
    }

    fn wait_longer(&mut self) {
        self.last_wait = (self.last_wait * 2).clamp(1, MAX_WAIT);
        self.wait = self.last_wait;
    }

    fn is_waiting(&mut self) -> bool {
        let waits = self.wait > 0;
        self.wait = self.wait.saturating_sub(1);
        waits
    }

    /// Tries those whose turn it is alone, and takes in again whom it works for.
    fn try_again<A: Attempt>(&mut self, rule: &A) {
        for left in self.left_out.values_mut() {
            left.age += 1;
        }
        let due = self.left_out.iter().filter(|(_, left)| left.age >= TRY_AGAIN_AFTER);
        let due: Vec<TenantId> = due.map(|(tenant, _)| tenant.clone()).take(MAX_TRIED_AGAIN).collect();
        if due.is_empty() {
            return;
        }
        // With nobody else there, nobody is helped.
        if rule.tenants().iter().all(|tenant| self.left_out.contains_key(tenant)) {
            self.left_out.clear();
            return;
        }
        for tenant in due {
            TELEMETRY.searching.inc();
            let tried = rule.attempt(&Sight::Only(&Scope::only(tenant.clone())));
            match (tried, self.left_out.get_mut(&tenant)) {
                (Ok(_), _) => drop(self.left_out.remove(&tenant)),
                (Err(failure), Some(left)) if failure.is_of_data() => *left = LeftOut { failure, age: 0 },
                (Err(_), Some(left)) => left.age = 0,
                (Err(_), None) => {}
            }
        }
    }

    /// Looks for tenants that fail alone, and leaves them out; whether there were any, and not too many.
    fn search<A: Attempt>(&mut self, rule: &A, search_for: Duration) -> bool {
        let mut tenants = rule.tenants();
        tenants.retain(|tenant| !self.left_out.contains_key(tenant));
        if tenants.len() + self.left_out.len() <= 1 {
            return false;
        }
        let found = culprits(rule, tenants, Instant::now() + search_for);
        if self.left_out.len() + found.len() > MAX_LEFT_OUT {
            self.left_out.clear();
            self.wait_longer();
            return false;
        }
        if found.is_empty() {
            self.wait_longer();
            return false;
        }
        self.left_out.extend(found.into_iter().map(|(tenant, failure)| (tenant, LeftOut { failure, age: 0 })));
        true
    }
}

/// Those of many tenants who fail alone, by halves: of those that fail together, each half is tried.
fn culprits<A: Attempt>(rule: &A, tenants: BTreeSet<TenantId>, until: Instant) -> BTreeMap<TenantId, Failure> {
    let mut found = BTreeMap::new();
    let all: Vec<TenantId> = tenants.into_iter().collect();
    let mut failing = vec![all.as_slice()];
    let mut searched = 0;
    while let Some(together) = failing.pop() {
        let (left, right) = together.split_at(together.len() / 2);
        for half in [right, left].into_iter().filter(|half| !half.is_empty()) {
            if searched == MAX_SEARCH || found.len() > MAX_LEFT_OUT || Instant::now() >= until {
                return found;
            }
            searched += 1;
            TELEMETRY.searching.inc();
            match (rule.attempt(&Sight::Only(&Scope::tenants(half.iter().cloned()))), half) {
                (Ok(_), _) => {}
                // Who fails for want of time or memory now says nothing about the data.
                (Err(failure), _) if !failure.is_of_data() => return found,
                (Err(failure), [tenant]) => drop(found.insert(tenant.clone(), failure)),
                (Err(_), several) => failing.push(several),
            }
        }
    }
    found
}

/// Of whom nothing is known now, so that nothing of theirs begins or ends.
#[derive(Debug, Default)]
pub(crate) struct Frozen {
    tenants: BTreeSet<Arc<str>>,
    /// How long ago something was known last, in milliseconds.
    pub(crate) for_ms: i64,
}

impl Frozen {
    pub(crate) fn of(isolation: &Isolation, for_ms: i64) -> Self {
        Self { tenants: isolation.left_out.keys().map(TenantId::shared).collect(), for_ms }
    }

    pub(crate) fn holds(&self, labels: &Labels) -> bool {
        !self.tenants.is_empty() && labels.get("tenant").is_some_and(|tenant| self.tenants.contains(tenant))
    }
}
