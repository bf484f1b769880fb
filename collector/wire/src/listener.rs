//! Listeners: HTTP/1 and HTTP/2 on one port, with TLS or without, with a limit on everything that a peer can hold.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{Service, ServiceExt};

use crate::Peer;
use crate::lingering::Lingering;
use crate::telemetry::{self, OpenConnection};
use crate::tls::{ClientCertificate, ServerTls, TlsError};

/// What peers may hold.
#[derive(Debug, Clone)]
pub struct ListenOptions {
    /// Connections at once; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// How long the head of a connection's first request may take, and the TLS handshake.
    pub header_read_timeout: Duration,
    /// How long an HTTP/1 connection may wait for its next request. Longer than senders pause between two batches, so
    /// that they don't meet a connection that is just being closed.
    pub idle_timeout: Duration,
    /// HTTP/2 streams at once on one connection.
    pub max_concurrent_streams: u32,
    /// The largest head of a request, in bytes.
    pub max_header_bytes: u32,
    /// Streams that a peer may open and reset at once before its connection is closed (rapid reset).
    pub max_pending_reset_streams: usize,
    /// Time between two HTTP/2 pings; a peer that does not answer one is gone.
    pub keep_alive_interval: Duration,
    /// How long requests may go on after shutdown began.
    pub drain_timeout: Duration,
    /// TLS, or none.
    pub tls: Option<ServerTls>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            max_connections: 8192,
            header_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            max_concurrent_streams: 128,
            max_header_bytes: 64 << 10,
            max_pending_reset_streams: 20,
            keep_alive_interval: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(15),
            tls: None,
        }
    }
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be had.
    #[error("listen on {address}: {source}")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The certificate or key is wrong.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
    options: ListenOptions,
}

/// What a peer may send on one connection before somebody reads it; times [`ListenOptions::max_connections`], that is
/// what strangers can make us hold.
const CONNECTION_WINDOW_BYTES: u32 = 256 << 10;

/// How long accepting pauses when the system has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Listener {
    /// Binds the address; port 0 takes any free one.
    pub async fn bind(address: SocketAddr, options: ListenOptions) -> Result<Self, ListenError> {
        let bind_error = |source| ListenError::Bind { address, source };
        let tcp = TcpListener::bind(address).await.map_err(bind_error)?;
        let address = tcp.local_addr().map_err(bind_error)?;
        Ok(Self { tcp, address, options })
    }

    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` resolves, then lets running requests end, for [`ListenOptions::drain_timeout`] at most.
    ///
    /// Each request carries a [`Peer`] in its extensions. A connection that misbehaves ends alone.
    pub async fn serve<S, B>(self, service: S, shutdown: impl Future<Output = ()>)
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let connections = Arc::new(Semaphore::new(self.options.max_connections));
        let graceful = GracefulShutdown::new();
        let builder = Arc::new(connection_builder(&self.options));
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let (stream, address, permit) = tokio::select! {
                () = &mut shutdown => break,
                accepted = accept(&self.tcp, &connections) => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, address = %self.address, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            let connection = Connection {
                builder: Arc::clone(&builder),
                service: service.clone(),
                watcher: graceful.watcher(),
                header_read_timeout: self.options.header_read_timeout,
                peer: Peer::new(address, self.options.tls.is_some()),
                certificate: None,
                _permit: permit,
                _open: OpenConnection::new(),
            };
            match self.options.tls.clone() {
                None => drop(tokio::spawn(connection.serve(stream))),
                Some(tls) => drop(tokio::spawn(connection.serve_tls(stream, tls))),
            }
        }
        drop(self.tcp);
        if tokio::time::timeout(self.options.drain_timeout, graceful.shutdown()).await.is_err() {
            tracing::warn!(address = %self.address, "connections were still busy when the drain ended");
        }
    }
}

async fn accept(
    tcp: &TcpListener,
    connections: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = tcp.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, address, permit))
}

fn connection_builder(options: &ListenOptions) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(options.idle_timeout)
        .max_buf_size(usize::try_from(options.max_header_bytes).unwrap_or(usize::MAX).max(8192));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(options.max_concurrent_streams)
        .max_header_list_size(options.max_header_bytes)
        .max_pending_accept_reset_streams(options.max_pending_reset_streams)
        .max_local_error_reset_streams(1024)
        .keep_alive_interval(options.keep_alive_interval)
        .keep_alive_timeout(options.keep_alive_interval)
        .initial_stream_window_size(CONNECTION_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    builder
}

struct Connection<S> {
    builder: Arc<auto::Builder<TokioExecutor>>,
    service: S,
    watcher: hyper_util::server::graceful::Watcher,
    header_read_timeout: Duration,
    peer: Peer,
    certificate: Option<ClientCertificate>,
    _permit: OwnedSemaphorePermit,
    _open: OpenConnection,
}

impl<S, B> Connection<S>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    async fn serve_tls(mut self, stream: TcpStream, tls: ServerTls) {
        match tokio::time::timeout(self.header_read_timeout, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => {
                let shown = stream.get_ref().1.peer_certificates();
                self.certificate = shown.and_then(|chain| ClientCertificate::of(chain, tls.clone()));
                self.serve(stream).await;
            }
            Ok(Err(error)) => {
                telemetry::ended("tls_handshake");
                tracing::debug!(%error, peer = %self.peer.address, "tls handshake failed");
            }
            Err(_) => {
                telemetry::ended("tls_timeout");
                tracing::debug!(peer = %self.peer.address, "tls handshake timed out");
            }
        }
    }

    async fn serve<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: T) {
        // Until the first request's head is there, HTTP/2 has no time-out of its own, and HTTP/1's is the idle one.
        let started = Arc::new(AtomicBool::new(false));
        let service = {
            let (started, service, peer) = (Arc::clone(&started), self.service, self.peer.clone());
            let certificate = self.certificate;
            service_fn(move |mut request: Request<Incoming>| {
                started.store(true, Ordering::Relaxed);
                let certificate = certificate.as_ref().and_then(ClientCertificate::current);
                request.extensions_mut().insert(Peer { certificate, ..peer.clone() });
                service.clone().oneshot(request)
            })
        };
        let connection =
            self.builder.serve_connection_with_upgrades(TokioIo::new(Lingering::new(stream)), service).into_owned();
        let mut connection = std::pin::pin!(self.watcher.watch(connection));
        let first = tokio::time::timeout(self.header_read_timeout, &mut connection).await;
        let ended = match first {
            Ok(ended) => ended,
            Err(_) if started.load(Ordering::Relaxed) => connection.await,
            Err(_) => {
                telemetry::ended("no_request");
                tracing::debug!(peer = %self.peer.address, "connection sent no request in time");
                return;
            }
        };
        if let Err(error) = ended {
            if let Some(reason) = abuse(error.as_ref()) {
                telemetry::ended(reason);
            }
            tracing::debug!(error, peer = %self.peer.address, "connection ended early");
        }
    }
}

/// For what an HTTP/2 peer's connection was ended by us, as a fixed word; `None` where it was not.
fn abuse(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let is_flood = error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
            return error.is_library().then_some(if is_flood { "flood" } else { "protocol" });
        }
        cause = error.source();
    }
    None
}
