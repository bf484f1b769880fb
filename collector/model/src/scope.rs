use std::collections::BTreeSet;
use std::sync::Arc;

use crate::TenantId;

/// The tenants that a reader may see. An argument of every read; cloning is cheap.
///
/// Records without a tenant (the collector's own series, fleet-wide rule results) are within [`Scope::All`] only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Every tenant, and records without one.
    All,
    /// These tenants and nothing else; the empty set selects nothing.
    Tenants(Arc<BTreeSet<TenantId>>),
}

impl Scope {
    /// Selects nothing.
    pub fn none() -> Self {
        Self::Tenants(Arc::default())
    }

    /// One tenant.
    pub fn only(tenant: TenantId) -> Self {
        Self::Tenants(Arc::new(BTreeSet::from([tenant])))
    }

    /// These tenants.
    pub fn tenants(tenants: impl IntoIterator<Item = TenantId>) -> Self {
        Self::Tenants(Arc::new(tenants.into_iter().collect()))
    }

    /// Whether a record with this tenant (or without one) is within the scope.
    pub fn allows(&self, tenant: Option<&TenantId>) -> bool {
        match self {
            Self::All => true,
            Self::Tenants(tenants) => tenant.is_some_and(|t| tenants.contains(t)),
        }
    }

    /// As [`Scope::allows`], for the text of a stored `tenant` label or column; empty means none.
    pub fn allows_text(&self, tenant: &str) -> bool {
        match self {
            Self::All => true,
            Self::Tenants(tenants) => tenants.iter().any(|t| t.as_str() == tenant),
        }
    }

    /// What both allow: narrowing never widens, and an empty intersection selects nothing.
    pub fn intersect(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, narrower) | (narrower, Self::All) => narrower.clone(),
            (Self::Tenants(a), Self::Tenants(b)) => Self::tenants(a.intersection(b).cloned()),
        }
    }

    /// Whether nothing at all can be seen.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::Tenants(tenants) if tenants.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(ids: &[&str]) -> Scope {
        Scope::tenants(ids.iter().map(|id| TenantId::try_new(id).unwrap()))
    }

    #[test]
    fn narrowing_never_widens() {
        assert_eq!(Scope::All.intersect(&scope(&["a"])), scope(&["a"]));
        assert_eq!(scope(&["a", "b"]).intersect(&scope(&["b", "c"])), scope(&["b"]));
        let empty = scope(&["a"]).intersect(&scope(&["b"]));
        assert!(empty.is_none());
        assert!(!empty.allows(None) && !empty.allows_text("a") && !empty.allows_text(""));
    }

    #[test]
    fn records_without_a_tenant_are_for_readers_of_all() {
        assert!(Scope::All.allows(None));
        assert!(!scope(&["a"]).allows(None));
    }
}
