//! Asking others over HTTP: no proxies, no redirects, answers of bounded size, TLS except to this machine.

use std::path::Path;
use std::time::Duration;

use http::{StatusCode, header};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, RequestBuilder, Url};

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Without parameters, in lower case; empty where none is given.
    pub(crate) media_type: String,
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer. Names no address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{0}")]
    Failed(#[source] reqwest::Error),
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

/// A client for one kind of peer; it trusts the `authorities`, or the system's where there are none.
pub(crate) fn client(timeout: Duration, authorities: &[Certificate]) -> Result<Client, reqwest::Error> {
    // reqwest takes the process's provider; where the program already chose one, that one stays.
    rustls::crypto::ring::default_provider().install_default().ok();
    let builder = Client::builder().redirect(Policy::none()).no_proxy().timeout(timeout).pool_max_idle_per_host(8);
    match authorities {
        [] => builder.build(),
        authorities => builder.tls_certs_only(authorities.iter().cloned()).build(),
    }
}

/// Sends, and reads the answer up to a size.
pub(crate) async fn send(request: RequestBuilder, max_bytes: usize) -> Result<Answer, FetchError> {
    let failed = |error: reqwest::Error| FetchError::Failed(error.without_url());
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status();
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > max_bytes {
            return Err(FetchError::TooLong(max_bytes));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, media_type, body })
}

/// An address that may be asked: https, or http to this machine; without user, password and query.
pub(crate) fn allowed_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let host = url.host_str()?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let allowed = url.scheme() == "https" || (url.scheme() == "http" && is_loopback);
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    (allowed && plain && url.fragment().is_none()).then_some(url)
}

/// The authorities of a PEM file.
pub(crate) fn authorities(path: &Path) -> Result<Vec<Certificate>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let pem = std::fs::read(path).map_err(|error| wrong(&error))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(&error))?;
    if found.is_empty() { Err(wrong(&"there is no certificate in the file")) } else { Ok(found) }
}
