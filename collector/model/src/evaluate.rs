use std::collections::BTreeSet;

use crate::{Labels, Scope, TenantId};

/// One element of an instant vector (or a scalar, with no labels).
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// The element's labels.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
}

/// Why an expression has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluateError {
    /// The expression is wrong.
    #[error("{0}")]
    Expression(String),
    /// The expression is right but has no answer over this data.
    #[error("{0}")]
    Execution(String),
    /// This data is more than one evaluation may use.
    #[error("{0}")]
    Limit(String),
    /// The data has no part in it: the store failed, there was no time or memory left, or it was stopped.
    #[error("{0}")]
    Unavailable(String),
}

/// An expression at a time. Blocks: call from a thread that may.
pub trait Evaluate: Send + Sync {
    /// Evaluates a PromQL expression at `at_ms`; a scalar is one element without labels.
    fn evaluate(&self, scope: &Scope, expression: &str, at_ms: i64) -> Result<Vec<Evaluated>, EvaluateError>;
}

/// An evaluation that can tell tenants apart, so that the data of one need not keep the others from their answer. Blocks.
pub trait EvaluateApart: Evaluate {
    /// Evaluates over everything but what these tenants have; records without a tenant are seen.
    fn evaluate_without(
        &self,
        tenants: &BTreeSet<TenantId>,
        expression: &str,
        at_ms: i64,
    ) -> Result<Vec<Evaluated>, EvaluateError>;

    /// Who has anything that the expression looks at; coarsely, so that it may be too many.
    fn tenants_of(&self, expression: &str, at_ms: i64) -> Result<BTreeSet<TenantId>, EvaluateError>;
}
