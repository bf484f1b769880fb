//! Durations as configuration writes them: `15s`, `5m`, `1h`, `250ms`, `1d`, and sums such as `1h30m`.
//!
//! For `#[serde(with = "tenantscope_wire::duration_text")]`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de};

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("duration {0:?} is not a number and a unit such as 250ms, 15s, 5m, 1h or 1d")]
pub struct InvalidDuration(String);

/// Units, longest duration first, in milliseconds.
const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads a duration.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let invalid = || InvalidDuration(text.chars().take(64).collect());
    let mut rest = text.trim();
    let mut total_ms = 0u64;
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let digits_end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
        let (digits, after) = rest.split_at(digits_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let unit_ms = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, ms)| *ms).ok_or_else(invalid)?;
        let number: u64 = digits.parse().map_err(|_| invalid())?;
        let part_ms = number.checked_mul(unit_ms).ok_or_else(invalid)?;
        total_ms = total_ms.checked_add(part_ms).ok_or_else(invalid)?;
        rest = next;
    }
    Ok(Duration::from_millis(total_ms))
}

/// Writes a duration in its largest unit that keeps it whole, to the millisecond.
pub fn format(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let whole = UNITS.iter().find(|(_, unit_ms)| ms > 0 && ms % unit_ms == 0);
    whole.map_or_else(|| "0s".to_owned(), |(unit, unit_ms)| format!("{}{unit}", ms / unit_ms))
}

/// For serde.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

/// For serde.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_configuration_writes_them() {
        assert_eq!(parse("15s"), Ok(Duration::from_secs(15)));
        assert_eq!(parse("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "15", "s", "-1s", "1.5h", "1y", "99999999999999999999s"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(format(Duration::from_secs(5400)), "90m");
        assert_eq!(format(Duration::ZERO), "0s");
    }
}
