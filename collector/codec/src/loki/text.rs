//! Labels in LogQL's form: `{job="a", pod='b',}`, with Go's strings.

use super::malformed;
use crate::DecodeError;

/// Reads the labels between the braces.
pub(super) fn labels_of(text: &str) -> Result<Vec<(String, String)>, DecodeError> {
    read(text.trim()).map_err(|what| malformed(format!("could not parse labels {text:.200?}: {what}")))
}

/// Whether a label may have this name.
pub(super) fn is_label_name(name: &str) -> bool {
    let is_first = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    name.bytes().next().is_some_and(is_first) && name.bytes().all(|b| is_first(b) || b.is_ascii_digit())
}

fn read(text: &str) -> Result<Vec<(String, String)>, &'static str> {
    let inner = text.strip_prefix('{').ok_or("they begin with no brace")?;
    let mut labels = Vec::new();
    let mut rest = inner.trim_start();
    loop {
        if let Some(behind) = rest.strip_prefix('}') {
            return if behind.is_empty() { Ok(labels) } else { Err("something stands behind the closing brace") };
        }
        let (name, behind) = rest.split_once('=').ok_or("a name has no equals sign behind it")?;
        let name = name.trim_end();
        if !is_label_name(name) {
            return Err("a name is no label's");
        }
        let (value, behind) = string(behind.trim_start())?;
        labels.push((name.to_owned(), value));
        rest = behind.trim_start();
        match rest.strip_prefix(',') {
            Some(behind) => rest = behind.trim_start(),
            None if rest.starts_with('}') => {}
            None => return Err("a value has neither comma nor brace behind it"),
        }
    }
}

/// A string as Go quotes it, and what is behind it.
fn string(text: &str) -> Result<(String, &str), &'static str> {
    const OPEN: &str = "a value does not end";
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')).ok_or("a value is not quoted")?;
    let inner = text.strip_prefix(quote).ok_or(OPEN)?;
    if quote == '`' {
        let (value, behind) = inner.split_once('`').ok_or(OPEN)?;
        return Ok((value.to_owned(), behind));
    }
    let mut value: Vec<u8> = Vec::new();
    let mut chars = inner.chars();
    loop {
        match chars.next().ok_or(OPEN)? {
            c if c == quote => break,
            '\n' => return Err("a value has a line break in it"),
            '\\' => escaped(&mut chars, &mut value)?,
            c => push(c, &mut value),
        }
    }
    // Escaped bytes need not be UTF-8.
    Ok((String::from_utf8_lossy(&value).into_owned(), chars.as_str()))
}

fn push(c: char, value: &mut Vec<u8>) {
    value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

fn escaped(chars: &mut std::str::Chars<'_>, value: &mut Vec<u8>) -> Result<(), &'static str> {
    const UNKNOWN: &str = "a value has an unknown escape";
    let c = chars.next().ok_or(UNKNOWN)?;
    let mut number = |first: Option<char>, digits: usize, radix: u32| -> Result<u32, &'static str> {
        let all = first.into_iter().chain(chars.by_ref().take(digits)).collect::<String>();
        // A sign is no digit, though Rust reads one.
        let plain = all.len() == digits + usize::from(first.is_some()) && !all.starts_with('+');
        u32::from_str_radix(&all, radix).ok().filter(|_| plain).ok_or(UNKNOWN)
    };
    let byte = |number: u32| u8::try_from(number).map_err(|_| UNKNOWN);
    match c {
        'a' => value.push(0x07),
        'b' => value.push(0x08),
        'f' => value.push(0x0c),
        'n' => value.push(b'\n'),
        'r' => value.push(b'\r'),
        't' => value.push(b'\t'),
        'v' => value.push(0x0b),
        '\\' | '"' | '\'' => push(c, value),
        'x' => value.push(byte(number(None, 2, 16)?)?),
        '0'..='7' => value.push(byte(number(Some(c), 2, 8)?)?),
        'u' => push(char::from_u32(number(None, 4, 16)?).ok_or(UNKNOWN)?, value),
        'U' => push(char::from_u32(number(None, 8, 16)?).ok_or(UNKNOWN)?, value),
        _ => return Err(UNKNOWN),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_logql_writes_them() {
        let pairs = |text: &str| {
            let labels = read(text).unwrap();
            labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        assert_eq!(pairs("{}"), [""; 0]);
        assert_eq!(pairs(r#"{job="a"}"#), ["job=a"]);
        assert_eq!(pairs("{ a = 'b' , c_1=`\\d`, }"), ["a=b", "c_1=\\d"]);
        assert_eq!(pairs(r#"{a="\"q\" \t\x41\101ä\U0001F600"}"#), ["a=\"q\" \tAAä😀"]);
        assert_eq!(pairs(r#"{a="\xff"}"#), ["a=\u{fffd}"]);
        for wrong in ["", "a", "{", "{a}", r#"{a=}"#, r#"{a="b"#, r#"{a="b"} x"#, r#"{1a="b"}"#, r#"{a="b" c="d"}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        for wrong in [r#"{a="\q"}"#, r#"{a="\x4"}"#, r#"{a="\777"}"#, r#"{a="\ud800"}"#, r#"{a="\UFFFFFFFF"}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
