//! A store without some tenants.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use tenantscope_model::{
    Exemplar, Families, Labels, MatchOp, Matcher, MetadataRequest, Scope, Select, SelectError, SelectRequest,
    SelectedSeries, Selection, SeriesRequest, TenantId,
};

use crate::error::EngineError;

/// The stamped label.
pub(crate) const TENANT: &str = "tenant";

/// Sees everything but what some tenants have, by a condition more in each request; for one evaluation.
pub(crate) struct Without<'s> {
    select: &'s dyn Select,
    condition: Matcher,
    asked: Asked,
}

/// Conditions with ours among them. A request's conditions live as long as what was found, so they are kept.
#[derive(Default)]
struct Asked {
    conditions: Vec<Matcher>,
    next: OnceLock<Box<Self>>,
}

impl Asked {
    fn keep(&self, conditions: Vec<Matcher>) -> &[Matcher] {
        let mut place = &self.next;
        let mut asked = Box::new(Self { conditions, next: OnceLock::new() });
        loop {
            match place.set(asked) {
                Ok(()) => return place.get().map_or(&[], |kept| &kept.conditions),
                Err(back) => asked = back,
            }
            let Some(taken) = place.get() else { return &[] };
            place = &taken.next;
        }
    }
}

impl<'s> Without<'s> {
    pub(crate) fn try_new(select: &'s dyn Select, tenants: &BTreeSet<TenantId>) -> Result<Self, EngineError> {
        let any: Vec<String> = tenants.iter().map(|tenant| regex::escape(tenant.as_str())).collect();
        let condition = Matcher::try_new(TENANT, MatchOp::NotRegex, &any.join("|"))
            .map_err(|error| EngineError::Request(error.to_string()))?;
        Ok(Self { select, condition, asked: Asked::default() })
    }

    fn with_condition(&self, conditions: &[Matcher]) -> Vec<Matcher> {
        conditions.iter().chain([&self.condition]).cloned().collect()
    }

    fn with_conditions(&self, sets: &[Vec<Matcher>]) -> Vec<Vec<Matcher>> {
        sets.iter().map(|set| self.with_condition(set)).collect()
    }
}

impl Select for Without<'_> {
    fn select(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<Vec<SelectedSeries>, SelectError> {
        let matchers = &self.with_condition(request.matchers);
        self.select.select(scope, &SelectRequest { matchers, ..*request })
    }

    fn find<'a>(&'a self, scope: &Scope, request: &SelectRequest<'a>) -> Result<Box<dyn Selection + 'a>, SelectError> {
        let matchers = self.asked.keep(self.with_condition(request.matchers));
        self.select.find(scope, &SelectRequest { matchers, ..*request })
    }

    fn series(&self, scope: &Scope, request: &SeriesRequest<'_>) -> Result<Vec<Labels>, SelectError> {
        let matcher_sets = &self.with_conditions(request.matcher_sets);
        self.select.series(scope, &SeriesRequest { matcher_sets, ..*request })
    }

    fn label_names(&self, scope: &Scope, request: &SeriesRequest<'_>) -> Result<Vec<Arc<str>>, SelectError> {
        let matcher_sets = &self.with_conditions(request.matcher_sets);
        self.select.label_names(scope, &SeriesRequest { matcher_sets, ..*request })
    }

    fn label_values(
        &self,
        scope: &Scope,
        name: &str,
        request: &SeriesRequest<'_>,
    ) -> Result<Vec<Arc<str>>, SelectError> {
        let matcher_sets = &self.with_conditions(request.matcher_sets);
        self.select.label_values(scope, name, &SeriesRequest { matcher_sets, ..*request })
    }

    /// What families say of themselves is never asked by an expression, and hangs on no tenant's values.
    fn metadata(&self, _: &Scope, _: &MetadataRequest<'_>) -> Result<Families, SelectError> {
        Ok(Vec::new())
    }

    fn exemplars(
        &self,
        scope: &Scope,
        request: &SeriesRequest<'_>,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
        let matcher_sets = &self.with_conditions(request.matcher_sets);
        self.select.exemplars(scope, &SeriesRequest { matcher_sets, ..*request })
    }
}
