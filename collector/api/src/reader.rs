//! Who reads: from the request's headers to a scope.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
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

    fn readers(&self) -> Arc<Readers> {
        Arc::clone(&self.0.read())
    }
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
