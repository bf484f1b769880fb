//! Durations as Prometheus writes them: `1h30m`, `15s`, `0`.

use std::fmt::Write as _;
use std::time::Duration;

/// The units from the longest to the shortest, in milliseconds.
const UNITS: [(&str, u64); 7] = [
    ("y", 31_536_000_000),
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a duration: {0:?} (expected something like 1h30m, 15s or 500ms)")]
pub struct InvalidDuration(String);

/// Parses a duration: numbers with units, each unit at most once, from the longest to the shortest; or `0`.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    parse_units(text).map(Duration::from_millis).ok_or_else(|| InvalidDuration(text.chars().take(64).collect()))
}

fn parse_units(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total_ms = 0u64;
    let mut next_unit = 0;
    if text.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at_checked(letters)?;
        let at = UNITS.iter().skip(next_unit).position(|(name, _)| *name == unit)? + next_unit;
        let (_, unit_ms) = UNITS.get(at)?;
        total_ms = total_ms.checked_add(number.parse::<u64>().ok()?.checked_mul(*unit_ms)?)?;
        next_unit = at + 1;
        rest = tail;
    }
    i64::try_from(total_ms).ok().map(|_| total_ms)
}

/// Writes a duration as Prometheus does: `1h30m`, `15s`, `0s`.
pub fn format_duration(duration: Duration) -> String {
    let mut rest_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest_ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, unit_ms) in UNITS {
        // Years and weeks only where nothing smaller would be left over, so that `400d` stays readable.
        let whole_only = matches!(unit, "y" | "w");
        let count = rest_ms / unit_ms;
        if count == 0 || (whole_only && rest_ms % unit_ms != 0) {
            continue;
        }
        let _ = write!(text, "{count}{unit}");
        rest_ms -= count * unit_ms;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_prometheus_reads() {
        for (text, ms) in [("0", 0), ("15s", 15_000), ("1h30m", 5_400_000), ("1d", 86_400_000), ("1m5ms", 60_005)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for wrong in ["", "5", "s", "1s1h", "1s1s", "1.5h", "-1s", "1h ", "99999999999999y"] {
            assert!(parse_duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["0s", "15s", "1h30m", "2d", "1w", "1m5ms", "1d1h"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }
}
