//! Durations and sizes as people write them: `15s`, `1h30m`, `512MiB`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A duration read from `500ms`, `15s`, `5m`, `1h30m`, `2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeSpan(pub Duration);

/// A number of bytes read from `512MiB`, `10GB`, `4096`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// Why a text is no duration or no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuantity {
    /// No duration.
    #[error("{0:?} is not a duration such as 15s, 5m or 1h30m")]
    Duration(String),
    /// No size.
    #[error("{0:?} is not a size such as 4096, 64KiB or 512MiB")]
    Size(String),
}

impl TimeSpan {
    /// The duration in whole milliseconds.
    pub fn as_ms(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }

    /// A number of seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl FromStr for TimeSpan {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidQuantity::Duration(text.chars().take(64).collect());
        let mut total_ms: u64 = 0;
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(invalid());
        }
        while !rest.is_empty() {
            let (number, unit, behind) = leading_part(rest).ok_or_else(invalid)?;
            let unit_ms = match unit {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                "w" => 604_800_000,
                _ => return Err(invalid()),
            };
            let part_ms = number.checked_mul(unit_ms).ok_or_else(invalid)?;
            total_ms = total_ms.checked_add(part_ms).ok_or_else(invalid)?;
            rest = behind;
        }
        Ok(Self(Duration::from_millis(total_ms)))
    }
}

impl FromStr for Bytes {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidQuantity::Size(text.chars().take(64).collect());
        let (number, unit, behind) = leading_part(text.trim()).ok_or_else(invalid)?;
        let unit_bytes: u64 = match unit.trim() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            "KB" | "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            _ => return Err(invalid()),
        };
        if !behind.is_empty() {
            return Err(invalid());
        }
        number.checked_mul(unit_bytes).map(Self).ok_or_else(invalid)
    }
}

/// Splits `12mrest` into 12, `m` and `rest`; the unit is what is not a digit.
fn leading_part(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, behind) = text.split_at(digits);
    let unit_end = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
    let (unit, rest) = behind.split_at(unit_end);
    Some((number.parse().ok()?, unit, rest))
}

/// In its largest unit that keeps it whole, to the millisecond.
impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u128); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
        let ms = self.0.as_millis();
        let whole = UNITS.into_iter().find(|(_, unit_ms)| ms > 0 && ms.is_multiple_of(*unit_ms));
        match whole {
            Some((unit, unit_ms)) => write!(f, "{}{unit}", ms / unit_ms),
            None => f.write_str("0s"),
        }
    }
}

impl Serialize for TimeSpan {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

struct TextOrNumber<T>(std::marker::PhantomData<T>);

impl<T> de::Visitor<'_> for TextOrNumber<T>
where
    T: FromStr<Err = InvalidQuantity>,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 15s or a size such as 512MiB")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for TimeSpan {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(TextOrNumber(std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(TextOrNumber(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [("15s", 15_000), ("500ms", 500), ("1h30m", 5_400_000), ("2d", 172_800_000), ("0s", 0)] {
            let span: TimeSpan = text.parse().unwrap();
            assert_eq!(span.as_ms(), ms, "{text}");
            assert_eq!(span.to_string().parse(), Ok(span), "{text}");
        }
        for wrong in ["", "15", "s", "15x", "1.5h", "-3s", "99999999999999999999s"] {
            assert!(wrong.parse::<TimeSpan>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("4096", 4096), ("512MiB", 512 << 20), ("10GB", 10_000_000_000), ("64 KiB", 65_536)] {
            assert_eq!(text.parse::<Bytes>().unwrap().0, bytes, "{text}");
        }
        for wrong in ["", "MiB", "5XB", "5MiB3", "-1"] {
            assert!(wrong.parse::<Bytes>().is_err(), "{wrong:?}");
        }
    }
}
