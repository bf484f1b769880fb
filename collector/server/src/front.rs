//! What the listener for readers answers: until everything is open that it is alive, then what the app answers.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
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

fn too_early(path: &str) -> Response {
    match path {
        "/-/healthy" => HEALTHY.into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, RETRY_AFTER_SECONDS)], "replaying\n")
            .into_response(),
    }
}
