//! Classes of characters: `[…]`, `\d`, `[:alpha:]`, `\p{Greek}`.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind};

use super::escape::{before, escape};
use super::fault::{Fault, InvalidExpression};

/// Names of scripts that are as long as the abbreviations of others; Go knows no abbreviations.
const SCRIPTS_OF_FOUR_LETTERS: [&str; 8] = ["ahom", "cham", "kawi", "lisu", "modi", "newa", "thai", "toto"];

/// A class, and the rest of the text.
pub(super) type Found<'t> = Result<Option<(ClassUnicode, &'t str)>, InvalidExpression>;

/// The class that a code point, or its other cases too, makes.
pub(super) fn single(code: u32, ignores_case: bool) -> ClassUnicode {
    range(code, code, ignores_case)
}

fn range(first: u32, last: u32, ignores_case: bool) -> ClassUnicode {
    // No text has surrogates.
    let up = |code: u32| char::from_u32(code).unwrap_or('\u{E000}');
    let down = |code: u32| char::from_u32(code).unwrap_or('\u{D7FF}');
    let (first, last) = (up(first), down(last));
    folded(if first <= last { of(&[(first, last)]) } else { of(&[]) }, ignores_case)
}

fn of(ranges: &[(char, char)]) -> ClassUnicode {
    ClassUnicode::new(ranges.iter().map(|(first, last)| ClassUnicodeRange::new(*first, *last)))
}

fn folded(mut class: ClassUnicode, ignores_case: bool) -> ClassUnicode {
    if ignores_case {
        class.case_fold_simple();
    }
    class
}

/// Negated after it is folded: no case of what is excluded is in it.
fn group(class: ClassUnicode, ignores_case: bool, is_negated: bool) -> ClassUnicode {
    let mut class = folded(class, ignores_case);
    if is_negated {
        class.negate();
    }
    class
}

/// A class in brackets, at the beginning of a text.
pub(super) fn bracketed(text: &str, ignores_case: bool) -> Result<(ClassUnicode, &str), InvalidExpression> {
    let inside = text.strip_prefix('[').unwrap_or(text);
    let (is_negated, mut rest) = inside.strip_prefix('^').map_or((false, inside), |rest| (true, rest));
    let mut class = of(&[]);
    let mut is_first = true;
    // A bracket that comes first stands for itself.
    while is_first || !rest.starts_with(']') {
        is_first = false;
        let (member, after) = member(rest, text, ignores_case)?;
        class.union(&member);
        rest = after;
    }
    if is_negated {
        class.negate();
    }
    Ok((class, rest.strip_prefix(']').unwrap_or(rest)))
}

fn member<'t>(rest: &'t str, whole: &'t str, ignores_case: bool) -> Result<(ClassUnicode, &'t str), InvalidExpression> {
    if let Some(found) = named(rest, ignores_case)? {
        return Ok(found);
    }
    if let Some(found) = escaped(rest, ignores_case)? {
        return Ok(found);
    }
    let (first, after) = character(rest, whole)?;
    // `[a-]` has no range.
    let Some(behind) = after.strip_prefix('-').filter(|behind| !behind.is_empty() && !behind.starts_with(']')) else {
        return Ok((single(first, ignores_case), after));
    };
    let (last, after) = character(behind, whole)?;
    if last < first {
        return Err(InvalidExpression::new(Fault::CharacterRange, before(rest, after)));
    }
    Ok((range(first, last, ignores_case), after))
}

fn character<'t>(rest: &'t str, whole: &str) -> Result<(u32, &'t str), InvalidExpression> {
    let mut characters = rest.chars();
    match characters.next() {
        None => Err(InvalidExpression::new(Fault::MissingBracket, whole)),
        Some('\\') => escape(rest),
        Some(plain) => Ok((plain as u32, characters.as_str())),
    }
}

