use std::collections::{BTreeSet, HashSet};

use tenantscope_model::{Evaluated, Labels, METRIC_NAME, Scope, TenantId};

use crate::context::Context;
use crate::failure::Failure;
use crate::isolation::{Attempt, Sight};
use crate::rule::Rule;

/// A rule at a time, up to where data can make it fail.
pub(crate) struct Trial<'a> {
    pub(crate) rule: &'a Rule,
    /// The group's; 0 for none.
    pub(crate) limit: usize,
    pub(crate) context: &'a Context,
    pub(crate) data_ms: i64,
}

/// What a rule's expression gave, under the labels that the rule gives it.
pub(crate) enum Made {
    Series(Vec<(Labels, f64)>),
    Alerts(Vec<(Labels, Evaluated)>),
}

impl Attempt for Trial<'_> {
    type Made = Made;

    fn attempt(&self, sight: &Sight<'_>) -> Result<Made, Failure> {
        let (evaluate, expr) = (&self.context.evaluate, &self.rule.spec.expr);
        let elements = match sight {
            Sight::Without(tenants) if tenants.is_empty() => evaluate.evaluate(&Scope::All, expr, self.data_ms),
            Sight::Without(tenants) => evaluate.evaluate_without(tenants, expr, self.data_ms),
            Sight::Only(scope) => evaluate.evaluate(scope, expr, self.data_ms),
        }?;
        let count = elements.len();
        let (made, what) = match &self.rule.templates {
            Some(templates) => (Made::Alerts(templates.label(elements, self.context, self.data_ms)?), "alerts"),
            None => (Made::Series(self.record(elements)?), "series"),
        };
        if self.limit > 0 && count > self.limit {
            return Err(Failure::of_results(self.limit, count, what));
        }
        Ok(made)
    }

    fn tenants(&self) -> BTreeSet<TenantId> {
        self.context.evaluate.tenants_of(&self.rule.spec.expr, self.data_ms).unwrap_or_else(|error| {
            tracing::warn!(rule = self.rule.spec.name(), %error, "the tenants of a rule that failed were not found");
            BTreeSet::new()
        })
    }
}

impl Trial<'_> {
    fn record(&self, elements: Vec<Evaluated>) -> Result<Vec<(Labels, f64)>, Failure> {
        let spec = &self.rule.spec;
        let mut seen = HashSet::with_capacity(elements.len());
        let mut series = Vec::with_capacity(elements.len());
        for element in elements {
            let mut labels = element.labels.to_builder();
            labels.set(METRIC_NAME, spec.name());
            for (name, value) in &spec.labels {
                labels.set(name.as_str(), value.as_str());
            }
            let labels = labels.build();
            if !seen.insert(labels.clone()) {
                return Err(Failure::of_data(
                    "vector contains metrics with the same labelset after applying rule labels",
                ));
            }
            series.push((labels, element.value));
        }
        Ok(series)
    }
}
