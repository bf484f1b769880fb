//! Regular expressions as Prometheus has them: Go's syntax and meaning (RE2's), always of a whole text.
//!
//! ```text
//! text ─parse→ Hir (regex-syntax's form of what an expression means) ─compile→ an automaton (regex-automata)
//! ```
//!
//! Only the parser is ours, since Rust's syntax has other words for some things and other meanings for others: in Go
//! classes such as `\w` and `\b` are ASCII, `[a&&b]` is a class of three characters, `{,3}` stands for itself, and `a**`
//! is an error. What is wrong is reported in Go's words.

mod class;
mod escape;
mod expansion;
mod fault;
mod parse;

use regex_automata::meta;
use regex_automata::nfa::thompson::NFA;
use regex_syntax::hir::{Hir, Look};

pub use expansion::Expansion;
pub use fault::InvalidExpression;

use fault::Fault;
use parse::parse;

/// The most that an expression may take when it is compiled, in bytes.
const MAX_COMPILED_BYTES: usize = 10 << 20;

/// A regular expression that matches whole texts. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct RegularExpression {
    compiled: meta::Regex,
    /// Names of groups, with the group's number; a name may stand for several.
    names: Vec<(String, usize)>,
}

impl RegularExpression {
    /// Parses and compiles.
    pub fn try_new(text: &str) -> Result<Self, InvalidExpression> {
        let parsed = parse(text)?;
        let whole = Hir::concat(vec![Hir::look(Look::Start), parsed.hir, Hir::look(Look::End)]);
        let config = meta::Config::new().nfa_size_limit(Some(MAX_COMPILED_BYTES));
        let compiled = meta::Builder::new()
            .configure(config)
            .build_from_hir(&whole)
            .map_err(|_| InvalidExpression::new(Fault::Large, text))?;
        Ok(Self { compiled, names: parsed.names })
    }

    /// What an expression means, for those who look into it: which texts it matches, not anchored.
    pub fn meaning(text: &str) -> Result<Hir, InvalidExpression> {
        parse(text).map(|parsed| parsed.hir)
    }

    /// The bytes that an expression takes in its plainest compiled form; `None` if these are more than a limit.
    pub(crate) fn compiled_bytes(text: &str, limit_bytes: usize) -> Result<Option<usize>, InvalidExpression> {
        let hir = Self::meaning(text)?;
        let config = NFA::config().nfa_size_limit(Some(limit_bytes));
        let nfa = NFA::compiler().configure(config).build_from_hir(&hir);
        Ok(nfa.ok().map(|nfa| nfa.memory_usage()))
    }

    /// Whether it matches the whole of a text.
    pub fn matches(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }

    /// What becomes of an expansion where the expression matches the whole of a text.
    pub fn expand(&self, text: &str, expansion: &Expansion) -> Option<String> {
        let mut captures = self.compiled.create_captures();
        self.compiled.captures(text, &mut captures);
        if !captures.is_match() {
            return None;
        }
        let group = |number: usize| captures.get_group(number).and_then(|span| text.get(span.range()));
        let named = |name: &str| self.names.iter().filter(|(known, _)| known == name).find_map(|(_, at)| group(*at));
        Some(expansion.fill(group, named))
    }
}

#[cfg(test)]
mod tests;
