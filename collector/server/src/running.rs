//! Everything that runs behind the listeners: given each other's doors at the start, ended in order at the end.

use std::future::Future;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use parking_lot::Mutex;
use tenantscope_api::prometheus::{self, PrometheusApi};
use tenantscope_api::{
    Gate, ObjectivesInForce, QuotasInForce, agents as agents_api, cost, loki, observed, openapi, pages,
    registry as registry_api, tempo, tenantscope,
};
use tenantscope_forward::{Forwarder, Journals};
use tenantscope_incidents::Incidents;
use tenantscope_ingest::{Intake, otlp_service, write_routes};
use tenantscope_model::{Reporting, Select, Signal};
use tenantscope_promql::Evaluator;
use tenantscope_rules::{Groups, Runner, SystemClock};
use tenantscope_slo::Objectives;
use tenantscope_tenancy::{Exposure, Readers, Registry};
use tenantscope_wire::{Name, OtlpService};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::audit::Sections;
use crate::certificates::Certificates;
use crate::cli::Serve;
use crate::config::Config;
use crate::reload::Reload;
use crate::removals::Removals;
use crate::rule_seams::{AlertIncidents, RuleResults};
use crate::stores::Opened;
use crate::{agents, audit, front, keys, organizations, own_counts, own_routes, request_spans, tenants};

/// What runs, and what the listeners serve.
pub(crate) struct Running {
    /// The routes of the listener for readers.
    pub(crate) app: Router,
    /// The service of the OTLP listeners.
    pub(crate) otlp: OtlpService<Intake>,
    /// What a reload exchanges.
    pub(crate) reload: Arc<Reload>,
    opened: Opened,
    forwarder: Forwarder,
    tasks: JoinSet<()>,
    /// Ends the tasks that write of their own accord: rules, upkeep.
    stop: CancellationToken,
}

impl Running {
    /// Starts everything over what is open.
    pub(crate) async fn start(
        options: &Serve,
        config: &Config,
        registry: Option<Arc<Registry>>,
        opened: Opened,
        (groups, objectives): (Groups, Objectives),
        certificates: Certificates,
    ) -> Result<Self> {
        // Before anything is written: a removed target must not hold the journals' segments.
        let forwarder = start_forwarder(config, &opened.intake).await?;
        let evaluation = Evaluation::start(config, &opened, registry.as_ref(), objectives).await?;
        evaluation.rules.reload(groups).await.context("rules")?;

        let exposure = Exposure::of([config.http()]);
        let readers = Readers::try_new(&config.readers, &config.folder, exposure)?.with_registry(registry.clone());
        let gate = Gate::new(readers);
        let prometheus = evaluation.prometheus(config, &opened, registry.as_ref());
        let reload = Arc::new(Reload {
            options: options.clone(),
            data_dir: config.data_dir(),
            exposure,
            certificates: certificates.clone(),
            identity: Arc::clone(&opened.identity),
            intake: Arc::clone(&opened.intake),
            agents: Arc::clone(&opened.agents),
            registry: registry.clone(),
            gate: gate.clone(),
            rules: Arc::clone(&evaluation.rules),
            incidents: Arc::clone(&evaluation.incidents),
            objectives: evaluation.objectives.clone(),
            prometheus: prometheus.clone(),
            quotas: evaluation.quotas.clone(),
            cost: evaluation.cost.clone(),
            sections: Mutex::new(Sections::of(options.config.as_deref())),
        });
        let removals = Removals::new(
            Arc::clone(&opened.intake),
            (Arc::clone(&opened.metrics), Arc::clone(&opened.lake)),
            (Arc::clone(&evaluation.rules), Arc::clone(&evaluation.incidents)),
            (Arc::clone(&opened.agents), registry.clone()),
        );
        let readers = evaluation.read_routes(prometheus, &opened, registry.clone());
        let reads = own_counts::Reads { intake: Arc::clone(&opened.intake), registry: registry.clone() };
        let readers = observed(readers, Arc::new(reads));
        let app = Router::new()
            .merge(gate.around(readers).layer(axum::middleware::from_fn(request_spans::spanned)))
            .merge(write_routes(Arc::clone(&opened.intake)))
            .merge(tenants::routes(&gate, removals.clone()))
            .merge(own_routes::routes(&reload))
            .fallback(front::nothing_here)
            .method_not_allowed_fallback(front::wrong_method);
        let otlp = otlp_service(&opened.intake);

        let stop = CancellationToken::new();
        let mut tasks = evaluation.spawn(&opened.intake, &stop);
        tasks.spawn(removals.run(stop.clone()));
        tasks.spawn(agents::roll_out(Arc::clone(&reload.agents), stop.clone()));
        tasks.spawn(certificates.follow(stop.clone()));
        if let Some(registry) = reload.registry.clone() {
            tasks.spawn(audit::follow_registry(registry, stop.clone()));
        }
        let (metrics, lake) = (Arc::clone(&opened.metrics), Arc::clone(&opened.lake));
        tasks.spawn(own_counts::weigh(metrics, lake, Arc::clone(&opened.intake), stop.clone()));
        tasks.spawn(keys::rotate(Arc::clone(&opened.identity), stop.clone()));
        organizations::start(&mut tasks, reload.registry.as_ref(), &stop).await;
        Ok(Self { app, otlp, reload, opened, forwarder, tasks, stop })
    }

