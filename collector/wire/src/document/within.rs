//! Values within their bounds: a key that is out of them is an error where it stands, with its line.

use serde::{Deserialize, Deserializer, de};
use tenantscope_model::TimeSpan;

const SECOND: TimeSpan = TimeSpan::from_secs(1);
const DAY: TimeSpan = TimeSpan::from_secs(86_400);
/// CloudWatch keeps one-minute datapoints for 15 days.
const METRICS_KEPT: TimeSpan = TimeSpan::from_secs(15 * 86_400);
/// Log groups keep their events for ten years at most.
const LOGS_KEPT: TimeSpan = TimeSpan::from_secs(3_653 * 86_400);
const NONE: TimeSpan = TimeSpan::from_secs(0);

/// Time between two rounds.
pub(super) fn interval<'de, D: Deserializer<'de>>(from: D) -> Result<Option<TimeSpan>, D::Error> {
    span(from, SECOND, DAY)
}

/// How long something is looked at again.
pub(super) fn overlap<'de, D: Deserializer<'de>>(from: D) -> Result<Option<TimeSpan>, D::Error> {
    span(from, NONE, DAY)
}

/// How far a first round over metrics looks back.
pub(super) fn metrics_lookback<'de, D: Deserializer<'de>>(from: D) -> Result<Option<TimeSpan>, D::Error> {
    span(from, NONE, METRICS_KEPT)
}

/// How far a first round over logs and traces looks back.
pub(super) fn lookback<'de, D: Deserializer<'de>>(from: D) -> Result<Option<TimeSpan>, D::Error> {
    span(from, NONE, LOGS_KEPT)
}

/// What GetMetricData takes: 1, 5, 10, 20, 30 or a multiple of 60 seconds.
pub(super) fn period<'de, D: Deserializer<'de>>(from: D) -> Result<Option<TimeSpan>, D::Error> {
    let Some(period) = span(from, SECOND, DAY)? else { return Ok(None) };
    let seconds = period.0.as_secs();
    if !matches!(seconds, 1 | 5 | 10 | 20 | 30) && !seconds.is_multiple_of(60) {
        return Err(de::Error::custom("the period is not 1s, 5s, 10s, 20s, 30s or whole minutes up to a day"));
    }
    Ok(Some(period))
}

/// An amount of money.
pub fn usd<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    match Option::<f64>::deserialize(from)? {
        Some(usd) if !usd.is_finite() || usd < 0.0 => Err(de::Error::custom(format!("{usd} is not an amount"))),
        usd => Ok(usd),
    }
}

fn span<'de, D: Deserializer<'de>>(from: D, least: TimeSpan, most: TimeSpan) -> Result<Option<TimeSpan>, D::Error> {
    match Option::<TimeSpan>::deserialize(from)? {
        Some(span) if span < least => Err(de::Error::custom(format!("{span} is less than {least}"))),
        Some(span) if span > most => Err(de::Error::custom(format!("{span} is more than {most}"))),
        span => Ok(span),
    }
}
