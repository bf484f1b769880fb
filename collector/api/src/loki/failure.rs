use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tenantscope_lake::QueryError;

/// Why a request has no answer: a status and a line of text, as Loki and Tempo answer.
#[derive(Debug)]
pub(crate) struct Failure(StatusCode, String);

impl Failure {
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into())
    }

    pub(crate) fn parameter(name: &str, value: &str, wanted: &str) -> Self {
        let value: String = value.chars().take(64).collect();
        Self::bad(format!("parameter {name:?} is {value:?}, expected {wanted}"))
    }

    pub(crate) fn internal(message: &str) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, message.to_owned())
    }

    pub(crate) fn not_found(message: &str) -> Self {
        Self(StatusCode::NOT_FOUND, message.to_owned())
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        let status = match &error {
            QueryError::Syntax { .. } | QueryError::Invalid(_) => StatusCode::BAD_REQUEST,
            QueryError::Limit(_) => StatusCode::UNPROCESSABLE_ENTITY,
            QueryError::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
            QueryError::Removed => StatusCode::SERVICE_UNAVAILABLE,
            QueryError::Store(cause) => {
                // The reader is told that it failed; paths and causes are for the log.
                tracing::error!(error = %cause, "a query of the lake failed");
                return Self(StatusCode::INTERNAL_SERVER_ERROR, "the store could not be read".to_owned());
            }
        };
        Self(status, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, format!("{}\n", self.1)).into_response()
    }
}
