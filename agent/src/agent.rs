//! The whole agent: what is started in which order, and how it ends.
//!
//! ```text
//! spool → couriers → what is in force (kept document or own file) → receivers → (identity, account) → sources
//! stop: sources → receivers → drain → checkpoint
//! ```

mod collection;
mod governed;
mod kept;
mod receivers;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tenantscope_model::Signal;
use tenantscope_wire::client::ClientError;
use tenantscope_wire::listener::ListenError;
use tenantscope_wire::{AgentMode, OtlpClient};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::aws::{Aws, CallError};
use crate::config::{Config, ConfigError};
use crate::source::SourceError;
use crate::spool::{Spool, SpoolError};
use crate::telemetry_listener;
use crate::uplink::{Courier, Delivery, Documents, Session, SessionError, Undelivered};
use governed::{Governed, NotApplied};
use receivers::Receivers;

/// How often the sources' progress is written down.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(30);
/// How often the agent looks whether its token is to be renewed, while it has nothing to deliver.
const SHOW_INTERVAL: Duration = Duration::from_secs(60);
/// How long it waits at first where the collector does not know it, or is away.
const FIRST_SHOW_WAIT: Duration = Duration::from_secs(1);
/// How long `once` tries to be known to the collector before it gives up.
const ONCE_IDENTITY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the end of `run` delivers, unless the configuration says otherwise.
const RUN_DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long `once` delivers, unless the configuration says otherwise.
const ONCE_DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// How long tasks may take to notice that they are to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the agent could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The spool cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// What is configured cannot be collected.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The collector's address cannot be used.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No region is configured for AWS.
    #[error("no AWS region: set AWS_REGION, or regions in the configuration")]
    Region,
    /// The account is not known.
    #[error(transparent)]
    Account(#[from] CallError),
    /// The collector did not take the proof.
    #[error(transparent)]
    Identity(#[from] SessionError),
    /// A source's round failed.
    #[error("{kind} in {region}: {source}")]
    Round {
        /// The source.
        kind: &'static str,
        /// Its region.
        region: String,
        /// Why.
        source: SourceError,
    },
    /// Not everything was delivered.
    #[error(transparent)]
    Undelivered(#[from] Undelivered),
}

/// What every mode has.
struct Agent {
    config: Config,
    spool: Spool,
    aws: Aws,
    session: Arc<Session>,
    documents: Arc<Documents>,
    delivery: Arc<Delivery>,
    couriers: JoinSet<()>,
    stop_couriers: CancellationToken,
}

/// Collects, receives and delivers until `shutdown` resolves, then delivers what is spooled for a bounded time.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
    let mut agent = Agent::start(config, AgentMode::Run).await?;
    let stop = CancellationToken::new();
    let mut tasks = agent.listeners(&stop).await?;
    tasks.spawn(checkpoints(agent.spool.clone(), stop.clone()));
    tasks.spawn(show(Arc::clone(&agent.session), stop.clone()));
    let governed = agent.governed(Some(Receivers::new(agent.spool.clone()))).await?;
    let (in_force, settled) = (governed.watch(), governed.settled());
    tasks.spawn(governed.run(Arc::clone(&agent.session), stop.clone()));
    tasks.spawn(collection::collect(agent.surroundings(), in_force, settled, stop.clone()));
    tracing::info!(name = %agent.config.name, collector = %agent.config.collector, "agent runs");
    shutdown.await;
    tracing::info!("agent ends, delivering what is spooled");
    stop.cancel();
    join(&mut tasks).await;
    let undelivered = agent.drain(agent.config.drain.map_or(RUN_DRAIN_TIMEOUT, |drain| drain.0)).await;
    if let Err(error) = undelivered {
        // What is left is on the disk and goes out after the next start.
        tracing::warn!(%error, "the spool keeps what was not delivered");
    }
    Ok(())
}

/// One round of each source, then everything delivered, or an error that says why not.
pub async fn once(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
    let mut agent = Agent::start(config, AgentMode::Once).await?;
    let drain = agent.config.drain.map_or(ONCE_DRAIN_TIMEOUT, |drain| drain.0);
    let work = Box::pin(async {
        collection::identify_soon(&agent.session, drain.min(ONCE_IDENTITY_TIMEOUT)).await?;
        // Nobody sends to an agent that ends at once.
        let mut governed = agent.governed(None).await?;
        governed.catch_up(&agent.session).await;
        let sources = governed.watch().borrow().sources.clone();
        let collected = collection::collect_once(agent.surroundings(), &sources).await;
        // What became of a document is told now: the next round may be hours away.
        if let Err(error) = agent.session.tell().await {
            tracing::warn!(%error, "the collector could not be told what became of its document");
        }
        collected
    });
    let collected: Result<(), AgentError> = tokio::select! {
        collected = work => collected,
        () = shutdown => Ok(()),
    };
    if let Err(AgentError::Identity(error)) = collected {
        // Whom the collector does not know cannot deliver.
        return Err(error.into());
    }
    let delivered = agent.drain(drain).await;
    collected?;
    Ok(delivered?)
}

impl Agent {
    async fn start(config: Config, mode: AgentMode) -> Result<Self, AgentError> {
        let spool_config = config.spool.clone();
        let opened = tokio::task::spawn_blocking(move || Spool::open(&spool_config)).await;
        let spool = opened.unwrap_or(Err(SpoolError::Stopped))?;
        let aws = Aws::default();
        let dir = config.spool.dir.clone();
        let kept = tokio::task::spawn_blocking(move || kept::load(&dir)).await.unwrap_or_default();
        let documents = Arc::new(Documents::new(kept));
        let client = OtlpClient::try_new(&config.client_options())?;
        let proof = (config.server_name.clone(), config.proof.clone());
        let (name, told) = (config.name.clone(), Arc::clone(&documents));
        let session = Arc::new(Session::new(client, name, mode, proof, aws.clone(), spool.clone(), told));
        let delivery = Arc::new(Delivery::default());
        let stop_couriers = CancellationToken::new();
        let mut couriers = JoinSet::new();
        for signal in Signal::ALL {
            let lane = spool.lane(signal)?;
            let courier = Courier::new(Arc::clone(&session), Arc::clone(&delivery), lane, spool.watch());
            couriers.spawn(courier.run(stop_couriers.clone()));
        }
        Ok(Self { config, spool, aws, session, documents, delivery, couriers, stop_couriers })
    }

    fn surroundings(&self) -> collection::Collection {
        collection::Collection {
            compression: self.config.compression,
            spool: self.spool.clone(),
            session: Arc::clone(&self.session),
            documents: Arc::clone(&self.documents),
            aws: self.aws.clone(),
        }
    }

    /// What the agent goes by; its own file must be possible.
    async fn governed(&self, receivers: Option<Receivers>) -> Result<Governed, AgentError> {
        let (aws, documents) = (self.aws.clone(), Arc::clone(&self.documents));
        Governed::start(&self.config, aws, documents, receivers).await.map_err(|error| match error {
            NotApplied::Listen(error) => error.into(),
            NotApplied::Config(error) => error.into(),
            NotApplied::Region | NotApplied::Unreadable(_) => AgentError::Region,
        })
    }

    async fn listeners(&self, stop: &CancellationToken) -> Result<JoinSet<()>, AgentError> {
        let mut tasks = JoinSet::new();
        if let Some(address) = self.config.telemetry_listen {
            let listener = telemetry_listener::bind(address).await?;
            tracing::info!(address = %listener.local_address(), "own metrics");
            tasks.spawn(telemetry_listener::serve(listener, stop.clone()));
        }
        Ok(tasks)
    }

    /// Delivers what is spooled until all of it is, or time runs out; then everything stops and progress is written.
    async fn drain(&mut self, timeout: Duration) -> Result<(), Undelivered> {
        let end = self.spool.end();
        // Time running out is told by the outcome.
        let _ = tokio::time::timeout(timeout, self.delivery.wait_for(end)).await;
        let outcome = self.delivery.outcome(end);
        self.stop_couriers.cancel();
        join(&mut self.couriers).await;
        checkpoint(&self.spool).await;
        outcome
    }
}

/// Waits for tasks that were told to end; those that do not notice are aborted.
async fn join(tasks: &mut JoinSet<()>) {
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_TIMEOUT, all).await.is_err() {
        tracing::warn!(tasks = tasks.len(), "tasks did not end in time");
        tasks.shutdown().await;
    }
}

