//! What the listener for readers answers: until everything is open that it is alive, then what the app answers.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::http::{Method, Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use serde_json::json;
use tower::ServiceExt as _;

use crate::own_routes::HEALTHY;

/// When whoever asks too early may ask again, in seconds.
const RETRY_AFTER_SECONDS: &str = "2";

/// The app, as soon as there is one. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Front(Arc<OnceLock<Router>>);

impl Front {
    /// From now on the app answers.
    pub(crate) fn open(&self, app: Router) {
        // There is one app in a program's life; a second would change nothing.
        self.0.set(app).ok();
    }

    /// Answers a request.
    pub(crate) async fn answer(self, request: Request<Incoming>) -> Result<Response, Infallible> {
        match self.0.get() {
            Some(app) => app.clone().oneshot(request).await,
            None => Ok(too_early(request.uri().path())),
        }
    }
}

/// Answers where no route is, in the form of the API that was meant.
pub(crate) async fn nothing_here(uri: Uri) -> Response {
    told(StatusCode::NOT_FOUND, uri.path(), &format!("there is nothing at {}", shown(uri.path())))
}

/// Answers where a route is for other methods.
pub(crate) async fn wrong_method(method: Method, uri: Uri) -> Response {
    told(StatusCode::METHOD_NOT_ALLOWED, uri.path(), &format!("{} can't be asked with {method}", shown(uri.path())))
}

fn told(status: StatusCode, path: &str, text: &str) -> Response {
    if path.starts_with("/api/") {
        let error_type = if status == StatusCode::NOT_FOUND { "not_found" } else { "bad_data" };
        let body = json!({"status": "error", "errorType": error_type, "error": text});
        return (status, axum::Json(body)).into_response();
    }
    if path.starts_with("/tenantscope/") {
        let text = format!("{text}; /tenantscope/v1/openapi.json says what there is");
        return (status, axum::Json(json!({"error": text}))).into_response();
    }
    (status, format!("{text}\n")).into_response()
}

/// As much of a path as an answer repeats.
fn shown(path: &str) -> String {
    path.chars().take(200).collect()
}

fn too_early(path: &str) -> Response {
    match path {
        "/-/healthy" => HEALTHY.into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, RETRY_AFTER_SECONDS)], "replaying\n")
            .into_response(),
    }
}
