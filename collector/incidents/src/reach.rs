//! How far a fault reaches: a pure function of who is affected and who could be.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tenantscope_model::TenantId;

/// The fewest affected tenants that can be a cohort or the fleet.
const MIN_AFFECTED: usize = 5;
/// The share of the affected that must be in the cohort.
const MIN_SHARE_OF_AFFECTED: f64 = 0.8;
/// The share of the cohort's members with data that must be affected.
const MIN_SHARE_OF_MEMBERS: f64 = 0.3;
/// The chance, below which it is no coincidence that so many of the affected are in the cohort.
const MAX_CHANCE: f64 = 0.001;
/// The share of all members with data that must be affected to call it the fleet.
const MIN_SHARE_OF_FLEET: f64 = 0.5;

/// A tenant with data, and what it is grouped by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The tenant.
    pub tenant: TenantId,
    /// Its attributes in the registry.
    pub attributes: BTreeMap<String, String>,
}

/// How far an incident reaches, from the narrowest to the widest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Reach {
    /// One tenant.
    Single {
        /// The tenant.
        tenant: TenantId,
    },
    /// Several, without a common cause.
    Several,
    /// Tenants that share an attribute's value.
    Cohort {
        /// The attribute, such as `wave`.
        attribute: String,
        /// Its value, such as `canary`.
        value: String,
    },
    /// Everyone, or something that is about no tenant.
    Fleet,
}

impl Reach {
    /// `single`, `several`, `cohort` or `fleet`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Single { .. } => "single",
            Self::Several => "several",
            Self::Cohort { .. } => "cohort",
            Self::Fleet => "fleet",
        }
    }

    /// Wider is greater.
    pub(crate) fn width(&self) -> u8 {
        match self {
            Self::Single { .. } => 0,
            Self::Several => 1,
            Self::Cohort { .. } => 2,
            Self::Fleet => 3,
        }
    }

    /// Its part of an incident's key.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Single { tenant } => format!("single:{tenant}"),
            Self::Cohort { attribute, value } => format!("cohort:{attribute}={value}"),
            Self::Several | Self::Fleet => self.name().to_owned(),
        }
    }
}

/// How far it reaches if these tenants are affected, of these members with data. Nobody affected means that the alert
/// is about no tenant: the fleet.
pub fn reach(affected: &BTreeSet<TenantId>, members: &[Member]) -> Reach {
    if affected.len() <= 1 {
        return affected.first().map_or(Reach::Fleet, |tenant| Reach::Single { tenant: tenant.clone() });
    }
    if affected.len() < MIN_AFFECTED {
        return Reach::Several;
    }
    // Whoever is affected has data, whatever the list says.
    let listed: BTreeSet<&TenantId> = members.iter().map(|member| &member.tenant).collect();
    let population = listed.len() + affected.iter().filter(|tenant| !listed.contains(tenant)).count();
    if let Some(cohort) = cohort(affected, members, population) {
        return cohort;
    }
    if share(affected.len(), population) >= MIN_SHARE_OF_FLEET { Reach::Fleet } else { Reach::Several }
}

/// The cohort that explains the affected best: the least likely to be a coincidence.
fn cohort(affected: &BTreeSet<TenantId>, members: &[Member], population: usize) -> Option<Reach> {
    let mut sizes: BTreeMap<(&str, &str), (usize, usize)> = BTreeMap::new();
    for member in members {
        let is_affected = usize::from(affected.contains(&member.tenant));
        for (attribute, value) in &member.attributes {
            let (size, hit) = sizes.entry((attribute, value)).or_default();
            *size += 1;
            *hit += is_affected;
        }
    }
    let factorials = Factorials::up_to(population);
    let mut best: Option<(f64, Reach)> = None;
    for ((attribute, value), (size, hit)) in sizes {
        let likely = hit >= MIN_AFFECTED
            && share(hit, affected.len()) >= MIN_SHARE_OF_AFFECTED
            && share(hit, size) >= MIN_SHARE_OF_MEMBERS;
        if !likely {
            continue;
        }
        let chance = factorials.chance_of_at_least(hit, affected.len(), size, population);
        if chance < MAX_CHANCE && best.as_ref().is_none_or(|(least, _)| chance < *least) {
            let reach = Reach::Cohort { attribute: attribute.to_owned(), value: value.to_owned() };
            best = Some((chance, reach));
        }
    }
    best.map(|(_, reach)| reach)
}

#[expect(clippy::cast_precision_loss, reason = "numbers of tenants are far below 2^53")]
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Logarithms of factorials.
struct Factorials(Vec<f64>);

impl Factorials {
    #[expect(clippy::cast_precision_loss, reason = "numbers of tenants are far below 2^53")]
    fn up_to(n: usize) -> Self {
        let mut sum = 0.0;
        let rest = (1..=n).map(|i| {
            sum += (i as f64).ln();
            sum
        });
        Self(std::iter::once(0.0).chain(rest).collect())
    }

    fn ln(&self, n: usize) -> f64 {
        self.0.get(n).copied().unwrap_or(f64::INFINITY)
    }