/// Renews the token while there is nothing to deliver too: the collector can tell an idle account from a silent one, and
/// the agent hears of another document.
async fn show(session: Arc<Session>, stop: CancellationToken) {
    let growing = || {
        let waits = ExponentialBuilder::default().with_min_delay(FIRST_SHOW_WAIT).with_max_delay(SHOW_INTERVAL);
        waits.with_jitter().without_max_times().build()
    };
    let mut waits = growing();
    loop {
        session.renew_tls().await;
        let pause = match session.standing().await {
            Ok(_) => {
                waits = growing();
                None
            }
            Err(error) => {
                // Whoever delivers says what is wrong; here it is only tried again.
                tracing::debug!(%error, "not known to the collector now");
                Some(waits.next().unwrap_or(SHOW_INTERVAL))
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = session.due(SHOW_INTERVAL), if pause.is_none() => {}
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
        }
    }
}

async fn checkpoints(spool: Spool, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(CHECKPOINT_INTERVAL) => checkpoint(&spool).await,
        }
    }
}

async fn checkpoint(spool: &Spool) {
    let spool = spool.clone();
    let written = tokio::task::spawn_blocking(move || spool.checkpoint()).await;
    // Without it a restart reads more of the spool, and nothing is lost.
    if let Err(error) = written.unwrap_or(Err(SpoolError::Stopped)) {
        tracing::warn!(%error, "progress could not be written");
    }
}
