//! A request's parameters: a form body's, then the query string's, read as Go's `net/http` reads them.

use std::sync::LazyLock;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{Method, header};
use tenantscope_model::Matcher;
use tenantscope_promql::parse_selector;
use tokio::sync::Semaphore;

use super::answer::ApiError;
use super::times::{MAX_MS, MIN_MS, NoDuration, duration_ms, time_ms};

/// The largest form body, in bytes.
const MAX_BODY_BYTES: usize = 4 << 20;

/// Form bodies that are being read at once; more wait, so that bodies hold 64 MiB at most.
const MAX_BODIES: usize = 16;

/// How long a form body may take to arrive, waiting included.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Most parameters of one request.
const MAX_PARAMETERS: usize = 10_000;

/// Most selectors that one call may give.
const MAX_SELECTORS: usize = 100;

static BODIES: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(MAX_BODIES));

/// The parameters in the order in which they count.
#[derive(Debug, Default)]
pub(super) struct Form {
    pairs: Vec<(String, String)>,
    /// What could not be read; only some calls care.
    problem: Option<String>,
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let mut form = Self::default();
        let query = request.uri().query().unwrap_or("").to_owned();
        if request.method() == Method::POST && is_form(&request) {
            form.read(&body(request).await?)?;
        }
        form.read(query.as_bytes())?;
        Ok(form)
    }
}

fn is_form(request: &Request) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = content_type.split(';').next().unwrap_or("").trim();
    essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

async fn body(request: Request) -> Result<bytes::Bytes, ApiError> {
    let wrong = |problem: &str| ApiError::BadData(format!("error parsing form values: {problem}"));
    let read = async {
        let _permit = BODIES.acquire().await.map_err(|_| wrong("shutting down"))?;
        to_bytes(request.into_body(), MAX_BODY_BYTES).await.map_err(|_| wrong("http: POST too large"))
    };
    tokio::time::timeout(BODY_TIMEOUT, read).await.map_err(|_| wrong("the body did not arrive in time"))?
}

impl Form {
    fn read(&mut self, text: &[u8]) -> Result<(), ApiError> {
        for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            match decoded(pair) {
                Ok(pair) => self.pairs.push(pair),
                Err(problem) => drop(self.problem.get_or_insert(problem)),
            }
            if self.pairs.len() > MAX_PARAMETERS {
                return Err(ApiError::BadData(format!("more than {MAX_PARAMETERS} parameters")));
            }
        }
        Ok(())
    }

    /// The parameters of a query string.
    #[cfg(test)]
    pub(super) fn of(query: &str) -> Self {
        let mut form = Self::default();
        form.read(query.as_bytes()).unwrap();
        form
    }

    /// Refuses parameters that could not all be read, for calls where each one widens or narrows the answer.
    pub(super) fn readable(&self) -> Result<(), ApiError> {
        match &self.problem {
            None => Ok(()),
            Some(problem) => Err(ApiError::BadData(format!("error parsing form values: {problem}"))),
        }
    }

    /// A parameter's first value; an empty one counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// A parameter's first value, empty if there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }

    /// All values of a parameter.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A time; absent if it is not given.
    pub(super) fn time_ms(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let wrong = |text: &str| {
            let problem = format_args!("invalid time value for '{name}': {}", NotATime(text));
            ApiError::parameter(name, problem)
        };
        self.get(name).map(|text| time_ms(text).ok_or_else(|| wrong(text))).transpose()
    }

    /// A time that must be given.
    pub(super) fn required_time_ms(&self, name: &str) -> Result<i64, ApiError> {
        let text = self.text(name);
        time_ms(text).ok_or_else(|| ApiError::parameter(name, NotATime(text)))
    }

    /// `start` and `end`, as far apart as can be where they are not given. They may be the wrong way round.
    pub(super) fn window_ms(&self) -> Result<(i64, i64), ApiError> {
        Ok((self.time_ms("start")?.unwrap_or(MIN_MS), self.time_ms("end")?.unwrap_or(MAX_MS)))
    }

    /// A duration in milliseconds; absent if it is not given.
    pub(super) fn duration_ms(&self, name: &str) -> Result<Option<i64>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(text) => match read_duration(text) {
                Ok(ms) => Ok(Some(ms)),
                Err(problem) => Err(ApiError::parameter(name, problem)),
            },
        }
    }

    /// A duration that must be given.
    pub(super) fn required_duration_ms(&self, name: &str) -> Result<i64, ApiError> {
        read_duration(self.text(name)).map_err(|problem| ApiError::parameter(name, problem))
    }

    /// `lookback_delta` in milliseconds; 0 counts as absent.
    pub(super) fn lookback_ms(&self) -> Result<Option<i64>, ApiError> {
        let wrong = |problem| ApiError::BadData(format!("error parsing lookback delta duration: {problem}"));
        let read = self.get("lookback_delta").map(|text| read_duration(text).map_err(wrong)).transpose()?;
        Ok(read.filter(|ms| *ms > 0))
    }

    /// `limit`; 0 means none.
    pub(super) fn limit(&self) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(0) };
        let limit = whole_number(text).map_err(|problem| ApiError::parameter("limit", problem))?;
        usize::try_from(limit).map_err(|_| ApiError::parameter("limit", "limit must be non-negative"))
    }

    /// The selectors in `match[]`; each must say which series it means.
    pub(super) fn selectors(&self) -> Result<Vec<Vec<Matcher>>, String> {
        let sets = self.unchecked_selectors()?;
        if sets.iter().any(|matchers| matchers.iter().all(Matcher::matches_absent)) {
            return Err("match[] must contain at least one non-empty matcher".to_owned());
        }
        Ok(sets)
    }

    /// The selectors in `match[]`, also those that mean everything.
    pub(super) fn unchecked_selectors(&self) -> Result<Vec<Vec<Matcher>>, String> {
        let mut sets = Vec::new();
        for text in self.values("match[]") {
            sets.push(parse_selector(text).map_err(|error| error.to_string())?);
            if sets.len() > MAX_SELECTORS {
                return Err(format!("more than {MAX_SELECTORS} selectors"));
            }
        }
        Ok(sets)
    }
}

