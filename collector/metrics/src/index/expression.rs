//! What can be known of a regular expression without running it.

use regex_syntax::hir::literal::{Extractor, Seq};
use regex_syntax::hir::{Class, Hir, HirKind};
use tenantscope_model::RegularExpression;

/// Literals that an expression is taken apart into; one of more is run.
const MAX_LITERALS: usize = 250;

/// Which values an expression matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expression {
    /// All but perhaps the empty one.
    Every,
    /// These.
    Values(Vec<String>),
    /// All that start with one of these, none of which is empty.
    Prefixes(Vec<String>),
    /// It must be run, over values that start with one of these; over all if there is none.
    Unknown(Vec<String>),
}

impl Expression {
    pub(crate) fn of(expression: &str) -> Self {
        let Ok(hir) = RegularExpression::meaning(expression) else { return Self::Unknown(Vec::new()) };
        if !hir.properties().look_set().is_empty() {
            return Self::Unknown(Vec::new());
        }
        if is_anything(&hir) {
            return Self::Every;
        }
        if let Some(values) = exact(&hir) {
            return Self::Values(values);
        }
        match open_prefixes(&hir) {
            Some(prefixes) if prefixes.iter().all(|prefix| !prefix.is_empty()) => Self::Prefixes(prefixes),
            Some(_) => Self::Every,
            None => Self::Unknown(prefixes(&hir)),
        }
    }
}

fn literals(hir: &Hir) -> Seq {
    let mut extractor = Extractor::new();
    extractor.limit_total(MAX_LITERALS).limit_class(5).limit_repeat(4).limit_literal_len(200);
    extractor.extract(hir)
}

/// All texts that the expression matches, if they are few.
fn exact(hir: &Hir) -> Option<Vec<String>> {
    let seq = literals(hir);
    let all = seq.literals()?;
    all.iter()
        .map(|literal| literal.is_exact().then(|| str::from_utf8(literal.as_bytes()).ok().map(str::to_owned)).flatten())
        .collect()
}

/// What every matched text starts with one of; nothing if one may start anyhow.
fn prefixes(hir: &Hir) -> Vec<String> {
    let seq = literals(hir);
    let Some(all) = seq.literals() else { return Vec::new() };
    let mut prefixes: Vec<String> = all.iter().map(|literal| valid(literal.as_bytes()).to_owned()).collect();
    if prefixes.iter().any(String::is_empty) {
        return Vec::new();
    }
    prefixes.sort_unstable();
    // One that starts with another adds nothing.
    prefixes.dedup_by(|longer, shorter| longer.starts_with(shorter.as_str()));
    prefixes
}

/// A literal may have been cut within a character.
fn valid(bytes: &[u8]) -> &str {
    match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => bytes.get(..error.valid_up_to()).and_then(|valid| str::from_utf8(valid).ok()).unwrap_or_default(),
    }
}

/// The prefixes of an expression that is a few texts and then anything, or several such ones.
fn open_prefixes(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Capture(capture) => open_prefixes(&capture.sub),
        HirKind::Alternation(all) => {
            let each = all.iter().map(open_prefixes).collect::<Option<Vec<_>>>()?;
            Some(each.into_iter().flatten().collect())
        }
        HirKind::Concat(parts) => {
            let (last, first) = parts.split_last()?;
            is_anything_or_nothing(last).then(|| exact(&Hir::concat(first.to_vec())))?
        }
        _ => None,
    }
}

/// `.*` or `.+`.
fn is_anything(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Capture(capture) => is_anything(&capture.sub),
        HirKind::Repetition(repetition) => {
            repetition.min <= 1 && repetition.max.is_none() && is_any_character(&repetition.sub)
        }
        _ => false,
    }
}

/// `.*`
fn is_anything_or_nothing(hir: &Hir) -> bool {
    is_anything(hir) && hir.properties().minimum_len() == Some(0)
}

fn is_any_character(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            class.ranges().iter().map(|range| (range.start(), range.end())).eq([('\0', char::MAX)])
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn expressions_are_taken_apart() {
        for (expression, expected) in [
            (".*", Expression::Every),
            (".+", Expression::Every),
            ("(.*)", Expression::Every),
            ("", Expression::Values(texts(&[""]))),
            ("b|c-d", Expression::Values(texts(&["b", "c-d"]))),
            ("b|", Expression::Values(texts(&["b", ""]))),
            ("a(b|c)?", Expression::Values(texts(&["ab", "ac", "a"]))),
            ("a\\.b", Expression::Values(texts(&["a.b"]))),
            ("web-.*", Expression::Prefixes(texts(&["web-"]))),
            ("(web|api)-.*", Expression::Prefixes(texts(&["web-", "api-"]))),
            ("web-.*|api-.*", Expression::Prefixes(texts(&["web-", "api-"]))),
            ("web-.+", Expression::Unknown(texts(&["web-"]))),
            ("web-[0-9]+", Expression::Unknown(texts(&["web-"]))),
            ("a|b.*", Expression::Unknown(texts(&["a", "b"]))),
            (".*a", Expression::Unknown(Vec::new())),
            ("x?y*", Expression::Unknown(Vec::new())),
            ("^a$", Expression::Unknown(Vec::new())),
            ("\\Qa.b\\E|c{,2}", Expression::Values(texts(&["a.b", "c{,2}"]))),
            ("(?i)ab", Expression::Values(texts(&["AB", "Ab", "aB", "ab"]))),
            ("(?-s)a.*", Expression::Unknown(texts(&["a"]))),
        ] {
            assert_eq!(Expression::of(expression), expected, "{expression}");
        }
    }

    proptest! {
        #[test]
        fn what_is_known_is_true(
            expression in "[ab.]{0,2}(\\|[ab]{0,2})?[.]?[*+?]?|(\\(a\\|b\\)|[ab])[.*+?]{0,2}",
            value in "[abc]{0,4}",
        ) {
            let Ok(compiled) = RegularExpression::try_new(&expression) else { return Ok(()) };
            let matches = compiled.matches(&value);
            match Expression::of(&expression) {
                Expression::Every => prop_assert!(matches || value.is_empty()),
                Expression::Values(values) => prop_assert_eq!(matches, values.contains(&value)),
                Expression::Prefixes(prefixes) => {
                    prop_assert_eq!(matches, prefixes.iter().any(|prefix| value.starts_with(prefix)));
                }
                Expression::Unknown(prefixes) => {
                    let possible = prefixes.is_empty() || prefixes.iter().any(|prefix| value.starts_with(prefix));
                    prop_assert!(possible || !matches, "{:?}", prefixes);
                }
            }
        }
    }
}
