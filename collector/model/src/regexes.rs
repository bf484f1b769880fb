//! What the regular expressions of a query may take: a short text can ask for gigabytes, and compiling can't be stopped.

use crate::regular_expression::RegularExpression;

/// The most bytes that all regular expressions of a query may take in their plainest compiled form. A thousand names
/// joined by `|` take about a tenth of it.
const MAX_BYTES: usize = 4 << 20;
/// The function whose last argument, behind so many commas, is an expression.
const LABEL_REPLACE: (&str, usize) = ("label_replace", 4);

/// A query's regular expressions are too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the query's regular expressions would take more than {MAX_BYTES} bytes")]
pub struct RegexesTooLarge;

/// Refuses a query (PromQL, LogQL, TraceQL) whose regular expressions are too large together; to be asked before the
/// query is parsed. One that is wrong costs nothing.
pub fn check_regexes(query: &str) -> Result<(), RegexesTooLarge> {
    let mut left_bytes = MAX_BYTES;
    for text in expressions(query) {
        match RegularExpression::compiled_bytes(&text, left_bytes) {
            Ok(Some(bytes)) => left_bytes = left_bytes.saturating_sub(bytes),
            Ok(None) => return Err(RegexesTooLarge),
            Err(_) => {}
        }
    }
    Ok(())
}

/// What was read of a query, as far as it tells whether the next string is a regular expression.
#[derive(Default)]
struct Reading {
    /// The word that stands before the place.
    word: String,
    /// The operator or bracket that does, where no word does.
    mark: Option<char>,
    /// Whether the last string was an expression.
    was_expression: bool,
    /// Whether the word is at its end.
    is_whole: bool,
    /// What is open: the word before a parenthesis, or another bracket itself, and the commas in it.
    open: Vec<(String, usize)>,
}

impl Reading {
    fn read(&mut self, character: char) {
        match character {
            '(' => self.open.push((std::mem::take(&mut self.word), 0)),
            '{' | '[' => self.open.push((character.to_string(), 0)),
            ')' | '}' | ']' => {
                self.open.pop();
            }
            ',' => {
                if let Some((_, commas)) = self.open.last_mut() {
                    *commas += 1;
                }
            }
            _ => {}
        }
        if character.is_whitespace() {
            self.is_whole = true;
            return;
        }
        if !character.is_alphanumeric() && character != '_' {
            self.word.clear();
            self.mark = Some(character);
            return;
        }
        if std::mem::take(&mut self.is_whole) {
            self.word.clear();
        }
        self.word.push(character);
        self.mark = None;
    }

    /// Whether a string that stands here is an expression.
    fn takes_expression(&self) -> bool {
        match (self.mark, self.word.as_str()) {
            (Some('~'), _) => return true,
            // LogQL: `|~ "a" or "b"`, `| regexp "…"`.
            (None, "or") => return self.was_expression,
            (None, "regexp") => return true,
            _ => {}
        }
        let call = self.open.iter().rev().find(|(word, _)| !word.is_empty());
        call.is_some_and(|(word, commas)| (word.as_str(), *commas) == LABEL_REPLACE)
    }

    /// After a string.
    fn passed(&mut self, was_expression: bool) {
        self.word.clear();
        self.mark = Some('"');
        self.was_expression = was_expression;
    }
}

/// The strings of a query that are regular expressions, without quotes and escapes. Comments are left out.
fn expressions(query: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut reading = Reading::default();
    let mut characters = query.chars();
    while let Some(character) = characters.next() {
        match character {
            '#' => while characters.next().is_some_and(|c| c != '\n') {},
            '"' | '\'' | '`' => {
                let text = string(&mut characters, character);
                let is_expression = reading.takes_expression();
                reading.passed(is_expression);
                found.extend(is_expression.then_some(text));
            }
            other => reading.read(other),
        }
    }
    found
}

fn string(characters: &mut std::str::Chars<'_>, quote: char) -> String {
    let mut text = String::new();
    while let Some(character) = characters.next().filter(|c| *c != quote) {
        match character {
            '\\' if quote != '`' => text.extend(escaped(characters)),
            plain => text.push(plain),
        }
    }
    text
}

