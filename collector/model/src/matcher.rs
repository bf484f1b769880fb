use std::fmt;

use crate::regular_expression::{InvalidExpression, RegularExpression};

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored at both ends
    Regex,
    /// `!~`, anchored at both ends
    NotRegex,
}

/// A condition on one label; an absent label counts as the empty value, as in Prometheus.
#[derive(Debug, Clone)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    expression: Option<RegularExpression>,
}

/// Why a matcher could not be made.
#[derive(Debug, Clone, thiserror::Error)]
#[error("matcher on {name:?}: {source}")]
pub struct InvalidMatcher {
    name: String,
    source: InvalidExpression,
}

impl InvalidMatcher {
    /// What is wrong with the expression.
    pub fn reason(&self) -> &InvalidExpression {
        &self.source
    }
}

impl Matcher {
    /// Compiles the regular expression where the operator has one.
    pub fn try_new(name: &str, op: MatchOp, value: &str) -> Result<Self, InvalidMatcher> {
        let wrong = |source| InvalidMatcher { name: name.to_owned(), source };
        let expression = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(RegularExpression::try_new(value).map_err(wrong)?),
        };
        Ok(Self { name: name.to_owned(), op, value: value.to_owned(), expression })
    }

    /// `name="value"`.
    pub fn equal(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), op: MatchOp::Equal, value: value.to_owned(), expression: None }
    }

    /// The label's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The operator.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The value or expression as it was given.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label value (empty: absent) fulfils the condition.
    pub fn matches(&self, value: &str) -> bool {
        let by_expression = || self.expression.as_ref().is_some_and(|expression| expression.matches(value));
        match self.op {
            MatchOp::Equal => value == self.value,
            MatchOp::NotEqual => value != self.value,
            MatchOp::Regex => by_expression(),
            MatchOp::NotRegex => !by_expression(),
        }
    }

    /// Whether a series without the label fulfils the condition.
    pub fn matches_absent(&self) -> bool {
        self.matches("")
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.op == other.op && self.name == other.name && self.value == other.value
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        write!(f, "{}{op}{:?}", self.name, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_anchored() {
        let matcher = Matcher::try_new("a", MatchOp::Regex, "b|c").unwrap();
        assert!(matcher.matches("b") && matcher.matches("c"));
        assert!(!matcher.matches("bc") && !matcher.matches(""));
        assert!(Matcher::try_new("a", MatchOp::NotRegex, "b.*").unwrap().matches_absent());
        assert!(Matcher::try_new("a", MatchOp::Regex, "(").is_err());
    }
}
