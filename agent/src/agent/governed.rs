//! What the agent goes by: its own file, or the collector's document, applied whole or not at all and without a restart.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tenantscope_wire::listener::ListenError;
use tenantscope_wire::{AgentDocument, VersionedDocument};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::kept;
use super::receivers::Receivers;
use crate::aws::Aws;
use crate::config::{Config, ConfigError, Sources};
use crate::uplink::{Documents, Session, Wanted};

/// How long the kill switch waits before it is tried again to take back what it closed.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// What is collected now.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct InForce {
    /// The version of the collector's document; none for the agent's own file.
    pub(super) version: Option<u64>,
    /// The sources that are on.
    pub(super) sources: Sources,
}

/// Why a document can't be applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotApplied {
    #[error("{0}")]
    Unreadable(#[from] serde_json::Error),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("a source names no region, and neither does AWS_REGION")]
    Region,
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// Puts what the collector wants in force.
pub(super) struct Governed {
    config: Config,
    aws: Aws,
    documents: Arc<Documents>,
    wanted: watch::Receiver<Wanted>,
    /// What was applied.
    applied: Wanted,
    in_force: watch::Sender<InForce>,
    /// The change of the wanted that was dealt with last.
    settled: watch::Sender<Wanted>,
    /// None where nothing is received.
    receivers: Option<Receivers>,
    spool_dir: PathBuf,
}

impl Governed {
    /// Begins with what was kept, else with the agent's own file; that one must be possible.
    pub(super) async fn start(
        config: &Config,
        aws: Aws,
        documents: Arc<Documents>,
        receivers: Option<Receivers>,
    ) -> Result<Self, NotApplied> {
        let wanted = documents.watch();
        let kept = wanted.borrow().clone();
        let mut governed = Self {
            config: config.clone(),
            aws,
            documents,
            wanted,
            applied: Wanted::default(),
            in_force: watch::Sender::default(),
            settled: watch::Sender::new(kept.clone()),
            receivers,
            spool_dir: config.spool.dir.clone(),
        };
        if let Some(version) = kept.version() {
            match governed.take(kept.clone()).await {
                Ok(()) => {
                    tracing::info!(version, "going on with the collector's document");
                    return Ok(governed);
                }
                Err(error) => governed.refuse(version, &error),
            }
        }
        governed.take(Wanted { document: None, ..kept }).await?;
        Ok(governed)
    }

    /// What is collected, now and whenever it changes.
    pub(super) fn watch(&self) -> watch::Receiver<InForce> {
        self.in_force.subscribe()
    }

    /// Tells when what the collector wanted is dealt with.
    pub(super) fn settled(&self) -> watch::Receiver<Wanted> {
        self.settled.subscribe()
    }

    /// Applies whatever the collector wants from now on, until `stop`; each time it tells the collector what became of it.
    pub(super) async fn run(mut self, session: Arc<Session>, stop: CancellationToken) {
        loop {
            let is_settled = self.catch_up(&session).await;
            tokio::select! {
                () = stop.cancelled() => break,
                changed = self.wanted.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(RETRY_INTERVAL), if !is_settled => {}
            }
        }
        if let Some(receivers) = self.receivers {
            receivers.close().await;
        }
    }

    /// Applies what the collector wants now; whether nothing is left to do.
    pub(super) async fn catch_up(&mut self, session: &Session) -> bool {
        let wanted = self.wanted.borrow_and_update().clone();
        let is_settled = self.apply(&wanted, session).await;
        self.settled.send_replace(wanted);
        is_settled
    }

    async fn apply(&mut self, wanted: &Wanted, session: &Session) -> bool {
        let is_new = wanted.version() != self.applied.version() && !self.documents.has_refused(wanted.version());
        if is_new {
            session.ask_soon();
            match self.take(wanted.clone()).await {
                Ok(()) => {
                    tracing::info!(version = wanted.version(), stopped = wanted.stopped, "document applied");
                    return true;
                }
                Err(error) => match wanted.version() {
                    Some(version) => self.refuse(version, &error),
                    None => tracing::error!(%error, "the agent's own file can't be applied, the document before stays"),
                },
            }
        }
        if wanted.stopped == self.applied.stopped {
            return true;
        }
        session.ask_soon();
        let document = self.applied.document.clone();
        match self.take(Wanted { document, stopped: wanted.stopped }).await {
            Ok(()) => {
                tracing::warn!(stopped = wanted.stopped, "the collector's kill switch");
                true
            }
            Err(error) => {
                tracing::error!(%error, "collecting can't begin again yet, trying again");
                false
            }
        }
    }

    fn refuse(&self, version: u64, error: &NotApplied) {
        tracing::error!(version, %error, "the collector's document is refused, what was in force stays");
        self.documents.refused(version, &error.to_string());
    }

    /// Everything that can fail comes before anything changes.
    async fn take(&mut self, wanted: Wanted) -> Result<(), NotApplied> {
        let collected = match &wanted.document {
            Some(VersionedDocument { content, .. }) => {
                let document: AgentDocument = serde_json::from_value(content.clone())?;
                self.config.collected_with(document)?
            }
            None => self.config.collected.clone(),
        };
        let sources = if wanted.stopped { Sources::default() } else { collected.sources };
        // The agent's own file may do without: each round says what is missing, as ever.
        if wanted.document.is_some() && sources.needs_region() && self.aws.config().await.region().is_none() {
            return Err(NotApplied::Region);
        }
        if let Some(receivers) = &mut self.receivers {
            let bound = receivers.bind(sources.otlp.as_ref()).await?;
            receivers.serve(bound);
        }
        self.keep(&wanted).await;
        let version = wanted.version();
        self.documents.applied(version, wanted.stopped, sources == Sources::default());
        self.applied = wanted;
        self.in_force.send_replace(InForce { version, sources });
        Ok(())
    }

    /// Without it a restart begins with the agent's own file, until the collector is reached.
    async fn keep(&self, wanted: &Wanted) {
        if *wanted == self.applied {
            return;
        }
        let (dir, wanted) = (self.spool_dir.clone(), wanted.clone());
        let stored = tokio::task::spawn_blocking(move || kept::store(&dir, &wanted)).await;
        if let Err(error) = stored.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            tracing::warn!(%error, "the collector's document could not be written down");
        }
    }
}