    fn ln_choose(&self, n: usize, k: usize) -> f64 {
        if k > n { f64::NEG_INFINITY } else { self.ln(n) - self.ln(k) - self.ln(n - k) }
    }

    /// The hypergeometric tail: of `population`, `marked` are marked and `drawn` are drawn; the chance that at least
    /// `hit` of the drawn are marked.
    fn chance_of_at_least(&self, hit: usize, drawn: usize, marked: usize, population: usize) -> f64 {
        let all = self.ln_choose(population, drawn);
        let terms = (hit..=drawn.min(marked)).map(|i| {
            let unmarked = self.ln_choose(population.saturating_sub(marked), drawn - i);
            (self.ln_choose(marked, i) + unmarked - all).exp()
        });
        terms.sum::<f64>().min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tenant(i: usize) -> TenantId {
        TenantId::try_new(&format!("t{i:04}")).unwrap()
    }

    /// Members of which the first `canaries` are in the wave `canary`, and every second has the tier gold.
    fn fleet(size: usize, canaries: usize) -> Vec<Member> {
        let attributes = |i: usize| {
            let wave = if i < canaries { "canary" } else { "main" };
            let tier = if i.is_multiple_of(2) { "gold" } else { "silver" };
            BTreeMap::from([("wave".to_owned(), wave.to_owned()), ("tier".to_owned(), tier.to_owned())])
        };
        (0..size).map(|i| Member { tenant: tenant(i), attributes: attributes(i) }).collect()
    }

    fn affected(range: std::ops::Range<usize>) -> BTreeSet<TenantId> {
        range.map(tenant).collect()
    }

    #[test]
    fn one_some_a_cohort_or_all() {
        let members = fleet(100, 10);
        assert_eq!(reach(&affected(3..4), &members), Reach::Single { tenant: tenant(3) });
        assert_eq!(reach(&affected(0..4), &members), Reach::Several, "four are no cohort");
        let canary = Reach::Cohort { attribute: "wave".to_owned(), value: "canary".to_owned() };
        assert_eq!(reach(&affected(0..5), &members), canary);
        assert_eq!(reach(&affected(0..12), &members), canary, "two others change nothing");
        assert_eq!(reach(&affected(0..14), &members), Reach::Several, "below 80 % of the affected");
        assert_eq!(reach(&affected(0..100), &members), Reach::Fleet);
        assert_eq!(reach(&BTreeSet::new(), &members), Reach::Fleet);
    }

    #[test]
    fn a_cohort_that_is_nearly_everyone_explains_nothing() {
        let members = fleet(100, 95);
        assert_eq!(reach(&affected(0..20), &members), Reach::Several);
        assert_eq!(reach(&affected(0..99), &members), Reach::Fleet);
    }

    #[test]
    fn few_of_a_large_cohort_are_no_cohort() {
        // 8 of 40 canaries: 20 % of the members.
        assert_eq!(reach(&affected(0..8), &fleet(1000, 40)), Reach::Several);
        assert!(matches!(reach(&affected(0..13), &fleet(1000, 40)), Reach::Cohort { .. }));
    }

    #[test]
    fn the_tail_is_the_hypergeometric_one() {
        let factorials = Factorials::up_to(60);
        // scipy.stats.hypergeom.sf(k - 1, N, K, n)
        for (hit, drawn, marked, population, want) in
            [(1, 1, 1, 2, 0.5), (5, 5, 5, 10, 1.0 / 252.0), (2, 3, 4, 10, 1.0 / 3.0), (0, 3, 4, 10, 1.0)]
        {
            let chance = factorials.chance_of_at_least(hit, drawn, marked, population);
            assert!((chance - want).abs() < 1e-12, "{hit} {drawn} {marked} {population}: {chance}");
        }
    }

    proptest! {
        #[test]
        fn it_depends_on_the_sets_only(size in 1usize..60, canaries in 0usize..60, hit in proptest::collection::btree_set(0usize..60, 0..60)) {
            let members = fleet(size, canaries);
            let hit: BTreeSet<TenantId> = hit.into_iter().map(tenant).collect();
            let mut reversed = members.clone();
            reversed.reverse();
            let found = reach(&hit, &members);
            prop_assert_eq!(&found, &reach(&hit, &reversed));
            match found {
                Reach::Single { tenant } => prop_assert!(hit.len() == 1 && hit.contains(&tenant)),
                Reach::Several => prop_assert!(hit.len() >= 2),
                Reach::Cohort { .. } => prop_assert!(hit.len() >= MIN_AFFECTED),
                Reach::Fleet => prop_assert!(hit.is_empty() || hit.len() >= MIN_AFFECTED),
            }
        }

        #[test]
        fn a_chance_is_a_chance_and_falls_with_more_hits(population in 1usize..200, marked in 0usize..200, drawn in 0usize..200) {
            let (marked, drawn) = (marked.min(population), drawn.min(population));
            let factorials = Factorials::up_to(population);
            let mut before = 1.0 + 1e-9;
            for hit in 0..=drawn.min(marked) {
                let chance = factorials.chance_of_at_least(hit, drawn, marked, population);
                prop_assert!((0.0..=1.0).contains(&chance) && chance <= before + 1e-9);
                before = chance;
            }
        }
    }
}
