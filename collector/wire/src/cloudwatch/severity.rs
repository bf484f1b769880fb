//! How grave a log line is: its JSON `level`, else a word at its beginning.

use opentelemetry_proto::tonic::logs::v1::SeverityNumber;
use serde_json::{Map, Value};

/// The words are looked for in this many bytes from the line's beginning.
const PREFIX_BYTES: usize = 96;

/// A severity's number and its text as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Severity {
    /// OTLP's number.
    pub number: SeverityNumber,
    /// The word.
    pub text: String,
}

/// From the fields that loggers use: `level`, `severity`, `log.level`, `lvl`, `levelname`, and pino's numbers.
pub(super) fn of_json(fields: &Map<String, Value>) -> Option<Severity> {
    let value = ["level", "severity", "log.level", "lvl", "levelname", "Level", "LEVEL", "loglevel"]
        .into_iter()
        .find_map(|name| fields.get(name))?;
    match value {
        Value::String(word) => of_word(word),
        Value::Number(number) => of_number(number.as_i64()?),
        _ => None,
    }
}

/// From a plain line: `[ERROR] …`, `2026-11-24T20:00:00Z <id> ERROR …`, `WARN: …`.
pub(super) fn of_text(line: &str) -> Option<Severity> {
    let mut end = line.len().min(PREFIX_BYTES);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    let prefix = line.get(..end).unwrap_or_default();
    let words = prefix.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| word.len() >= 4);
    // Only words that stand out as levels do: `error` within a sentence says nothing.
    let stands_out = |word: &&str| word.bytes().all(|b| b.is_ascii_uppercase());
    if let Some(found) = words.clone().filter(stands_out).find_map(of_word) {
        return Some(found);
    }
    let first_is_level = prefix.split([':', ']']).next().map(|word| word.trim_start_matches('[').trim());
    if let Some(found) = first_is_level.filter(|word| prefix.len() > word.len()).and_then(of_word) {
        return Some(found);
    }
    if prefix.contains("Task timed out after") || prefix.starts_with("Traceback (most recent call last)") {
        return Some(Severity { number: SeverityNumber::Error, text: String::new() });
    }
    None
}

fn of_word(word: &str) -> Option<Severity> {
    let number = match word.to_ascii_lowercase().as_str() {
        "trace" | "finest" | "verbose" => SeverityNumber::Trace,
        "debug" | "fine" => SeverityNumber::Debug,
        "info" | "information" | "notice" => SeverityNumber::Info,
        "warn" | "warning" => SeverityNumber::Warn,
        "error" | "err" | "severe" => SeverityNumber::Error,
        "fatal" | "critical" | "crit" | "alert" | "emerg" | "emergency" | "panic" => SeverityNumber::Fatal,
        _ => return None,
    };
    Some(Severity { number, text: word.to_owned() })
}

/// The numbers of bunyan and pino.
fn of_number(number: i64) -> Option<Severity> {
    let (number, text) = match number {
        10 => (SeverityNumber::Trace, "trace"),
        20 => (SeverityNumber::Debug, "debug"),
        30 => (SeverityNumber::Info, "info"),
        40 => (SeverityNumber::Warn, "warn"),
        50 => (SeverityNumber::Error, "error"),
        60 => (SeverityNumber::Fatal, "fatal"),
        _ => return None,
    };
    Some(Severity { number, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_levels() {
        for (json, number) in [
            (r#"{"level":"ERROR"}"#, Some(SeverityNumber::Error)),
            (r#"{"level":40}"#, Some(SeverityNumber::Warn)),
            (r#"{"severity":"critical"}"#, Some(SeverityNumber::Fatal)),
            (r#"{"level":"loud"}"#, None),
            (r#"{"message":"ERROR"}"#, None),
        ] {
            let fields: Map<String, Value> = serde_json::from_str(json).unwrap();
            assert_eq!(of_json(&fields).map(|s| s.number), number, "{json}");
        }
    }

    #[test]
    fn plain_lines() {
        for (line, number) in [
            ("[ERROR] 2026-11-24T20:00:00.000Z 1-2-3 KeyError: 'x'", Some(SeverityNumber::Error)),
            ("2026-11-24T20:00:00.000Z\tb1c2\tWARN\tslow", Some(SeverityNumber::Warn)),
            ("warning: low on disk", Some(SeverityNumber::Warn)),
            ("INFO starting", Some(SeverityNumber::Info)),
            ("no error here", None),
            ("error", None),
            ("START RequestId: 8f5 Version: $LATEST", None),
            ("2026-11-24T20:00:00.000Z 8f5 Task timed out after 3.00 seconds", Some(SeverityNumber::Error)),
            ("日本語のログ", None),
            ("", None),
        ] {
            assert_eq!(of_text(line).map(|s| s.number), number, "{line}");
        }
    }
}
