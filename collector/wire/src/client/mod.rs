//! An OTLP client for bodies that are already encoded and compressed, with the identity exchange.

mod error;
mod grpc;
mod over_http;
mod send_body;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::RwLock;
use tenantscope_model::Signal;

pub use self::error::{ClientError, SendError, SendErrorKind};
use self::send_body::SendBody;
use crate::tls::{CertificateFiles, ClientTlsFiles};
use crate::{Accepted, Encoding, IDENTITY_PATH, IdentityRequest, IdentityResponse};

/// The largest answer that is read.
const MAX_ANSWER_BYTES: usize = 4 << 20;
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("tenantscope/", env!("CARGO_PKG_VERSION")));

/// How a target speaks OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// gRPC: HTTP/2, also without TLS.
    Grpc,
    /// HTTP with protobuf.
    Http,
}

/// Where and how to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientOptions {
    /// `http://…` or `https://…`; OTLP/HTTP's `/v1/…` is appended to its path, gRPC has none.
    pub url: String,
    /// The protocol.
    pub protocol: Protocol,
    /// PEM file of the authorities to trust instead of the public ones.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show, where the target asks for one.
    pub certificate: Option<CertificateFiles>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long a request may take, from its start to the end of its answer.
    pub timeout: Duration,
}

impl ClientOptions {
    /// Ten seconds to connect, thirty for a request, public authorities.
    pub fn new(url: impl Into<String>, protocol: Protocol) -> Self {
        Self {
            url: url.into(),
            protocol,
            ca_file: None,
            certificate: None,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
        }
    }

    fn tls(&self) -> ClientTlsFiles {
        ClientTlsFiles { ca: self.ca_file.clone(), own: self.certificate.clone() }
    }
}

/// Sends to one target. Cloning is cheap and shares the connections, which are opened when needed.
#[derive(Clone, Debug)]
pub struct OtlpClient {
    connections: Arc<RwLock<Connections>>,
    options: Arc<ClientOptions>,
    base: Uri,
}

/// Connections, by the TLS files that were there when they were made.
#[derive(Debug)]
struct Connections {
    http: Client<HttpsConnector<HttpConnector>, SendBody>,
    written: Vec<Option<SystemTime>>,
}

impl Connections {
    fn try_new(options: &ClientOptions) -> Result<Self, ClientError> {
        let files = options.tls();
        // Taken before the files are read: one that is written meanwhile is read again.
        let written = files.written();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(options.connect_timeout));
        let tls = HttpsConnectorBuilder::new().with_tls_config(files.read()?).https_or_http();
        let connector = match options.protocol {
            Protocol::Grpc => tls.enable_http2().wrap_connector(tcp),
            Protocol::Http => tls.enable_http1().enable_http2().wrap_connector(tcp),
        };
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .http2_only(options.protocol == Protocol::Grpc)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .http2_keep_alive_timeout(Duration::from_secs(20));
        Ok(Self { http: builder.build(connector), written })
    }
}

impl OtlpClient {
    /// Checks the address and reads the files of its TLS; connects to nothing yet.
    pub fn try_new(options: &ClientOptions) -> Result<Self, ClientError> {
        let base: Uri = options.url.parse().map_err(|_| ClientError::Url(options.url.clone()))?;
        if base.authority().is_none() || !matches!(base.scheme_str(), Some("http" | "https")) {
            return Err(ClientError::Url(options.url.clone()));
        }
        let connections = Arc::new(RwLock::new(Connections::try_new(options)?));
        Ok(Self { connections, options: Arc::new(options.clone()), base })
    }

    /// Opens new connections from now on if a file of its TLS was written since; says whether one was. Files that are wrong
    /// change nothing. What is being sent is sent to its end on the connection that it is on. Blocks on files.
    pub fn renew_if_written(&self) -> Result<bool, ClientError> {
        if self.connections.read().written == self.options.tls().written() {
            return Ok(false);
        }
        let renewed = Connections::try_new(&self.options)?;
        *self.connections.write() = renewed;
        Ok(true)
    }

    /// Sends one encoded `Export…ServiceRequest`, compressed as `encoding` says.
    ///
    /// `headers` are sent along: `authorization`, a batch header, `X-Scope-OrgID`.
    pub async fn send(
        &self,
        signal: Signal,
        encoding: Encoding,
        body: Bytes,
        headers: &HeaderMap,
    ) -> Result<Accepted, SendError> {
        let protocol = self.options.protocol;
        let request = match protocol {
            Protocol::Grpc => grpc::request(&self.base, signal, encoding, body, headers)?,
            Protocol::Http => over_http::request(&self.base, signal, encoding, body, headers)?,
        };
        self.within_timeout(async {
            let answer = self.exchange(request).await?;
            match protocol {
                Protocol::Grpc => grpc::outcome(&answer),
                Protocol::Http => over_http::outcome(&answer),
            }
        })
        .await
    }

    /// Proves the account and takes a token.
    pub async fn identify(&self, request: &IdentityRequest) -> Result<IdentityResponse, SendError> {
        let json = serde_json::to_vec(request).map_err(SendError::local)?;
        let mut http_request = Request::new(SendBody::from(Bytes::from(json)));
        *http_request.method_mut() = http::Method::POST;
        *http_request.uri_mut() = with_path(&self.base, IDENTITY_PATH)?;
        let headers = http_request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, USER_AGENT);
        self.within_timeout(async {
            let answer = self.exchange(http_request).await?;
            over_http::check_status(&answer)?;
            serde_json::from_slice(&answer.body).map_err(|error| SendError::answer(error.to_string()))
        })
        .await
    }

    async fn within_timeout<T>(&self, work: impl Future<Output = Result<T, SendError>>) -> Result<T, SendError> {
        let timeout = self.options.timeout;
        tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| Err(SendError::timed_out(timeout)))
    }

    async fn exchange(&self, request: Request<SendBody>) -> Result<Answer, SendError> {
        let http = self.connections.read().http.clone();
        let response = http.request(request).await.map_err(|error| SendError::unreachable(&error))?;
        Answer::read(response).await
    }
}

/// A whole answer.
#[derive(Debug)]
struct Answer {
    status: http::StatusCode,
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
}

impl Answer {
    async fn read(response: Response<Incoming>) -> Result<Self, SendError> {
        let (head, body) = response.into_parts();
        let collected = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        let collected = collected.map_err(|error| SendError::broken(error.as_ref()))?;
        let trailers = collected.trailers().cloned().unwrap_or_default();
        Ok(Self { status: head.status, headers: head.headers, body: collected.to_bytes(), trailers })
    }
}

/// The base address with another path.
fn with_path(base: &Uri, path: &str) -> Result<Uri, SendError> {
    let mut parts = base.clone().into_parts();
    parts.path_and_query = Some(path.parse::<PathAndQuery>().map_err(SendError::local)?);
    Uri::from_parts(parts).map_err(SendError::local)
}
