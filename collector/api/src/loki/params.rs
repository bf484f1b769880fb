//! Parameters as Loki and Tempo write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::failure::Failure;

const SECOND_NS: f64 = 1e9;

/// The parameters of a request, from its query or its form.
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub(crate) fn new(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// The first value; an empty one counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// All values of a parameter that may come several times.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn needed(&self, name: &str) -> Result<&str, Failure> {
        self.get(name).ok_or_else(|| Failure::bad(format!("parameter {name:?} is missing")))
    }

    pub(crate) fn count(&self, name: &str) -> Result<Option<usize>, Failure> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match text.parse() {
            Ok(count) if count > 0 => Ok(Some(count)),
            _ => Err(Failure::parameter(name, text, "a positive count")),
        }
    }

    /// Seconds since the epoch (with a point, or up to ten digits), nanoseconds, or RFC 3339.
    pub(crate) fn time_ns(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.get(name) else { return Ok(None) };
        time_ns(text)
            .map(Some)
            .ok_or_else(|| Failure::parameter(name, text, "a time: seconds, nanoseconds or RFC 3339"))
    }

    /// `5m`, `1.5s`, or a number of seconds.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<Duration>, Failure> {
        let Some(text) = self.get(name) else { return Ok(None) };
        duration(text).map(Some).ok_or_else(|| Failure::parameter(name, text, "a duration such as 5m or 1.5s"))
    }
}

fn time_ns(text: &str) -> Option<i64> {
    if let Ok(whole) = text.parse::<i64>() {
        return if text.len() <= 10 { whole.checked_mul(1_000_000_000) } else { Some(whole) };
    }
    if let Ok(seconds) = text.parse::<f64>() {
        let nanoseconds = seconds * SECOND_NS;
        return (nanoseconds.is_finite() && nanoseconds.abs() < i64::MAX as f64).then_some(nanoseconds as i64);
    }
    let time: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}

/// A Go duration, or seconds.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    const UNITS: [(&str, f64); 10] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3_600.0),
        ("d", 86_400.0),
        ("w", 604_800.0),
        ("y", 31_536_000.0),
    ];
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        seconds += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_as_clients_write_them() {
        assert_eq!(time_ns("1764000000"), Some(1_764_000_000_000_000_000));
        assert_eq!(time_ns("1764000000.5"), Some(1_764_000_000_500_000_000));
        assert_eq!(time_ns("1764000000000000001"), Some(1_764_000_000_000_000_001));
        assert_eq!(time_ns("1970-01-01T00:00:01.5Z"), Some(1_500_000_000));
        assert_eq!(time_ns("yesterday"), None);
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5_400)));
        assert_eq!(duration("100ms"), Some(Duration::from_millis(100)));
        assert_eq!(duration("15"), Some(Duration::from_secs(15)));
        assert_eq!(duration("5 minutes"), None);
        assert_eq!(duration("-1"), None);
    }
}
