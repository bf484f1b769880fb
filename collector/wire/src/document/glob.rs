//! Patterns for names: `*` stands for any characters, `?` for one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A pattern over names such as `/aws/lambda/*`. Everything but `*` and `?` stands for itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Glob(String);

impl Glob {
    /// Takes the pattern as it is; every text is one.
    pub fn new(pattern: impl Into<String>) -> Self {
        Self(pattern.into())
    }

    /// Whether the whole of `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        let pattern: Vec<char> = self.0.chars().collect();
        let name: Vec<char> = name.chars().collect();
        matches(&pattern, &name)
    }

    /// The characters before the first wildcard: what every match begins with.
    pub fn literal_prefix(&self) -> &str {
        self.0.split(['*', '?']).next().unwrap_or_default()
    }

    /// Whether the pattern has no wildcard, and so matches one name only.
    pub fn is_literal(&self) -> bool {
        !self.0.contains(['*', '?'])
    }

    /// The pattern's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Greedy matching with one point to go back to: linear in practice, quadratic at worst, never exponential.
fn matches(pattern: &[char], name: &[char]) -> bool {
    let (mut at, mut i) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while i < name.len() {
        match pattern.get(at) {
            Some('*') => {
                last_star = Some((at, i));
                at += 1;
            }
            Some(c) if *c == '?' || Some(c) == name.get(i) => {
                at += 1;
                i += 1;
            }
            _ => {
                let Some((star_at, star_i)) = last_star else { return false };
                at = star_at + 1;
                i = star_i + 1;
                last_star = Some((star_at, star_i + 1));
            }
        }
    }
    pattern.iter().skip(at).all(|c| *c == '*')
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name, expected) in [
            ("/aws/lambda/*", "/aws/lambda/checkout", true),
            ("/aws/lambda/*", "/aws/ecs/checkout", false),
            ("*", "", true),
            ("*check*out", "/aws/lambda/checkcheckout", true),
            ("p?", "p9", true),
            ("p?", "p99", false),
            ("a.b", "axb", false),
            ("a", "a", true),
            ("a", "ab", false),
            ("*a*b*c", "xxaxxbxxd", false),
        ] {
            assert_eq!(Glob::new(pattern).matches(name), expected, "{pattern} {name}");
        }
        assert_eq!(Glob::new("/aws/*/x").literal_prefix(), "/aws/");
    }
}
