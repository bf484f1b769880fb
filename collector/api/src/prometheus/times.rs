//! Times and durations in requests, as Prometheus reads them.

/// The first and last millisecond that a query may name, years 1 and 9999.
pub(super) const MIN_MS: i64 = -62_135_596_800_000;
pub(super) const MAX_MS: i64 = 253_402_300_799_999;

/// The texts that Prometheus's clients send for "as early as can be" and "as late as can be".
const EARLIEST: &str = "-292273086-05-16T16:47:06Z";
const LATEST: &str = "292277025-08-18T07:12:54.999999999Z";

/// Why a text is no duration.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoDuration {
    /// It reads as nothing.
    Unreadable,
    /// More than 292 years.
    Overflow,
}

/// Seconds with fractions, or RFC 3339, in milliseconds. Seconds past what a query may name are its first or last time.
pub(super) fn time_ms(text: &str) -> Option<i64> {
    let ms = match text {
        EARLIEST => MIN_MS,
        LATEST => MAX_MS,
        _ => match text.parse::<f64>() {
            Ok(seconds) if seconds.is_finite() => (seconds * 1000.0).round() as i64,
            Ok(_) => return None,
            Err(_) if is_rfc3339(text) => text.parse::<jiff::Timestamp>().ok()?.as_millisecond(),
            Err(_) => return None,
        },
    };
    Some(ms.clamp(MIN_MS, MAX_MS))
}

/// `2015-07-01T20:10:30.781+01:00`, and none of the other forms that ISO 8601 has.
fn is_rfc3339(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let Some(rest) = shape.strip_prefix("0000-00-00T00:00:00") else { return false };
    let zone = rest.strip_prefix('.').map_or(rest, |fraction| fraction.trim_start_matches('0'));
    matches!(zone, "Z" | "+00:00" | "-00:00") && !rest.starts_with(".Z")
}

/// Seconds with fractions, or `1h30m`, in milliseconds.
pub(super) fn duration_ms(text: &str) -> Result<i64, NoDuration> {
    if let Ok(seconds) = text.parse::<f64>() {
        let ns = seconds * 1e9;
        return if ns.abs() <= i64::MAX as f64 { Ok((ns / 1e6) as i64) } else { Err(NoDuration::Overflow) };
    }
    let duration = tenantscope_rules::parse_duration(text).map_err(|_| NoDuration::Unreadable)?;
    i64::try_from(duration.as_millis()).map_err(|_| NoDuration::Overflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        assert_eq!(time_ms("1435781430.781"), Some(1_435_781_430_781));
        assert_eq!(time_ms("2015-07-01T20:10:30.781Z"), Some(1_435_781_430_781));
        assert_eq!(time_ms("2015-07-01T20:10:30+01:00"), Some(1_435_777_830_000));
        assert_eq!((time_ms(EARLIEST), time_ms(LATEST)), (Some(MIN_MS), Some(MAX_MS)));
        assert_eq!((time_ms("1e20"), time_ms("-1e300")), (Some(MAX_MS), Some(MIN_MS)));
        for unreadable in
            ["yesterday", "NaN", "inf", "1e400", "", "2015-07-01 20:10:30Z", "2015-07-01T20Z", "2015-07-01T20:10:30"]
        {
            assert_eq!(time_ms(unreadable), None, "{unreadable}");
        }
    }

    #[test]
    fn durations_are_seconds_or_prometheus_durations() {
        assert_eq!((duration_ms("0.5"), duration_ms("-1"), duration_ms("1h30m")), (Ok(500), Ok(-1000), Ok(5_400_000)));
        assert_eq!(duration_ms("1e300"), Err(NoDuration::Overflow));
        assert_eq!((duration_ms("soon"), duration_ms("")), (Err(NoDuration::Unreadable), Err(NoDuration::Unreadable)));
    }
}
