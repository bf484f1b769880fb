use crate::loki::failure::Failure;

/// Tempo's `tags` parameter: logfmt, `service.name=shop error=true name="GET /"`.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, Failure> {
    let mut tags = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let Some((name, after)) = rest.split_once('=').filter(|(name, _)| !name.is_empty() && !name.contains(' '))
        else {
            return Err(Failure::parameter("tags", rest, "name=value pairs"));
        };
        let (value, after) = value(after)?;
        tags.push((name.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(tags)
}

/// A word, or a quoted text in which `\"` and `\\` are escaped; and what is behind it.
fn value(text: &str) -> Result<(String, &str), Failure> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (word, after) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        return Ok((word.to_owned(), after));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, quoted.get(at + 1..).unwrap_or(""))),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    Err(Failure::parameter("tags", text, "a closing quote"))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn pairs_with_and_without_quotes() {
        let tags = parse(r#"service.name=shop  name="GET \"/\"" tenant=a"#).unwrap();
        let wanted = [("service.name", "shop"), ("name", "GET \"/\""), ("tenant", "a")];
        assert_eq!(tags, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(parse("shop").is_err() && parse(r#"a="b"#).is_err());
    }
}
