//! `serve`: opens everything, listens, runs, drains.

use std::future::Future;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use axum::Router;
use tenantscope_api::prometheus::{self, PrometheusApi};
use tenantscope_api::{Gate, ObjectivesInForce, loki, pages, tempo, tenantscope};
use tenantscope_forward::{Forwarder, Journals};
use tenantscope_incidents::Incidents;
use tenantscope_ingest::{Intake, write_routes};
use tenantscope_model::{Reporting, Select, Signal};
use tenantscope_promql::Evaluator;
use tenantscope_rules::{Groups, Runner, SystemClock};
use tenantscope_slo::Objectives;
use tenantscope_tenancy::{Exposure, Identity, Readers, Registry};
use tenantscope_wire::listener::ListenOptions;
use tenantscope_wire::tls::ServerTls;
use tenantscope_wire::{Listener, Name, OtlpLimits, OtlpService};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::check::{OPEN_OFF_LOOPBACK, groups};
use crate::cli::Serve;
use crate::config::Config;
use crate::front::Front;
use crate::own_routes;
use crate::reload::Reload;
use crate::request_spans;
use crate::rule_seams::{AlertIncidents, RuleResults};
use crate::signals::Signals;
use crate::stores::{self, Opened};

/// Runs until SIGTERM or SIGINT, then drains.
pub async fn serve(options: &Serve, config: Config) -> Result<()> {
    if config.registry.is_none() && !config.on_loopback() {
        bail!("{OPEN_OFF_LOOPBACK}: {}, {}, {}", config.http(), config.otlp_grpc(), config.otlp_http());
    }
    let mut signals = Signals::try_new().context("signals")?;
    // Addresses first: one that is taken is told at once, not after a replay, and whoever asks is told how far we are.
    let listeners = Listeners::bind(&config).await?;
    let served = Served::start(listeners);
    let running = tokio::select! {
        running = open(options, config) => running?,
        () = signals.end() => {
            tracing::info!("told to end before everything was open");
            return Ok(());
        }
    };
    running.until_signalled(served, &mut signals).await;
    Ok(())
}

/// Opens everything, which may take long: what the stores' files lack is replayed.
async fn open(options: &Serve, config: Config) -> Result<Running> {
    let (registry, identity) = identity(&config)?;
    let config = Arc::new(config);
    let (groups, opened) = {
        let (config, registry) = (Arc::clone(&config), registry.clone());
        let open = move || -> Result<_> {
            // What is wrong with the rules is told at once, not after a replay.
            let groups = groups(&config)?;
            Ok((groups, stores::open(&config, identity, registry)?))
        };
        tokio::task::spawn_blocking(open).await??
    };
    Running::start(options, &config, registry, opened, groups).await
}

