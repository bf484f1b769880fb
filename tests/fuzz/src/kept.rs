//! The file of a target: one input a line, escaped as [`u8::escape_ascii`] does, so that it reads and compares as text.

use std::fs;

/// The file's inputs; a target whose file is missing is no target.
#[allow(clippy::panic, reason = "a test fails by panicking")]
pub(crate) fn read(file: &str) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let inputs: Vec<Vec<u8>> =
        text.lines().map(|line| unescape(line).unwrap_or_else(|| panic!("{file}: no escaped input: {line}"))).collect();
    assert!(!inputs.is_empty(), "{file} has no input");
    inputs
}

fn unescape(line: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next()? {
                b't' => b'\t',
                b'r' => b'\r',
                b'n' => b'\n',
                b'x' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
                same @ (b'\\' | b'"' | b'\'') => same,
                _ => return None,
            },
            plain => plain,
        });
    }
    Some(bytes)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn what_is_escaped_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        let line = all.escape_ascii().to_string();
        assert!(!line.contains('\n'));
        assert_eq!(unescape(&line), Some(all));
        assert_eq!(unescape(r"\q"), None);
        assert_eq!(unescape(r"\x4"), None);
    }
}
