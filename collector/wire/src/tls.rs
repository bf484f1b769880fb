//! TLS with rustls and ring, certificates from files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hyper_rustls::ConfigBuilderExt;
use parking_lot::{Mutex, RwLock};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// How often the certificate of a client that stays connected is verified again.
const VERIFY_EVERY: Duration = Duration::from_secs(60);

/// What is wrong with TLS files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}", path = path.display())]
pub struct TlsError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong.
    pub message: String,
}

impl TlsError {
    #[allow(clippy::needless_pass_by_value)] // errors are handed over, here as everywhere
    fn new(path: &Path, message: impl std::fmt::Display) -> Self {
        Self { path: path.to_path_buf(), message: message.to_string() }
    }
}

/// The files of a listener's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The authorities of clients' certificates, PEM; without them none is asked for. A client may come without one.
    pub client_ca: Option<PathBuf>,
}

/// A listener's TLS. Clones share it, so that a reload reaches every listener.
#[derive(Clone)]
pub struct ServerTls {
    files: TlsFiles,
    in_force: Arc<RwLock<InForce>>,
}

#[derive(Clone)]
struct InForce {
    config: Arc<ServerConfig>,
    /// Of clients' certificates, where any are asked for.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// When the files were written that it is made of.
    written: Vec<Option<SystemTime>>,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Reads a PEM certificate chain and its private key.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        Self::open(TlsFiles { cert: cert.to_path_buf(), key: key.to_path_buf(), client_ca: None })
    }

    /// Reads the files.
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let in_force = Arc::new(RwLock::new(files.read()?));
        Ok(Self { files, in_force })
    }

    /// Whether the files could be taken now; changes nothing.
    pub fn check(&self) -> Result<(), TlsError> {
        self.files.read().map(drop)
    }

    /// Reads the files again, for connections to come; if they are wrong, the old ones stay in force.
    pub fn reload(&self) -> Result<(), TlsError> {
        let read = self.files.read()?;
        *self.in_force.write() = read;
        Ok(())
    }

    /// The same if a file was written since; says whether it was. Whoever renews certificates need not tell us.
    pub fn reload_if_written(&self) -> Result<bool, TlsError> {
        if self.in_force.read().written == self.files.written() {
            return Ok(false);
        }
        self.reload().map(|()| true)
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.in_force.read().config))
    }
}

/// The certificate that the client of a connection showed. Connections are long: it is verified again when the authorities
/// were exchanged, and now and then, since certificates end.
pub(crate) struct ClientCertificate {
    chain: Vec<CertificateDer<'static>>,
    end_entity: Arc<CertificateDer<'static>>,
    tls: ServerTls,
    verified: Mutex<Verified>,
}

struct Verified {
    by: Arc<ServerConfig>,
    at: Instant,
    holds: bool,
}

impl ClientCertificate {
    /// Of a connection whose handshake verified it.
    pub(crate) fn of(chain: &[CertificateDer<'_>], tls: ServerTls) -> Option<Self> {
        let chain: Vec<_> = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        let end_entity = Arc::new(chain.first()?.clone());
        // Verified at once by what is in force now, which may be newer than what the handshake had.
        let never = Verified { by: tls.in_force.read().config.clone(), at: Instant::now(), holds: false };
        let certificate = Self { chain, end_entity, tls, verified: Mutex::new(never) };
        certificate.verify(&mut certificate.verified.lock());
        Some(certificate)
    }

    /// The certificate, if it still holds.
    pub(crate) fn current(&self) -> Option<Arc<CertificateDer<'static>>> {
        let mut verified = self.verified.lock();
        let exchanged = !Arc::ptr_eq(&verified.by, &self.tls.in_force.read().config);
        if exchanged || verified.at.elapsed() >= VERIFY_EVERY {
            self.verify(&mut verified);
        }
        verified.holds.then(|| Arc::clone(&self.end_entity))
    }

    fn verify(&self, verified: &mut Verified) {
        let in_force = self.tls.in_force.read().clone();
        let holds = in_force.verifier.is_some_and(|verifier| {
            let intermediates = self.chain.get(1..).unwrap_or_default();
            verifier.verify_client_cert(&self.end_entity, intermediates, UnixTime::now()).is_ok()
        });
        *verified = Verified { by: in_force.config, at: Instant::now(), holds };
    }
}

impl TlsFiles {
    fn read(&self) -> Result<InForce, TlsError> {
        // Taken before the files are read: one that is written meanwhile is read again.
        let written = self.written();
        let verifier = self.client_ca.as_deref().map(client_verifier).transpose()?;
        Ok(InForce { config: Arc::new(server_config(self, verifier.clone())?), verifier, written })
    }

    fn written(&self) -> Vec<Option<SystemTime>> {
        written([Some(&self.cert), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten())
    }
}

/// When each of the files was written.
fn written<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Vec<Option<SystemTime>> {
    files.map(|path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()).collect()
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| TlsError::new(path, error))?;
    if certificates.is_empty() {
        return Err(TlsError::new(path, "there is no certificate in the file"));
    }
    Ok(certificates)
}

fn server_config(files: &TlsFiles, verifier: Option<Arc<dyn ClientCertVerifier>>) -> Result<ServerConfig, TlsError> {
    let TlsFiles { cert, key, .. } = files;
    let chain = certificates(cert)?;
    let private_key = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::new(key, error))?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::new(cert, error))?;
    let builder = match verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    };
    let mut config = builder.with_single_cert(chain, private_key).map_err(|error| TlsError::new(cert, error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// A client may come without a certificate; with one, it must be by an authority of the file.
fn client_verifier(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = Arc::new(authorities(path)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).allow_unauthenticated();
    verifier.build().map_err(|error| TlsError::new(path, error))
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| TlsError::new(path, error))?;
    }
    Ok(roots)
}

/// The files of a client's TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientTlsFiles {
    /// The authorities to trust instead of the public ones, PEM.
    pub ca: Option<PathBuf>,
    /// The client's own certificate, for a listener that asks for one.
    pub own: Option<CertificateFiles>,
}

/// A certificate that a client shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

impl ClientTlsFiles {
    /// Whether the files could be taken now.
    pub fn check(&self) -> Result<(), TlsError> {
        self.read().map(drop)
    }

    pub(crate) fn read(&self) -> Result<ClientConfig, TlsError> {
        let name = self.ca.as_deref().unwrap_or(Path::new("tls"));
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::new(name, error))?;
        let builder = match &self.ca {
            None => builder.with_webpki_roots(),
            Some(path) => builder.with_root_certificates(authorities(path)?),
        };
        let Some(CertificateFiles { cert, key }) = &self.own else { return Ok(builder.with_no_client_auth()) };
        let chain = certificates(cert)?;
        let private_key = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::new(key, error))?;
        builder.with_client_auth_cert(chain, private_key).map_err(|error| TlsError::new(cert, error))
    }

    pub(crate) fn written(&self) -> Vec<Option<SystemTime>> {
        let own = self.own.iter().flat_map(|own| [&own.cert, &own.key]);
        written(self.ca.iter().chain(own))
    }
}
