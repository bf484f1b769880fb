//! `listen:`, where the collector listens, and how.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tenantscope_wire::tls::TlsFiles;

/// `listen:`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// Readers, remote write, pages.
    pub http: Option<SocketAddr>,
    /// OTLP over gRPC.
    pub otlp_grpc: Option<SocketAddr>,
    /// OTLP over HTTP.
    pub otlp_http: Option<SocketAddr>,
    /// TLS of all listeners.
    pub tls: Option<Tls>,
    /// TLS of this listener, instead.
    pub http_tls: Option<Tls>,
    /// TLS of this listener, instead.
    pub otlp_grpc_tls: Option<Tls>,
    /// TLS of this listener, instead.
    pub otlp_http_tls: Option<Tls>,
    /// Where a listener may speak plain text.
    pub plain_text: PlainText,
}

/// `listen.tls:`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The authorities of clients' certificates, PEM; without them, clients are not asked for one.
    pub client_ca: Option<PathBuf>,
}

/// Where a listener without TLS may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlainText {
    /// On loopback addresses, where nobody listens in.
    #[default]
    Loopback,
    /// Anywhere: a proxy of ours ends TLS, and nobody but it reaches the listeners.
    BehindAProxy,
}

impl Tls {
    /// The files; `base` is the configuration file's folder.
    pub fn files(&self, base: &Path) -> TlsFiles {
        let client_ca = self.client_ca.as_ref().map(|path| base.join(path));
        TlsFiles { cert: base.join(&self.cert), key: base.join(&self.key), client_ca }
    }
}

impl Listen {
    /// The TLS of the listeners for readers, OTLP/gRPC and OTLP/HTTP.
    pub fn tls_of_each(&self) -> [Option<&Tls>; 3] {
        let all = self.tls.as_ref();
        [&self.http_tls, &self.otlp_grpc_tls, &self.otlp_http_tls].map(|own| own.as_ref().or(all))
    }

    /// The first of the addresses (in that order) at which credentials would go in plain text over a network.
    pub fn plain_over_a_network(&self, addresses: [SocketAddr; 3]) -> Option<SocketAddr> {
        if self.plain_text == PlainText::BehindAProxy {
            return None;
        }
        let with_tls = addresses.into_iter().zip(self.tls_of_each());
        with_tls.filter(|(_, tls)| tls.is_none()).map(|(at, _)| at).find(|at| !at.ip().is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_on_loopback_or_behind_a_proxy() {
        let plain = |text: &str, addresses: [&str; 3]| {
            let listen: Listen = serde_saphyr::from_str(text).unwrap();
            listen.plain_over_a_network(addresses.map(|text| text.parse().unwrap())).map(|at| at.port())
        };
        let everywhere = ["0.0.0.0:1", "0.0.0.0:2", "0.0.0.0:3"];
        assert_eq!(plain("{}", ["127.0.0.1:1", "[::1]:2", "127.0.0.1:3"]), None);
        assert_eq!(plain("{}", everywhere), Some(1));
        assert_eq!(plain("{tls: {cert: c, key: k}}", everywhere), None);
        assert_eq!(plain("{http_tls: {cert: c, key: k}}", everywhere), Some(2));
        assert_eq!(plain("{plain_text: behind_a_proxy}", everywhere), None);
        assert!(serde_saphyr::from_str::<Listen>("{plain_text: anywhere}").is_err());
    }
}
