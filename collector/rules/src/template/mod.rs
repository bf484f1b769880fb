//! Go templates as Prometheus's rules use them, in labels and annotations.
//!
//! Everything of the language but `define`, `template` and `block`; all of Prometheus's functions. A query in a
//! template of an alert that is about a tenant sees that tenant only, since the annotation is shown to that tenant.

mod evaluate;
mod format;
mod functions;
mod parse;
mod syntax;
mod value;

use std::collections::BTreeMap;

use tenantscope_model::{Evaluate, Labels, Scope};

use syntax::Node;

/// How deep blocks and parentheses may nest.
const MAX_DEPTH: usize = 50;

/// The longest text that a template may produce.
const MAX_OUTPUT_BYTES: usize = 64 * 1024;

/// Why a template is wrong, or could not be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Not the language.
    #[error("template: {0}")]
    Syntax(String),
    /// A function that does not exist.
    #[error("template: function {0:?} not defined")]
    UnknownFunction(String),
    /// A variable that was not declared.
    #[error("template: undefined variable {0:?}")]
    UndefinedVariable(String),
    /// Too many blocks or parentheses in each other.
    #[error("template: nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// The output would be too long.
    #[error("template: output is longer than {MAX_OUTPUT_BYTES} bytes")]
    TooLong,
    /// It failed while it was expanded.
    #[error("template: {0}")]
    Expansion(String),
}

/// A checked template.
#[derive(Debug, Clone, PartialEq)]
pub struct Template(Vec<Node>);

/// What a template can see.
#[derive(Clone, Copy)]
pub struct TemplateData<'a> {
    /// `$labels`: the element's labels.
    pub labels: &'a Labels,
    /// `$value`.
    pub value: f64,
    /// `$externalLabels`.
    pub external_labels: &'a BTreeMap<String, String>,
    /// `$externalURL`: the server's own address, or empty.
    pub external_url: &'a str,
    /// For `query`.
    pub evaluate: &'a dyn Evaluate,
    /// What `query` may see.
    pub scope: &'a Scope,
    /// The time of the evaluation.
    pub at_ms: i64,
}

impl Template {
    /// Checks the text's syntax, functions and variables.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        parse::parse(text).map(Self)
    }

    /// The text that it makes of the data. Blocks where the template queries.
    pub fn expand(&self, data: &TemplateData<'_>) -> Result<String, TemplateError> {
        evaluate::expand(&self.0, data)
    }

    /// The text, if the template has no actions.
    pub fn constant(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Node::Text(text)] => Some(text),
            _ => None,
        }
    }
}

/// A number as Go writes it in text.
pub(crate) fn number_text(value: f64) -> String {
    format::go_float(value, 'e', None)
}

#[cfg(test)]
mod tests;
