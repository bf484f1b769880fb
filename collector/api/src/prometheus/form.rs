//! A request's parameters: the query string's and a form body's.

use axum::Form as FormBody;
use axum::extract::{FromRequest, Query, Request};
use axum::http::Method;
use tenantscope_model::Matcher;
use tenantscope_promql::{ExprKind, parse};

use super::answer::ApiError;

/// The time of the first and last millisecond that a parameter may name, years 1 and 9999.
const MIN_MS: i64 = -62_135_596_800_000;
const MAX_MS: i64 = 253_402_300_799_999;

/// Most selectors that one call may give.
const MAX_SELECTORS: usize = 100;

/// The parameters in the order in which they were given.
#[derive(Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let wrong =
            |problem: &dyn std::fmt::Display| ApiError::BadData(format!("error parsing form values: {problem}"));
        let from_url = Query::<Vec<(String, String)>>::try_from_uri(request.uri());
        let mut pairs = Vec::new();
        if request.method() == Method::POST {
            let FormBody(body) = FormBody::<Vec<(String, String)>>::from_request(request, state)
                .await
                .map_err(|rejection| wrong(&rejection.body_text()))?;
            pairs.extend(body);
        }
        pairs.extend(from_url.map_err(|rejection| wrong(&rejection.body_text()))?.0);
        Ok(Self(pairs))
    }
}

impl Form {
    /// A parameter's first value; an empty one counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// All values of a parameter.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A time.
    pub(super) fn time_ms(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name).map(|text| time_ms(text).ok_or_else(|| unreadable_time(name, text))).transpose()
    }

    /// A time that must be given.
    pub(super) fn required_time_ms(&self, name: &str) -> Result<i64, ApiError> {
        self.time_ms(name)?.ok_or_else(|| unreadable_time(name, ""))
    }

    /// `start` and `end`, as far apart as can be where they are not given.
    pub(super) fn window(&self) -> Result<(i64, i64), ApiError> {
        let start_ms = self.time_ms("start")?.unwrap_or(MIN_MS);
        let end_ms = self.time_ms("end")?.unwrap_or(MAX_MS);
        if end_ms < start_ms {
            return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
        }
        Ok((start_ms, end_ms))
    }

    /// A duration in milliseconds.
    pub(super) fn duration_ms(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let unreadable =
            |text: &str| ApiError::parameter(name, format_args!("cannot parse {text:?} to a valid duration"));
        self.get(name).map(|text| duration_ms(text).ok_or_else(|| unreadable(text))).transpose()
    }

    /// `limit`; 0 means none.
    pub(super) fn limit(&self) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(0) };
        text.parse().map_err(|_| ApiError::parameter("limit", "limit must be non-negative"))
    }

    /// The selectors in `match[]`.
    pub(super) fn selectors(&self) -> Result<Vec<Vec<Matcher>>, ApiError> {
        let mut sets = Vec::new();
        for text in self.values("match[]") {
            let expr = parse(text).map_err(|error| ApiError::parameter("match[]", error))?;
            let ExprKind::Vector(selector) = expr.kind else {
                return Err(ApiError::parameter("match[]", "a series selector is expected"));
            };
            sets.push(selector.matchers);
            if sets.len() > MAX_SELECTORS {
                return Err(ApiError::parameter("match[]", format_args!("more than {MAX_SELECTORS} selectors")));
            }
        }
        Ok(sets)
    }
}

fn unreadable_time(name: &str, text: &str) -> ApiError {
    ApiError::parameter(name, format_args!("cannot parse {text:?} to a valid timestamp"))
}

/// Seconds with fractions, or RFC 3339.
fn time_ms(text: &str) -> Option<i64> {
    let ms = match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() => (seconds * 1000.0).round() as i64,
        Ok(_) => return None,
        Err(_) => text.parse::<jiff::Timestamp>().ok()?.as_millisecond(),
    };
    (MIN_MS..=MAX_MS).contains(&ms).then_some(ms)
}

/// Seconds with fractions, or `1h30m`.
fn duration_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = seconds * 1000.0;
        return (ms.is_finite() && ms.abs() < MAX_MS as f64).then_some(ms as i64);
    }
    let duration = tenantscope_rules::parse_duration(text).ok()?;
    i64::try_from(duration.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        assert_eq!(time_ms("1435781430.781"), Some(1_435_781_430_781));
        assert_eq!(time_ms("2015-07-01T20:10:30.781Z"), Some(1_435_781_430_781));
        assert_eq!(time_ms("2015-07-01T20:10:30+01:00"), Some(1_435_777_830_000));
        assert_eq!((time_ms("yesterday"), time_ms("NaN"), time_ms("1e300")), (None, None, None));
    }

    #[test]
    fn durations_are_seconds_or_prometheus_durations() {
        assert_eq!(duration_ms("0.5"), Some(500));
        assert_eq!(duration_ms("1h30m"), Some(5_400_000));
        assert_eq!(duration_ms("soon"), None);
    }
}
