use std::fmt;

use regex::Regex;

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
    regex: Option<Regex>,
}

/// Why a matcher could not be made.
#[derive(Debug, Clone, thiserror::Error)]
#[error("matcher on {name:?}: {source}")]
pub struct InvalidMatcher {
    name: String,
    source: regex::Error,
}

impl Matcher {
    /// Compiles the regular expression where the operator has one.
    pub fn try_new(name: &str, op: MatchOp, value: &str) -> Result<Self, InvalidMatcher> {
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => {
                let anchored = format!("^(?s:{value})$");
                Some(Regex::new(&anchored).map_err(|source| InvalidMatcher { name: name.to_owned(), source })?)
            }
        };
        Ok(Self { name: name.to_owned(), op, value: value.to_owned(), regex })
    }

    /// `name="value"`.
    pub fn equal(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), op: MatchOp::Equal, value: value.to_owned(), regex: None }
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
        let by_regex = || self.regex.as_ref().is_some_and(|regex| regex.is_match(value));
        match self.op {
            MatchOp::Equal => value == self.value,
            MatchOp::NotEqual => value != self.value,
            MatchOp::Regex => by_regex(),
            MatchOp::NotRegex => !by_regex(),
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
