//! A backslash and what follows it, where that stands for one character.

use super::fault::{Fault, InvalidExpression};

/// The code point (which may be a surrogate, and then matches nothing) and the rest of the text.
pub(super) fn escape(text: &str) -> Result<(u32, &str), InvalidExpression> {
    let mut characters = text.chars();
    characters.next();
    let Some(first) = characters.next() else { return Err(InvalidExpression::new(Fault::TrailingBackslash, "")) };
    let rest = characters.as_str();
    let plain = |code: u32| Ok((code, rest));
    match first {
        'a' => plain(0x07),
        'f' => plain(0x0C),
        'n' => plain(0x0A),
        'r' => plain(0x0D),
        't' => plain(0x09),
        'v' => plain(0x0B),
        'x' => hexadecimal(text, rest),
        '0' => Ok(octal(0, rest)),
        // A digit alone would refer back to a group, which can't be had.
        '1'..='7' if rest.starts_with(is_octal) => Ok(octal(first as u32 - '0' as u32, rest)),
        _ if first.is_ascii() && !first.is_ascii_alphanumeric() => plain(first as u32),
        _ => Err(wrong(text, rest)),
    }
}

fn wrong(text: &str, rest: &str) -> InvalidExpression {
    InvalidExpression::new(Fault::Escape, before(text, rest))
}

/// The part of a text before what is left of it.
pub(super) fn before<'t>(text: &'t str, rest: &str) -> &'t str {
    text.get(..text.len().saturating_sub(rest.len())).unwrap_or(text)
}

fn is_octal(c: char) -> bool {
    c.is_digit(8)
}

/// Up to two digits more.
fn octal(mut code: u32, mut rest: &str) -> (u32, &str) {
    for _ in 0..2 {
        let mut characters = rest.chars();
        let Some(digit) = characters.next().and_then(|c| c.to_digit(8)) else { break };
        code = code * 8 + digit;
        rest = characters.as_str();
    }
    (code, rest)
}

/// `\xFF`, or `\x{10FFFF}` with any number of digits.
fn hexadecimal<'t>(text: &'t str, rest: &'t str) -> Result<(u32, &'t str), InvalidExpression> {
    let mut characters = rest.chars();
    let first = characters.next();
    if first != Some('{') {
        let digits = (first.and_then(|c| c.to_digit(16)), characters.next().and_then(|c| c.to_digit(16)));
        let rest = characters.as_str();
        let (Some(high), Some(low)) = digits else { return Err(wrong(text, rest)) };
        return Ok((high * 16 + low, rest));
    }
    let mut code = None;
    while let Some(character) = characters.next() {
        let digit = character.to_digit(16);
        let more = |digit: u32| Some(code.unwrap_or(0) * 16 + digit).filter(|code| *code <= char::MAX as u32);
        match (character, digit.and_then(more), code) {
            ('}', _, Some(code)) => return Ok((code, characters.as_str())),
            (_, Some(longer), _) => code = Some(longer),
            _ => break,
        }
    }
    Err(wrong(text, characters.as_str()))
}