/// The character that stands behind a backslash, as Go writes them.
fn escaped(characters: &mut std::str::Chars<'_>) -> Option<char> {
    let first = characters.next()?;
    let (digits, radix, mut value) = match first {
        'n' => return Some('\n'),
        'r' => return Some('\r'),
        't' => return Some('\t'),
        'a' | 'b' | 'f' | 'v' => return Some(' '),
        'x' => (2, 16, 0),
        'u' => (4, 16, 0),
        'U' => (8, 16, 0),
        '0'..='7' => (2, 8, first.to_digit(8)?),
        other => return Some(other),
    };
    for _ in 0..digits {
        value = u32::checked_mul(value, radix)?.checked_add(characters.next()?.to_digit(radix)?)?;
    }
    char::from_u32(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_found_behind_comments_quotes_and_escapes() {
        for (query, expected) in [
            ("# =~\"no\"\nx{a=~\"\\\\d\\x41\\u0042\\103\", b='it', c!~`\\d\"`}", vec!["\\dABC", "\\d\""]),
            (r#"x{"a.b" =~ "c", d != "e", f="g"} == on("h") y"#, vec!["c"]),
            (r#"label_replace(rate(x{a="1"}[5m]), "b", "$1", "c", ("d(.*)"))"#, vec!["d(.*)"]),
            (
                r#"x or label_replace (label_join(x{i="j",k="l",m="n"}, "a", ",", "b", "c", "d"), "b", "$1", "c", "e") or y{f="g"}"#,
                vec!["e"],
            ),
            (r#"label_join(x, "a", "b", "c", "d", "e")"#, vec![]),
            (r#"{a="b"} |~ "c" or "d" |= "e" or "f" | regexp "(?P<g>h)""#, vec!["c", "d", "(?P<g>h)"]),
            (r#"{ span.a =~ "b" && name = "c" }"#, vec!["b"]),
        ] {
            assert_eq!(expressions(query), expected, "{query}");
        }
    }

    #[test]
    fn what_people_write_passes() {
        let names: Vec<String> = (0..2000).map(|n| format!("tenant-{n:04}")).collect();
        for query in [
            r#"sum(rate(x{code=~"5..",path!~"/(api|web)/[^/]{1,40}",pod=~`[\w-]{1,63}`}[5m]))"#.to_owned(),
            format!("x{{tenant=~\"{}\"}}", names.join("|")),
            r#"x{host=~"\\w{1,63}(\\.\\w{1,63}){0,8}"}"#.to_owned(),
            r#"label_replace(up, "a", "$1", "b", "(.*):{port}")"#.to_owned(),
            r#"{service_name=~".+"} |~ "(?i)time(d )?out" | json"#.to_owned(),
            format!("label_join(x, \"a\", {})", ["\"a\""; 15_000].join(",")),
        ] {
            assert_eq!(check_regexes(&query), Ok(()), "{query}");
        }
    }

    #[test]
    fn one_huge_expression_or_many_large_ones_are_refused() {
        let many: Vec<String> = (0..500).map(|n| format!(r#"a=~"\\pL{{0,90}}x{n}""#)).collect();
        let behind_a_brace: Vec<String> = (0..500).map(|n| format!(r#"a=~"\x5cpL{{0,90}}{{y}}{n}""#)).collect();
        let replaced = (0..9).fold("x".to_owned(), |x, _| format!(r#"label_replace({x},"a","b","c","\\pL{{99}}")"#));
        for query in [
            r#"x{a=~"\\pL{300}|\\pN{900}"}"#.to_owned(),
            format!("{{{}}}", many.join(",")),
            format!("{{{}}}", behind_a_brace.join(",")),
            format!(r#"{{a="b"}} |~ "{}""#, r"\\pL".repeat(300)),
            replaced,
        ] {
            assert_eq!(check_regexes(&query), Err(RegexesTooLarge), "{query}");
        }
    }
}
