//! Answers and errors in Prometheus's form.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tenantscope_model::SelectError;
use tenantscope_promql::{EngineError, ParseError};

/// What went wrong, as Prometheus classes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ApiError {
    /// The request is wrong: 400.
    BadData(String),
    /// It took too long: 503.
    Timeout(String),
    /// The client went away: 503, which no one sees.
    Canceled(String),
    /// Evaluation failed: 422.
    Execution(String),
    /// There is no room for more queries: 503.
    Unavailable(String),
    /// A mistake of ours: 500.
    Internal(String),
}

impl ApiError {
    /// A parameter that can't be read.
    pub(super) fn parameter(name: &str, problem: impl std::fmt::Display) -> Self {
        Self::BadData(format!("invalid parameter {name:?}: {problem}"))
    }

    fn parts(&self) -> (StatusCode, &'static str, &str) {
        match self {
            Self::BadData(message) => (StatusCode::BAD_REQUEST, "bad_data", message),
            Self::Timeout(message) => (StatusCode::SERVICE_UNAVAILABLE, "timeout", message),
            Self::Canceled(message) => (StatusCode::SERVICE_UNAVAILABLE, "canceled", message),
            Self::Execution(message) => (StatusCode::UNPROCESSABLE_ENTITY, "execution", message),
            Self::Unavailable(message) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", message),
            Self::Internal(message) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", message),
        }
    }

    /// The word for the error's kind.
    pub(super) fn kind(&self) -> &'static str {
        self.parts().1
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let message = error.to_string();
        match error {
            EngineError::Request(_) => Self::BadData(message),
            EngineError::TimedOut => Self::Timeout(message),
            EngineError::Cancelled => Self::Canceled(message),
            EngineError::TooManySamples { .. }
            | EngineError::TooManySeries { .. }
            | EngineError::TooMuchMemory { .. }
            | EngineError::Execution(_) => Self::Execution(message),
            EngineError::MemoryFull { .. } => Self::Unavailable(message),
            EngineError::Store(_) => {
                // A file's name is no reader's business.
                tracing::error!(error = %message, "query could not read the store");
                Self::Internal("the metric store could not be read".to_owned())
            }
        }
    }
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
        (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// `{"status":"success","data":…}`.
pub(super) struct Success {
    body: Vec<u8>,
}

#[derive(Serialize)]
struct SuccessBody<'a, T> {
    status: &'static str,
    data: T,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
}

impl Success {
    /// Data, and what its reader should know about it.
    pub(super) fn new<T: Serialize>(data: T, warnings: &[String]) -> Result<Self, ApiError> {
        let body = SuccessBody { status: "success", data, warnings };
        let body = serde_json::to_vec(&body).map_err(|error| ApiError::Internal(error.to_string()))?;
        Ok(Self { body })
    }

    /// A body that is JSON already.
    pub(super) fn written(body: Vec<u8>) -> Self {
        Self { body }
    }
}

impl IntoResponse for Success {
    fn into_response(self) -> Response {
        (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], self.body).into_response()
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
