use super::class::is_letter_or_digit;

/// A text in which `$1`, `$name`, `${name}` stand for the groups of an expression and `$$` for a dollar, as in Go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expansion(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Number(usize),
    Name(String),
}

impl Expansion {
    /// Every text is one: a dollar that begins nothing stands for itself.
    pub fn new(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            parts.push(Part::Literal(before.to_owned()));
            if let Some(after) = after.strip_prefix('$') {
                parts.push(Part::Literal("$".to_owned()));
                rest = after;
            } else if let Some((name, after)) = group_name(after) {
                parts.push(group_number(name).map_or_else(|| Part::Name(name.to_owned()), Part::Number));
                rest = after;
            } else {
                parts.push(Part::Literal("$".to_owned()));
                rest = after;
            }
        }
        parts.push(Part::Literal(rest.to_owned()));
        Self(parts)
    }

    /// A group that is not there, or took no part, is empty.
    pub(super) fn fill<'t>(
        &'t self,
        group: impl Fn(usize) -> Option<&'t str>,
        named: impl Fn(&str) -> Option<&'t str>,
    ) -> String {
        let one = |part: &'t Part| match part {
            Part::Literal(text) => text.as_str(),
            Part::Number(number) => group(*number).unwrap_or_default(),
            Part::Name(name) => named(name).unwrap_or_default(),
        };
        self.0.iter().map(one).collect()
    }
}

/// The name behind a dollar, as long as it goes, and what follows it.
fn group_name(text: &str) -> Option<(&str, &str)> {
    let (is_braced, inside) = text.strip_prefix('{').map_or((false, text), |inside| (true, inside));
    let end = inside.find(|c: char| c != '_' && !is_letter_or_digit(c)).unwrap_or(inside.len());
    let (name, rest) = inside.split_at(end);
    if name.is_empty() {
        return None;
    }
    Some((name, if is_braced { rest.strip_prefix('}')? } else { rest }))
}

/// One with leading zeros, or of more than nine digits, is a name.
fn group_number(name: &str) -> Option<usize> {
    let is_number = name.bytes().all(|b| b.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    if is_number && name.len() <= 9 { name.parse().ok() } else { None }
}
