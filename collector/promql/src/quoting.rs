//! Strings as PromQL writes them: with quotes and escapes, in both directions.

use std::fmt::{self, Display, Formatter, Write};

/// A string in double quotes, escaped as Go does.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for character in self.0.chars() {
            // The lexer takes it for broken UTF-8 where it is not escaped.
            match character {
                char::REPLACEMENT_CHARACTER => f.write_str("\\ufffd")?,
                character => escaped(f, character, '"')?,
            }
        }
        f.write_char('"')
    }
}

/// Bytes in double quotes, escaped as Go does.
pub(crate) struct QuotedBytes<'a>(pub(crate) &'a [u8]);

impl Display for QuotedBytes<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for chunk in self.0.utf8_chunks() {
            chunk.valid().chars().try_for_each(|character| escaped(f, character, '"'))?;
            chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        f.write_char('"')
    }
}

/// A character in single quotes, as Go's `%q` writes it; the end of the text is the replacement character.
pub(crate) struct QuotedCharacter(pub(crate) Option<char>);

impl Display for QuotedCharacter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('\'')?;
        escaped(f, self.0.unwrap_or(char::REPLACEMENT_CHARACTER), '\'')?;
        f.write_char('\'')
    }
}

/// A character by its number, as Go's `%#U` writes it: `U+0063 'c'`.
pub(crate) struct Numbered(pub(crate) char);

impl Display for Numbered {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "U+{:04X}", u32::from(self.0))?;
        if is_printable(self.0) { write!(f, " '{}'", self.0) } else { Ok(()) }
    }
}

fn escaped(f: &mut Formatter<'_>, character: char, quote: char) -> fmt::Result {
    let short = match character {
        '\x07' => 'a',
        '\x08' => 'b',
        '\x0c' => 'f',
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        '\x0b' => 'v',
        '\\' => '\\',
        _ if character == quote => quote,
        _ if is_printable(character) => return f.write_char(character),
        _ => {
            let number = u32::from(character);
            return match number {
                ..=0x7f => write!(f, "\\x{number:02x}"),
                0x80..=0xffff => write!(f, "\\u{number:04x}"),
                _ => write!(f, "\\U{number:08x}"),
            };
        }
    };
    f.write_char('\\')?;
    f.write_char(short)
}

/// Whether Go prints the character as it is. Rust's escaping for `Debug` knows the same categories, and leaves marks
/// that extend a character alone where they do not come first.
fn is_printable(character: char) -> bool {
    if character.is_ascii() {
        return (' '..='~').contains(&character);
    }
    let mut buffer = ['x'; 2];
    if let Some(second) = buffer.last_mut() {
        *second = character;
    }
    buffer.iter().collect::<String>().escape_debug().nth(1) == Some(character)
}

/// The string that a literal means; bytes that are no UTF-8 become the replacement character.
pub(crate) fn unquoted(literal: &str) -> String {
    String::from_utf8(unquoted_bytes(literal))
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// The bytes that a literal means; the lexer saw that quotes and escapes are right.
pub(crate) fn unquoted_bytes(literal: &str) -> Vec<u8> {
    let mut inside = literal.chars();
    let quote = inside.next();
    inside.next_back();
    let inside = inside.as_str();
    if quote == Some('`') || !inside.contains('\\') {
        return inside.as_bytes().to_vec();
    }
    let mut bytes = Vec::with_capacity(inside.len());
    let mut characters = inside.chars();
    while let Some(character) = characters.next() {
        if character == '\\' {
            push_escape(&mut bytes, &mut characters);
        } else {
            push_character(&mut bytes, character);
        }
    }
    bytes
}

fn push_escape(bytes: &mut Vec<u8>, characters: &mut std::str::Chars<'_>) {
    let Some(escape) = characters.next() else { return };
    match escape {
        'a' => bytes.push(0x07),
        'b' => bytes.push(0x08),
        'f' => bytes.push(0x0c),
        'n' => bytes.push(b'\n'),
        'r' => bytes.push(b'\r'),
        't' => bytes.push(b'\t'),
        'v' => bytes.push(0x0b),
        'x' => bytes.extend(u8::try_from(number(characters, 2, 16)).ok()),
        'u' => push_character(bytes, code_point(number(characters, 4, 16))),
        'U' => push_character(bytes, code_point(number(characters, 8, 16))),
        '0'..='7' => {
            let first = escape.to_digit(8).unwrap_or_default();
            bytes.extend(u8::try_from(first * 64 + number(characters, 2, 8)).ok());
        }
        other => push_character(bytes, other),
    }
}

fn number(characters: &mut std::str::Chars<'_>, digits: usize, base: u32) -> u32 {
    let digit = |character: char| character.to_digit(base).unwrap_or_default();
    characters.take(digits).fold(0u32, |number, character| number.wrapping_mul(base).wrapping_add(digit(character)))
}

fn code_point(number: u32) -> char {
    char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn push_character(bytes: &mut Vec<u8>, character: char) {
    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_mean_what_go_says() {
        let cases = [
            (r#""a\"b""#, "a\"b"),
            (r"'a\'b'", "a'b"),
            (r"`a\n`", "a\\n"),
            (r#""\x41\101\u00e9\U0001F600\t""#, "AAé😀\t"),
            (r#""\xff!""#, "\u{fffd}!"),
            (r#""\xc3\xa9""#, "é"),
            ("''", ""),
        ];
        for (literal, meant) in cases {
            assert_eq!(unquoted(literal), meant, "{literal}");
        }
    }

    #[test]
    fn strings_are_quoted_as_in_go() {
        let cases = [
            ("a\"b'c", r#""a\"b'c""#),
            ("\u{7}\n\0\u{7f}", r#""\a\n\x00\x7f""#),
            ("é\u{ad}\u{200b}e\u{301}", "\"é\\u00ad\\u200be\u{301}\""),
            ("\u{e0001}", r#""\U000e0001""#),
        ];
        for (text, quoted) in cases {
            assert_eq!(Quoted(text).to_string(), quoted);
        }
        assert_eq!(QuotedCharacter(Some('\'')).to_string(), r"'\''");
        assert_eq!(Numbered('.').to_string(), "U+002E '.'");
    }
}
