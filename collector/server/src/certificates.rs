//! The certificates of the listeners: read at the start, again at a reload, and when somebody has written them.

use std::time::Duration;

use anyhow::Result;
use tenantscope_wire::tls::{ServerTls, TlsError};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::rounds;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// TLS of the listeners for readers, OTLP/gRPC and OTLP/HTTP. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Certificates([Option<ServerTls>; 3]);

impl Certificates {
    /// Reads the files.
    pub(crate) fn open(config: &Config) -> Result<Self, TlsError> {
        let mut opened = Self::default();
        for (place, tls) in opened.0.iter_mut().zip(config.listen.tls_of_each()) {
            *place = tls.map(|tls| ServerTls::open(tls.files(&config.folder))).transpose()?;
        }
        Ok(opened)
    }

    /// Of each listener.
    pub(crate) fn of_each(&self) -> [Option<ServerTls>; 3] {
        self.0.clone()
    }

    /// Whether a reload would pass. The files' names stay those of the start.
    pub(crate) fn check(&self) -> Result<(), TlsError> {
        self.0.iter().flatten().try_for_each(ServerTls::check)
    }

    /// Reads the files again, for connections to come.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        self.0.iter().flatten().try_for_each(ServerTls::reload)
    }

    /// Reads files again that were written, until `stop`. A pair that is half written is read when it fits.
    pub(crate) async fn follow(self, stop: CancellationToken) {
        while rounds::next(LOOK_EVERY, &stop).await {
            for tls in self.0.iter().flatten() {
                match tls.reload_if_written() {
                    Ok(false) => {}
                    Ok(true) => tracing::info!("certificates were written, and read again"),
                    Err(error) => tracing::warn!(%error, "certificates were written and can't be taken"),
                }
            }
        }
    }
}
