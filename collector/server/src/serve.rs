//! `serve`: opens everything, listens, runs, drains.

use std::sync::Arc;

use anyhow::{Context, Result};
use tenantscope_journal::make_folder;
use tenantscope_tenancy::{Identity, Registry};
use tenantscope_wire::Listener;
use tenantscope_wire::listener::ListenOptions;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::certificates::Certificates;
use crate::check::{check_config, check_listeners};
use crate::cli::Serve;
use crate::config::Config;
use crate::front::Front;
use crate::running::{Running, join};
use crate::signals::Signals;
use crate::stores;

/// Runs until SIGTERM or SIGINT, then drains.
pub async fn serve(options: &Serve, config: Config) -> Result<()> {
    check_listeners(&config)?;
    let mut signals = Signals::try_new().context("signals")?;
    // Addresses first: one that is taken is told at once, not after a replay, and whoever asks is told how far we are.
    let certificates = Certificates::open(&config)?;
    let listeners = Listeners::bind(&config, &certificates).await?;
    let served = Served::start(listeners);
    let running = tokio::select! {
        running = open(options, config, certificates) => running?,
        () = signals.end() => {
            tracing::info!("told to end before everything was open");
            return Ok(());
        }
    };
    served.until_signalled(running, &mut signals).await;
    Ok(())
}

/// Opens everything, which may take long: what the stores' files lack is replayed.
async fn open(options: &Serve, config: Config, certificates: Certificates) -> Result<Running> {
    let config = Arc::new(config);
    // What is wrong with the configuration is told at once, not after a replay.
    let checked = Arc::clone(&config);
    let groups = tokio::task::spawn_blocking(move || check_config(&checked).into_groups()).await??;
    let (registry, identity) = identity(&config)?;
    let opened = {
        let (config, registry) = (Arc::clone(&config), registry.clone());
        tokio::task::spawn_blocking(move || stores::open(&config, identity, registry)).await??
    };
    Running::start(options, &config, registry, opened, groups, certificates).await
}

fn identity(config: &Config) -> Result<(Option<Arc<Registry>>, Arc<Identity>)> {
    let Some(registry) = &config.registry else { return Ok((None, Arc::new(Identity::open()))) };
    let data_dir = config.data_dir();
    make_folder(&data_dir).with_context(|| data_dir.display().to_string())?;
    let registry = Arc::new(Registry::open_in(registry, &config.folder, &data_dir)?);
    let identity = Identity::try_new(&config.identity, Arc::clone(&registry), &config.folder, &data_dir)?;
    Ok((Some(registry), Arc::new(identity)))
}

/// The three listeners.
struct Listeners {
    http: Listener,
    otlp_grpc: Listener,
    otlp_http: Listener,
}

impl Listeners {
    async fn bind(config: &Config, certificates: &Certificates) -> Result<Self> {
        let [http, otlp_grpc, otlp_http] = certificates.of_each();
        let options = |tls| ListenOptions { tls, ..ListenOptions::default() };
        let listeners = Self {
            http: Listener::bind(config.http(), options(http)).await?,
            otlp_grpc: Listener::bind(config.otlp_grpc(), options(otlp_grpc)).await?,
            otlp_http: Listener::bind(config.otlp_http(), options(otlp_http)).await?,
        };
        tracing::info!(
            http = %listeners.http.local_address(), otlp_grpc = %listeners.otlp_grpc.local_address(),
            otlp_http = %listeners.otlp_http.local_address(), "listening"
        );
        Ok(listeners)
    }
}

/// The listeners, of which the readers' serves already.
struct Served {
    front: Front,
    http: JoinHandle<()>,
    otlp_grpc: Listener,
    otlp_http: Listener,
    closing: CancellationToken,
}

impl Served {
    fn start(listeners: Listeners) -> Self {
        let (front, closing) = (Front::default(), CancellationToken::new());
        let answering = front.clone();
        let service = tower::service_fn(move |request| answering.clone().answer(request));
        let http = tokio::spawn(listeners.http.serve(service, closing.clone().cancelled_owned()));
        Self { front, http, otlp_grpc: listeners.otlp_grpc, otlp_http: listeners.otlp_http, closing }
    }

    /// Serves until a signal; then no new requests, running ones end, and behind them what runs.
    async fn until_signalled(self, running: Running, signals: &mut Signals) {
        let closed = || self.closing.clone().cancelled_owned();
        let otlp_grpc = tokio::spawn(self.otlp_grpc.serve(running.otlp.clone(), closed()));
        let otlp_http = tokio::spawn(self.otlp_http.serve(running.otlp.clone(), closed()));
        self.front.open(running.app.clone());
        tracing::info!("ready");
        signals.end_after_reloads(&running.reload).await;
        tracing::info!("draining");
        self.closing.cancel();
        for listener in [self.http, otlp_grpc, otlp_http] {
            join("listener", listener).await;
        }
        running.end().await;
        tracing::info!("drained");
    }
}