    /// Ends what runs, when no request does any more; what is in memory goes to files.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task failed");
            }
        }
        self.forwarder.stop().await;
        let opened = self.opened;
        join("stores", tokio::task::spawn_blocking(move || opened.close())).await;
    }
}

/// Waits for a task; one that failed is told.
pub(crate) async fn join(what: &'static str, task: impl Future<Output = Result<(), tokio::task::JoinError>>) {
    if let Err(error) = task.await {
        tracing::error!(what, %error, "a task failed");
    }
}

async fn start_forwarder(config: &Config, intake: &Intake) -> Result<Forwarder> {
    let journal = |signal| intake.journal(signal).clone();
    let journals =
        Journals { metrics: journal(Signal::Metrics), logs: journal(Signal::Logs), spans: journal(Signal::Spans) };
    let (node, base, removed) = (Name::try_new("collector")?, config.folder.clone(), intake.removed_tenants());
    let options = tenantscope_forward::Options { node, base, removed };
    Forwarder::start(config.forward.clone(), journals, options).await.context("forward")
}

/// What evaluates PromQL, and what comes of it.
struct Evaluation {
    evaluator: Evaluator,
    objectives: ObjectivesInForce,
    incidents: Arc<Incidents>,
    rules: Arc<Runner>,
    quotas: QuotasInForce,
    cost: cost::Sources,
}

impl Evaluation {
    async fn start(
        config: &Config,
        opened: &Opened,
        registry: Option<&Arc<Registry>>,
        objectives: Objectives,
    ) -> Result<Self> {
        let select: Arc<dyn Select> = Arc::clone(&opened.metrics) as _;
        let evaluator = Evaluator::new(config.query_limits().engine(), select);
        let objectives = ObjectivesInForce::new(objectives, Arc::new(evaluator.clone()));
        let external_url = config.external_url.clone().unwrap_or_default();
        let incidents = open_incidents(config, &opened.intake, registry.cloned(), &external_url).await?;
        let options = tenantscope_rules::Options { external_url, ..tenantscope_rules::Options::default() };
        let rules = Arc::new(Runner::new(
            Arc::new(evaluator.clone()),
            Arc::new(RuleResults(Arc::clone(&opened.intake))),
            Arc::new(AlertIncidents(Arc::clone(&incidents))),
            Arc::new(SystemClock),
            options,
        ));
        let quotas = QuotasInForce::new(config.quotas(), config.bounds_of_all());
        config.cost.check().map_err(anyhow::Error::msg)?;
        opened.intake.set_cost(config.cost.clone());
        let cost = cost::Sources::new(evaluator.clone(), config.cost.clone());
        Ok(Self { evaluator, objectives, incidents, rules, quotas, cost })
    }

    fn prometheus(&self, config: &Config, opened: &Opened, registry: Option<&Arc<Registry>>) -> PrometheusApi {
        PrometheusApi::new(self.evaluator.clone(), config.query_limits())
            .with_rules(Arc::clone(&self.rules))
            .with_reporting(Arc::clone(&opened.intake) as _)
            .with_registry(registry.cloned())
            .with_retention(config.metrics.own_retention())
    }

    fn read_routes(&self, prometheus: PrometheusApi, opened: &Opened, registry: Option<Arc<Registry>>) -> Router {
        let reporting: Arc<dyn Reporting> = Arc::clone(&opened.intake) as _;
        let own = tenantscope::Sources {
            incidents: Arc::clone(&self.incidents),
            objectives: self.objectives.clone(),
            reporting: Arc::clone(&reporting),
            registry: registry.clone(),
        };
        let of_registry = registry_api::Sources { registry: registry.clone(), reporting: Arc::clone(&reporting) };
        let sources = pages::Sources {
            incidents: Arc::clone(&self.incidents),
            objectives: self.objectives.clone(),
            evaluator: self.evaluator.clone(),
            lake: Arc::clone(&opened.lake),
            rules: Arc::clone(&self.rules),
            reporting,
            registry,
            quotas: self.quotas.clone(),
        };
        pages::routes(sources)
            .merge(tenantscope::routes(own))
            .merge(registry_api::routes(of_registry))
            .merge(cost::routes(self.cost.clone()))
            .merge(agents_api::routes(Arc::clone(&opened.agents)))
            .merge(openapi::routes())
            .merge(prometheus::routes(prometheus))
            .merge(loki::routes(Arc::clone(&opened.lake)))
            .merge(tempo::routes(Arc::clone(&opened.lake)))
    }

    /// The tasks that run of their own accord until `stop`.
    fn spawn(self, intake: &Arc<Intake>, stop: &CancellationToken) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(intake).run(stop.clone().cancelled_owned()));
        let (stop_rules, rules_stopped) = tokio::sync::watch::channel(false);
        let incidents_stopped = rules_stopped.clone();
        let Self { rules, incidents, .. } = self;
        tasks.spawn(async move { rules.run(rules_stopped).await });
        tasks.spawn(async move { incidents.run(incidents_stopped).await });
        let stopped = stop.clone().cancelled_owned();
        tasks.spawn(async move {
            stopped.await;
            stop_rules.send_replace(true);
        });
        tasks
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