fn identity(config: &Config) -> Result<(Option<Arc<Registry>>, Arc<Identity>)> {
    let Some(registry) = &config.registry else { return Ok((None, Arc::new(Identity::open()))) };
    let registry = Arc::new(Registry::open(registry, &config.folder)?);
    let data_dir = config.data_dir();
    std::fs::create_dir_all(&data_dir).with_context(|| data_dir.display().to_string())?;
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
    async fn bind(config: &Config) -> Result<Self> {
        let tls = config
            .listen
            .tls
            .as_ref()
            .map(|tls| ServerTls::load(&config.folder.join(&tls.cert), &config.folder.join(&tls.key)));
        let options = ListenOptions { tls: tls.transpose()?, ..ListenOptions::default() };
        let listeners = Self {
            http: Listener::bind(config.http(), options.clone()).await?,
            otlp_grpc: Listener::bind(config.otlp_grpc(), options.clone()).await?,
            otlp_http: Listener::bind(config.otlp_http(), options).await?,
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
}

/// Everything that runs.
struct Running {
    opened: Opened,
    app: Router,
    otlp: OtlpService<Intake>,
    reload: Arc<Reload>,
    forwarder: Forwarder,
    tasks: JoinSet<()>,
    /// Ends the tasks that write of their own accord: rules, upkeep.
    stop: CancellationToken,
}

impl Running {
    async fn start(
        options: &Serve,
        config: &Config,
        registry: Option<Arc<Registry>>,
        opened: Opened,
        (groups, objectives): (Groups, Objectives),
    ) -> Result<Self> {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let intake = Arc::clone(&opened.intake);
        // Before anything is written: a removed target must not hold the journals' segments.
        let journal = |signal| intake.journal(signal).clone();
        let journals =
            Journals { metrics: journal(Signal::Metrics), logs: journal(Signal::Logs), spans: journal(Signal::Spans) };
        let forward = tenantscope_forward::Options { node: Name::try_new("collector")?, base: config.folder.clone() };
        let forwarder = Forwarder::start(config.forward.clone(), journals, forward).await.context("forward")?;

        let select: Arc<dyn Select> = Arc::clone(&opened.metrics) as _;
        let query_limits = config.query.limits();
        let engine = query_limits.engine();
        let evaluator = Evaluator::new(engine.clone(), Arc::clone(&select));
        let objectives = ObjectivesInForce::new(objectives, Arc::new(evaluator.clone()));
        let external_url = config.external_url.clone().unwrap_or_default();
        let incidents = open_incidents(config, &intake, registry.clone(), &external_url).await?;
        let rule_options = tenantscope_rules::Options { external_url, ..tenantscope_rules::Options::default() };
        let rules = Arc::new(Runner::new(
            Arc::new(evaluator.clone()),
            Arc::new(RuleResults(Arc::clone(&intake))),
            Arc::new(AlertIncidents(Arc::clone(&incidents))),
            Arc::new(SystemClock),
            rule_options,
        ));
        rules.reload(groups).await.context("rules")?;

        let exposure = Exposure::of([config.http()]);
        let gate = Gate::new(Readers::try_new(&config.readers, &config.folder, exposure)?);
        let reload = Arc::new(Reload {
            file: options.config.clone(),
            exposure,
            intake: Arc::clone(&intake),
            registry: registry.clone(),
            gate: gate.clone(),
            rules: Arc::clone(&rules),
            incidents: Arc::clone(&incidents),
            objectives: objectives.clone(),
        });
        let own = tenantscope::Sources {
            incidents: Arc::clone(&incidents),
            objectives: objectives.clone(),
            reporting: Arc::clone(&intake) as _,
            registry: registry.clone(),
        };
        let sources = pages::Sources {
            incidents: Arc::clone(&incidents),
            objectives,
            engine: Arc::new(engine),
            select,
            lake: Arc::clone(&opened.lake),
            rules: Arc::clone(&rules),
            reporting: Arc::clone(&intake) as Arc<dyn Reporting>,
            registry,
        };
        let limits = OtlpLimits { max_body_bytes: config.limits.body_bytes(), ..OtlpLimits::default() };
        let otlp = OtlpService::with_identity(Arc::clone(&intake), Arc::clone(&intake) as _, limits);
        let prometheus_api = PrometheusApi::new(evaluator, query_limits)
            .with_rules(Arc::clone(&rules))
            .with_reporting(Arc::clone(&intake) as _);
        let readers = pages::routes(sources)
            .merge(tenantscope::routes(own))
            .merge(prometheus::routes(prometheus_api))
            .merge(loki::routes(Arc::clone(&opened.lake)))
            .merge(tempo::routes(Arc::clone(&opened.lake)));
        let app = Router::new()
            .merge(gate.around(readers).layer(axum::middleware::from_fn(request_spans::spanned)))
            .merge(write_routes(Arc::clone(&intake)))
            .merge(own_routes::routes(&reload));

        tasks.spawn(Arc::clone(&intake).run(stop.clone().cancelled_owned()));
        let (stop_rules, rules_stopped) = tokio::sync::watch::channel(false);
        let incidents_stopped = rules_stopped.clone();
        tasks.spawn(async move { rules.run(rules_stopped).await });
        tasks.spawn(async move { incidents.run(incidents_stopped).await });
        let stopped = stop.clone().cancelled_owned();
        tasks.spawn(async move {
            stopped.await;
            stop_rules.send_replace(true);
        });
        Ok(Self { opened, app, otlp, reload, forwarder, tasks, stop })
    }

    /// Serves until a signal; then no new requests, running ones end, what is in memory goes to files.
    async fn until_signalled(mut self, served: Served, signals: &mut Signals) {
        let closed = || served.closing.clone().cancelled_owned();
        let otlp_grpc = tokio::spawn(served.otlp_grpc.serve(self.otlp.clone(), closed()));
        let otlp_http = tokio::spawn(served.otlp_http.serve(self.otlp, closed()));
        served.front.open(self.app);
        tracing::info!("ready");
        signals.end_after_reloads(&self.reload).await;
        tracing::info!("draining");
        served.closing.cancel();
        for listener in [served.http, otlp_grpc, otlp_http] {
            join("listener", listener).await;
        }
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task failed");
            }
        }
        self.forwarder.stop().await;
        let opened = self.opened;
        join("stores", tokio::task::spawn_blocking(move || opened.close())).await;
        tracing::info!("drained");
    }
}

async fn join(what: &'static str, task: impl Future<Output = Result<(), tokio::task::JoinError>>) {
    if let Err(error) = task.await {
        tracing::error!(what, %error, "a task failed");
    }
}

async fn open_incidents(
    config: &Config,
    intake: &Arc<Intake>,
    registry: Option<Arc<Registry>>,
    external_url: &str,
) -> Result<Arc<Incidents>> {
    let path = config.data_dir().join("incidents.redb");
    let (routes, reporting, external_url) =
        (config.incidents.clone(), Arc::clone(intake) as _, external_url.to_owned());
    let opened =
        tokio::task::spawn_blocking(move || Incidents::open(&path, routes, reporting, registry, &external_url));
    Ok(Arc::new(opened.await?.context("incidents")?))
}