/// `\d` and the like, or `\pN`, at the beginning of a text.
pub(super) fn escaped(text: &str, ignores_case: bool) -> Found<'_> {
    let mut characters = text.chars();
    let (Some('\\'), Some(letter)) = (characters.next(), characters.next()) else { return Ok(None) };
    let name = match letter.to_ascii_lowercase() {
        'd' => "digit",
        's' => return Ok(Some((group(perl_space(), ignores_case, letter == 'S'), characters.as_str()))),
        'w' => "word",
        'p' => return of_unicode(text, ignores_case).map(Some),
        _ => return Ok(None),
    };
    let class = posix(name).map(|ranges| group(of(ranges), ignores_case, letter.is_ascii_uppercase()));
    Ok(class.map(|class| (class, characters.as_str())))
}

/// Without the vertical tab.
fn perl_space() -> ClassUnicode {
    of(&[('\t', '\n'), ('\x0C', '\r'), (' ', ' ')])
}

/// `[:alpha:]` or `[:^alpha:]`, at the beginning of a text within brackets.
fn named(text: &str, ignores_case: bool) -> Found<'_> {
    let Some((name, rest)) = text.strip_prefix("[:").and_then(|inside| inside.split_once(":]")) else {
        return Ok(None);
    };
    let (is_negated, positive) = name.strip_prefix('^').map_or((false, name), |positive| (true, positive));
    match posix(positive) {
        Some(ranges) => Ok(Some((group(of(ranges), ignores_case, is_negated), rest))),
        None => Err(InvalidExpression::new(Fault::CharacterRange, before(text, rest))),
    }
}

fn posix(name: &str) -> Option<&'static [(char, char)]> {
    Some(match name {
        "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => &[('A', 'Z'), ('a', 'z')],
        "ascii" => &[('\0', '\x7F')],
        "blank" => &[('\t', '\t'), (' ', ' ')],
        "cntrl" => &[('\0', '\x1F'), ('\x7F', '\x7F')],
        "digit" => &[('0', '9')],
        "graph" => &[('!', '~')],
        "lower" => &[('a', 'z')],
        "print" => &[(' ', '~')],
        "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => &[('\t', '\r'), (' ', ' ')],
        "upper" => &[('A', 'Z')],
        "word" => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
        _ => return None,
    })
}

/// `\pN`, `\p{Greek}`, `\P{Greek}`, `\p{^Greek}`: a general category or a script.
fn of_unicode(text: &str, ignores_case: bool) -> Result<(ClassUnicode, &str), InvalidExpression> {
    let wrong = |place: &str| InvalidExpression::new(Fault::CharacterRange, place);
    let behind = text.get(2..).unwrap_or_default();
    let (name, rest) = match behind.strip_prefix('{') {
        Some(inside) => inside.split_once('}').ok_or_else(|| wrong(text))?,
        None => behind.split_at(behind.chars().next().map_or(0, char::len_utf8)),
    };
    let (is_inverted, name) = name.strip_prefix('^').map_or((false, name), |name| (true, name));
    let class = by_unicode_name(name).ok_or_else(|| wrong(before(text, rest)))?;
    Ok((group(class, ignores_case, text.starts_with("\\P") != is_inverted), rest))
}

fn by_unicode_name(name: &str) -> Option<ClassUnicode> {
    let is_separator = |c: char| matches!(c, '_' | '-' | ' ');
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || is_separator(c)) {
        return None;
    }
    let name: String = name.chars().filter(|c| !is_separator(*c)).map(|c| c.to_ascii_lowercase()).collect();
    if matches!(name.as_str(), "cs" | "surrogate") {
        return Some(of(&[]));
    }
    let is_abbreviation = name.len() == 4 && !SCRIPTS_OF_FOUR_LETTERS.contains(&name.as_str());
    by_property("gc", &name).or_else(|| by_property("sc", &name).filter(|_| !is_abbreviation))
}

fn by_property(property: &str, value: &str) -> Option<ClassUnicode> {
    match regex_syntax::parse(&format!(r"\p{{{property}={value}}}")).map(Hir::into_kind) {
        Ok(HirKind::Class(Class::Unicode(class))) => Some(class),
        _ => None,
    }
}

/// Whether Go takes a character for a letter or a digit, in the name of a group.
pub(super) fn is_letter_or_digit(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_alphanumeric();
    }
    let contains =
        |class: ClassUnicode| class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&character));
    ["l", "nd"].into_iter().filter_map(|category| by_property("gc", category)).any(contains)
}
