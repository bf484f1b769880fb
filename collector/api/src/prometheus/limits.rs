//! What queries may use: all together, one reader's, and one query.

use std::time::Duration;

use tenantscope_model::{QueryBounds, Scope};
use tenantscope_promql::{Engine, Limits};
use tenantscope_tenancy::{QueryQuota, Quotas, Tenants};

use super::queue::Room;

/// What queries may use.
#[derive(Debug, Clone)]
pub struct QueryLimits {
    /// The longest that a query may take, waiting included; a request may ask for less. Default: two minutes.
    pub timeout: Duration,
    /// How many queries run at once. Default: 8.
    pub max_concurrent: usize,
    /// How many of these one reader may have. Default: one for each core, 6 at most, so that rules find a core too.
    pub max_concurrent_per_reader: usize,
    /// How many wait for their turn; one more is refused with 503. Default: 400.
    pub max_waiting: usize,
    /// How many of these one reader may have. Default: 200.
    pub max_waiting_per_reader: usize,
    /// The most samples that a query may load. Default: 50,000,000.
    pub max_samples: u64,
    /// The most series that one selector may find. Default: 5,000,000.
    pub max_series: u64,
    /// The most memory that one query may hold, in bytes. Default: 300 MiB.
    pub max_bytes: u64,
    /// The most memory that all queries together may hold, in bytes. Default: 600 MiB.
    pub memory_max_bytes: u64,
    /// The most steps of a range query. Default: 11,000.
    pub max_steps: u64,
    /// The longest time from a query's start to its end, with the ranges of its selectors and subqueries before it;
    /// `offset` and `@` move that time and do not count. Default: none.
    pub max_range: Option<Duration>,
    /// How far an instant selector looks back. Default: five minutes.
    pub lookback: Duration,
    /// Bounds of tenants' readers, by tier.
    pub quotas: Quotas,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(120),
            max_concurrent: 8,
            max_concurrent_per_reader: std::thread::available_parallelism().map_or(1, usize::from).min(6),
            max_waiting: 400,
            max_waiting_per_reader: 200,
            max_samples: 50_000_000,
            max_series: 5_000_000,
            max_bytes: 300 << 20,
            memory_max_bytes: 600 << 20,
            max_steps: PROMETHEUS_STEPS,
            max_range: None,
            lookback: Duration::from_secs(300),
            quotas: Quotas::default(),
        }
    }
}

/// The steps that Prometheus allows.
pub(super) const PROMETHEUS_STEPS: u64 = 11_000;

impl QueryLimits {
    /// An engine with these limits.
    pub fn engine(&self) -> Engine {
        let lookback_ms = i64::try_from(self.lookback.as_millis()).unwrap_or(i64::MAX);
        // n steps are n + 1 times.
        let max_steps = usize::try_from(self.max_steps).unwrap_or(usize::MAX).saturating_add(1);
        Engine::new(Limits { lookback_ms, max_steps, max_cells: self.max_samples, ..Limits::default() })
    }

    /// The room of all queries.
    pub(super) fn room(&self) -> Room {
        Room { running: self.max_concurrent.max(1), waiting: self.max_waiting }
    }

    /// What a query in this scope may use. A reader of several tenants has the largest of their bounds.
    pub(super) fn within(&self, scope: &Scope, tenants: Option<&Tenants>) -> Bounds {
        let quota = match scope {
            Scope::All => QueryQuota::default(),
            Scope::Tenants(of) => {
                // A former id has the bounds of its tenant, so that a name without any does not lift them.
                let current = |id| tenants.map_or(id, |tenants: &Tenants| tenants.current_id(id));
                let each = of.iter().map(|tenant| self.quotas.of(current(tenant), tenants).query);
                each.reduce(larger).unwrap_or(self.quotas.default.query)
            }
        };
        let span = |own: Option<Duration>, all: Duration| own.map_or(all, |own| own.min(all));
        let count = |own: Option<u64>, all: u64| own.map_or(all, |own| own.min(all));
        let number = |own: Option<usize>, all: usize| own.map_or(all, |own| own.min(all));
        let max_range = match (quota.max_range, self.max_range) {
            (Some(own), Some(all)) => Some(own.0.min(all)),
            (own, all) => own.map(|own| own.0).or(all),
        };
        Bounds {
            timeout: span(quota.timeout.map(|own| own.0), self.timeout),
            room: Room {
                running: number(quota.max_concurrent, self.max_concurrent_per_reader).max(1),
                waiting: number(quota.max_waiting, self.max_waiting_per_reader),
            },
            query: QueryBounds {
                max_samples: count(quota.max_samples, self.max_samples),
                max_series: count(quota.max_series, self.max_series),
                max_bytes: count(quota.max_bytes.map(|own| own.0), self.max_bytes),
            },
            max_steps: count(quota.max_steps, self.max_steps),
            max_range,
        }
    }
}

/// Of two tenants' bounds the larger ones; no bound is the largest.
fn larger(a: QueryQuota, b: QueryQuota) -> QueryQuota {
    fn max<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
        Some(a?.max(b?))
    }
    QueryQuota {
        timeout: max(a.timeout, b.timeout),
        max_samples: max(a.max_samples, b.max_samples),
        max_series: max(a.max_series, b.max_series),
        max_bytes: max(a.max_bytes, b.max_bytes),
        max_steps: max(a.max_steps, b.max_steps),
        max_range: max(a.max_range, b.max_range),
        max_concurrent: max(a.max_concurrent, b.max_concurrent),
        max_waiting: max(a.max_waiting, b.max_waiting),
    }
}

/// What one query of one reader may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// The longest that it may take.
    pub(super) timeout: Duration,
    /// The room of its reader.
    pub(super) room: Room,
    /// Samples, series, memory.
    pub(super) query: QueryBounds,
    /// The most steps of a range query.
    pub(super) max_steps: u64,
    /// The longest time from start to end, ranges included.
    pub(super) max_range: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use tenantscope_model::{TenantId, TimeSpan};
    use tenantscope_tenancy::Quota;

    use super::*;

    #[test]
    fn a_tier_bounds_its_tenants_readers_and_never_widens() {
        let text = "tenants: [{id: a, attributes: {tier: small}}, {id: b, attributes: {tier: big}}, {id: c}]";
        let tenants = Tenants::parse(Path::new("tenants.yaml"), text).unwrap();
        let quota = |max_samples, timeout_s| Quota {
            query: QueryQuota {
                max_samples: Some(max_samples),
                timeout: Some(TimeSpan::from_secs(timeout_s)),
                ..QueryQuota::default()
            },
            ..Quota::default()
        };
        let tiers = BTreeMap::from([("small".to_owned(), quota(10, 5)), ("big".to_owned(), quota(1 << 40, 50))]);
        let limits = QueryLimits { quotas: Quotas { tiers, ..Quotas::default() }, ..QueryLimits::default() };
        let of = |ids: &[&str]| {
            let scope = Scope::tenants(ids.iter().map(|id| TenantId::try_new(id).unwrap()));
            let bounds = limits.within(&scope, Some(&tenants));
            (bounds.query.max_samples, bounds.timeout.as_secs())
        };
        assert_eq!(of(&["a"]), (10, 5));
        assert_eq!(of(&["b"]), (50_000_000, 50), "no tier is above what everybody may");
        assert_eq!(of(&["a", "b"]), (50_000_000, 50));
        assert_eq!(of(&["a", "c"]), (50_000_000, 120));
        assert_eq!(limits.within(&Scope::All, Some(&tenants)).query.max_samples, 50_000_000);
    }
}
