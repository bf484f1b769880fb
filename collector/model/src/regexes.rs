//! What the regular expressions of a query may take: a short text can ask for gigabytes, and compiling can't be stopped.

use regex_automata::nfa::thompson::NFA;

/// The most bytes that all regular expressions of a query may take in their plainest compiled form. A thousand names
/// joined by `|` take about a tenth of it.
const MAX_BYTES: usize = 4 << 20;

/// A query's regular expressions are too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the query's regular expressions would take more than {MAX_BYTES} bytes")]
pub struct RegexesTooLarge;

/// Refuses a query (PromQL, LogQL, TraceQL) whose regular expressions are too large together; to be asked before the
/// query is parsed. Each string in it counts, since each may be an expression; one that is none costs nothing.
pub fn check_regexes(query: &str) -> Result<(), RegexesTooLarge> {
    let mut left_bytes = MAX_BYTES;
    for text in strings(query) {
        // PromQL's parser takes a brace that is no repetition as it stands.
        for candidate in [text.clone(), with_braces_escaped(&text)] {
            let config = NFA::config().nfa_size_limit(Some(left_bytes));
            match NFA::compiler().configure(config).build(&candidate) {
                Ok(compiled) => {
                    left_bytes = left_bytes.saturating_sub(compiled.memory_usage());
                    break;
                }
                Err(error) if error.size_limit().is_some() => return Err(RegexesTooLarge),
                Err(_) => {}
            }
        }
    }
    Ok(())
}

/// The strings of a query, without quotes and escapes. Comments are left out.
fn strings(query: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut characters = query.chars();
    while let Some(character) = characters.next() {
        match character {
            '#' => while characters.next().is_some_and(|c| c != '\n') {},
            '"' | '\'' | '`' => found.push(string(&mut characters, character)),
            _ => {}
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

fn with_braces_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        escaped.push_str(before);
        let inside = after.split_once('}').map_or("", |(inside, _)| inside);
        let digits = |c: char| c.is_ascii_digit() || c == ',';
        let is_repetition = inside.starts_with(|c: char| c.is_ascii_digit()) && inside.chars().all(digits);
        escaped.push_str(if is_repetition { "{" } else { "\\{" });
        rest = after;
    }
    escaped.push_str(rest);
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_found_behind_comments_quotes_and_escapes() {
        let query = "# \"no\"\nx{a=~\"\\\\d\\x41\\u0042\\103\", b='it\\'s', c=`\\d\"`}";
        assert_eq!(strings(query), ["\\dABC", "it's", "\\d\""]);
    }

    #[test]
    fn what_people_write_passes() {
        let names: Vec<String> = (0..2000).map(|n| format!("tenant-{n:04}")).collect();
        for query in [
            r#"sum(rate(x{code=~"5..",path!~"/(api|web)/[^/]{1,40}",pod=~`[\w-]{1,63}`}[5m]))"#.to_owned(),
            format!("x{{tenant=~\"{}\"}}", names.join("|")),
            r#"label_replace(up, "a", "$1", "b", "(.*):{port}")"#.to_owned(),
            r#"{service_name=~".+"} |~ "(?i)time(d )?out" | json"#.to_owned(),
        ] {
            assert_eq!(check_regexes(&query), Ok(()), "{query}");
        }
    }

    #[test]
    fn one_huge_expression_or_many_large_ones_are_refused() {
        let many: Vec<String> = (0..500).map(|n| format!(r#"a=~"\\pL{{0,90}}x{n}""#)).collect();
        let behind_a_brace: Vec<String> = (0..500).map(|n| format!(r#"a=~"\x5cpL{{0,90}}{{y}}{n}""#)).collect();
        for query in [
            r#"x{a=~"(a{0,1000}){0,1000}"}"#.to_owned(),
            format!("{{{}}}", many.join(",")),
            format!("{{{}}}", behind_a_brace.join(",")),
        ] {
            assert_eq!(check_regexes(&query), Err(RegexesTooLarge), "{query}");
        }
    }
}
