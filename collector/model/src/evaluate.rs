use crate::{Labels, Scope};

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
    /// The expression is right but its evaluation failed.
    #[error("{0}")]
    Execution(String),
}

/// An expression at a time. Blocks: call from a thread that may.
pub trait Evaluate: Send + Sync {
    /// Evaluates a PromQL expression at `at_ms`; a scalar is one element without labels.
    fn evaluate(&self, scope: &Scope, expression: &str, at_ms: i64) -> Result<Vec<Evaluated>, EvaluateError>;
}
