//! Answers and errors in Prometheus's form.

use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tenantscope_model::SelectError;
use tenantscope_promql::{EngineError, ParseError};

use super::telemetry::{Limit, limited};
use crate::observed::PastLimit;

/// When whoever found no room may ask again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// nginx's status for a client that went away, which Prometheus uses too.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// What went wrong, as Prometheus classes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ApiError {
    /// The request is wrong: 400.
    BadData(String),
    /// It took too long: 503.
    Timeout(String),
    /// The client went away: 499, which no one sees.
    Canceled(String),
    /// Evaluation failed: 422.
    Execution(String),
    /// There is no room for more queries now: 503, to be tried again.
    Unavailable(String),
    /// A mistake of ours: 500.
    Internal(String),
    /// A limit of queries refused it.
    Past(Limit, Box<ApiError>),
}

impl ApiError {
    /// A parameter that can't be read.
    pub(super) fn parameter(name: &str, problem: impl fmt::Display) -> Self {
        Self::BadData(format!("invalid parameter {name:?}: {problem}"))
    }

    /// The limit that it is past, by its word.
    fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Past(limit, _) => Some(limit.word()),
            _ => None,
        }
    }

    fn parts(&self) -> (StatusCode, &'static str, &str) {
        let closed = StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        match self {
            Self::BadData(message) => (StatusCode::BAD_REQUEST, "bad_data", message),
            Self::Timeout(message) => (StatusCode::SERVICE_UNAVAILABLE, "timeout", message),
            Self::Canceled(message) => (closed, "canceled", message),
            Self::Execution(message) => (StatusCode::UNPROCESSABLE_ENTITY, "execution", message),
            Self::Unavailable(message) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", message),
            Self::Internal(message) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", message),
            Self::Past(_, error) => error.parts(),
        }
    }

    /// The status.
    pub(super) fn status(&self) -> StatusCode {
        self.parts().0
    }

    /// The word for the error's kind.
    pub(super) fn kind(&self) -> &'static str {
        self.parts().1
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.parts().2)
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let message = error.to_string();
        match error {
            EngineError::Request(_) => Self::parameter("query", message),
            EngineError::TimedOut => Self::Timeout(message),
            EngineError::Cancelled => Self::Canceled(message),
            EngineError::Execution(_) => Self::Execution(message),
            EngineError::TooManySamples { .. } => past(Limit::Samples, Self::Execution(message)),
            EngineError::TooManySeries { .. } => past(Limit::Series, Self::Execution(message)),
            EngineError::TooMuchMemory { .. } => past(Limit::Memory, Self::Execution(message)),
            EngineError::MemoryFull { .. } => past(Limit::AllMemory, Self::Unavailable(message)),
            EngineError::Store(_) => {
                // A file's name is no reader's business.
                tracing::error!(error = %message, "query could not read the store");
                Self::Internal("the metric store could not be read".to_owned())
            }
        }
    }
}

/// Counts a limit that bit.
pub(super) fn past(limit: Limit, error: ApiError) -> ApiError {
    limited(limit);
    ApiError::Past(limit, Box::new(error))
}

impl From<SelectError> for ApiError {
    fn from(error: SelectError) -> Self {
        EngineError::from(error).into()
    }
}

impl From<ParseError> for ApiError {
    fn from(error: ParseError) -> Self {
        Self::parameter("query", error)
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    status: &'static str,
    #[serde(rename = "errorType")]
    error_type: &'static str,
    error: &'a str,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, error_type, error) = self.parts();
        let body = serde_json::to_vec(&ErrorBody { status: "error", error_type, error }).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, JSON)], body).into_response();
        if let Some(limit) = self.limit() {
            response.extensions_mut().insert(PastLimit(limit));
        }
        if error_type == "unavailable" {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER.as_secs()));
        }
        response
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A body of JSON.
pub(super) struct Success(Body);

#[derive(Serialize)]
struct SuccessBody<T> {
    status: &'static str,
    data: T,
}

impl Success {
    /// `{"status":"success","data":…}` around something small.
    pub(super) fn new<T: Serialize>(data: T) -> Result<Self, ApiError> {
        let body = serde_json::to_vec(&SuccessBody { status: "success", data });
        body.map(|body| Self(body.into())).map_err(|error| ApiError::Internal(error.to_string()))
    }

    /// A body that is JSON.
    pub(super) fn written(body: Body) -> Self {
        Self(body)
    }
}

impl IntoResponse for Success {
    fn into_response(self) -> Response {
        (StatusCode::OK, [(header::CONTENT_TYPE, JSON)], self.0).into_response()
    }
}

/// The warning that Prometheus gives when `limit` cut an answer.
pub(super) const TRUNCATED: &str = "results truncated due to limit";

/// Cuts a list to a limit (0: none), with a warning where that took something away.
pub(super) fn truncate<T>(list: &mut Vec<T>, limit: usize, warnings: &mut Vec<String>) {
    if limit > 0 && list.len() > limit {
        list.truncate(limit);
        warnings.push(TRUNCATED.to_owned());
    }
}
