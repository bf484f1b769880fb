//! Names of labels and metrics as they are written in paths and for clients that read no UTF-8 ones.

/// What begins a name that is escaped by Prometheus's scheme `values`.
const ESCAPED: &str = "U__";

/// The most hexadecimal digits of one character.
const MAX_DIGITS: usize = 6;

/// A label's name as it was before it was escaped for a path: `U__my_2e_label` is `my.label`.
///
/// What is not escaped, or not correctly, is itself.
pub(super) fn unescaped(name: &str) -> String {
    name.strip_prefix(ESCAPED).and_then(unescape).unwrap_or_else(|| name.to_owned())
}

fn unescape(escaped: &str) -> Option<String> {
    let mut name = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((plain, code)) = rest.split_once('_') {
        name.push_str(plain);
        if let Some(after) = code.strip_prefix('_') {
            name.push('_');
            rest = after;
            continue;
        }
        let (digits, after) = code.split_once('_')?;
        if digits.len() > MAX_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        name.push(u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)?);
        rest = after;
    }
    name.push_str(rest);
    Some(name)
}

/// How a client that reads no UTF-8 names wants them written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escaping {
    /// As they are, in quotes where needed.
    None,
    /// Other characters become `_`.
    Underscores,
    /// `.` becomes `_dot_`, `_` becomes `__`, other characters `__`.
    Dots,
    /// `U__` and the characters' codes.
    Values,
}

impl Escaping {
    /// A name as the client wants it.
    pub(super) fn name(self, name: &str) -> String {
        match self {
            Self::None => name.to_owned(),
            Self::Dots => name
                .char_indices()
                .map(|(at, c)| match c {
                    '_' => "__".to_owned(),
                    '.' => "_dot_".to_owned(),
                    c if is_legacy(at, c) => c.to_string(),
                    _ => "__".to_owned(),
                })
                .collect(),
            _ if is_legacy_name(name) => name.to_owned(),
            Self::Underscores => name.char_indices().map(|(at, c)| if is_legacy(at, c) { c } else { '_' }).collect(),
            Self::Values => {
                let one = |(at, c): (usize, char)| match c {
                    '_' => "__".to_owned(),
                    c if is_legacy(at, c) => c.to_string(),
                    c => format!("_{:x}_", u32::from(c)),
                };
                format!("{ESCAPED}{}", name.char_indices().map(one).collect::<String>())
            }
        }
    }
}

/// Whether a name needs no quotes in the text format.
pub(super) fn is_legacy_name(name: &str) -> bool {
    !name.is_empty() && name.char_indices().all(|(at, c)| is_legacy(at, c))
}

fn is_legacy(at: usize, c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':' || (c.is_ascii_digit() && at > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_from_a_path() {
        let cases = [
            ("U__my_2e_label", "my.label"),
            ("U__a__b", "a_b"),
            ("U___1f4a1_", "💡"),
            ("job", "job"),
            ("U__a_2e", "U__a_2e"),
            ("U__a_xyz_", "U__a_xyz_"),
            ("U___110000_", "U___110000_"),
        ];
        for (escaped, name) in cases {
            assert_eq!(unescaped(escaped), name);
        }
    }

    #[test]
    fn names_are_escaped_as_the_client_asks() {
        let all = |name: &str| {
            [Escaping::None, Escaping::Underscores, Escaping::Dots, Escaping::Values]
                .map(|escaping| escaping.name(name))
        };
        assert_eq!(
            all("http.requests_total"),
            ["http.requests_total", "http_requests_total", "http_dot_requests__total", "U__http_2e_requests__total"]
        );
        assert_eq!(all("up"), ["up", "up", "up", "up"]);
        assert_eq!(all("0a")[1..], ["_a", "__a", "U___30_a"]);
    }
}
