//! Who reads: from the request's headers to a scope.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use parking_lot::RwLock;
use tenantscope_model::Scope;
use tenantscope_tenancy::{AUDIT, ReadDenied, Readers, Reading};
use tenantscope_wire::Peer;

use crate::observed::ReadBy;

/// The readers in force; clones share them, and a reload replaces them for all.
#[derive(Clone)]
pub struct Gate(Arc<RwLock<Arc<Readers>>>);

impl Gate {
    /// These readers.
    pub fn new(readers: Readers) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(readers))))
    }

    /// Other readers from now on.
    pub fn replace(&self, readers: Readers) {
        *self.0.write() = Arc::new(readers);
    }

    /// Routes whose handlers may take [`Scoped`].
    pub fn around(&self, routes: Router) -> Router {
        routes.layer(Extension(self.clone()))
    }

    /// The same for routes that change something.
    pub fn around_changes(&self, routes: Router) -> Router {
        self.around(from_no_other_page(routes))
    }

    fn readers(&self) -> Arc<Readers> {
        Arc::clone(&self.0.read())
    }
}

/// Routes that no page of another origin can use: a browser that has a reader's password or certificate adds it to whatever
/// a page sends, and in open mode none is needed.
pub(crate) fn from_no_other_page(routes: Router) -> Router {
    routes.layer(from_fn(async |request: Request, next: Next| {
        if !request.method().is_safe() && is_from_another_page(request.headers(), request.uri()) {
            let denied = Denied(StatusCode::FORBIDDEN, "pages of another origin may change nothing here".to_owned());
            return denied.into_response();
        }
        next.run(request).await
    }))
}

/// By what browsers say of themselves; programs say nothing.
fn is_from_another_page(headers: &HeaderMap, uri: &Uri) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let host = uri.authority().map(Authority::as_str).or_else(|| headers.get(header::HOST)?.to_str().ok());
    let page = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, page)| page);
    page.is_none() || page != host
}

/// What the sender of the request may see. Every handler that reads takes it.
#[derive(Debug, Clone)]
pub struct Scoped(pub Scope);

/// Who sends the request, for handlers that are fair among readers.
#[derive(Debug, Clone)]
pub struct Who(pub Reading);

/// The request's reader may not read.
#[derive(Debug)]
pub struct Denied(StatusCode, String);

impl<S: Send + Sync> FromRequestParts<S> for Scoped {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Denied> {
        reading(parts).await.map(|reading| Self(reading.scope))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Denied> {
        reading(parts).await.map(Self)
    }
}

async fn reading(parts: &Parts) -> Result<Reading, Denied> {
    let denied = |denied: ReadDenied| Denied(denied.http_status(), denied.to_string());
    // Routes that were not put into a gate let nobody read.
    let gate = parts.extensions.get::<Gate>().ok_or_else(|| denied(ReadDenied::NoCredential))?;
    let peer = parts.extensions.get::<Peer>().cloned().unwrap_or_else(Peer::unknown);
    let reading = gate.readers().reading(&parts.headers, &peer, now_ms()).await;
    let reading = reading.map_err(|why| {
        tracing::info!(target: AUDIT, per_minute = true, reason = why.reason(), last_peer = %peer.address.ip(), "read_refused");
        denied(why)
    })?;
    if let Some(read_by) = parts.extensions.get::<ReadBy>() {
        // A handler that asks twice gets the same answer.
        read_by.0.set(reading.clone()).ok();
    }
    Ok(reading)
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let mut response = (self.0, format!("{}\n", self.1)).into_response();
        if self.0 == StatusCode::UNAUTHORIZED {
            // A browser asks for a password then: the token.
            let challenge = HeaderValue::from_static("Basic realm=\"tenantscope\", charset=\"UTF-8\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::post;
    use tenantscope_tenancy::Exposure;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_page_of_another_origin_changes_nothing() {
        let readers = Readers::try_new(&[], std::path::Path::new("."), Exposure::Loopback).unwrap();
        let routes = Router::new().route("/change", post(async |_: Scoped| "changed").get(async || "shown"));
        let routes = Gate::new(readers).around_changes(routes);
        for (headers, status) in [
            (vec![], StatusCode::OK),
            (vec![("origin", "http://127.0.0.1:9099")], StatusCode::OK),
            (vec![("sec-fetch-site", "same-origin"), ("origin", "http://127.0.0.1:9099")], StatusCode::OK),
            (vec![("sec-fetch-site", "none")], StatusCode::OK),
            (vec![("sec-fetch-site", "cross-site"), ("origin", "http://127.0.0.1:9099")], StatusCode::FORBIDDEN),
            (vec![("sec-fetch-site", "same-site")], StatusCode::FORBIDDEN),
            (vec![("origin", "https://evil.example")], StatusCode::FORBIDDEN),
            (vec![("origin", "http://127.0.0.1:9098")], StatusCode::FORBIDDEN),
            (vec![("origin", "null")], StatusCode::FORBIDDEN),
        ] {
            let mut request = Request::post("/change").header("host", "127.0.0.1:9099");
            for (name, value) in &headers {
                request = request.header(*name, *value);
            }
            let answer = routes.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(answer.status(), status, "{headers:?}");
        }
        let shown = Request::get("/change").header("sec-fetch-site", "cross-site").body(Body::empty()).unwrap();
        assert_eq!(routes.oneshot(shown).await.unwrap().status(), StatusCode::OK, "a link may lead here");
    }
}