struct NotATime<'a>(&'a str);

impl std::fmt::Display for NotATime<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot parse {:?} to a valid timestamp", self.0)
    }
}

fn read_duration(text: &str) -> Result<i64, String> {
    duration_ms(text).map_err(|problem| match problem {
        NoDuration::Unreadable => format!("cannot parse {text:?} to a valid duration"),
        NoDuration::Overflow => format!("cannot parse {text:?} to a valid duration. It overflows int64"),
    })
}

/// A whole number, with Go's words for what is none.
pub(super) fn whole_number(text: &str) -> Result<i64, String> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    text.parse::<i64>().map_err(|error| {
        let overflows = matches!(error.kind(), PosOverflow | NegOverflow);
        let problem = if overflows { "value out of range" } else { "invalid syntax" };
        format!("strconv.Atoi: parsing {text:?}: {problem}")
    })
}

fn decoded(pair: &[u8]) -> Result<(String, String), String> {
    if pair.contains(&b';') {
        return Err("invalid semicolon separator in query".to_owned());
    }
    for (at, _) in pair.iter().enumerate().filter(|(_, byte)| **byte == b'%') {
        let escape = pair.get(at..pair.len().min(at + 3)).unwrap_or_default();
        let is_whole = escape.len() == 3 && escape.iter().skip(1).all(u8::is_ascii_hexdigit);
        if !is_whole {
            return Err(format!("invalid URL escape {:?}", String::from_utf8_lossy(escape)));
        }
    }
    let decoded = url::form_urlencoded::parse(pair).next().unwrap_or_default();
    Ok((decoded.0.into_owned(), decoded.1.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_the_first_counts() {
        let form = Form::of("a=1+2%2B3&&b&a=second&%C3%A4=%F0%9F%92%A1");
        assert_eq!((form.get("a"), form.get("b"), form.get("ä")), (Some("1 2+3"), None, Some("💡")));
        assert_eq!(form.values("a").collect::<Vec<_>>(), ["1 2+3", "second"]);
        assert_eq!(form.readable(), Ok(()));
    }

    #[test]
    fn what_cannot_be_read_is_left_out_and_told_to_whoever_cares() {
        for (query, problem) in [
            ("%zz&a=1", "invalid URL escape \"%zz\""),
            ("a=1&x=%4", "invalid URL escape \"%4\""),
            ("a=1&b=2;c=3", "invalid semicolon separator in query"),
        ] {
            let form = Form::of(query);
            assert_eq!(form.get("a"), Some("1"));
            assert_eq!(form.readable(), Err(ApiError::BadData(format!("error parsing form values: {problem}"))));
        }
    }

    #[test]
    fn limits_are_whole_numbers() {
        let limit = |text: &str| Form::of(&format!("limit={text}")).limit().map_err(|error| error.to_string());
        let wrong = |problem: &str| Err(format!("invalid parameter \"limit\": {problem}"));
        assert_eq!((limit(""), limit("0"), limit("7")), (Ok(0), Ok(0), Ok(7)));
        assert_eq!(limit("-1"), wrong("limit must be non-negative"));
        assert_eq!(limit("x"), wrong("strconv.Atoi: parsing \"x\": invalid syntax"));
        assert_eq!(
            limit("99999999999999999999"),
            wrong("strconv.Atoi: parsing \"99999999999999999999\": value out of range")
        );
    }

    #[test]
    fn times_say_which_one_is_wrong() {
        let error = Form::of("start=x").window_ms().unwrap_err().to_string();
        assert_eq!(
            error,
            "invalid parameter \"start\": invalid time value for 'start': cannot parse \"x\" to a valid timestamp"
        );
        let error = Form::of("").required_time_ms("start").unwrap_err().to_string();
        assert_eq!(error, "invalid parameter \"start\": cannot parse \"\" to a valid timestamp");
        let error = Form::of("lookback_delta=x").lookback_ms().unwrap_err().to_string();
        assert_eq!(error, "error parsing lookback delta duration: cannot parse \"x\" to a valid duration");
    }
}
