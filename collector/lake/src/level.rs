/// The level of a log record: from its severity number, else its text, else from the line itself; empty if none tells.
pub(crate) fn level(severity_number: i32, severity_text: &str, line: &str) -> &'static str {
    match severity_number {
        1..=4 => return "trace",
        5..=8 => return "debug",
        9..=12 => return "info",
        13..=16 => return "warn",
        17..=20 => return "error",
        21..=24 => return "fatal",
        _ => {}
    }
    named(severity_text).or_else(|| in_json(line)).or_else(|| in_text(line)).unwrap_or("")
}

/// The level that a word names.
pub(crate) fn named(text: &str) -> Option<&'static str> {
    const NAMES: [(&str, &str); 13] = [
        ("trace", "trace"),
        ("debug", "debug"),
        ("info", "info"),
        ("information", "info"),
        ("notice", "info"),
        ("warn", "warn"),
        ("warning", "warn"),
        ("error", "error"),
        ("err", "error"),
        ("critical", "fatal"),
        ("fatal", "fatal"),
        ("emergency", "fatal"),
        ("panic", "fatal"),
    ];
    NAMES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, level)| *level)
}

/// `{"level": "error", …}`, as Lambda's JSON logs are.
fn in_json(line: &str) -> Option<&'static str> {
    if !line.starts_with('{') {
        return None;
    }
    let object: serde_json::Value = serde_json::from_str(line).ok()?;
    let text = ["level", "severity", "log_level"].iter().find_map(|key| object.get(key)?.as_str())?;
    named(text)
}

/// `[ERROR] …` and `… ERROR …`: an upper-case word near the start of the line.
fn in_text(line: &str) -> Option<&'static str> {
    const LOOKED_AT_BYTES: usize = 160;
    const WORDS: [(&str, &str); 8] = [
        ("FATAL", "fatal"),
        ("ERROR", "error"),
        ("WARN", "warn"),
        ("WARNING", "warn"),
        ("INFO", "info"),
        ("DEBUG", "debug"),
        ("TRACE", "trace"),
        ("CRITICAL", "fatal"),
    ];
    let words = line.get(..LOOKED_AT_BYTES).unwrap_or(line).split(|c: char| !c.is_ascii_alphanumeric());
    words.take(24).find_map(|word| WORDS.iter().find(|(name, _)| *name == word).map(|(_, level)| *level))
}

#[cfg(test)]
mod tests {
    use super::level;

    #[test]
    fn number_before_text_before_line() {
        assert_eq!(level(17, "info", "INFO"), "error");
        assert_eq!(level(0, "Warning", "ERROR"), "warn");
        assert_eq!(level(0, "", "[ERROR] 2026-11-24T10:00:00Z boom"), "error");
        assert_eq!(level(0, "", r#"{"level":"debug","message":"ERROR"}"#), "debug");
        assert_eq!(level(0, "", "an error in lower case is prose"), "");
    }
}
