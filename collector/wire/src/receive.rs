use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use http::HeaderMap;
use rustls::pki_types::CertificateDer;
use tenantscope_model::Signal;

use crate::{BatchHeader, IdentityRequest, IdentityResponse, ReceivedBody, Refused};

/// Who is at the other end of the connection. The listener puts it into the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The remote address.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The certificate that it showed, by an authority that the listener trusts for clients.
    pub certificate: Option<Arc<CertificateDer<'static>>>,
}

impl Peer {
    /// A peer that showed no certificate.
    pub fn new(address: SocketAddr, tls: bool) -> Self {
        Self { address, tls, certificate: None }
    }

    /// Nobody in particular: for a service that is not behind our listener.
    pub fn unknown() -> Self {
        Self::new(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), false)
    }
}

/// A batch that was taken: durable and queryable.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accepted {
    /// Data points, log records or spans that were stored; 0 where the receiver does not tell.
    pub stored: u64,
    /// Data points, log records or spans that were left out of it (OTLP's partial success).
    pub rejected: u64,
    /// Why; empty where nothing was left out.
    pub message: String,
    /// What of it was stored, where it is metrics.
    pub written: Written,
}

/// How much of a batch of metrics was stored, in remote write's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Float samples.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
}

/// What was reserved for a body.
#[derive(Debug)]
pub struct Reserved<P> {
    /// Given back when dropped.
    pub permit: P,
    /// No more is read of the body.
    pub max_bytes: usize,
}

/// What takes batches. The OTLP services call it in this order: headers, reservation, body.
///
/// A future that is dropped (the sender went away) must leave nothing half done.
pub trait Receive: Send + Sync + 'static {
    /// A sender whose credential was checked.
    type Sender: Send + Sync + 'static;
    /// Bytes that are reserved; given back when dropped.
    type Permit: Send + 'static;

    /// Checks the credential from the headers alone; the body is not read before.
    fn authorize(&self, headers: &HeaderMap, peer: Peer) -> impl Future<Output = Result<Self::Sender, Refused>> + Send;

    /// Reserves a body's bytes before it is read: its declared length, or the largest allowed where it declares none. One
    /// that is larger than a body may be is refused ([`Refused::body_too_large`]).
    ///
    /// Room for the decompressed form is the receiver's own affair, before it decompresses.
    fn reserve(
        &self,
        sender: &Self::Sender,
        signal: Signal,
        declared_bytes: Option<usize>,
    ) -> Result<Reserved<Self::Permit>, Refused>;

    /// Told of a batch that was refused before it could be received, by [`Receive::reserve`] or while its body came. The
    /// sender gets its answer when this is over, so that whoever is refused much can be made to wait.
    fn refused(&self, _: &Self::Sender, _: Signal, _: &Refused) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Takes the batch; returns only when it is durable. The header is there for batches with an identity.
    fn receive(
        &self,
        sender: Self::Sender,
        body: ReceivedBody,
        header: Option<BatchHeader>,
        permit: Self::Permit,
    ) -> impl Future<Output = Result<Accepted, Refused>> + Send;
}

/// A boxed future, where a trait must be a `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What answers the identity exchange at [`crate::IDENTITY_PATH`].
pub trait Identify: Send + Sync + 'static {
    /// Checks the proof and answers with a token.
    fn identify(&self, request: IdentityRequest, peer: Peer) -> BoxFuture<'_, Result<IdentityResponse, Refused>>;
}
